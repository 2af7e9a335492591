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

from invreg.operators.tomography.kernels_parallel import _cubic_integral

Array = npt.NDArray[Any]

BLOCK = 64  # planes of the driving axis read at once
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
def _length(source: Array, point: Array, step: float, row: int, rows: int, size: Array) -> float:
    """The length of a ray from plane to plane."""
    x, y = point[0] - source[0], point[1] - source[1]
    z = point[2] - source[2] + (row - (rows - 1) / 2) * step
    return math.sqrt((x * size[0]) ** 2 + (y * size[1]) ** 2 + (z * size[2]) ** 2) / max(abs(x), abs(y))


@_strict
def _rows(t0: float, stride: float, rows: int, low: float, high: float) -> tuple[int, int]:
    """The rows whose height is between low and high."""
    a, b = (low - t0) / stride, (high - t0) / stride
    first, last = max(min(a, b), 0.0), min(max(a, b), rows - 1.0)
    if first > last:
        return 0, 0
    return math.ceil(first), math.floor(last) + 1


# The inner loops take whole arrays and unsigned places in them: slices would count references, and signed places may be
# negative, which keeps the compiler from vector code.


@_jit
def _readings(
    t0: float, stride: float, first: int, last: int, start: int, width: float, sharpen: float, index: Array,
    weights: Array,
) -> int:  # fmt: skip
    """Where and with which weights the rows first..last read q, whose entry 0 is at height `start`: number of taps."""
    cast = weights.dtype.type
    half = width / 2
    if width > 0:
        taps = 6 + math.ceil(width)
        for i in range(first, last):
            t = t0 + i * stride
            at = math.floor(t - half) - 2
            index[i] = at - start
            for k in range(taps):
                s = t - (at + k)
                weights[k, i] = (_cubic_integral(s + half) - _cubic_integral(s - half)) / width
        return taps
    one, two, three, s = cast(1), cast(2), cast(3), cast(sharpen)
    for i in range(np.uint64(first), np.uint64(last)):
        t = t0 + i * stride
        at = np.floor(t)
        index[i] = np.int32(at) - np.int32(2 + start)
        # kernels_parallel._cubic at x + 2, x + 1, x, 1 - x, 2 - x, 3 - x
        x = cast(t - at)
        y = one - x
        step = x * x * (three - two * x)
        weights[0, i] = x * y * y * cast(1 / 12)
        weights[1, i] = x * (cast(-2 / 3) + x * (cast(5 / 4) - x * cast(7 / 12))) - s * (one - step)
        weights[2, i] = one - x * x * (cast(7 / 3) - x * cast(4 / 3)) + s * (two - three * step)
        weights[3, i] = one - y * y * (cast(7 / 3) - y * cast(4 / 3)) + s * (three * step - one)
        weights[4, i] = y * (cast(-2 / 3) + y * (cast(5 / 4) - y * cast(7 / 12))) - s * step
        weights[5, i] = y * x * x * cast(1 / 12)
    return 6


@_jit
def _read(q: Array, index: Array, weights: Array, taps: int, first: int, last: int, u: int, sums: Array) -> None:
    """sums[u, i] += sum_k weights[k, i] q[index[i] + k]."""
    for i in range(np.uint64(first), np.uint64(last)):
        total = sums[u, i]
        at = np.uint64(index[i])
        for k in range(np.uint64(taps)):
            total += weights[k, i] * q[at + k]
        sums[u, i] = total


@_jit
def _read_adjoint(
    sums: Array, view: int, u: int, index: Array, weights: Array, taps: int, first: int, last: int, q: Array
) -> None:
    """q[index[i] + k] += weights[k, i] sums[view, u, i]."""
    for i in range(np.uint64(first), np.uint64(last)):
        value = sums[view, u, i]
        at = np.uint64(index[i])
        for k in range(np.uint64(taps)):
            q[at + k] += weights[k, i] * value


@_jit
def _interpolate(volume: Array, near: int, far: int, wn: float, wf: float, count: int, g: Array, at: int) -> None:
    """g[at + k] = wn volume[near + k] + wf volume[far + k]."""
    i, j, k, one = np.uint64(near), np.uint64(far), np.uint64(at), np.uint64(1)
    a, b = g.dtype.type(wn), g.dtype.type(wf)
    for _ in range(count):
        g[k] = a * volume[i] + b * volume[j]
        i, j, k = i + one, j + one, k + one


@_jit
def _add(g: Array, at: int, w: float, count: int, volume: Array, to: int) -> None:
    """volume[to + k] += w g[at + k]."""
    i, j, one = np.uint64(at), np.uint64(to), np.uint64(1)
    b = g.dtype.type(w)
    for _ in range(count):
        volume[j] += b * g[i]
        i, j = i + one, j + one


@_jit
def _shear(g: Array, at: int, f0: float, delta: float, count: int, q: Array, to: int) -> None:
    """q[to + t] += sum_k max(1 - |f - k|, 0) g[at + t + k], k = 0, 1, 2, for f = f0 + t delta in 0..2."""
    cast = q.dtype.type
    zero, one, f1, d = cast(0), cast(1), cast(f0 - 1), cast(delta)
    i, j, i1, i2 = np.uint64(at), np.uint64(to), np.uint64(1), np.uint64(2)
    for t in range(count):
        f = f1 + d * cast(np.int32(t))
        below, above = max(-f, zero), max(f, zero)
        q[j] += below * g[i] + (one - below - above) * g[i + i1] + above * g[i + i2]
        i, j = i + i1, j + i1


@_jit
def _shear_adjoint(q: Array, at: int, f0: float, delta: float, count: int, g: Array, to: int) -> None:
    """g[to + k] = sum_j max(1 - |f + j (1 + delta)|, 0) q[at + k + j], j = 0, 1, 2, for f = f0 + k delta."""
    cast = q.dtype.type
    zero, one, d = cast(0), cast(1), cast(delta)
    fa, fb, fc = cast(f0), cast(f0 + (1 + delta)), cast(f0 + 2 * (1 + delta))
    i, j, i1, i2 = np.uint64(at), np.uint64(to), np.uint64(1), np.uint64(2)
    for k in range(count):
        f = d * cast(np.int32(k))
        a, b, c = abs(fa + f), abs(fb + f), abs(fc + f)
        g[j] = max(one - a, zero) * q[i] + max(one - b, zero) * q[i + i1] + max(one - c, zero) * q[i + i2]
        i, j = i + i1, j + i1


@_jit
def project(
    volume: Array, source: Array, points: Array, step: Array, size: Array, beside: Array, reach: int,
    start: int, stop: int, q: Array, g: Array, index: Array, weights: Array, sums: Array, projections: Array,
) -> None:  # fmt: skip
    """The views start..stop of `projections` (view, row, column), of a volume with the axes (y, x, z).

    source (view, 3); points (view, column, 3), the bins of the row at the middle of the detector; step (view,), slices
    from row to row; size (3,), of a voxel; beside (view, column), sharpening by the columns `reach` away. q, g, index,
    weights (tap, row) and sums (column, row) are work space.
    """
    h, w, depth = volume.shape
    columns, rows = sums.shape
    guard = 2 * weights.shape[0] + 8
    flat = volume.reshape(-1)
    g[:] = 0
    for view in range(start, stop):
        zs = source[view, 2]
        sums[:] = 0
        for axis in range(2):
            o, oa = source[view, axis], source[view, 1 - axis]
            n, na, along, across = (w, h, depth, w * depth) if axis == 0 else (h, w, w * depth, depth)
            plane = 0
            while plane < n:
                begin, block = plane, _block(plane, o)
                plane += block
                d0 = begin + (block - 1) / 2 - o
                for u in range(columns):
                    first, last, slope, t0, stride, low, high = _crossing(
                        source, points, step, view, u, rows, axis, begin, block, n, na, depth
                    )
                    if first >= last:
                        continue
                    width, sharpen = _aperture(stride)
                    q[: high - low + 2 * guard] = 0
                    for p in range(first, last):
                        delta = (p - o - d0) / d0
                        k0, k1 = _touched(low, high, zs, delta, depth)
                        if k0 >= k1:
                            continue
                        a = oa + (p - o) * slope
                        ia = math.floor(a)
                        if not -1 <= ia < na:
                            continue
                        wf = a - ia if ia + 1 < na else 0.0
                        wn = 1 + ia - a if ia >= 0 else 0.0
                        i0 = p * along + max(ia, 0) * across + k0
                        i1 = p * along + min(ia + 1, na - 1) * across + k0
                        _interpolate(flat, i0, i1, wn, wf, k1 - k0, g, MARGIN + k0)
                        t = max(low, math.floor(zs + (k0 - 1 - zs) / (1 + delta)))
                        end = min(high, math.ceil(zs + (k1 - zs) / (1 + delta)) + 1)
                        tile = math.floor(1 / max(abs(delta), 1e-6)) // LANES * LANES
                        while t < end:  # shifts within shift..shift + 1
                            count = min(tile, end - t)
                            f0, f1 = delta * (t - zs), delta * (t + count - 1 - zs)
                            shift = math.floor(min(f0, f1))
                            whole = -(-count // LANES) * LANES  # what is beyond is 0 or not read
                            _shear(g, MARGIN + t + shift, f0 - shift, delta, whole, q, guard + t - low)
                            t += count
                    r0, r1 = _rows(t0, stride, rows, low - width / 2 - 4, high + width / 2 + 4)
                    taps = _readings(t0, stride, r0, r1, low - guard, width, sharpen, index, weights)
                    _read(q, index, weights, taps, r0, r1, u, sums)
        for i in range(rows):
            for u in range(columns):
                s, total = beside[view, u], sums[u, i]
                for v in (u - reach, u + reach):
                    if 0 <= v < columns:
                        total += s * (sums[u, i] - sums[v, i])
                projections[view, i, u] = total * _length(source[view], points[view, u], step[view], i, rows, size)


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
                length = _length(source[view], points[view, u], step[view], i, rows, size)
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
    count_of_views, columns, rows = sums.shape
    n, na, along, across = (w, h, depth, w * depth) if axis == 0 else (h, w, w * depth, depth)
    flat = volume.reshape(-1)
    guard = 2 * weights.shape[0] + 8
    for view in range(views, views + count_of_views):
        zs = source[view, 2]
        o, oa = source[view, axis], source[view, 1 - axis]
        plane = start
        while plane < stop:
            begin, block = plane, _block(plane, o)
            plane += block
            d0 = begin + (block - 1) / 2 - o
            for u in range(columns):
                first, last, slope, t0, stride, low, high = _crossing(
                    source, points, step, view, u, rows, axis, begin, block, n, na, depth
                )
                if first >= last:
                    continue
                width, sharpen = _aperture(stride)
                q[: high - low + 2 * guard] = 0
                r0, r1 = _rows(t0, stride, rows, low - width / 2 - 4, high + width / 2 + 4)
                taps = _readings(t0, stride, r0, r1, low - guard, width, sharpen, index, weights)
                _read_adjoint(sums, view - views, u, index, weights, taps, r0, r1, q)
                q[:guard] = 0
                q[guard + high - low : high - low + 2 * guard] = 0
                for p in range(first, last):
                    delta = (p - o - d0) / d0
                    k0, k1 = _touched(low, high, zs, delta, depth)
                    if k0 >= k1:
                        continue
                    k, half = k0, 1 / (1 + delta)
                    tile = math.floor(0.9 / max(abs(delta * half), 1e-6)) // LANES * LANES
                    while k < k1:  # the heights t with |z(t) - k| < 1 are three of k + shift, k + shift + 1, ...
                        count = min(tile, k1 - k)
                        f0, f1 = -delta * half * (k - zs), -delta * half * (k + count - 1 - zs)
                        shift = math.floor(min(f0, f1) - half) + 1
                        f0 = shift + delta * (k + shift - zs)
                        _shear_adjoint(q, guard + k + shift - low, f0, delta, -(-count // LANES) * LANES, g, k)
                        k += count
                    a = oa + (p - o) * slope
                    ia = math.floor(a)
                    if 0 <= ia < na:
                        _add(g, k0, 1 + ia - a, k1 - k0, flat, p * along + ia * across + k0)
                    if 0 <= ia + 1 < na:
                        _add(g, k0, a - ia, k1 - k0, flat, p * along + (ia + 1) * across + k0)
