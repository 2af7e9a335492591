"""The ray transform in space on the CPU for any views, by Joseph's interpolation."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from invreg.operators.tomography.geometry3d import Views3D
from invreg.operators.tomography.parallel import pieces
from invreg.operators.tomography.threads import run

BAND = 4  # a task of the adjoint owns at least so many planes


class JosephProjector:
    """Volumes (batch, depth, h, w) to projections (batch, angle, row, column) and back, on the threads of `threads.py`.

    Rays run from the source, or from beyond the volume where they are parallel, through the middle of each bin and
    on. kernels_joseph.py states the arithmetic to the rounding: other implementations are measured against it.
    """

    def __init__(self, views: Views3D, shape: tuple[int, ...], pixel: float, thickness: float) -> None:
        self.shape, self.codomain = shape, views.shape
        depth, h, w = shape
        self.numbers = np.array([w, h, depth])
        size = np.array([pixel, -pixel, thickness])  # rows run against y
        middle = (self.numbers - 1) / 2
        row, columns = np.array([(views.rows - 1) / 2]), np.arange(views.columns, dtype=np.float64)
        source = views.source / size + (0 if views.parallel else middle)
        points = np.ascontiguousarray(views.points(row, columns)[:, 0] / size + middle)
        strides = np.array([1, w, h * w])
        self.rays = self.numbers, strides, size, source, points, views.v / size, views.parallel

    def project(self, x: Tensor) -> Tensor:
        from invreg.operators.tomography import kernels_joseph as k

        y = torch.empty(len(x), *self.codomain, dtype=x.dtype)
        parts = pieces(self.codomain[0], max(1, len(x)), multiple=1)
        run(
            [
                partial(k.project, volume.reshape(-1), *self.rays, part.start, part.stop, projections)
                for volume, projections in zip(x.numpy(), y.numpy(), strict=True)
                for part in parts
            ]
        )
        return y

    def backproject(self, y: Tensor) -> Tensor:
        from invreg.operators.tomography import kernels_joseph as k

        x = torch.zeros(len(y), *self.shape, dtype=y.dtype)
        for axis, planes in enumerate(self.numbers):  # slabs of different axes overlap
            parts = pieces(int(planes), max(1, len(x)), multiple=BAND)
            run(
                [
                    partial(k.backproject, projections, *self.rays, axis, part.start, part.stop, volume.reshape(-1))
                    for volume, projections in zip(x.numpy(), y.numpy(), strict=True)
                    for part in parts
                ]
            )
        return x
