"""The l1 norm, of values one by one."""

import math

import torch
from torch import Tensor

from invreg.core import Functional, over_batch, total


class L1(Functional):
    """sum_i w_i |x_i| over the last `ndim` axes of a real or complex x (*batch, *shape), |.| the modulus.

    `weights`, w >= 0, of that shape or with batch axes before it; default 1. Sparse are, for instance, wavelet
    coefficients: `L1(W.details()) @ W` in PDHG, `Through(L1(W.details()), W)` where a proximal map is asked for.
    Raises ValueError for weights that are negative, not finite or of fewer than `ndim` axes.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None, *, ndim: int = 2) -> None:
        super().__init__()
        if weights is not None and (weights.ndim < ndim or not bool(((weights >= 0) & weights.isfinite()).all())):
            raise ValueError(
                f"L1 takes finite weights >= 0 with at least its {ndim} axes; got {tuple(weights.shape)}"
                + ("" if weights.ndim < ndim else ", some negative or not finite")
            )
        self.ndim = ndim
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        return total(self._radius(x) * x.abs(), self.ndim)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return x - self._project(x, over_batch(step, x, self.ndim))

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """0 where |u_i| <= w_i; outside infinite, or the support value over |x_i| <= bound."""
        size, radius = u.abs(), self._radius(u)
        # the projection lands on the edge up to round-off, which must not read as infeasible
        excess = total((size - radius).clamp_(min=0).mul_(size > radius * (1 + 1e-5)), self.ndim)
        return torch.where(excess > 0, excess * bound, 0.0)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        return self._project(u, 1.0)

    def _project(self, u: Tensor, scale: Tensor | float) -> Tensor:
        radius = torch.as_tensor(scale * self._radius(u), dtype=u.real.dtype, device=u.device)
        if not u.is_complex():
            return u.clamp(-radius, radius)
        return u * (radius / u.abs().clamp(min=torch.finfo(u.dtype).tiny)).clamp(max=1.0)

    def _radius(self, u: Tensor) -> Tensor | float:
        return 1.0 if self.weights is None else self.weights.to(u.real.dtype)
