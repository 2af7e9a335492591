"""White Gaussian noise, of one standard deviation or of one for each datum."""

import math

import torch
from torch import Tensor

from invreg.core import Likelihood, inner, over_batch, total
from invreg.operators.likelihoods.arguments import half_of_the_data, measurement, normal, parameter


class LeastSquares(Likelihood):
    """|p - y|^2 / 2 for a real or complex measurement y (*batch, *shape) of `ndim` axes, in the square of its unit.

    `std`, the standard deviation of the white noise in the unit of y (a number or (*batch,)), is needed
    only by `sample` and `expected`. Of complex data it is that of the real part and that of the imaginary part.
    """

    quadratic = True
    std: Tensor | None

    def __init__(self, y: Tensor, *, ndim: int = 2, std: Tensor | float | None = None) -> None:
        super().__init__()
        self.ndim = ndim
        self.register_buffer("y", y)
        self.register_buffer("std", None if std is None else torch.as_tensor(std, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        residual = x - self.y
        return 0.5 * inner(residual, residual, self.ndim)

    def grad(self, x: Tensor) -> Tensor:
        return x - self.y

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        t = over_batch(step, x, self.ndim)
        return (x + t * self.y) / (1 + t)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        return inner(u, 0.5 * u + self.y, self.ndim)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        s = over_batch(step, u, self.ndim)
        return (u - s * self.y) / (1 + s)

    def lipschitz(self) -> float:
        return 1.0

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        if self.std is None:
            raise self._lacks("noise level", "the argument `std` when it is made")
        return prediction + over_batch(self.std, prediction, self.ndim) * normal(prediction, generator)

    def expected(self) -> Tensor | None:
        return None if self.std is None else half_of_the_data(self.y, self.ndim) * self.std.double().square()


class WeightedLeastSquares(Likelihood):
    """sum_i w_i |p_i - y_i|^2 / 2: Gaussian noise of variance 1 / w_i, w >= 0 of the shape of y.

    A weight of zero drops a datum (a dead pixel, say). For X-ray line integrals w is the photon count. Of complex data
    1 / w_i is the variance of the real part and that of the imaginary part.
    """

    quadratic = True
    weights: Tensor

    def __init__(self, y: Tensor, weights: Tensor, *, ndim: int = 2) -> None:
        super().__init__()
        if weights.shape != y.shape or not bool((weights >= 0).all()):
            raise ValueError(
                f"WeightedLeastSquares takes weights >= 0 of the shape of the measurement {tuple(y.shape)}; "
                f"got {tuple(weights.shape)}, smallest {float(weights.min())}"
            )
        self.ndim = ndim
        self.register_buffer("y", y)
        self.register_buffer("weights", weights)

    @classmethod
    def from_affine_noise(
        cls, y: Tensor, constant: Tensor | float, slope: Tensor | float, *, signal: Tensor | None = None, ndim: int = 2
    ) -> "WeightedLeastSquares":
        """Noise of variance constant + slope max(signal, 0), fixed: convex in the prediction.

        `signal` (default y) is an estimate of the noise-free measurement. With y itself the weights lean towards
        data that happen to be low, by about `slope` in the mean; a smoothed y has less of that. `constant` > 0 in
        the square of the unit of y and `slope` >= 0 in that unit: numbers, (*batch,) or of the shape of y.
        """
        y = measurement("WeightedLeastSquares", y, ndim)
        a = parameter("WeightedLeastSquares", "constant", constant, y, ndim, above=0.0)
        b = parameter("WeightedLeastSquares", "slope", slope, y, ndim, low=0.0)
        level = y if signal is None else parameter("WeightedLeastSquares", "signal", signal, y, ndim)
        return cls(y, (1 / (a + b * level.clamp(min=0))).expand_as(y), ndim=ndim)

    def forward(self, x: Tensor) -> Tensor:
        residual = x - self.y
        return 0.5 * inner(residual, self.weights * residual, self.ndim)

    def grad(self, x: Tensor) -> Tensor:
        return self.weights * (x - self.y)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        t = over_batch(step, x, self.ndim) * self.weights
        return (x + t * self.y) / (1 + t)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        # where w = 0 the conjugate is the indicator of u = 0, and conj_prox returns exactly 0 there
        outside = torch.where(u == 0, 0.0, math.inf)
        half = torch.where(self.weights > 0, 0.5 * u.abs().square() / self.weights, outside)
        return inner(u, self.y, self.ndim) + total(half, self.ndim)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        s = over_batch(step, u, self.ndim)
        return self.weights * (u - s * self.y) / (self.weights + s)

    def lipschitz(self) -> float:
        return float(self.weights.max())

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian noise of variance 1 / w; where w = 0, which says nothing, no noise."""
        return prediction + torch.where(self.weights > 0, self.weights.rsqrt(), 0.0) * normal(prediction, generator)

    def expected(self) -> Tensor:
        parts = 2 if self.y.is_complex() else 1
        return 0.5 * parts * total(self.weights > 0, self.ndim)
