"""Sampling an image at another pitch: down, up, and to a size as MATLAB does."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from invreg.core import External, Linear, Space
from invreg.operators.arguments import image_shape

BOUNDARIES = ("reflect", "periodic", "zero")


class _Separable(External):
    """x -> R x C^T with a sparse matrix for each axis, (*batch, h, w) -> (*batch, rows, columns)."""

    def __init__(self, R: "_Sparse", C: "_Sparse") -> None:
        super().__init__(Space((R.size, C.size)), Space((R.rows, C.rows)))
        self.R, self.C = R, C
        self.Rt, self.Ct = R.transposed(), C.transposed()

    def _forward(self, x: Tensor) -> Tensor:
        (h, w), batch = self.domain.shape, x.shape[:-2]
        columns = x.reshape(-1, h, w).movedim(0, 1).reshape(h, -1)  # (h, batch w)
        rows = self.R(columns).reshape(-1, w).T  # (w, rows batch)
        y = self.C(rows).reshape(self.C.rows, self.R.rows, -1)
        return y.permute(2, 1, 0).reshape(*batch, *self.codomain.shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        (h, w), batch = self.codomain.shape, y.shape[:-2]
        rows = y.reshape(-1, h, w).permute(2, 1, 0).reshape(w, -1)  # (columns, rows batch)
        columns = self.Ct(rows).T.reshape(h, -1)  # (rows, batch w)
        x = self.Rt(columns).reshape(self.R.size, -1, self.C.size)
        return x.movedim(1, 0).reshape(*batch, *self.domain.shape)


class _Sparse(nn.Module):
    """A sparse matrix (rows, size) by rows, in float64: its products read a few rows of the argument at a time."""

    index: Tensor
    weights: Tensor
    starts: Tensor

    def __init__(self, row: Tensor, column: Tensor, weights: Tensor, rows: int, size: int) -> None:
        super().__init__()
        entry, place = torch.unique(row * size + column, return_inverse=True)  # sorted, one of each
        weights = torch.zeros(len(entry), dtype=torch.float64).index_add_(0, place, weights)
        entry, weights = entry[weights != 0], weights[weights != 0]
        self.rows, self.size = rows, size
        self.register_buffer("index", entry % size)
        self.register_buffer("weights", weights)
        self.register_buffer("starts", torch.searchsorted(entry, torch.arange(rows) * size))

    def forward(self, x: Tensor) -> Tensor:
        if not x.numel():
            return x.new_zeros(self.rows, x.shape[1])
        x, weights = x.contiguous(), self.weights.to(x.dtype)  # other layouts are slow
        return nn.functional.embedding_bag(self.index, x, self.starts, mode="sum", per_sample_weights=weights)

    def transposed(self) -> "_Sparse":
        counts = torch.diff(self.starts, append=torch.tensor([len(self.index)]))
        row = torch.repeat_interleave(torch.arange(self.rows), counts)
        return _Sparse(self.index, row, self.weights, self.size, self.rows)


class Downsample(_Separable):
    """Every `factor`-th pixel after an anti-alias kernel: (*batch, h, w) -> (*batch, rows, columns), unit kept.

    Output (i, j) lies at (phase[0] + factor i, phase[1] + factor j) in pixels of the image, and there are as many as
    have this place inside it. The default phase (factor - 1) / 2 makes the two grids cover the same area (0 for "none",
    which has to fall on pixels). Along each axis the weight of a pixel at a distance t, of sum 1 before the boundary
    is met, is
    - "none": that of the pixel at this place alone;
    - "box": the share of the pixel in an interval of length `factor` about the place, the mean over whole pixels of a
      detector;
    - "linear": the triangle 1 - |t| / factor;
    - "cubic": Keys' cubic with a = -1/2, stretched to t / factor, as MATLAB's imresize.
    `boundary`: "reflect" mirrors the image about the outer edge of its last pixel, "periodic" repeats it, "zero" takes
    it for 0. A kernel of another form is `Downsample(shape, factor, "none", phase) @ Blur(kernel, shape)`.
    The adjoint is exact; `Upsample` is its multiple. Raises ValueError on arguments outside of these.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        factor: int,
        kernel: str = "box",
        phase: tuple[float, float] | None = None,
        boundary: str = "reflect",
    ) -> None:
        shape = image_shape(shape, "Downsample")
        if factor != int(factor) or not 1 <= factor <= min(shape):
            raise ValueError(f"Downsample takes a whole factor from 1 to the size of the image {shape}; got {factor}")
        if kernel not in KERNELS:
            raise ValueError(f"Downsample takes kernel {', '.join(map(repr, KERNELS))}; got {kernel!r}")
        if boundary not in BOUNDARIES:
            raise ValueError(f"Downsample takes boundary {', '.join(map(repr, BOUNDARIES))}; got {boundary!r}")
        if phase is None:
            phase = ((factor - 1) / 2,) * 2 if kernel != "none" else (0, 0)
        if any(not 0 <= p <= factor - 0.5 for p in phase) or (kernel == "none" and any(p != int(p) for p in phase)):
            only = ", whole for kernel 'none'" if kernel == "none" else ""
            raise ValueError(f"Downsample takes phases from 0 to factor - 1/2 = {factor - 0.5}{only}; got {phase}")
        axes = []
        for size, first in zip(shape, phase, strict=True):
            places = first + factor * torch.arange(math.ceil((size - 0.5 - first) / factor), dtype=torch.float64)
            axes.append(_interpolation(places, factor, size, kernel, boundary))
        super().__init__(*axes)


class Upsample(Linear):
    """factor^2 times the adjoint of `Downsample`: (*batch, h, w) -> (*batch, factor h, factor w), unit kept.

    Interpolation by the same kernel and on the same grids: "box" repeats each pixel, "linear" and "cubic" pass through
    them for odd factors; "none" puts factor^2 times the pixel between zeros.
    """

    def __init__(self, shape: tuple[int, int], factor: int, kernel: str = "box", boundary: str = "reflect") -> None:
        h, w = image_shape(shape, "Upsample")
        if factor != int(factor) or factor < 1:
            raise ValueError(f"Upsample takes a whole factor from 1 on; got {factor}")
        super().__init__(Space((h, w)), Space((factor * h, factor * w)))
        self.down, self.gain = Downsample((factor * h, factor * w), factor, kernel, None, boundary), factor**2

    def _forward(self, x: Tensor) -> Tensor:
        return self.gain * self.down.adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.gain * self.down(y)


class Resize(_Separable):
    """MATLAB's imresize, bicubic and antialiased: (*batch, h, w) -> (*batch, *size), unit kept.

    `size` (rows, columns), each from 1 on; the scales are their ratios to the shape, larger or smaller than 1. Pixel
    centres, Keys' cubic with a = -1/2, widened by 1 / scale where it shrinks, weights of sum 1 and an image mirrored
    about the outer edges of its last pixels, as for floating-point images there; MATLAB's `imresize(x, s)` has the size
    ceil(s h), ceil(s w) and takes s for both ratios, which is the same where s h and s w are whole.
    """

    def __init__(self, shape: tuple[int, int], size: tuple[int, int]) -> None:
        shape, size = image_shape(shape, "Resize"), image_shape(size, "Resize (size)")
        axes = []
        for n, m in zip(shape, size, strict=True):
            places = (torch.arange(m, dtype=torch.float64) + 0.5) * n / m - 0.5
            axes.append(_interpolation(places, max(n / m, 1.0), n, "cubic", "reflect"))
        super().__init__(*axes)


def _interpolation(places: Tensor, stretch: float, size: int, kernel: str, boundary: str) -> _Sparse:
    """Reads pixels 0 to size - 1 at the places with a kernel widened by `stretch`."""
    function, support = KERNELS[kernel]
    reach = math.ceil(support * stretch) + 1
    column = torch.floor(places)[:, None] + torch.arange(-reach, reach + 2)
    weights = function((column - places[:, None]) / stretch, stretch)
    weights = weights / weights.sum(1, keepdim=True)
    row = torch.arange(len(places))[:, None].expand_as(column)
    column = column.long()
    if boundary == "zero":
        weights = torch.where((column >= 0) & (column < size), weights, 0.0)
    elif boundary == "reflect":
        column = column % (2 * size)
        column = torch.minimum(column, 2 * size - 1 - column)
    return _Sparse(row.flatten(), column.flatten() % size, weights.flatten(), len(places), size)


def _none(t: Tensor, stretch: float) -> Tensor:
    return (t == 0).double()


def _box(t: Tensor, stretch: float) -> Tensor:
    """The share of a pixel, of width 1 / stretch, in the interval from -1/2 to 1/2."""
    half = 0.5 / stretch
    return ((t + half).clamp(-0.5, 0.5) - (t - half).clamp(-0.5, 0.5)) * stretch


def _linear(t: Tensor, stretch: float) -> Tensor:
    return (1 - t.abs()).clamp(min=0)


def _cubic(t: Tensor, stretch: float) -> Tensor:
    """Keys, IEEE Trans. ASSP 29 (1981), eq. 15."""
    t = t.abs()
    near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    return torch.where(t <= 1, near, torch.where(t <= 2, far, 0.0))


KERNELS: dict[str, tuple[Callable[[Tensor, float], Tensor], float]] = {
    "none": (_none, 0),
    "box": (_box, 0.5),
    "linear": (_linear, 1),
    "cubic": (_cubic, 2),
}
