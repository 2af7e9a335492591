"""Numba kernels of the cone-beam ray transform where the detector's rows stand along z.

All in voxels. The rays onto one column of the detector lie in a plane along z. Seen from above they are one line, which
crosses the planes of its driving axis (Joseph 1982) at fixed places: the two columns of voxels beside each are
interpolated with one weight for all z. What is left is a fan in the plane (driving axis, z), whose ray at distance d0
from the source at height t is at distance d at z = t + (d - d0) / d0 (t - source): a shear. So over a block of planes
about d0, small against d0,

    q[t] = sum_d g_d(z(t)),    g_d the interpolated column at distance d, linear between its voxels,

is a sum of contiguous reads: while z(t) - t changes by less than 1 the hat functions of t touch the same three
neighbours. Each block's q is then read at the rows of the detector by cubic convolution. Both steps are
explicit sums, and the adjoint applies the same weights transposed, by slabs of whole blocks: no atomics, the same
result on any number of threads.
"""

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from invreg.operators.tomography.kernels_shear import (
    add,
    interpolate,
    read,
    read_adjoint,
    readings,
    shear,
    shear_adjoint,
)

Array = npt.NDArray[Any]

BLOCK = 64  # planes of the driving axis read at once
COLUMNS, VIEWS = 32, 8  # of the detector, and neighbouring views, which see a block while it is in the cache
STEEPEST = 1 / 32  # (d - d0) / d0 stays below: near the source the blocks are halved until it does
LANES = 16  # inner loops run a multiple of this, so that they have no scalar remainder
MARGIN = 24  # zeros of g below the first voxel and above the last
PIXEL_VARIANCE = 1 / 12 + 1 / 6  # as in parallel.py: of the voxel and of linear interpolation

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
# the same bits in both directions, whatever surrounds it
_strict = numba.njit(nogil=True, cache=True, error_model="numpy")


def taps(stride: float) -> int:
    """Weights that read q at rows `stride` slices apart."""
    return 6 + math.ceil(math.sqrt(max(0.0, stride**2 - 12 * PIXEL_VARIANCE)))


def buffer_length(depth: int, height: float, taps: int) -> int:
    """Of q for a source at most `height` slices from the first: the volume's shadow, drawn out by the shear."""
    return depth + math.ceil((2 * height + depth + 2) * STEEPEST * 1.1) + 4 * taps + 64


@_strict
def _block(start: int, origin: float) -> int:
    """Number of planes of the block that begins at `start`, a power of 2 that divides it."""
    size = BLOCK
    while size > 1 and (start % size or size / 2 > STEEPEST * abs(start + (size - 1) / 2 - origin)):
        size //= 2
    return size


@_strict
def _planes(start: int, stop: int, o: float, d: float, oa: float, slope: float, na: int) -> tuple[int, int]:
    """The planes of start..stop which the ray crosses beyond its source and inside the slices."""
    low, high = float(start), float(stop - 1)
    if slope == 0:
        if not -1 < oa < na:
            return 0, 0
    else:
        a, b = (-1 - oa) / slope + o, (na - oa) / slope + o
        low, high = max(low, min(a, b)), min(high, max(a, b))
    if d > 0:
        low = max(low, math.floor(o) + 1.0)
    else:
        high = min(high, math.ceil(o) - 1.0)
    if low > high:
        return 0, 0
    return math.ceil(low), math.floor(high) + 1


@_strict
def _aperture(stride: float) -> tuple[float, float]:
    """Width over which a row averages q, and what sharpens it: together with the voxels the variance of the row."""
    missing = stride**2 / 12 - PIXEL_VARIANCE
    return math.sqrt(12 * max(missing, 0.0)), max(-missing, 0.0) / 2


@_strict
def _heights(zs: float, t0: float, stride: float, rows: int, half: float, bend: float, depth: int) -> tuple[int, int]:
    """The t at which q is needed by a row and may see the volume: first and one beyond the last."""
    end = t0 + (rows - 1) * stride
    below, above = -1 - zs, depth - zs
    low = zs + (below / (1 + bend) if below > 0 else below / (1 - bend))
    high = zs + (above / (1 - bend) if above > 0 else above / (1 + bend))
    low, high = max(low, min(t0, end) - half - 3), min(high, max(t0, end) + half + 4)
    if low > high:
        return 0, 0
    return math.floor(low), math.ceil(high) + 1


@_strict
def _crossing(
    source: Array, points: Array, step: Array, view: int, u: int, rows: int, axis: int, begin: int, block: int,
    n: int, na: int, depth: int,
) -> tuple[int, int, float, float, float, int, int]:  # fmt: skip
    """How the rays of a column cross a block: its first plane and one beyond the last, their slope in the slices, the
    height of the first row at the middle of the block, that from row to row, and the heights between which q is needed.
    """
    o, oa, zs = source[view, axis], source[view, 1 - axis], source[view, 2]
    d, da = points[view, u, axis] - o, points[view, u, 1 - axis] - oa
    if abs(d) < abs(da) or (axis == 1 and abs(d) == abs(da)):  # the other axis drives
        return 0, 0, 0.0, 0.0, 0.0, 0, 0
    first, last = _planes(begin, min(begin + block, n), o, d, oa, da / d, na)
    d0 = begin + (block - 1) / 2 - o
    if first >= last or d0 == 0:
        return 0, 0, 0.0, 0.0, 0.0, 0, 0
    stride = d0 / d * step[view]
    t0 = zs + d0 / d * (points[view, u, 2] - zs) - (rows - 1) / 2 * stride
    low, high = _heights(zs, t0, stride, rows, _aperture(stride)[0] / 2, (block - 1) / 2 / abs(d0), depth)
    return (first, last, da / d, t0, stride, low, high) if low < high else (0, 0, 0.0, 0.0, 0.0, 0, 0)


@_strict
def _touched(low: int, high: int, zs: float, delta: float, depth: int) -> tuple[int, int]:
    """The voxels between which the heights low..high - 1 interpolate: first and one beyond the last."""
    first, last = low + delta * (low - zs), high + delta * (high - zs)
    return max(0, math.floor(first) - 2), min(depth, math.floor(last) + 3)


@_strict
def _length(source: Array, points: Array, step: Array, view: int, u: int, row: int, rows: int, size: Array) -> float:
    """The length of a ray from plane to plane."""
    x, y = points[view, u, 0] - source[view, 0], points[view, u, 1] - source[view, 1]
    z = points[view, u, 2] - source[view, 2] + (row - (rows - 1) / 2) * step[view]
    return math.sqrt((x * size[0]) ** 2 + (y * size[1]) ** 2 + (z * size[2]) ** 2) / max(abs(x), abs(y))


@_strict
def _rows(t0: float, stride: float, rows: int, low: float, high: float) -> tuple[int, int]:
    """The rows whose height is between low and high."""
    a, b = (low - t0) / stride, (high - t0) / stride
    first, last = max(min(a, b), 0.0), min(max(a, b), rows - 1.0)
    if first > last:
        return 0, 0
    return math.ceil(first), math.floor(last) + 1


@_jit
def _sum(
    flat: Array, h: int, w: int, depth: int, source: Array, points: Array, step: Array, view: int, u: int, axis: int,
    begin: int, block: int, q: Array, g: Array, index: Array, weights: Array, sums: Array, slot: int,
) -> None:  # fmt: skip
    """Adds to sums[slot, u] what the rays of a column see in a block."""
    rows = sums.shape[2]
    n, na, along, across = (w, h, depth, w * depth) if axis == 0 else (h, w, w * depth, depth)
    first, last, slope, t0, stride, low, high = _crossing(
        source, points, step, view, u, rows, axis, begin, block, n, na, depth
    )
    if first >= last:
        return
    guard = 2 * weights.shape[0] + 8
    o, oa, zs = source[view, axis], source[view, 1 - axis], source[view, 2]
    d0 = begin + (block - 1) / 2 - o
    q[: high - low + 2 * guard] = 0
    for p in range(first, last):
        delta = (p - o - d0) / d0
        k0, k1 = _touched(low, high, zs, delta, depth)
        a = oa + (p - o) * slope
        ia = math.floor(a)
        if k0 >= k1 or not -1 <= ia < na:
            continue
        wf = a - ia if ia + 1 < na else 0.0
        wn = 1 + ia - a if ia >= 0 else 0.0
        i0 = p * along + max(ia, 0) * across + k0
        i1 = p * along + min(ia + 1, na - 1) * across + k0
        interpolate(flat, i0, i1, wn, wf, k1 - k0, g, MARGIN + k0)
        t = max(low, math.floor(zs + (k0 - 1 - zs) / (1 + delta)))
        end = min(high, math.ceil(zs + (k1 - zs) / (1 + delta)) + 1)
        tile = math.floor(1 / max(abs(delta), 1e-6)) // LANES * LANES
        while t < end:  # shifts within shift..shift + 1
            count = min(tile, end - t)
            f0, f1 = delta * (t - zs), delta * (t + count - 1 - zs)
            shift = math.floor(min(f0, f1))
            whole = -(-count // LANES) * LANES  # what is beyond is 0 or not read
            shear(g, MARGIN + t + shift, f0 - shift, delta, whole, q, guard + t - low)
            t += count
    width, sharpen = _aperture(stride)
    r0, r1 = _rows(t0, stride, rows, low - width / 2 - 4, high + width / 2 + 4)
    taps = readings(t0, stride, r0, r1, low - guard, width, sharpen, index, weights)
    read(q, index, weights, taps, r0, r1, slot, u, sums)


@_jit
def _sum_adjoint(
    sums: Array, slot: int, source: Array, points: Array, step: Array, view: int, u: int, axis: int, begin: int,
    block: int, q: Array, g: Array, index: Array, weights: Array, flat: Array, h: int, w: int, depth: int,
) -> None:  # fmt: skip
    """The transpose of `_sum`, added to the volume."""
    rows = sums.shape[2]
    n, na, along, across = (w, h, depth, w * depth) if axis == 0 else (h, w, w * depth, depth)
    first, last, slope, t0, stride, low, high = _crossing(
        source, points, step, view, u, rows, axis, begin, block, n, na, depth
    )
    if first >= last:
        return
    guard = 2 * weights.shape[0] + 8
    o, oa, zs = source[view, axis], source[view, 1 - axis], source[view, 2]
    d0 = begin + (block - 1) / 2 - o
    q[: high - low + 2 * guard] = 0
    width, sharpen = _aperture(stride)
    r0, r1 = _rows(t0, stride, rows, low - width / 2 - 4, high + width / 2 + 4)
    taps = readings(t0, stride, r0, r1, low - guard, width, sharpen, index, weights)
    read_adjoint(sums, slot, u, index, weights, taps, r0, r1, q)
    q[:guard] = 0
    q[guard + high - low : high - low + 2 * guard] = 0
    for p in range(first, last):
        delta = (p - o - d0) / d0
        k0, k1 = _touched(low, high, zs, delta, depth)
        k, half = k0, 1 / (1 + delta)
        tile = math.floor(0.9 / max(abs(delta * half), 1e-6)) // LANES * LANES
        while k < k1:  # the heights t with |z(t) - k| < 1 are three of k + shift, k + shift + 1, ...
            count = min(tile, k1 - k)
            f0, f1 = -delta * half * (k - zs), -delta * half * (k + count - 1 - zs)
            shift = math.floor(min(f0, f1) - half) + 1
            f0 = shift + delta * (k + shift - zs)
            shear_adjoint(q, guard + k + shift - low, f0, delta, -(-count // LANES) * LANES, g, k)
            k += count
        a = oa + (p - o) * slope
        ia = math.floor(a)
        if k0 < k1 and 0 <= ia < na:
            add(g, k0, 1 + ia - a, k1 - k0, flat, p * along + ia * across + k0)
        if k0 < k1 and 0 <= ia + 1 < na:
            add(g, k0, a - ia, k1 - k0, flat, p * along + (ia + 1) * across + k0)


@_jit
def project(
    volume: Array, source: Array, points: Array, step: Array, size: Array, beside: Array, reach: int,
    start: int, stop: int, q: Array, g: Array, index: Array, weights: Array, sums: Array, projections: Array,
) -> None:  # fmt: skip
    """The views start..stop of `projections` (view, row, column), of a volume with the axes (y, x, z).

    source (view, 3); points (view, column, 3), the bins of the row at the middle of the detector; step (view,), slices
    from row to row; size (3,), of a voxel; beside (view, column), sharpening by the columns `reach` away. q, g, index,
    weights (tap, row) and sums (VIEWS, column, row) are work space.
    """
    h, w, depth = volume.shape
    _, columns, rows = sums.shape
    flat = volume.reshape(-1)
    g[:] = 0
    for group in range(start, stop, VIEWS):
        sums[:] = 0
        for axis in range(2):
            n = w if axis == 0 else h
            for slab in range(0, n, BLOCK):
                for u0 in range(0, columns, COLUMNS):
                    for view in range(group, min(group + VIEWS, stop)):
                        plane = slab
                        while plane < min(slab + BLOCK, n):
                            block = _block(plane, source[view, axis])
                            for u in range(u0, min(u0 + COLUMNS, columns)):
                                _sum(
                                    flat, h, w, depth, source, points, step, view, u, axis, plane, block,
                                    q, g, index, weights, sums, view - group,
                                )  # fmt: skip
                            plane += block
        for view in range(group, min(group + VIEWS, stop)):
            slot = view - group
            for i in range(rows):
                for u in range(columns):
                    total = sums[slot, u, i]
                    for v in (u - reach, u + reach):
                        if 0 <= v < columns:
                            total += beside[view, u] * (sums[slot, u, i] - sums[slot, v, i])
                    projections[view, i, u] = total * _length(source, points, step, view, u, i, rows, size)


@_jit
def weigh(
    projections: Array, source: Array, points: Array, step: Array, size: Array, beside: Array, reach: int,
    start: int, stop: int, sums: Array,
) -> None:  # fmt: skip
    """The transpose of the last loop of `project`: views start..stop with the axes (view, column, row)."""
    _, columns, rows = sums.shape
    line = np.empty(columns, sums.dtype)
    for view in range(start, stop):
        for i in range(rows):
            for u in range(columns):
                length = _length(source, points, step, view, u, i, rows, size)
                line[u] = projections[view, i, u] * length
            for u in range(columns):
                total = line[u]
                for v in (u - reach, u + reach):
                    if 0 <= v < columns:
                        total += beside[view, u] * line[u] - beside[view, v] * line[v]
                sums[view - start, u, i] = total


@_jit
def spread(
    sums: Array, source: Array, points: Array, step: Array, views: int, axis: int, start: int, stop: int,
    q: Array, g: Array, index: Array, weights: Array, volume: Array,
) -> None:  # fmt: skip
    """Adds to `volume` (y, x, z) the transpose of `project` of the weighted views on the planes start..stop of an axis.

    sums (view, column, row) holds those from number `views` on; whole blocks; only rays which the axis drives.
    """
    h, w, depth = volume.shape
    count, columns, _ = sums.shape
    flat = volume.reshape(-1)
    for group in range(views, views + count, VIEWS):
        for slab in range(start, stop, BLOCK):
            for u0 in range(0, columns, COLUMNS):
                for view in range(group, min(group + VIEWS, views + count)):
                    plane = slab
                    while plane < min(slab + BLOCK, stop):
                        block = _block(plane, source[view, axis])
                        for u in range(u0, min(u0 + COLUMNS, columns)):
                            _sum_adjoint(
                                sums, view - views, source, points, step, view, u, axis, plane, block,
                                q, g, index, weights, flat, h, w, depth,
                            )  # fmt: skip
                        plane += block
