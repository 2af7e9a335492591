"""Norms as priors."""

import math
from functools import reduce

import torch
from torch import Tensor

from invreg.core import Functional, over_batch, positive_weight, total


def magnitude(x: Tensor) -> Tensor:
    """|x_i|_2 of a real or complex vector field, (*batch, component, h, w) -> (*batch, h, w).

    `torch.linalg.vector_norm` over so short an axis takes 90 times as long.
    """
    parts = (x.abs() if x.is_complex() else x).unbind(-3)
    if len(parts) == 1:
        return parts[0].abs()
    if x.requires_grad:  # at the origin, where hypot gives nan, a complex modulus has the gradient 0
        return reduce(lambda a, b: torch.complex(a, b).abs(), parts)
    return reduce(torch.hypot, parts)


class GroupL1(Functional):
    """sum_i w_i |x_i|_2 over vector fields (*batch, component, h, w), |.|_2 taken across the components.

    Of complex components |.|_2 takes the moduli: real and imaginary parts shrink together.

    `weights` (*batch, h, w) or (h, w), w >= 0, default 1. Its conjugate is the indicator of |u_i|_2 <= w_i, so
    the map is the radius of the dual balls (Morotti et al., arXiv 2404.16900).
    Raises ValueError for negative or non-finite weights.
    """

    ndim = 3
    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None) -> None:
        super().__init__()
        if weights is not None and not bool(((weights >= 0) & weights.isfinite()).all()):
            raise ValueError("GroupL1 takes finite weights >= 0; got some that are negative or not finite")
        self.register_buffer("weights", weights)

    def __rmul__(self, weight: Tensor | float) -> "GroupL1":
        """c f as a GroupL1 of weights c w: the same function, two passes over the field less than `Weighted`."""
        c = positive_weight(self, weight)
        c = c.reshape(*c.shape, 1, 1)
        return GroupL1(c if self.weights is None else c.to(self.weights) * self.weights)

    def forward(self, x: Tensor) -> Tensor:
        size = magnitude(x)
        return total(self._radius(x) * size, 2)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return x - self._project(x, over_batch(step, x, 2))

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """0 inside the dual balls; outside infinite, or the support value over |x_i|_2 <= bound."""
        radius = self._radius(u)
        size = magnitude(u)
        # the projection lands on the sphere up to round-off, which must not read as infeasible
        excess = total((size - radius).clamp_(min=0).mul_(size > radius * (1 + 1e-5)), 2)
        return torch.where(excess > 0, excess * bound, 0.0)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        return self._project(u, 1.0)

    def _project(self, u: Tensor, scale: Tensor | float) -> Tensor:
        """u_i min(1, r_i / |u_i|_2) with the radius r = scale * weights."""
        radius = scale * self._radius(u)
        size = magnitude(u)
        factor = (radius / size.clamp(min=torch.finfo(u.dtype).tiny)).clamp(max=1.0)
        return u * factor.unsqueeze(-3)

    def _radius(self, u: Tensor) -> Tensor | float:
        return 1.0 if self.weights is None else self.weights.to(u.real.dtype)
