"""The differences that total variation measures: of images, volumes and their channels, by fused kernels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.core import External, Space
from invreg.operators import Gradient
from invreg.operators.tomography.threads import run

Array = npt.NDArray[Any]
BAND = 16  # rows at least a task of a thread


class Jacobian(External):
    """Forward differences of images with or without channels, Neumann boundary: (*batch, *shape) to a field.

    Without channels the field is (*batch, axes, *shape); with them the image is (*batch, channel, *shape) and the field
    (*batch, channel * axes, *shape). `apart`: (*batch, channel or 1, axes, *shape) instead. Spacing as in Gradient. On
    the CPU real ones of up to three axes are computed by kernels_cpu.py, faster than by Gradient.
    """

    local = True

    def __init__(
        self,
        shape: tuple[int, ...],
        spacing: float | tuple[float, ...] = 1.0,
        channels: int | None = None,
        *,
        apart: bool = False,
        complex: bool = False,
    ) -> None:
        if channels is not None and channels < 1:
            raise ValueError(f"total variation takes one or more channels; got {channels}")
        shape, axes = tuple(shape), len(shape)
        gradient = Gradient(shape, spacing, complex=complex)
        first = (channels or 1, axes) if apart else ((channels or 1) * axes,)
        domain = shape if channels is None else (channels, *shape)
        super().__init__(Space(domain, complex), Space((*first, *shape), complex))
        self.gradient, self.channels, self.shape = gradient, channels or 1, shape
        self.inverse = [1 / step for step in gradient.spacing]

    def _forward(self, x: Tensor) -> Tensor:
        batch = self.domain.batch(x)
        if not self.fused(x):
            g: Tensor = self.gradient(x.reshape(*batch, self.channels, *self.shape))
            return g.reshape(*batch, *self.codomain.shape)
        from invreg.priors.kernels_cpu import gradient

        out = x.new_empty(*batch, *self.codomain.shape)
        inverse, items = self.inverses(x), zip(self.images(x), self.fields(out), strict=True)
        self.in_bands([partial(gradient, image, inverse, field) for image, field in items])
        return out

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = self.codomain.batch(y)
        if not self.fused(y):
            x = self.gradient.adjoint(y.reshape(*batch, self.channels, len(self.shape), *self.shape))
            return x.reshape(*batch, *self.domain.shape)
        from invreg.priors.kernels_cpu import adjoint

        out = y.new_empty(*batch, *self.domain.shape)
        inverse, items = self.inverses(y), zip(self.fields(y), self.images(out), strict=True)
        self.in_bands([partial(adjoint, field, inverse, image) for field, image in items])
        return out

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        return self.gradient.norm()

    def fused(self, x: Tensor) -> bool:
        """Whether the kernels take this tensor."""
        return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and len(self.shape) <= 3

    @property
    def box(self) -> tuple[int, ...]:
        """The shape with three axes, those that lack of size 1."""
        return (*(1,) * (3 - len(self.shape)), *self.shape)

    def images(self, x: Tensor) -> Array:
        """(item, channel, depth, h, w) of contiguous memory, that of x where it is contiguous."""
        return x.detach().contiguous().numpy().reshape(-1, self.channels, *self.box)

    def fields(self, u: Tensor) -> Array:
        """(item, channel, axis, depth, h, w), likewise."""
        return u.detach().contiguous().numpy().reshape(-1, self.channels, len(self.shape), *self.box)

    def inverses(self, like: Tensor) -> Array:
        return np.array(self.inverse, like.detach().numpy().dtype)

    def in_bands(self, kernels: list[Callable[[int, int], None]]) -> None:
        """Call each on all rows, in bands for the threads."""
        rows = self.box[0] * self.box[1]
        band = max(BAND, -(-rows // torch.get_num_threads()))
        run([partial(f, at, min(at + band, rows)) for f in kernels for at in range(0, rows, band)])
