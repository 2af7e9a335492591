"""The parallel-beam ray transform on the CPU: sheared row sums, read at the bins."""

import math
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.operators.tomography.geometry import Views2D
from invreg.operators.tomography.threads import run, workspace

Array = npt.NDArray[Any]

# what is spread over a pixel already, as variances in squared pixels: the value of a pixel is its average, and
# linear interpolation at random fractions averages w (1 - w) = 1/6
PIXEL_VARIANCE = 1 / 12 + 1 / 6


class ParallelProjector:
    """Images (batch, h, w) to sinograms (batch, angle, detector) and back, on the threads of `threads.py`.

    Pixels are interpolated linearly across each ray (Joseph 1982) by the sheared sums of kernels_parallel.py, which
    are then read at the bins by cubic convolution, sharpened or averaged so that pixel, interpolation and aperture
    together have the variance of the bin. In each view the ray of bin j is x cos + y sin = position.
    """

    def __init__(self, views: Views2D, shape: tuple[int, ...], pixel: float) -> None:
        self.shape, self.codomain = shape, views.shape
        h, w = shape
        length = np.linalg.norm(views.source, axis=1, keepdims=True)
        sin, cos = (np.array([-1.0, 1.0]) * views.source / length).T  # the rays run along (-sin, cos)
        across = np.stack([cos, sin], axis=1)
        bins = np.arange(views.detectors) - (views.detectors - 1) / 2
        pitch = (views.axis * across).sum(1)
        positions = (views.detector * across).sum(1)[:, None] + bins * pitch[:, None]
        rows = np.abs(cos) >= np.abs(sin)
        made = []
        for chosen, along, other, size, transposed in (
            (rows, cos, sin, (h, w), False),
            (~rows, -sin, -cos, (w, h), True),
        ):
            index = np.flatnonzero(chosen)
            if index.size:
                made.append(
                    _Half(positions[index], pitch[index], index, along[index], other[index], *size, pixel, transposed)
                )
        self.halves = made

    def project(self, x: Tensor) -> Tensor:
        y = torch.empty(len(x), *self.codomain, dtype=x.dtype)
        tasks = []
        for image, sinogram in zip(x.numpy(), y.numpy(), strict=True):
            for half in self.halves:
                parts = pieces(half.views.size, len(x) * len(self.halves))
                tasks += [partial(half.project, image, sinogram, part) for part in parts]
        run(tasks)
        return y

    def backproject(self, y: Tensor) -> Tensor:
        x = torch.empty(len(y), *self.shape, dtype=y.dtype)
        sinograms, images = y.numpy(), x.numpy()
        threads = torch.get_num_threads()
        whole = len(images) // threads * threads  # as many images at a time as there are threads, the rest in parts
        run([partial(self._backproject, *pair) for pair in zip(sinograms[:whole], images[:whole], strict=True)])
        for sinogram, image in zip(sinograms[whole:], images[whole:], strict=True):
            self._backproject_in_parts(sinogram, image)
        return x

    def _backproject(self, sinogram: Array, image: Array) -> None:
        for i, half in enumerate(self.halves):
            half.backproject(sinogram, image, add=i > 0)

    def _backproject_in_parts(self, sinogram: Array, image: Array) -> None:
        from invreg.operators.tomography import kernels_parallel as k

        shapes = tuple(shape for half in self.halves for shape in half.work_shapes(half.slope4.size))
        work = workspace(shapes, sinogram.dtype)
        halves = list(zip(self.halves, work[::2], work[1::2], strict=True))
        run([partial(half.collect, sinogram, q) for half, _, q in halves])
        run(
            [
                partial(half.spread, padded, q, rows)
                for half, padded, q in halves
                for rows in pieces(half.rows, len(halves), multiple=k.BLOCK)
            ]
        )
        for i, (half, padded, _) in enumerate(halves):
            k.unpad(padded, image, half.transposed, i > 0)


class _Half:
    """The views nearer to one axis: `rows` driving rows of `length` pixels, and the tables of kernels_parallel.py.

    With (along, across) = (cos, sin) for rows and (-sin, -cos) for columns, T = position / along + middle and the
    shift of driving row r is ((rows - 1) / 2 - r) across / along, in pixels.
    """

    def __init__(
        self,
        positions: Array,
        pitch: Array,
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
        missing = (pitch / pixel / along) ** 2 / 12 - PIXEL_VARIANCE
        self.width = np.sqrt(12 * missing.clip(min=0))
        self.sharpen = -missing.clip(max=0) / 2
        self.taps = 6 + math.ceil(self.width.max(initial=0.0))
        self.centre = positions / pixel / along[:, None] + (length - 1) / 2
        self.scale = pixel / np.abs(along)
        self.slope = -across / along
        self.shift = -(rows - 1) / 2 * self.slope
        # the adjoint takes views in fours; the added ones are zero
        fours = -(-views.size // 4) * 4 - views.size
        self.slope4, self.shift4 = np.pad(self.slope, (0, fours)), np.pad(self.shift, (0, fours))
        self._tables: dict[str, tuple[Array, Array]] = {}  # a memo of what the arguments imply, by precision

    def tables(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        if dtype.str not in self._tables:
            from invreg.operators.tomography import kernels_parallel as k

            first = np.empty(self.centre.shape, np.int32)
            weights = np.empty((*self.centre.shape, self.taps), dtype)
            margin, size = self.margin_size()
            k.resampling(self.centre, self.width, self.sharpen, self.scale, margin, size, first, weights)
            self._tables[dtype.str] = first, weights
        return self._tables[dtype.str]

    def margin_size(self) -> tuple[int, int]:
        from invreg.operators.tomography import kernels_parallel as k

        return k.buffer_margin(self.rows, self.taps), k.buffer_length(self.rows, self.length, self.taps)

    def work_shapes(self, views: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Shapes of the padded image and of the buffers of `views` views."""
        from invreg.operators.tomography import kernels_parallel as k

        return k.padded_shape(self.rows, self.length), (views, self.margin_size()[1])

    def project(self, image: Array, sinogram: Array, part: slice) -> None:
        from invreg.operators.tomography import kernels_parallel as k

        first, weights = self.tables(image.dtype)
        padded, q = workspace(self.work_shapes(part.stop - part.start), image.dtype)
        k.project(
            image, self.transposed, self.length, self.shift[part], self.slope[part], self.margin_size()[0],
            first[part], weights[part], self.views[part], padded, q, sinogram,
        )  # fmt: skip

    def backproject(self, sinogram: Array, image: Array, add: bool) -> None:
        from invreg.operators.tomography import kernels_parallel as k

        first, weights = self.tables(sinogram.dtype)
        padded, q = workspace(self.work_shapes(self.slope4.size), sinogram.dtype)
        k.backproject(
            sinogram, self.transposed, self.length, self.shift4, self.slope4, self.margin_size()[0],
            first, weights, self.views, padded, q, image, add,
        )  # fmt: skip

    def collect(self, sinogram: Array, q: Array) -> None:
        from invreg.operators.tomography import kernels_parallel as k

        k.resample_adjoint(sinogram, *self.tables(sinogram.dtype), self.views, q)

    def spread(self, padded: Array, q: Array, rows: slice) -> None:
        from invreg.operators.tomography import kernels_parallel as k

        margin = self.margin_size()[0]
        k.shear_spread(padded, self.length, self.shift4, self.slope4, margin, q, rows.start, rows.stop)


def pieces(count: int, tasks: int, multiple: int = 4) -> list[slice]:
    """Cut range(count) so that with `tasks` such ranges all threads are busy."""
    threads = torch.get_num_threads()
    parts = 1 if tasks >= threads and tasks % threads == 0 else max(1, -(-4 * threads // tasks))
    size = max(multiple, -(-count // (parts * multiple)) * multiple)
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]
