"""Numba kernel of the weighted back-projection of a fan or cone beam: linear interpolation between bins.

All the voxels above a pixel of the slices see the same place between two columns of the detector, so that the two
are mixed once, and each voxel reads the mixture between two rows.
"""

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")


@_jit
def backproject_columns(
    views: Array,
    cos: Array,
    sin: Array,
    source_origin: float,
    source_detector: float,
    centre: float,
    row_centre: float,
    pitch: float,
    row_pitch: float,
    curved: bool,
    pixel: float,
    thickness: float,
    volume: Array,
    first: int,
    height: int,
) -> None:
    """Add views (view, column, row), framed by one zero before and two after, to the rows first.. of (h, w, depth)."""
    cast = views.dtype.type
    columns, rows = views.shape[1] - 3, views.shape[2] - 3
    width, depth = volume.shape[1], volume.shape[2]
    low = -(depth - 1) / 2 * thickness
    mixed = np.empty(rows + 3, views.dtype)
    for r in range(volume.shape[0]):
        y = ((height - 1) / 2 - (first + r)) * pixel
        for v in range(views.shape[0]):
            for c in range(width):
                x = (c - (width - 1) / 2) * pixel
                near = source_origin - x * sin[v] + y * cos[v]
                t = x * cos[v] + y * sin[v]
                if curved:
                    far = math.hypot(near, t)
                    column = source_detector * math.atan2(t, near) / pitch + centre
                else:
                    far = near
                    column = source_detector * t / near / pitch + centre
                if not (column > -1 and column < columns):
                    continue
                weight = (source_origin / far) ** 2
                j = math.floor(column)
                right = cast((column - j) * weight)
                left = cast(weight) - right
                a, b = views[v, j + 1], views[v, j + 2]
                to = volume[r, c]
                rise = source_detector / far / row_pitch
                place = low * rise + row_centre + 1  # in the framed rows, clipped to where they are 0
                step = thickness * rise
                if depth == 1 and rows == 1:
                    i = math.floor(place)
                    if i >= 0 and i < 2:
                        w = cast(place - i)
                        to[0] += (cast(1) - w) * (left * a[i] + right * b[i]) + w * (left * a[i + 1] + right * b[i + 1])
                    continue
                for k in range(rows + 3):
                    mixed[k] = left * a[k] + right * b[k]
                for d in range(depth):
                    at = min(max(place + d * step, 0.0), rows + 1.0)
                    i = np.uint32(at)
                    w = cast(at - i)
                    to[d] += (cast(1) - w) * mixed[i] + w * mixed[i + np.uint32(1)]
