"""The parallel-beam ray transform and its exact adjoint."""

import math
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.core import External, Linear, Space
from invreg.operators.tomography.geometry import Parallel2D
from invreg.operators.tomography.threads import run, workspace

Array = npt.NDArray[Any]

# what is spread over a pixel already, as variances in squared pixels: the value of a pixel is its average, and
# linear interpolation at random fractions averages w (1 - w) = 1/6
PIXEL_VARIANCE = 1 / 12 + 1 / 6


class XRay(External):
    """Line integrals of an image over the rays of a parallel geometry, averaged over the detector bins.

    (*batch, h, w) -> (*batch, angle, detector), in the unit of the image times `geometry.unit`. `pixel_size`, in
    `geometry.unit`, defaults to the pitch of the detector; the rotation axis is at the centre of the image,
    rows run down (against y). Pixels are interpolated linearly across each ray (Joseph 1982) by the sheared sums
    of kernels_cpu.py, which are then read at the bins by cubic convolution, sharpened or averaged so that
    pixel, interpolation and aperture together have the variance of the bin. The adjoint is the exact transpose.
    Tensors on another device than the CPU are copied to it and back.
    """

    def __init__(self, geometry: Parallel2D, shape: tuple[int, int], pixel_size: float | None = None) -> None:
        super().__init__(Space(tuple(shape)), Space(geometry.shape))
        self.geometry = geometry
        self.pixel_size = geometry.pitch if pixel_size is None else float(pixel_size)
        if not (math.isfinite(self.pixel_size) and self.pixel_size > 0):
            raise ValueError(f"pixel_size must be a positive length in {geometry.unit}; got {pixel_size}")
        h, w = shape
        cos, sin = np.cos(geometry.angles), np.sin(geometry.angles)
        rows = np.abs(cos) >= np.abs(sin)
        self._halves = [
            _Half(geometry, np.flatnonzero(rows), cos[rows], sin[rows], h, w, self.pixel_size, False),
            _Half(geometry, np.flatnonzero(~rows), -sin[~rows], -cos[~rows], w, h, self.pixel_size, True),
        ]
        self._halves = [half for half in self._halves if half.views.size]
        self._norm: float | None = None

    def _forward(self, x: Tensor) -> Tensor:
        images = _numpy(x, self.domain.shape)
        y = torch.empty(len(images), *self.codomain.shape, dtype=x.dtype)
        tasks = []
        for image, sinogram in zip(images, y.numpy(), strict=True):
            for half in self._halves:
                pieces = _pieces(half.views.size, len(images) * len(self._halves))
                tasks += [partial(half.project, image, sinogram, piece) for piece in pieces]
        run(tasks)
        return y.reshape(*self.domain.batch(x), *self.codomain.shape).to(x.device)

    def _adjoint(self, y: Tensor) -> Tensor:
        sinograms = _numpy(y, self.codomain.shape)
        x = torch.empty(len(sinograms), *self.domain.shape, dtype=y.dtype)
        images = x.numpy()
        threads = torch.get_num_threads()
        whole = len(images) // threads * threads  # as many images at a time as there are threads, the rest in parts
        run([partial(self._backproject, *pair) for pair in zip(sinograms[:whole], images[:whole], strict=True)])
        for sinogram, image in zip(sinograms[whole:], images[whole:], strict=True):
            self._backproject_in_parts(sinogram, image)
        return x.reshape(*self.codomain.batch(y), *self.domain.shape).to(y.device)

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        if self._norm is None:  # a memo: it costs tens of products and each solve asks for it
            self._norm = super().norm(device, dtype)
        return self._norm

    def normal(self, *, fft: bool = False) -> Linear:
        """A^T A: exact, or with `fft` as a convolution by two FFTs, whose accuracy `ToeplitzNormal` states."""
        if not fft:
            return super().normal()
        from invreg.operators.tomography.normal import ToeplitzNormal

        return ToeplitzNormal(self)

    def _backproject(self, sinogram: Array, image: Array) -> None:
        for i, half in enumerate(self._halves):
            half.backproject(sinogram, image, add=i > 0)

    def _backproject_in_parts(self, sinogram: Array, image: Array) -> None:
        from invreg.operators.tomography import kernels_cpu as k

        shapes = tuple(shape for half in self._halves for shape in half.work_shapes(half.slope4.size))
        work = workspace(shapes, sinogram.dtype)
        halves = list(zip(self._halves, work[::2], work[1::2], strict=True))
        run([partial(half.collect, sinogram, q) for half, _, q in halves])
        run(
            [
                partial(half.spread, padded, q, rows)
                for half, padded, q in halves
                for rows in _pieces(half.rows, len(halves), multiple=k.BLOCK)
            ]
        )
        for i, (half, padded, _) in enumerate(halves):
            k.unpad(padded, image, half.transposed, i > 0)


class _Half:
    """The views nearer to one axis: `rows` driving rows of `length` pixels, and the tables of kernels_cpu.py.

    With (along, across) = (cos, sin) for rows and (-sin, -cos) for columns, T = position / along + middle and the
    shift of driving row r is ((rows - 1) / 2 - r) across / along, in pixels.
    """

    def __init__(
        self,
        g: Parallel2D,
        views: Array,
        along: Array,
        across: Array,
        rows: int,
        length: int,
        pixel: float,
        t: bool,
    ) -> None:
        self.views, self.rows, self.length, self.transposed = views, rows, length, t
        # match the variance of the bin, seen along T: sharpen by what the pixels spread too much, or average over
        # a width that adds what they lack
        missing = (g.pitch / pixel / along) ** 2 / 12 - PIXEL_VARIANCE
        self.width = np.sqrt(12 * missing.clip(min=0))
        self.sharpen = -missing.clip(max=0) / 2
        self.taps = 6 + math.ceil(self.width.max(initial=0.0))
        self.centre = g.positions / pixel / along[:, None] + (length - 1) / 2
        self.scale = pixel / np.abs(along)
        self.slope = -across / along
        self.shift = -(rows - 1) / 2 * self.slope
        # the adjoint takes views in fours; the added ones are zero
        fours = -(-views.size // 4) * 4 - views.size
        self.slope4, self.shift4 = np.pad(self.slope, (0, fours)), np.pad(self.shift, (0, fours))
        self._tables: dict[str, tuple[Array, Array]] = {}  # a memo of what the arguments imply, by precision

    def tables(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        if dtype.str not in self._tables:
            from invreg.operators.tomography import kernels_cpu as k

            first = np.empty(self.centre.shape, np.int32)
            weights = np.empty((*self.centre.shape, self.taps), dtype)
            margin, size = self.margin_size()
            k.resampling(self.centre, self.width, self.sharpen, self.scale, margin, size, first, weights)
            self._tables[dtype.str] = first, weights
        return self._tables[dtype.str]

    def margin_size(self) -> tuple[int, int]:
        from invreg.operators.tomography import kernels_cpu as k

        return k.buffer_margin(self.rows, self.taps), k.buffer_length(self.rows, self.length, self.taps)

    def work_shapes(self, views: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Shapes of the padded image and of the buffers of `views` views."""
        from invreg.operators.tomography import kernels_cpu as k

        return k.padded_shape(self.rows, self.length), (views, self.margin_size()[1])

    def project(self, image: Array, sinogram: Array, part: slice) -> None:
        from invreg.operators.tomography import kernels_cpu as k

        first, weights = self.tables(image.dtype)
        padded, q = workspace(self.work_shapes(part.stop - part.start), image.dtype)
        k.project(
            image, self.transposed, self.length, self.shift[part], self.slope[part], self.margin_size()[0],
            first[part], weights[part], self.views[part], padded, q, sinogram,
        )  # fmt: skip

    def backproject(self, sinogram: Array, image: Array, add: bool) -> None:
        from invreg.operators.tomography import kernels_cpu as k

        first, weights = self.tables(sinogram.dtype)
        padded, q = workspace(self.work_shapes(self.slope4.size), sinogram.dtype)
        k.backproject(
            sinogram, self.transposed, self.length, self.shift4, self.slope4, self.margin_size()[0],
            first, weights, self.views, padded, q, image, add,
        )  # fmt: skip

    def collect(self, sinogram: Array, q: Array) -> None:
        from invreg.operators.tomography import kernels_cpu as k

        k.resample_adjoint(sinogram, *self.tables(sinogram.dtype), self.views, q)

    def spread(self, padded: Array, q: Array, rows: slice) -> None:
        from invreg.operators.tomography import kernels_cpu as k

        margin = self.margin_size()[0]
        k.shear_spread(padded, self.length, self.shift4, self.slope4, margin, q, rows.start, rows.stop)


def _pieces(count: int, tasks: int, multiple: int = 4) -> list[slice]:
    """Cut range(count) so that with `tasks` such ranges all threads are busy."""
    threads = torch.get_num_threads()
    parts = 1 if tasks >= threads and tasks % threads == 0 else max(1, -(-4 * threads // tasks))
    size = max(multiple, -(-count // (parts * multiple)) * multiple)
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]


def _numpy(x: Tensor, shape: tuple[int, ...]) -> Array:
    return x.detach().reshape(-1, *shape).contiguous().cpu().numpy()
