"""Convex sets as priors: indicator functions, whose proximal map is the projection."""

import math

import torch
from torch import Tensor

from invreg.core import Functional, over_batch, total


class Box(Functional):
    """0 where low <= x <= high, infinite elsewhere, over the last `ndim` axes; bounds in the unit of x."""

    def __init__(self, low: float = -math.inf, high: float = math.inf, *, ndim: int = 2) -> None:
        super().__init__()
        self.ndim = ndim
        if not low < high:
            raise ValueError(f"Box takes low < high; got [{low}, {high}]")
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        outside = (x < self.low) | (x > self.high)
        return torch.where(outside.flatten(-self.ndim).any(-1), math.inf, 0.0).double()

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return x.clamp(self.low, self.high)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        limit = torch.as_tensor(bound, dtype=torch.float64, device=u.device)
        above, below = total(u.clamp(min=0), self.ndim), total(u.clamp(max=0), self.ndim)
        high = torch.where(above > 0, above * limit.clamp(max=self.high), 0.0)
        return high + torch.where(below < 0, below * (-limit).clamp(min=self.low), 0.0)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        # not by way of u / step, whose round-off would leave the dual cone and make `conj` infinite
        s = torch.as_tensor(over_batch(step, u, self.ndim), dtype=u.dtype, device=u.device)
        return u - u.clamp(s * self.low, s * self.high)


class NonNegative(Box):
    """0 where x >= 0, infinite elsewhere, over the last `ndim` axes."""

    def __init__(self, *, ndim: int = 2) -> None:
        super().__init__(low=0.0, ndim=ndim)
