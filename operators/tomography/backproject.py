"""Weighted back-projection of filtered views from a point source, as in FDK."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invreg.operators.tomography.geometry3d import ConeBeam
from invreg.operators.tomography.threads import run

POINTS_AT_ONCE = 2**22  # voxels of a view that torch handles at once


def backproject_fan(
    views: Callable[[slice], Tensor], at_once: int, g: ConeBeam, pixel: float, thickness: float, volume: Tensor
) -> None:
    """Write the sum over the views of (D / L)^2 times the view's value at the voxel to `volume` (depth, h, w).

    `views` gives the filtered views (view, row, column) of a slice; L is the distance of the voxel from the source
    along the central ray (on a cylinder: in the plane of the circle), D that of the axis; values are read by bilinear
    interpolation and are 0 beyond the detector. The views share one height. On the CPU by numba, elsewhere by torch.
    """
    count = g.angles.size
    parts = [slice(i, min(i + at_once, count)) for i in range(0, count, at_once)]
    if volume.device.type == "cpu":
        _numba(views, parts, g, pixel, thickness, volume)
    else:
        _torch(views, parts, g, pixel, thickness, volume)


def _numba(
    views: Callable[[slice], Tensor], parts: list[slice], g: ConeBeam, pixel: float, thickness: float, volume: Tensor
) -> None:
    from invreg.operators.tomography import kernels_backproject as k

    depth, h, w = volume.shape
    plane = depth == g.rows == 1 and g.row_centre == 0 and not _height(g)
    upright = volume.new_zeros(h, w, depth)  # z last: all the voxels above a pixel share its column and weight
    kernel: Any = k.backproject_bins if plane else k.backproject_columns
    image = upright.numpy()[..., 0] if plane else upright.numpy()
    step = -(-h // (4 * torch.get_num_threads()))
    for part in parts:
        values = views(part).movedim(1, 2)  # (view, column, row), framed by zeros
        arguments: tuple[Any, ...] = (np.cos(g.angles[part]), np.sin(g.angles[part]))
        arguments += (g.source_origin, g.source_detector, g.centre)
        if plane:
            framed = torch.nn.functional.pad(values[..., 0], (1, 2))
            arguments += (g.pitch, g.curved, pixel)
        else:
            framed = torch.nn.functional.pad(values, (1, 2, 1, 2))
            lowest = -(depth - 1) / 2 * thickness - _height(g)
            arguments += (g.row_centre, g.pitch, g.row_pitch, g.curved, pixel, thickness, lowest)
        run([partial(kernel, framed.numpy(), *arguments, image[row : row + step], row, h) for row in range(0, h, step)])
    volume.copy_(upright.permute(2, 0, 1))


def _torch(
    views: Callable[[slice], Tensor], parts: list[slice], g: ConeBeam, pixel: float, thickness: float, volume: Tensor
) -> None:
    assert g.centre is not None and g.row_centre is not None and g.row_pitch is not None
    depth, h, w = volume.shape
    D, R = g.source_origin, g.source_detector
    x = (torch.arange(w, dtype=torch.float64) - (w - 1) / 2) * pixel
    y = ((h - 1) / 2 - torch.arange(h, dtype=torch.float64))[:, None] * pixel
    z = (torch.arange(depth, dtype=torch.float64) - (depth - 1) / 2) * thickness - _height(g)
    slab = max(1, POINTS_AT_ONCE // (h * w))
    volume.zero_()
    for part in parts:
        for angle, view in zip(g.angles[part], views(part), strict=True):
            L, t = D - x * np.sin(angle) + y * np.cos(angle), x * np.cos(angle) + y * np.sin(angle)
            if g.curved:
                far = torch.hypot(L, t)
                column, rise, weight = R * torch.atan2(t, L) / g.pitch, R / far, (D / far) ** 2
            else:
                column, rise, weight = R * t / L / g.pitch, R / L, (D / L) ** 2
            # grid_sample counts from -1 to 1 between the outer edges of the bins
            across = ((2 * (column + g.centre) + 1) / g.columns - 1).to(volume)
            rise, weight = (rise / g.row_pitch * 2 / g.rows).to(volume), weight.to(volume)
            for start in range(0, depth, slab):
                up = rise * z[start : start + slab, None, None].to(volume) + ((2 * g.row_centre + 1) / g.rows - 1)
                grid = torch.stack([across.expand_as(up), up], dim=-1).flatten(0, 1)
                read = torch.nn.functional.grid_sample(view[None, None], grid[None], align_corners=False)
                volume[start : start + slab] += weight * read.reshape(up.shape)


def _height(g: ConeBeam) -> float:
    return 0.0 if g.heights is None else float(g.heights[0])
