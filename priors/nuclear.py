"""The nuclear norm of a stack of images."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from invreg.core import Functional, over_batch


class NuclearNorm(Functional):
    """The sum of the singular values of a stack (*batch, frame, *shape) as a matrix frame x pixels.

    `ndim` counts the axis of the frames too: 3 for frames that are images, 4 for volumes. Small where the frames
    (times, energies, bands) are mixtures of a few images. Its proximal map shrinks the singular values (Cai, Candes,
    Shen 2010) by way of the Gram matrix of the frames, kept in float64; so it is made for few frames of many pixels.
    """

    def __init__(self, *, ndim: int = 3) -> None:
        super().__init__()
        if ndim < 2:
            raise ValueError(f"NuclearNorm takes ndim from 2 on: an axis of frames and those of a frame; got {ndim}")
        self.ndim = ndim

    def forward(self, x: Tensor) -> Tensor:
        return self._singular_values(x).sum(-1)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return self._filtered(x, lambda s: (1 - over_batch(step, s, 1) / s).clamp(min=0))

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """0 where no singular value is above 1; outside infinite, or an upper bound over |x_i| <= bound."""
        # the projection lands on the edge up to round-off, which must not read as infeasible
        outside = self._singular_values(u)[..., 0] > 1 + 1e-5
        excess = (u - self._project(u)).abs().flatten(-self.ndim).sum(-1, dtype=torch.float64)
        return torch.where(outside, excess * bound, 0.0)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        return self._project(u)

    def _singular_values(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x.flatten(1 - self.ndim)).double()

    def _project(self, u: Tensor) -> Tensor:
        """The singular values cut at 1."""
        return self._filtered(u, lambda s: (1 / s).clamp(max=1))

    def _filtered(self, x: Tensor, factor: Callable[[Tensor], Tensor]) -> Tensor:
        """V factor(s) V^H x with the V and s^2 of x x^H, a matrix of frames x frames."""
        matrix = x.flatten(1 - self.ndim)
        wide = matrix.to(torch.complex128 if x.is_complex() else torch.float64)
        squares, V = torch.linalg.eigh(wide @ wide.mH)
        kept = factor(squares.clamp(min=torch.finfo(squares.dtype).tiny).sqrt())
        return ((V * kept.unsqueeze(-2)) @ V.mH).to(x.dtype).matmul(matrix).reshape(x.shape)
