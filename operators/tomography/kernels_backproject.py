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
    low: float,
    volume: Array,
    first: int,
    height: int,
) -> None:
    """Add views (view, column, row), framed by one zero before and two after, to the rows first.. of (h, w, depth).

    low: height of the lowest slice above the source.
    """
    cast = views.dtype.type
    columns, rows = views.shape[1] - 3, views.shape[2] - 3
    width, depth = volume.shape[1], volume.shape[2]
    mixed = np.empty(rows + 3, views.dtype)
    below, share = np.empty(depth, np.int32), np.empty(depth, views.dtype)
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
                for d in range(rows + 3):
                    mixed[d] = left * a[d] + right * b[d]
                from_row, each, top = cast(place), cast(step), cast(rows + 1)
                for d in range(depth):  # places first, then readings: the first loop becomes vector code
                    at = min(max(from_row + cast(np.int32(d)) * each, cast(0)), top)
                    i = np.int32(at)
                    below[d] = i
                    share[d] = at - cast(i)
                for d in range(depth):
                    k = np.uint64(below[d])
                    to[d] += mixed[k] + share[d] * (mixed[k + np.uint64(1)] - mixed[k])


@_jit
def backproject_bins(
    views: Array,
    cos: Array,
    sin: Array,
    source_origin: float,
    source_detector: float,
    centre: float,
    pitch: float,
    curved: bool,
    pixel: float,
    image: Array,
    first: int,
    height: int,
) -> None:
    """Add the views (view, bin), framed by one zero before and two after, to rows first.. of (h, w): in a plane.

    Places first, then readings: the compiler turns each loop into vector code.
    """
    cast = views.dtype.type
    width, bins = image.shape[1], views.shape[1] - 3
    place, weight = np.empty(width), np.empty(width)
    start = -(width - 1) / 2 * pixel
    for r in range(image.shape[0]):
        y = ((height - 1) / 2 - (first + r)) * pixel
        to = image[r]
        for v in range(views.shape[0]):
            near, t = source_origin - start * sin[v] + y * cos[v], start * cos[v] + y * sin[v]
            nearer, along = -pixel * sin[v], pixel * cos[v]
            for c in range(width):
                depth, across = near + c * nearer, t + c * along
                if curved:
                    weight[c] = source_origin**2 / (depth * depth + across * across)
                    place[c] = source_detector / pitch * math.atan2(across, depth) + centre + 1
                else:
                    closeness = 1 / depth
                    weight[c] = (source_origin * closeness) ** 2
                    place[c] = source_detector / pitch * across * closeness + centre + 1
            row = views[v]
            for c in range(width):
                at = min(max(place[c], 0.0), bins + 1.0)
                i = np.uint32(at)
                w = cast(at - i)
                to[c] += cast(weight[c]) * ((cast(1) - w) * row[i] + w * row[i + np.uint32(1)])
