"""Saturated data: one-sided, as the signal may be anything above the level at which the detector stops."""

import math

import torch
from torch import Tensor

from invreg.core import Likelihood, total
from invreg.operators.likelihoods.arguments import parameter
from invreg.operators.likelihoods.gaussian import LeastSquares, WeightedLeastSquares
from invreg.operators.likelihoods.robust import Huber, Laplace, StudentT

_TWO_SIDED = (LeastSquares, WeightedLeastSquares, Laplace, Huber, StudentT)


class Saturated(Likelihood):
    """The likelihood f, but where y >= level a prediction above y costs nothing: f_i(min(p_i, y_i)).

    f: least squares, weighted or not (then the term is a squared hinge), Laplace, Huber or Student-t, which are
    sums over the data of terms least at p = y. `level` in the unit of y: a number, (*batch,) or of the shape of y;
    it has what f has of gradient, proximal map and conjugate. Raises TypeError for another f.
    """

    saturated: Tensor
    level: Tensor

    def __init__(self, f: Likelihood, level: Tensor | float) -> None:
        super().__init__()
        if not isinstance(f, _TWO_SIDED):
            names = ", ".join(c.__name__ for c in _TWO_SIDED)
            raise TypeError(
                f"Saturated takes one of {names}; got {type(f).__name__} "
                "(HeteroscedasticGaussian has `saturated` of its own)"
            )
        self.f, self.ndim, self.convex, self.instead = f, f.ndim, f.convex, f.instead
        self.register_buffer("level", parameter("Saturated", "level", level, f.y, f.ndim))
        self.register_buffer("saturated", f.y >= self.level)

    @property
    def y(self) -> Tensor:  # type: ignore[override]
        return self.f.y

    def forward(self, x: Tensor) -> Tensor:
        return self.f(torch.where(self.saturated, x.minimum(self.y), x))

    def grad(self, x: Tensor) -> Tensor:
        return torch.where(self._above(x), 0.0, self.f.grad(x))

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return torch.where(self._above(x), x, self.f.prox(x, step))

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """That of f where u <= 0; where a saturated datum has u > 0 infinite, or at most u times the bound."""
        beyond = total(torch.where(self.saturated, u.clamp(min=0), 0.0), self.ndim)
        inside = self.f.conj(torch.where(self.saturated, u.clamp(max=0), u), bound)
        return inside + torch.where(beyond > 0, beyond * bound, 0.0)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        v = self.f.conj_prox(u, step)
        return torch.where(self.saturated, v.clamp(max=0), v)

    def lipschitz(self) -> float:
        return self.f.lipschitz()

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        """A measurement of f, cut off at the level."""
        return self.f.sample(prediction, generator).minimum(self.level)

    def _above(self, x: Tensor) -> Tensor:
        return self.saturated & (x >= self.y)
