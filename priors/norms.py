"""Norms as priors."""

import math

import torch
from torch import Tensor

from invreg.core import Functional, over_batch, total


class GroupL1(Functional):
    """sum_i w_i |x_i|_2 over vector fields (*batch, component, h, w), |.|_2 taken across the components.

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

    def forward(self, x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-3)
        return total(size if self.weights is None else self.weights * size, 2)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return x - self._project(x, over_batch(step, x, 2))

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """0 inside the dual balls; outside infinite, or the support value over |x_i|_2 <= bound."""
        radius = 1.0 if self.weights is None else self.weights
        size = torch.linalg.vector_norm(u, dim=-3)
        # the projection lands on the sphere up to round-off, which must not read as infeasible
        excess = (size - radius).clamp(min=0) * (size > radius * (1 + 1e-5))
        return total(torch.where(excess > 0, excess * over_batch(bound, excess, 2), 0.0), 2)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        return self._project(u, 1.0)

    def _project(self, u: Tensor, scale: Tensor | float) -> Tensor:
        """u_i min(1, r_i / |u_i|_2) with the radius r = scale * weights."""
        radius = scale if self.weights is None else scale * self.weights
        size = torch.linalg.vector_norm(u, dim=-3)
        factor = (radius / size.clamp_(min=torch.finfo(u.dtype).tiny)).clamp_(max=1.0)
        return u * factor.unsqueeze(-3)
