"""Gaussian noise whose variance grows with the signal, as that of every photon detector."""

import torch
from torch import Tensor

from invreg.core import Likelihood, total
from invreg.operators.likelihoods.arguments import measurement, normal, parameter


class HeteroscedasticGaussian(Likelihood):
    """sum_i (p_i - y_i)^2 / (2 v_i) + log(v_i / a) / 2, the variance v = a + b max(p, 0) that of the prediction.

    `constant` a > 0 in the square of the unit of y (*batch, *shape), `slope` b >= 0 in that unit: numbers,
    (*batch,) or maps of the shape of y. `grad` is the whole derivative, that of the variance in both terms
    included, so that the gradient of the average over noise vanishes at the truth:
        r / v + (b / 2) (1 / v - r^2 / v^2) where p > 0, else r / a, with r = p - y.
    Where `saturated` (boolean, the shape of y) the true signal may be anything above y: the term is
    max(y - p, 0)^2 / (2 v), without the logarithm. Not convex: its second derivative where p > 0 is
    (a + b y)^2 / v^3 - b^2 / (2 v^2). The convex neighbour with the variance of the measurement is
    `WeightedLeastSquares.from_affine_noise`. Raises ValueError for senseless parameters or another shape.
    """

    convex = False
    instead = "WeightedLeastSquares.from_affine_noise, or Saturated of it"
    constant: Tensor
    slope: Tensor
    saturated: Tensor

    def __init__(
        self,
        y: Tensor,
        constant: Tensor | float,
        slope: Tensor | float,
        *,
        saturated: Tensor | None = None,
        ndim: int = 2,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        self.ndim = ndim
        self.register_buffer("y", measurement(who, y, ndim))
        self.register_buffer("constant", parameter(who, "constant", constant, y, ndim, above=0.0))
        self.register_buffer("slope", parameter(who, "slope", slope, y, ndim, low=0.0))
        mask = torch.zeros_like(y, dtype=torch.bool) if saturated is None else saturated
        if mask.dtype != torch.bool or mask.shape != y.shape:
            raise ValueError(
                f"{who} takes `saturated` as a boolean mask of the shape of the measurement {tuple(y.shape)}; "
                f"got {mask.dtype} {tuple(mask.shape)}"
            )
        self.register_buffer("saturated", mask)

    def forward(self, x: Tensor) -> Tensor:
        r, signal = x.double() - self.y, x.double().clamp(min=0)
        square = r.square() / (2 * (self.constant + self.slope * signal))
        logarithm = 0.5 * torch.log1p(self.slope * signal / self.constant)
        return total(torch.where(self.saturated, square * (r < 0), square + logarithm), self.ndim)

    def grad(self, x: Tensor) -> Tensor:
        r, variance = x - self.y, self.constant + self.slope * x.clamp(min=0)
        score = r / variance
        b = torch.where(x > 0, self.slope, 0.0)
        free = score + 0.5 * b * (1 / variance - score.square())
        return torch.where(self.saturated, (score - 0.5 * b * score.square()) * (r < 0), free)

    def lipschitz(self) -> float:
        """The greater of (a + b y)^2 / a^3 and b^2 / (2 a^2): a Lipschitz constant over predictions p >= 0."""
        a, b = self.constant, self.slope
        up = ((a + b * self.y).square() / a**3).max()
        return float(torch.maximum(up, (b.square() / (2 * a.square())).max()))

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        """Noise of the variance at the prediction, cut off at y where that is saturated."""
        std = (self.constant + self.slope * prediction.clamp(min=0)).sqrt()
        noisy = prediction + std * normal(prediction, generator)
        return torch.where(self.saturated, noisy.minimum(self.y), noisy)
