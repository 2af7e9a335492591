"""Numba kernels of the ray transform in space after Joseph (1982), for rays that go anywhere.

All in voxels: x, y, z are fractional column, row and slice, and (w, h, depth) their numbers. A ray is origin + t
direction, from a source t >= 0 alone. It is driven by the axis along which its direction, in voxels, is longest, of
equals the first of x, y, z; slopes are those of the two other axes a, b against it. The planes of the driving axis are
crossed at

    a = origin_a + (i - origin_i) slope_a,    b = origin_b + (i - origin_i) slope_b,    i = 0, 1, ..., n - 1,

where the value is the bilinear interpolation of the four neighbours, of which those outside the volume are 0. Their
sum times the length of the ray from plane to plane is the line integral. Positions are computed in float64, weights and
sums in the precision of the volume.

The adjoint applies the same weights transposed, by slabs of the planes of one driving axis after the other: no atomics,
and each voxel is added to in the order of the rays, whatever the slabs and threads.
"""

import math
from typing import Any

import numba
import numpy.typing as npt

Array = npt.NDArray[Any]

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
# the same bits in both directions, whatever surrounds it: a tie must break the same way
_strict = numba.njit(nogil=True, cache=True, error_model="numpy")


@_strict
def _direction(
    source: Array, point: Array, step: Array, up: float, parallel: bool
) -> tuple[float, float, float, float, float, float]:
    """Origin and direction of the ray to point + up step."""
    x, y, z = point[0] + up * step[0], point[1] + up * step[1], point[2] + up * step[2]
    if parallel:
        return x, y, z, source[0], source[1], source[2]
    return source[0], source[1], source[2], x - source[0], y - source[1], z - source[2]


@_strict
def _driving_axis(dx: float, dy: float, dz: float) -> int:
    x, y, z = abs(dx), abs(dy), abs(dz)
    if x >= y and x >= z:
        return 0
    return 1 if y >= z else 2


@_strict
def _between(low: float, high: float, origin: float, slope: float, o: float, n: int) -> tuple[float, float]:
    """The part of low..high in which origin + (i - o) slope is in -1..n."""
    if slope == 0:
        return (low, high) if -1 < origin < n else (high, low)
    ends = (-1 - origin) / slope + o, (n - origin) / slope + o
    return max(low, min(ends)), min(high, max(ends))


@_strict
def _planes(
    o: float, d: float, start: int, stop: int, a: float, sa: float, na: int, b: float, sb: float, nb: int,
    parallel: bool,
) -> tuple[int, int]:  # fmt: skip
    """The planes of start..stop that the ray may cross inside the volume: first and one beyond the last."""
    low, high = float(start), float(stop - 1)
    if not parallel:
        low, high = (max(low, o), high) if d > 0 else (low, min(high, o))
    low, high = _between(low, high, a, sa, o, na)
    low, high = _between(low, high, b, sb, o, nb)
    if low > high:
        return 0, 0
    return math.ceil(low), math.floor(high) + 1


@_jit
def project(
    volume: Array, shape: Array, strides: Array, size: Array, source: Array, points: Array, step: Array, parallel: bool,
    start: int, stop: int, projections: Array,
) -> None:  # fmt: skip
    """The views start..stop of `projections` (view, row, column), of a flat volume.

    Along x, y, z: `shape`, `strides` and `size` of the voxels (3,). source (view, 3), the direction if `parallel`;
    points (view, column, 3), the bins of the row at the middle of the detector; step (view, 3), from row to row.
    """
    zero, one = volume.dtype.type(0), volume.dtype.type(1)
    rows, columns = projections.shape[1:]
    for view in range(start, stop):
        for row in range(rows):
            up = row - (rows - 1) / 2
            for column in range(columns):
                x, y, z, dx, dy, dz = _direction(source[view], points[view, column], step[view], up, parallel)
                origin, direction = (x, y, z, x, y), (dx, dy, dz, dx, dy)
                g = _driving_axis(dx, dy, dz)
                ga, gb = (g + 1) % 3, (g + 2) % 3
                o, a0, b0 = origin[g], origin[ga], origin[gb]
                sa, sb = direction[ga] / direction[g], direction[gb] / direction[g]
                na, nb, pa, pb = shape[ga], shape[gb], strides[ga], strides[gb]
                first, last = _planes(o, direction[g], 0, shape[g], a0, sa, na, b0, sb, nb, parallel)
                total = zero
                for i in range(first, last):
                    a, b = a0 + (i - o) * sa, b0 + (i - o) * sb
                    ia, ib = math.floor(a), math.floor(b)
                    a_in, a_next = 0 <= ia < na, 0 <= ia + 1 < na
                    b_in, b_next = 0 <= ib < nb, 0 <= ib + 1 < nb
                    wa, wb = volume.dtype.type(a - ia), volume.dtype.type(b - ib)
                    at = i * strides[g] + ia * pa + ib * pb
                    near = (volume[at] if a_in and b_in else zero) * (one - wa)
                    near += (volume[at + pa] if a_next and b_in else zero) * wa
                    far = (volume[at + pb] if a_in and b_next else zero) * (one - wa)
                    far += (volume[at + pa + pb] if a_next and b_next else zero) * wa
                    total += near * (one - wb) + far * wb
                length = math.sqrt((dx * size[0]) ** 2 + (dy * size[1]) ** 2 + (dz * size[2]) ** 2) / abs(direction[g])
                projections[view, row, column] = total * length


@_jit
def backproject(
    projections: Array, shape: Array, strides: Array, size: Array, source: Array, points: Array, step: Array,
    parallel: bool, g: int, start: int, stop: int, volume: Array,
) -> None:  # fmt: skip
    """Adds to `volume` the transpose of `project` of the rays that axis `g` drives, on its planes start..stop."""
    one = volume.dtype.type(1)
    views, rows, columns = projections.shape
    ga, gb = (g + 1) % 3, (g + 2) % 3
    na, nb, pa, pb = shape[ga], shape[gb], strides[ga], strides[gb]
    for view in range(views):
        for row in range(rows):
            up = row - (rows - 1) / 2
            for column in range(columns):
                x, y, z, dx, dy, dz = _direction(source[view], points[view, column], step[view], up, parallel)
                if _driving_axis(dx, dy, dz) != g:
                    continue
                origin, direction = (x, y, z, x, y), (dx, dy, dz, dx, dy)
                o, a0, b0 = origin[g], origin[ga], origin[gb]
                sa, sb = direction[ga] / direction[g], direction[gb] / direction[g]
                length = math.sqrt((dx * size[0]) ** 2 + (dy * size[1]) ** 2 + (dz * size[2]) ** 2) / abs(direction[g])
                value = volume.dtype.type(projections[view, row, column] * length)
                first, last = _planes(o, direction[g], start, stop, a0, sa, na, b0, sb, nb, parallel)
                for i in range(first, last):
                    a, b = a0 + (i - o) * sa, b0 + (i - o) * sb
                    ia, ib = math.floor(a), math.floor(b)
                    a_in, a_next = 0 <= ia < na, 0 <= ia + 1 < na
                    b_in, b_next = 0 <= ib < nb, 0 <= ib + 1 < nb
                    wa, wb = volume.dtype.type(a - ia), volume.dtype.type(b - ib)
                    at = i * strides[g] + ia * pa + ib * pb
                    near, far = value * (one - wb), value * wb
                    if a_in and b_in:
                        volume[at] += near * (one - wa)
                    if a_next and b_in:
                        volume[at + pa] += near * wa
                    if a_in and b_next:
                        volume[at + pb] += far * (one - wa)
                    if a_next and b_next:
                        volume[at + pa + pb] += far * wa
