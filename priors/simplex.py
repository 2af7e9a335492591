"""The probability simplex, for fractions of materials."""

import math

import torch
from torch import Tensor

from invreg.core import Functional, over_batch, total


class Simplex(Functional):
    """0 where at each pixel the channels of x (*batch, channel, *shape) are >= 0 and sum to `size`, infinite elsewhere.

    `ndim` counts the axis of the channels too: 3 for images, 4 for volumes. The projection sorts the channels of each
    pixel (Held, Wolfe, Crowder 1974). A sum counts as `size` up to its round-off. Raises ValueError unless size > 0.
    """

    def __init__(self, size: float = 1.0, *, ndim: int = 3) -> None:
        super().__init__()
        if not 0 < size < math.inf or ndim < 1:
            raise ValueError(f"Simplex takes a finite size > 0 and ndim >= 1; got size={size}, ndim={ndim}")
        self.size, self.ndim = size, ndim

    def forward(self, x: Tensor) -> Tensor:
        off = (x.sum(-self.ndim, keepdim=True) - self.size).abs()
        round_off = 4 * x.shape[-self.ndim] * torch.finfo(x.dtype).eps * self.size
        outside = (off > round_off) | (x < 0).any(-self.ndim, keepdim=True)
        return torch.where(outside.flatten(-self.ndim).any(-1), math.inf, 0.0).double()

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return self._project(x, self.size)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """The largest channel of each pixel, times the size."""
        return self.size * total(u.amax(-self.ndim, keepdim=True), self.ndim)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        return u - self._project(u, self.size * over_batch(step, u, self.ndim))

    def _project(self, x: Tensor, size: Tensor | float) -> Tensor:
        """max(x - t, 0) with the t at which it sums to `size`: the largest of the means over the k largest channels."""
        x = x - x.amax(-self.ndim, keepdim=True)  # so that the round-off is that of the size, not of x
        ordered = x.sort(-self.ndim, descending=True).values
        k = torch.arange(1, x.shape[-self.ndim] + 1, dtype=x.dtype, device=x.device)
        means = (ordered.cumsum(-self.ndim) - size) / k.reshape(-1, *(1,) * (self.ndim - 1))
        return (x - means.amax(-self.ndim, keepdim=True)).clamp(min=0)
