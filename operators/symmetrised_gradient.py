"""The symmetrised gradient of a vector field."""

import math

import torch
from torch import Tensor

from invreg.core import Linear, Space


class SymmetrisedGradient(Linear):
    """E w = (J w + (J w)^T) / 2 with J the backward differences of a field, (*batch, d, *shape), over its d axes.

    -> (*batch, d (d + 1) / 2, *shape): the diagonal (1, 1), ..., (d, d), then the pairs (1, 2), (1, 3), ..., those
    times sqrt(2) as each stands for two equal entries, so that the length over the components is the Frobenius norm.
    The first difference of each axis is 0. Of a field of forward differences these are second differences centred on
    their pixel. Source: Bredies, Kunisch, Pock (2010), section 3.1. `complex`: of complex fields.
    """

    def __init__(self, shape: tuple[int, ...], *, complex: bool = False) -> None:
        d = len(shape)
        if not shape or any(n < 1 for n in shape):
            raise ValueError(f"SymmetrisedGradient takes a shape of one or more sizes from 1 on; got {tuple(shape)}")
        super().__init__(Space((d, *shape), complex), Space((d * (d + 1) // 2, *shape), complex))
        pairs = [(i, j) for i in range(d) for j in range(i + 1, d)]
        # (component of the result, component of the field, axis of the difference, factor)
        self.terms = [(i, i, i, 1.0) for i in range(d)]
        self.terms += [(d + p, a, b, math.sqrt(0.5)) for p, (i, j) in enumerate(pairs) for a, b in ((i, j), (j, i))]

    def _forward(self, x: Tensor) -> Tensor:
        d = self.domain.shape[0]
        out = x.new_zeros(*x.shape[: x.ndim - d - 1], *self.codomain.shape)
        for result, component, axis, factor in self.terms:
            w, e = x.select(-1 - d, component), out.select(-1 - d, result)
            n = w.shape[axis - d]
            after = e.narrow(axis - d, 1, n - 1)
            after.add_(w.narrow(axis - d, 1, n - 1), alpha=factor)
            after.sub_(w.narrow(axis - d, 0, n - 1), alpha=factor)
        return out

    def _adjoint(self, y: Tensor) -> Tensor:
        d = self.domain.shape[0]
        out = y.new_zeros(*y.shape[: y.ndim - d - 1], *self.domain.shape)
        for result, component, axis, factor in self.terms:
            w, e = out.select(-1 - d, component), y.select(-1 - d, result)
            n = w.shape[axis - d]
            after = e.narrow(axis - d, 1, n - 1)
            w.narrow(axis - d, 1, n - 1).add_(after, alpha=factor)
            w.narrow(axis - d, 0, n - 1).sub_(after, alpha=factor)
        return out

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        """That of the gradient, an upper bound that is reached as the shape grows."""
        return math.hypot(*(2 * math.cos(math.pi / (2 * n)) for n in self.domain.shape[1:]))
