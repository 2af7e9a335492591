"""Numba kernels of the fan-beam ray transform: sheared sums over blocks of rows, each read at the bins.

A ray from the source at column a_s crosses the row at distance d from the source at a_s + d m, m its slope. In a
block of rows about distance d_0 let t = a_s + d_0 m. The row at distance d_0 + j is crossed at

    a = t + (j / d_0) (t - a_s):

a shift that changes so slowly with t that over a tile of LANES integers t it stays within one pixel. So Joseph's
linear interpolation reads three contiguous vectors, with weights that are linear in t between 0 and 1, and the
sums q[t] of all rows of the block stay in a register. Then each bin is read once a block, at its own t, by cubic
convolution (`kernels_parallel._cubic`). The adjoint applies the same weights transposed, by blocks of rows: no
atomics, the same result on any number of threads. Bins that are nearer to the other axis run on the transposed image.

A segment is a run of bins of one view that are driven by the same axis, away from the source the same way.
Kernels take, for each segment, `place` = (view, first bin, number of bins) and `source` = (column, row, 1 or -1 for
rays towards higher or lower rows, width in slope of its widest bin), and tables (view, bin): slope, width of the bin
in slope, length of the ray per row.
"""

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from invreg.operators.tomography.kernels_bins import any_wide, place_bins, read, read_adjoint
from invreg.operators.tomography.kernels_vectors import broadcast, load, maximum, minimum, ramp, store

Array = npt.NDArray[Any]

BLOCK = 64  # rows
LANES = 16  # values of a tile
GROUP = 8  # segments for which a block stays in the second-level cache, and buffers in the first
CENTRE = (LANES - 1) / 2
STEEPEST = 1 / (LANES + 4)  # largest shift of a row per value of t: a tile of 16 then needs three vectors, both ways
EDGE = BLOCK // 2 + 16  # how far beyond the image t may lie: half a block on the diagonal, and what a bin reads
MARGIN = EDGE + 3 * LANES  # place of t = 0 in a buffer
GUARD = 2 * EDGE + 2 * LANES + 16  # zeros between the rows: t beyond the image, shifted, and the rest of a tile

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")


@_jit
def buffer_length(length: int) -> int:
    return length + 2 * MARGIN + 2 * LANES


@_jit
def piece(low: int, high: int, row: float, sign: float) -> tuple[int, int]:
    """Of the rows low..high, all in front of the source, those nearest to it that make one block."""
    distance = low - row if sign > 0 else row - (high - 1)
    rows = 1 + int(2 * STEEPEST / (1 - STEEPEST) * distance)
    return (low, min(high, low + rows)) if sign > 0 else (max(low, high - rows), high)


@_jit
def in_front(low: int, high: int, row: float, sign: float) -> tuple[int, int]:
    """Of the rows low..high those to which the rays run."""
    if sign > 0:
        return max(low, int(min(math.floor(row), high)) + 1), high
    return low, min(high, int(max(math.ceil(row), low)))


@_jit
def first_beyond(slope: Array, start: int, stop: int, value: float, rising: bool) -> int:
    """First of the bins start..stop whose slope is at least `value`, or where slopes fall, at most."""
    while start < stop:
        middle = (start + stop) // 2
        if (slope[middle] < value) if rising else (slope[middle] > value):
            start = middle + 1
        else:
            stop = middle
    return start


@_jit
def reach(
    low: int, high: int, column: float, row: float, sign: float, length: int, slope: Array, width: float,
    start: int, stop: int,
) -> tuple[float, int, int, int, int]:  # fmt: skip
    """Distance of the middle of a block of rows from the source, its bins start..stop, and its t, low..high inclusive.

    `width`: the largest of the bins, in slope.
    """
    middle = sign * ((low + high - 1) / 2 - row)
    half = (high - low - 1) / 2
    near, far = middle / (middle - half), middle / (middle + half)
    left, right = -1 - column, length - column
    t0 = max(math.floor(min(left * near, left * far) + column), -EDGE)
    t1 = min(math.ceil(max(right * near, right * far) + column), length - 1 + EDGE)
    if half > 0:  # far beyond the rays that this axis drives
        t0 = max(t0, math.ceil(column - EDGE * middle / half))
        t1 = min(t1, math.floor(column + EDGE * middle / half))
    beyond = 3 + middle * width / 2
    lower, upper = (t0 - beyond - column) / middle, (t1 + beyond - column) / middle
    rising = slope[start] <= slope[stop - 1]
    if rising:
        start = first_beyond(slope, start, stop, lower, rising)
        stop = first_beyond(slope, start, stop, upper, rising)
    else:
        start = first_beyond(slope, start, stop, upper, rising)
        stop = first_beyond(slope, start, stop, lower, rising)
    if start < stop:
        ends = column + middle * slope[start], column + middle * slope[stop - 1]
        t0 = max(t0, math.floor(min(ends[0], ends[1]) - beyond))
        t1 = min(t1, math.ceil(max(ends[0], ends[1]) + beyond))
    if t0 > t1:
        stop = start
    return middle, start, stop, t0, t1


@_jit
def blocks_of(
    first: int, last: int, group: int, place: Array, source: Array, slope: Array, length: int, found: Array,
    beams: Array,
) -> int:  # fmt: skip
    """The blocks that a group of segments has among the rows first..last, those that see something; their number.

    found (block, 7): rows low..high, t0..t1, segment, bins start..stop; beams (block, 3): column and sign of the
    source, distance of the middle.
    """
    count = 0
    for s in range(group, min(group + GROUP, len(place))):
        column, row, sign, width = source[s, 0], source[s, 1], source[s, 2], source[s, 3]
        view, start = place[s, 0], place[s, 1]
        low, high = in_front(first, last, row, sign)
        while low < high:
            r0, r1 = piece(low, high, row, sign)
            low, high = (r1, high) if sign > 0 else (low, r0)
            middle, b0, b1, t0, t1 = reach(
                r0, r1, column, row, sign, length, slope[view], width, start, start + place[s, 2]
            )
            if b0 < b1:
                block, beam = found[count], beams[count]
                block[0], block[1], block[2], block[3], block[4], block[5], block[6] = r0, r1, t0, t1, s, b0, b1
                beam[0], beam[1], beam[2] = column, sign, middle
                count += 1
    return count


@_jit
def block_sums(
    padded: Array, origin: int, stride: int, low: int, high: int, sign: float, column: float, middle: float,
    q: Array, t0: int, t1: int,
) -> None:  # fmt: skip
    """q[MARGIN + t] = sum over the rows low..high, for t from t0 to t1 inclusive, and zeros around."""
    cast = padded.dtype.type
    zero, lanes = broadcast(cast(0), LANES), ramp(cast(0), LANES)
    count, rate = high - low, broadcast(cast(1 / middle), LANES) * lanes
    step = stride if sign > 0 else -stride
    # the rows on either side of the middle, of larger and of smaller distance from the source
    up, down = origin + (low + (count + 1) // 2) * stride, origin + (low + count // 2 - 1) * stride
    if sign < 0:
        up, down = down, up
    nearest = cast(1 if count % 2 else 0.5)
    store(q, MARGIN + t0 - LANES, zero)
    t = t0
    while t <= t1:
        m = cast((t + CENTRE - column) / middle)
        slopes = broadcast(m, LANES) + rate
        sums = zero
        if count % 2:
            sums = load(padded, origin + (low + count // 2) * stride + t, LANES)
        i, j = up + t, down + t
        away = nearest
        for _ in range(count // 2):
            whole = np.rint(away * m)
            k = int(whole)
            d = broadcast(away, LANES) * slopes - broadcast(whole, LANES)
            right = maximum(d, zero)
            left = right - d
            # both rows are shifted as much, to either side
            mid = load(padded, i + k, LANES) + load(padded, j - k, LANES)
            after = load(padded, i + k + 1, LANES) + load(padded, j - k - 1, LANES)
            before = load(padded, i + k - 1, LANES) + load(padded, j - k + 1, LANES)
            sums = sums + (mid + right * (after - mid) + left * (before - mid))
            i += step
            j -= step
            away += cast(1)
        store(q, MARGIN + t, sums)
        t += LANES
    store(q, MARGIN + t, zero)


@_jit
def add_rows(
    padded: Array, origin: int, stride: int, length: int, top: int, bottom: int, q: Array, found: Array, beams: Array,
    used: int,
) -> None:  # fmt: skip
    """The transpose of `block_sums` for as many blocks as are `used`, added to the rows top..bottom of `padded`."""
    cast = padded.dtype.type
    one, zero, lanes = broadcast(cast(1), LANES), broadcast(cast(0), LANES), ramp(cast(0), LANES)
    size = q.size // GROUP
    rates, offsets, at = np.empty(GROUP, padded.dtype), np.empty(GROUP, padded.dtype), np.empty((3, GROUP), np.int64)
    for r in range(top, bottom):
        active, first, end, common, common_end = 0, length, -1, 0, length
        for c in range(used):
            if found[c, 0] <= r < found[c, 1]:
                column = beams[c, 0]
                rate = beams[c, 1] * (r - (found[c, 0] + found[c, 1] - 1) / 2) / beams[c, 2]
                rates[active], offsets[active] = cast(rate), cast(rate * (column - CENTRE))
                # columns between which this row sees something of q
                a0 = math.floor(found[c, 2] + rate * (found[c, 2] - column)) - LANES
                a1 = math.ceil(found[c, 3] + rate * (found[c, 3] - column)) + 1
                first, end = min(first, a0 + LANES - 1), max(end, a1)
                common, common_end = max(common, a0), min(common_end, a1)
                at[0, active], at[1, active], at[2, active] = c * size + MARGIN, a0, a1
                active += 1
        first, end = max(first, 0) // LANES * LANES, min(end, length - 1)
        to = origin + r * stride
        for a in range(first, end + 1, LANES):
            sums = load(padded, to + a, LANES)
            everyone = common <= a <= common_end
            for c in range(active):
                if everyone or at[1, c] <= a <= at[2, c]:
                    e = rates[c]
                    shift = e * cast(a) - offsets[c]
                    whole = np.rint(e * shift - shift)  # of -shift / (1 + e), nearly
                    rate_, d = broadcast(e, LANES), broadcast(shift + (whole + e * whole), LANES)
                    d = d + rate_ * lanes
                    i = at[0, c] + a + int(whole)
                    sums = sums + (
                        (one - maximum(d, zero - d)) * load(q, i, LANES)
                        + maximum(d - rate_, zero) * load(q, i - 1, LANES)
                        - minimum(d + rate_, zero) * load(q, i + 1, LANES)
                    )
            store(padded, to + a, sums)


@_jit
def project(
    padded: Array, origin: int, stride: int, rows: int, length: int, place: Array, source: Array, slope: Array,
    width: Array, ray: Array, cubic: Array, sinogram: Array,
) -> None:  # fmt: skip
    """Write the bins of the segments `place`, `source`."""
    q = np.empty(buffer_length(length), padded.dtype)
    node, work = np.empty(slope.shape[1] + 8, np.int32), np.empty((3, slope.shape[1] + 8), padded.dtype)
    fraction, sharpen, values = work[0], work[1], work[2]
    found, beams = np.empty((GROUP * BLOCK, 7), np.int64), np.empty((GROUP * BLOCK, 3))
    for v, start, count in place:
        sinogram[v, start : start + count] = 0
    for group in range(0, len(place), GROUP):
        for first in range(0, rows, BLOCK):
            last = min(first + BLOCK, rows)
            for c in range(blocks_of(first, last, group, place, source, slope, length, found, beams)):
                low, high, t0, t1, s, start, stop = found[c]
                column, sign, middle = beams[c]
                block_sums(padded, origin, stride, low, high, sign, column, middle, q, t0, t1)
                v, half = place[s, 0], (high - low - 1) / 2
                place_bins(middle, half, column, slope[v, start:stop], width[v, start:stop], node, fraction, sharpen)
                read(
                    q, MARGIN, t0, t1, any_wide(middle, source[s, 3]), node, fraction, sharpen, cubic,
                    ray[v, start:stop], values, sinogram[v, start:stop],
                )  # fmt: skip


@_jit
def backproject(
    padded: Array, origin: int, stride: int, start_row: int, stop_row: int, length: int, place: Array, source: Array,
    slope: Array, width: Array, ray: Array, cubic: Array, sinogram: Array,
) -> None:  # fmt: skip
    """The transpose of `project`, written to the rows start_row..stop_row, multiples of BLOCK, of `padded`."""
    size = buffer_length(length)
    q, parts = np.empty((GROUP, size), padded.dtype), np.empty(4 * size, padded.dtype)
    node, work = np.empty(slope.shape[1] + 8, np.int32), np.empty((3, slope.shape[1] + 8), padded.dtype)
    fraction, sharpen, values = work[0], work[1], work[2]
    found, beams = np.empty((GROUP * BLOCK, 7), np.int64), np.empty((GROUP * BLOCK, 3))
    padded[origin + start_row * stride : origin + stop_row * stride] = 0
    for group in range(0, len(place), GROUP):
        for first in range(start_row, stop_row, BLOCK):
            last = min(first + BLOCK, stop_row)
            count = blocks_of(first, last, group, place, source, slope, length, found, beams)
            for some in range(0, count, GROUP):
                used = min(GROUP, count - some)
                for c in range(used):
                    low, high, t0, t1, s, start, stop = found[some + c]
                    column, _, middle = beams[some + c]
                    v, half = place[s, 0], (high - low - 1) / 2
                    place_bins(
                        middle, half, column, slope[v, start:stop], width[v, start:stop], node, fraction, sharpen
                    )
                    for b in range(start, stop):
                        values[b - start] = ray[v, b] * sinogram[v, b]
                    read_adjoint(
                        values, MARGIN, t0, t1, any_wide(middle, source[s, 3]), node, fraction, sharpen, cubic,
                        stop - start, parts, q[c],
                    )  # fmt: skip
                add_rows(padded, origin, stride, length, first, last, q.ravel(), found[some:], beams[some:], used)
