"""The ray transform of divergent views in a plane on the CPU: sheared sums over blocks of rows, read at the bins."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.operators.tomography.geometry import Views2D
from invreg.operators.tomography.parallel import pieces
from invreg.operators.tomography.threads import run, workspace

Array = npt.NDArray[Any]
Tables = tuple[Array, Array, Array, Array]


class FanProjector:
    """Images (batch, h, w) to sinograms (batch, angle, detector) and back, on the threads of `threads.py`.

    Each bin is driven by the axis that its middle ray is nearer to: pixels are interpolated linearly across that ray
    (Joseph 1982) in the rows, or columns, that it crosses in front of the source. kernels_fan.py does so by sums over
    blocks of rows, which are read at the bins, sharpened or averaged so that pixel, interpolation and reading
    together have the variance of the bin's beam where it passes the block.
    """

    def __init__(self, views: Views2D, shape: tuple[int, ...], pixel: float) -> None:
        self.shape, self.codomain, self.pixel = shape, views.shape, pixel
        h, w = shape
        bins = np.arange(views.detectors, dtype=np.float64)
        # in columns and rows from the middle of the first pixel
        flip = np.array([1.0, -1.0]) / pixel
        source = views.source * flip + [(w - 1) / 2, (h - 1) / 2]
        low, rays, high = ((views.points(bins + d) - views.source[:, None]) * flip for d in (-0.5, 0.0, 0.5))
        opening = np.arctan2(low[..., 0] * high[..., 1] - low[..., 1] * high[..., 0], (low * high).sum(-1))
        by_rows = np.abs(rays[..., 1]) >= np.abs(rays[..., 0])
        across, along = np.where(by_rows[..., None], rays, rays[..., ::-1]).transpose(2, 0, 1)
        self.slope = across / np.abs(along)
        self._tables: dict[str, Tables] = {}  # a memo of what the arguments imply, by precision
        self.width = np.abs(opening) * (1 + self.slope**2)
        # runs of bins driven by the same axis, the same way
        kind = 2 * by_rows + (along > 0)
        cut = np.ones((len(kind), views.detectors), bool)
        cut[:, 1:] = kind[:, 1:] != kind[:, :-1]
        view, start = np.nonzero(cut)
        size = np.diff(np.append(view * views.detectors + start, kind.size))
        place = np.stack([view, start, size], axis=1)
        sign = np.sign(along[view, start])
        widest = np.maximum.reduceat(self.width.ravel(), view * views.detectors + start)
        chosen = by_rows[view, start]
        self.halves = []
        for rows, seen in ((True, chosen), (False, ~chosen)):
            if seen.any():
                at = (source if rows else source[:, ::-1])[view]
                self.halves.append(_Half(place[seen], np.column_stack([at, sign, widest])[seen], shape, not rows))

    def tables(self, dtype: np.dtype[Any]) -> Tables:
        """Slope, width and ray of each bin, and the taps of its reading."""
        if dtype.str not in self._tables:
            from invreg.operators.tomography.kernels_bins import cubic_taps

            ray = self.pixel * np.sqrt(1 + self.slope**2)
            width, ray = self.width.astype(dtype, copy=False), ray.astype(dtype, copy=False)
            self._tables[dtype.str] = self.slope, width, ray, cubic_taps(dtype)
        return self._tables[dtype.str]

    def project(self, x: Tensor) -> Tensor:
        y = torch.empty(len(x), *self.codomain, dtype=x.dtype)
        for image, sinogram in zip(x.numpy(), y.numpy(), strict=True):
            work = list(zip(self.halves, self._workspace(image.dtype), strict=True))
            run([partial(half.pad, image, padded) for half, padded in work])
            run(
                [
                    partial(half.project, padded, self.tables(image.dtype), sinogram, part)
                    for half, padded in work
                    for part in pieces(len(half.place), 1, multiple=8)
                ]
            )
        return y

    def backproject(self, y: Tensor) -> Tensor:
        from invreg.operators.tomography import kernels_fan as k

        x = torch.empty(len(y), *self.shape, dtype=y.dtype)
        for sinogram, image in zip(y.numpy(), x.numpy(), strict=True):
            work = list(zip(self.halves, self._workspace(image.dtype), strict=True))
            run(
                [
                    partial(half.backproject, padded, self.tables(image.dtype), sinogram, rows)
                    for half, padded in work
                    for rows in pieces(half.rows, 1, multiple=k.BLOCK)
                ]
            )
            for i, (half, padded) in enumerate(work):
                half.unpad(padded, image, add=i > 0)
        return x

    def _workspace(self, dtype: np.dtype[Any]) -> list[Array]:
        return workspace(tuple(half.work_shape() for half in self.halves), dtype)


class _Half:
    """The segments driven by one axis, on an image of `rows` driving rows of `length` pixels, flat between zeros."""

    def __init__(self, place: Array, source: Array, shape: tuple[int, ...], transposed: bool) -> None:
        self.place, self.source, self.transposed = place, source, transposed
        self.rows, self.length = shape[::-1] if transposed else shape

        from invreg.operators.tomography import kernels_fan as k

        self.stride = self.length + k.GUARD

    def work_shape(self) -> tuple[int]:
        from invreg.operators.tomography import kernels_fan as k

        return (k.GUARD + self.rows * self.stride,)

    def pad(self, image: Array, padded: Array) -> None:
        from invreg.operators.tomography import kernels_fan as k
        from invreg.operators.tomography.kernels_parallel import pad

        padded[: k.GUARD] = 0
        padded[-k.GUARD :] = 0
        pad(image, self._lines(padded), self.transposed)

    def project(self, padded: Array, tables: Tables, sinogram: Array, part: slice) -> None:
        from invreg.operators.tomography import kernels_fan as k

        k.project(
            padded, k.GUARD, self.stride, self.rows, self.length, self.place[part], self.source[part], *tables, sinogram
        )  # fmt: skip

    def backproject(self, padded: Array, tables: Tables, sinogram: Array, rows: slice) -> None:
        from invreg.operators.tomography import kernels_fan as k

        k.backproject(
            padded, k.GUARD, self.stride, rows.start, rows.stop, self.length, self.place, self.source, *tables, sinogram
        )  # fmt: skip

    def unpad(self, padded: Array, image: Array, add: bool) -> None:
        from invreg.operators.tomography.kernels_parallel import unpad

        unpad(self._lines(padded), image, self.transposed, add)

    def _lines(self, padded: Array) -> Array:
        """The rows as `kernels_parallel.pad` takes them, from its own guard on."""
        from invreg.operators.tomography import kernels_fan, kernels_parallel

        start = kernels_fan.GUARD - kernels_parallel.GUARD
        return padded[start : start + self.rows * self.stride].reshape(self.rows, self.stride)
