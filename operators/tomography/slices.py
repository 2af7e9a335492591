"""The ray transform in space on the CPU of parallel rays that keep to the slices."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from invreg.operators.tomography.geometry import Views2D
from invreg.operators.tomography.geometry3d import Views3D
from invreg.operators.tomography.parallel import ParallelProjector

CHUNK = 64 * 2**20  # bytes of sinograms of slices held at once


class SlicesProjector:
    """Volumes (batch, depth, h, w) to projections (batch, angle, row, column) and back, slice by slice.

    The rays of a slice are those of `ParallelProjector`. A row is the mean of the slices it sees, each weighted by how
    much of the row's height it fills: the slice itself where rows and slices coincide. A view's rows may stand at
    a height of their own.
    """

    def __init__(self, views: Views3D, shape: tuple[int, ...], pixel: float, thickness: float) -> None:
        self.shape, self.codomain = shape, views.shape
        depth, h, w = shape
        flat = Views2D(
            views.source[:, :2], views.detector[:, :2], views.u[:, :2], views.columns, views.unit, parallel=True
        )
        self.plane = ParallelProjector(flat, (h, w), pixel)
        # heights in slices, of the edges of each row; rounded, so that rows which coincide with slices do so exactly
        step = views.v[:, 2:] / thickness
        middle = views.detector[:, 2:] / thickness + (depth - 1) / 2
        middle = middle + (np.arange(views.rows) - (views.rows - 1) / 2) * step
        edges = np.round(np.stack([middle - np.abs(step) / 2, middle + np.abs(step) / 2]), 9)
        self.low, self.high = edges[:, :1] if (edges == edges[:, :1]).all() else edges

    def project(self, x: Tensor) -> Tensor:
        y = torch.zeros(len(x), *self.codomain, dtype=x.dtype)
        for slices in self._chunks(y):
            images = x[:, slices]
            sinograms = self.plane.project(images.reshape(-1, *self.shape[1:]).contiguous())
            sinograms = sinograms.reshape(*images.shape[:2], *sinograms.shape[1:])
            for i, k in enumerate(slices):
                rows, weights = self._weights(k, x.dtype)
                y[:, :, rows] += weights * sinograms[:, i, :, None]
        return y

    def backproject(self, y: Tensor) -> Tensor:
        x = torch.zeros(len(y), *self.shape, dtype=y.dtype)
        angles, _, columns = self.codomain
        for slices in self._chunks(y):
            sinograms = torch.empty(len(y), len(slices), angles, columns, dtype=y.dtype)
            for i, k in enumerate(slices):
                rows, weights = self._weights(k, y.dtype)
                torch.sum(weights * y[:, :, rows], 2, out=sinograms[:, i])
            images = self.plane.backproject(sinograms.reshape(-1, angles, columns))
            x[:, slices] = images.reshape(len(y), len(slices), *self.shape[1:])
        return x

    def _chunks(self, y: Tensor) -> Iterator[list[int]]:
        """The slices that any row sees, a few at a time."""
        angles, _, columns = self.codomain
        size = max(1, CHUNK // max(1, len(y) * angles * columns * y.itemsize))
        seen = [k for k in range(self.shape[0]) if ((self.low < k + 0.5) & (self.high > k - 0.5)).any()]
        yield from (seen[i : i + size] for i in range(0, len(seen), size))

    def _weights(self, k: int, dtype: torch.dtype) -> tuple[slice, Tensor]:
        """The rows that slice k is part of, and its part in each, (view or 1, row, 1)."""
        overlap = (np.minimum(self.high, k + 0.5) - np.maximum(self.low, k - 0.5)).clip(min=0)
        rows = np.flatnonzero(overlap.any(0))
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        share = overlap[:, part] / (self.high - self.low)[:, part]
        return part, torch.from_numpy(share).to(dtype)[..., None]
