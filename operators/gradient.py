"""Finite differences of an image, a signal or a volume: gradient and Laplacian."""

import math

import torch
from torch import Tensor

from invreg.core import Linear, Space

BOUNDARIES = ("neumann", "periodic", "zero")


class _Differences(Linear):
    local = True
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    boundary: str

    def _set(self, shape: tuple[int, ...], spacing: float | tuple[float, ...], boundary: str) -> None:
        who = type(self).__name__
        steps = (spacing,) * len(shape) if isinstance(spacing, int | float) else tuple(spacing)
        if not shape or any(n < 1 for n in shape):
            raise ValueError(f"{who} takes a shape of one or more sizes from 1 on; got {tuple(shape)}")
        if len(steps) != len(shape) or not all(0 < step < math.inf for step in steps):
            raise ValueError(f"{who} takes one spacing > 0 or one for each of the {len(shape)} axes; got {spacing}")
        if boundary not in BOUNDARIES:
            raise ValueError(f"{who} takes boundary {', '.join(map(repr, BOUNDARIES))}; got {boundary!r}")
        self.shape, self.spacing, self.boundary = tuple(shape), steps, boundary


class Gradient(_Differences):
    """Forward differences along each of one or more axes, divided by `spacing`: one for all or one for each.

    (*batch, *shape) -> (*batch, axes, *shape), component 0 along the first axis: for an image (h, w) 0 runs down the
    rows, 1 along the columns. With spacing 1 the unit is that of the image per pixel. The last difference of an axis is
    0 ("neumann"), that to the first pixel ("periodic"), or that to 0 ("zero"). The norm is at most
    2 sqrt(sum 1 / spacing^2), reached as the image grows. `complex`: of complex images. Raises ValueError on arguments
    outside of these.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        spacing: float | tuple[float, ...] = 1.0,
        boundary: str = "neumann",
        *,
        complex: bool = False,
    ) -> None:
        super().__init__(Space(tuple(shape), complex), Space((len(shape), *shape), complex))
        self._set(shape, spacing, boundary)

    def _forward(self, x: Tensor) -> Tensor:
        ndim = len(self.shape)
        if x.requires_grad or torch.is_grad_enabled():
            parts = [self._difference(x, axis - ndim) / step for axis, step in enumerate(self.spacing)]
            return torch.stack(parts, dim=-1 - ndim)
        g = x.new_empty(*x.shape[: x.ndim - ndim], ndim, *self.shape)
        for axis, step in enumerate(self.spacing):
            part, d, n = g.select(-1 - ndim, axis), axis - ndim, self.shape[axis]
            last, end = part.narrow(d, n - 1, 1), x.narrow(d, n - 1, 1)
            torch.sub(x.narrow(d, 1, n - 1), x.narrow(d, 0, n - 1), out=part.narrow(d, 0, n - 1))
            if self.boundary == "neumann":
                last.zero_()
            elif self.boundary == "periodic":
                torch.sub(x.narrow(d, 0, 1), end, out=last)
            else:
                torch.neg(end, out=last)
            if step != 1.0:
                part.div_(step)
        return g

    def _difference(self, x: Tensor, d: int) -> Tensor:
        if self.boundary == "periodic":
            return x.diff(dim=d, append=x.narrow(d, 0, 1))
        end = x.narrow(d, x.shape[d] - 1, 1)
        return x.diff(dim=d, append=end if self.boundary == "neumann" else torch.zeros_like(end))

    def _adjoint(self, y: Tensor) -> Tensor:
        ndim = len(self.shape)
        x = torch.zeros_like(y.select(-1 - ndim, 0))
        for axis, step in enumerate(self.spacing):
            part, d, n = y.select(-1 - ndim, axis), axis - ndim, self.shape[axis]
            part = part if step == 1.0 else part / step
            inner, last = part.narrow(d, 0, n - 1), part.narrow(d, n - 1, 1)
            x.narrow(d, 0, n - 1).sub_(inner)
            x.narrow(d, 1, n - 1).add_(inner)
            if self.boundary != "neumann":
                x.narrow(d, n - 1, 1).sub_(last)
            if self.boundary == "periodic":
                x.narrow(d, 0, 1).add_(last)
        return x

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        """Closed form: the axes' singular values are 2 cos of a fraction of pi, and their squares add."""
        return math.hypot(
            *(2 * _top(n, self.boundary, 2 * n + 1) / s for n, s in zip(self.shape, self.spacing, strict=True))
        )


class Laplacian(_Differences):
    """The sum of second differences along all axes, each divided by its spacing squared: (*batch, *shape) to itself.

    For an image the five-point star. Beyond its edge the image is its last pixel ("neumann"), repeats itself
    ("periodic") or is 0 ("zero", on both sides; so only for the first two it is -D^H D of the gradient D). Symmetric
    and negative semidefinite; the unit is that of the image per square of that of the spacing. `complex`: of complex
    images.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        spacing: float | tuple[float, ...] = 1.0,
        boundary: str = "neumann",
        *,
        complex: bool = False,
    ) -> None:
        super().__init__(Space(tuple(shape), complex), Space(tuple(shape), complex))
        self._set(shape, spacing, boundary)

    def _forward(self, x: Tensor) -> Tensor:
        out = x * (-2 * sum(1 / step**2 for step in self.spacing))
        for axis, step in enumerate(self.spacing):
            d, n, c = axis - len(self.shape), self.shape[axis], 1 / step**2
            out.narrow(d, 0, n - 1).add_(x.narrow(d, 1, n - 1), alpha=c)
            out.narrow(d, 1, n - 1).add_(x.narrow(d, 0, n - 1), alpha=c)
            if self.boundary != "zero":
                first, last = x.narrow(d, 0, 1), x.narrow(d, n - 1, 1)
                before, after = (first, last) if self.boundary == "neumann" else (last, first)
                out.narrow(d, 0, 1).add_(before, alpha=c)
                out.narrow(d, n - 1, 1).add_(after, alpha=c)
        return out

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        """Closed form: the sum over the axes of 4 cos^2 of a fraction of pi."""
        axes = zip(self.shape, self.spacing, strict=True)
        return sum((2 * _top(n, self.boundary, 2 * n + 2) / s) ** 2 for n, s in axes)


def _top(n: int, boundary: str, zero: int) -> float:
    """Half the largest singular value of the differences of n points: cos(pi / 2n), 1 or cos(pi / zero)."""
    if boundary == "zero":
        return math.cos(math.pi / zero)
    return 1.0 if boundary == "periodic" and n % 2 == 0 else math.cos(math.pi / (2 * n))
