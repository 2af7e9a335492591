"""The cone-beam ray transform on the CPU where the detector's rows stand along the rotation axis."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.operators.tomography.geometry3d import Views3D
from invreg.operators.tomography.parallel import pieces
from invreg.operators.tomography.threads import run, workspace

Array = npt.NDArray[Any]

CHUNK = 32 * 2**20  # bytes of views that an adjoint holds ready


class ConeProjector:
    """Volumes (batch, depth, h, w) to projections (batch, angle, row, column) and back, on the threads of `threads.py`.

    For flat and cylindrical detectors upright along z, circles, helices and any offsets. Across the rays voxels are
    interpolated linearly (Joseph 1982), along z by the shears of kernels_cone.py; the rows are then read by cubic
    convolution, sharpened or averaged so that voxel, interpolation and aperture together have the variance of the row.
    Columns are sharpened to their variance likewise; where they are wider than that, a ray through the middle of each
    stands for the bin.
    """

    def __init__(self, views: Views3D, shape: tuple[int, ...], pixel: float, thickness: float) -> None:
        from invreg.operators.tomography import kernels_cone as k

        self.shape, self.codomain = shape, views.shape
        depth, h, w = shape
        size = np.array([pixel, -pixel, thickness])  # rows run against y
        middle = (np.array([w, h, depth]) - 1) / 2
        row, columns = np.array([(views.rows - 1) / 2]), np.arange(views.columns, dtype=np.float64)
        source = views.source / size + middle
        points = np.ascontiguousarray(views.points(row, columns)[:, 0] / size + middle)
        step = views.v[:, 2] / thickness
        self.rays = source, points, step, size, *_sharpening(source, points, middle)
        # rows are farthest apart where the rays leave the volume
        corners = np.array([[0, 0], [0, h - 1], [w - 1, 0], [w - 1, h - 1]])
        far = np.abs(corners - source[:, None, :2]).max((1, 2)) + k.BLOCK
        near = np.abs(points[..., :2] - source[:, None, :2]).max(2).min(1)
        taps = k.taps(float((np.abs(step) * far / near).max()))
        length = k.buffer_length(depth, float(np.abs(source[:, 2]).max()) + depth, taps)
        self.work = (length,), (depth + 2 * k.MARGIN,), (taps, views.rows), (k.VIEWS, views.columns, views.rows)

    def project(self, x: Tensor) -> Tensor:
        from invreg.operators.tomography import kernels_cone as k

        y = torch.empty(len(x), *self.codomain, dtype=x.dtype)
        views = self.codomain[0]
        parts = pieces(views, 1, multiple=min(k.VIEWS, -(-views // torch.get_num_threads())))
        for volume, projections in zip(x, y.numpy(), strict=True):
            upright = volume.permute(1, 2, 0).contiguous().numpy()
            run([partial(self._project, upright, projections, part) for part in parts])
        return y

    def backproject(self, y: Tensor) -> Tensor:
        from invreg.operators.tomography import kernels_cone as k

        depth, h, w = self.shape
        views, rows, columns = self.codomain
        x = torch.empty(len(y), *self.shape, dtype=y.dtype)
        chunk = max(1, CHUNK // (rows * columns * y.itemsize))
        sums = np.empty((min(chunk, views), columns, rows), y.numpy().dtype)
        for projections, volume in zip(y.numpy(), x, strict=True):
            upright = np.zeros((h, w, depth), sums.dtype)
            for start in range(0, views, chunk):
                ready = sums[: min(chunk, views - start)]
                parts = pieces(len(ready), 1, multiple=1)
                run([partial(self._weigh, projections, start + part.start, ready[part]) for part in parts])
                for axis, planes in enumerate((w, h)):  # slabs of different axes overlap
                    parts = pieces(planes, 1, multiple=k.BLOCK)
                    run([partial(self._spread, ready, start, axis, part, upright) for part in parts])
            volume.copy_(torch.from_numpy(upright).permute(2, 0, 1))
        return x

    def _project(self, volume: Array, projections: Array, part: slice) -> None:
        from invreg.operators.tomography import kernels_cone as k

        q, g, weights, sums = workspace(self.work, volume.dtype)
        index = np.empty(self.codomain[1], np.int32)
        k.project(volume, *self.rays, part.start, part.stop, q, g, index, weights, sums, projections)

    def _weigh(self, projections: Array, start: int, sums: Array) -> None:
        from invreg.operators.tomography import kernels_cone as k

        k.weigh(projections, *self.rays, start, start + len(sums), sums)

    def _spread(self, sums: Array, first: int, axis: int, part: slice, volume: Array) -> None:
        from invreg.operators.tomography import kernels_cone as k

        q, g, weights = workspace(self.work[:3], volume.dtype)
        index = np.empty(self.codomain[1], np.int32)
        source, points, step = self.rays[:3]
        k.spread(sums, source, points, step, first, axis, part.start, part.stop, q, g, index, weights, volume)


def _sharpening(source: Array, points: Array, middle: Array) -> tuple[Array, int]:
    """By how much of the difference from its neighbours a column is sharpened, (view, column), and how far these are.

    So that voxel and interpolation together have the variance of the column, where the ray is nearest to the axis.
    """
    from invreg.operators.tomography import kernels_cone as k

    if points.shape[1] == 1:
        return np.zeros(points.shape[:2]), 1
    ray = points[..., :2] - source[:, None, :2]
    turn = np.gradient(points[..., :2], axis=1)  # from column to column
    nearest = ((middle[:2] - source[:, None, :2]) * ray).sum(-1) / (ray * ray).sum(-1)
    # the distance of neighbouring rays along the axis that does not drive them
    apart = np.abs(nearest * (ray[..., 0] * turn[..., 1] - ray[..., 1] * turn[..., 0])) / np.abs(ray).max(-1)
    reach = max(1, round(1 / max(float(np.median(apart)), 1 / points.shape[1])))
    apart = apart.clip(min=2 / 3 / reach)  # rays that turn away from the axis are not sharpened beyond measure
    spare = (k.PIXEL_VARIANCE - apart**2 / 12).clip(min=0)
    return spare / 2 / (reach * apart) ** 2, reach
