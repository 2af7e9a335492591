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
rays towards higher or lower rows), and tables (view, bin): the slope, the width of the bin in slope, the length of ray per row.
"""

import itertools
import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numpy.polynomial import Polynomial

from invreg.operators.tomography.kernels_parallel import _cubic_integral
from invreg.operators.tomography.kernels_vectors import broadcast, load, maximum, minimum, ramp, store, totals

Array = npt.NDArray[Any]

BLOCK = 64  # rows
LANES = 16  # values of a tile
TAPS = 8  # values that a bin reads, the last two with weight 0
GROUP = 8  # segments for which a block stays in the second-level cache, and buffers in the first
CENTRE = (LANES - 1) / 2
STEEPEST = 1 / (LANES + 4)  # largest shift of a row per value of t: a tile of 16 then needs three vectors, both ways
EDGE = BLOCK // 2 + 16  # how far beyond the image t may lie: half a block on the diagonal, and what a bin reads
MARGIN = EDGE + 3 * LANES  # place of t = 0 in a buffer
GUARD = 2 * EDGE + 2 * LANES + 16  # zeros between the rows: t beyond the image, shifted, and the rest of a tile
PIXEL_VARIANCE = 1 / 12
WIDEST = -0.25  # a bin that needs this much smoothing, or less, is smoothed by three points, not averaged

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")


@_jit
def buffer_length(length: int) -> int:
    return length + 2 * MARGIN + 2 * LANES


def cubic_taps(dtype: npt.DTypeLike) -> Array:
    """Keys' six weights of `kernels_parallel._cubic` as polynomials of the fraction, and what sharpening adds to them.

    (2 * 4 * TAPS,): plain or added, power, tap; tap k lies at floor(t) - 2 + k.
    """
    plain = [1, 0, -7 / 3, 4 / 3], [5 / 2, -59 / 12, 3, -7 / 12], [-3 / 2, 21 / 12, -2 / 3, 1 / 12]
    added = [2.0, 0, -9, 6], [4, -12, 9, -2], [0.0] * 4
    table = np.zeros((2, 4, TAPS))
    for i, (pieces, tap) in enumerate(itertools.product((plain, added), range(6))):
        away = Polynomial([2 - tap, 1]) if tap < 3 else Polynomial([tap - 2, -1])  # distance of the tap from t
        table[i // 6, :, tap] = (Polynomial(pieces[abs(2 * tap - 5) // 2])(away)).coef
    return table.astype(dtype).ravel()


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
def place_bins(
    middle: float, half: float, column: float, slope: Array, width: Array, node: Array, fraction: Array, sharpen: Array
) -> None:
    """Where bins lie on the t of a block, whole pixels and fraction, and how much to sharpen.

    That is half of: the variances of a pixel and of the interpolation in the block, less that of the bin, in square
    pixels. In a block of 2 half + 1 rows the fractions w of the shifts spread over 0 to half |slope|, and w (1 - w)
    averages. Up to a multiple of eight, bins that do not count follow.
    """
    cast = fraction.dtype.type
    distance, constant = cast(middle), cast(PIXEL_VARIANCE / 2)
    quarter, sixth, share = cast(1 / 4), cast(1 / 6), cast(1 / 24)
    for b in range(slope.size):
        t = column + middle * slope[b]
        whole = math.floor(t)
        node[b] = np.int32(whole)
        fraction[b] = cast(t - whole)
        x = cast(min(half * abs(slope[b]), 1.0))
        bin = distance * width[b]
        sharpen[b] = constant + x * (quarter - x * sixth) - bin * bin * share
    for b in range(slope.size, (slope.size + 7) // 8 * 8):
        node[b], fraction[b], sharpen[b] = node[0], cast(0), cast(0)


@_jit
def averaged(t: float, node: int, half: float) -> float:
    """Weight of the value at `node` in the mean of the cubic over t - half to t + half."""
    return (_cubic_integral(t - node + half) - _cubic_integral(t - node - half)) / (2 * half)


@_jit
def weights(cubic: Array, fraction: float, sharpen: float) -> Any:
    """Weights of the eight values from two before the node."""
    f, s = broadcast(fraction, 8), broadcast(sharpen, 8)
    high = load(cubic, 16, 8) + s * load(cubic, 48, 8) + f * (load(cubic, 24, 8) + s * load(cubic, 56, 8))
    return load(cubic, 0, 8) + s * load(cubic, 32, 8) + f * (load(cubic, 8, 8) + s * load(cubic, 40, 8) + f * high)


@_jit
def tapped(q: Array, b: int, node: Array, fraction: Array, sharpen: Array, cubic: Array) -> Any:
    """What each tap of a bin adds to it."""
    return weights(cubic, fraction[b], sharpen[b]) * load(q, MARGIN - 2 + node[b], 8)


@_jit
def read(
    q: Array, t0: int, t1: int, wide: bool, node: Array, fraction: Array, sharpen: Array, cubic: Array, ray: Array,
    values: Array, out: Array,
) -> None:  # fmt: skip
    """out += ray times q at the bins, sharpened or averaged to their width; `wide`: some may need averaging."""
    cast = q.dtype.type
    for b in range(0, out.size, 8):
        sums = totals(
            tapped(q, b, node, fraction, sharpen, cubic),
            tapped(q, b + 1, node, fraction, sharpen, cubic),
            tapped(q, b + 2, node, fraction, sharpen, cubic),
            tapped(q, b + 3, node, fraction, sharpen, cubic),
            tapped(q, b + 4, node, fraction, sharpen, cubic),
            tapped(q, b + 5, node, fraction, sharpen, cubic),
            tapped(q, b + 6, node, fraction, sharpen, cubic),
            tapped(q, b + 7, node, fraction, sharpen, cubic),
        )
        store(values, b, sums)
    if wide:
        for b in range(out.size):
            if sharpen[b] < WIDEST:
                half = math.sqrt(-6 * sharpen[b])
                total, t = cast(0), node[b] + fraction[b]
                for n in range(max(t0, math.floor(t - half) - 2), min(t1, math.floor(t + half) + 3) + 1):
                    total += cast(averaged(t, n, half)) * q[MARGIN + n]
                values[b] = total
    for b in range(out.size):
        out[b] += ray[b] * values[b]


@_jit
def read_adjoint(
    values: Array, t0: int, t1: int, wide: bool, node: Array, fraction: Array, sharpen: Array, cubic: Array,
    count: int, parts: Array, q: Array,
) -> None:  # fmt: skip
    """The transpose of `read` for `values` times ray, written to q.

    In four parts, so that no bin waits for what its neighbour has just written.
    """
    cast = q.dtype.type
    zero, size = broadcast(cast(0), LANES), parts.size // 4
    first, last = MARGIN + t0 - 2 * LANES, MARGIN + t1 + 2 * LANES + 1
    for c in range(4):
        for t in range(first, last, LANES):
            store(parts, c * size + t, zero)
    if wide:
        for b in range(count):
            if sharpen[b] < WIDEST:
                half = math.sqrt(-6 * sharpen[b])
                t = node[b] + fraction[b]
                for n in range(max(t0, math.floor(t - half) - 2), min(t1, math.floor(t + half) + 3) + 1):
                    parts[MARGIN + n] += cast(averaged(t, n, half)) * values[b]
                values[b] = 0
    for b in range(count):
        i = b % 4 * size + MARGIN - 2 + node[b]
        added = weights(cubic, fraction[b], sharpen[b]) * broadcast(values[b], 8)
        store(parts, i, load(parts, i, 8) + added)
    for t in range(first, last, LANES):
        sums = load(parts, t, LANES)
        for c in range(1, 4):
            sums = sums + load(parts, c * size + t, LANES)
        store(q, t, sums)


@_jit
def project(
    padded: Array, origin: int, stride: int, rows: int, length: int, place: Array, source: Array, slope: Array,
    width: Array, ray: Array, cubic: Array, sinogram: Array,
) -> None:  # fmt: skip
    """Write the bins of the segments `place`, `source`."""
    q = np.empty(buffer_length(length), padded.dtype)
    node, made = np.empty(slope.shape[1] + 8, np.int32), np.empty((3, slope.shape[1] + 8), padded.dtype)
    fraction, sharpen, values = made[0], made[1], made[2]
    for g in range(0, len(place), GROUP):
        members = range(g, min(g + GROUP, len(place)))
        for s in members:
            sinogram[place[s, 0], place[s, 1] : place[s, 1] + place[s, 2]] = 0
        for block in range(0, rows, BLOCK):
            for s in members:
                v, column, row, sign = place[s, 0], source[s, 0], source[s, 1], source[s, 2]
                low, high = in_front(block, min(block + BLOCK, rows), row, sign)
                while low < high:
                    r0, r1 = piece(low, high, row, sign)
                    low, high = (r1, high) if sign > 0 else (low, r0)
                    middle, start, stop, t0, t1 = reach(
                        r0,
                        r1,
                        column,
                        row,
                        sign,
                        length,
                        slope[v],
                        source[s, 3],
                        place[s, 1],
                        place[s, 1] + place[s, 2],
                    )
                    if start < stop:
                        block_sums(padded, origin, stride, r0, r1, sign, column, middle, q, t0, t1)
                        half = (r1 - r0 - 1) / 2
                        place_bins(
                            middle, half, column, slope[v, start:stop], width[v, start:stop], node, fraction, sharpen
                        )
                        wide = (middle * source[s, 3]) ** 2 / 24 > -WIDEST
                        read(
                            q, t0, t1, wide, node, fraction, sharpen, cubic, ray[v, start:stop], values,
                            sinogram[v, start:stop],
                        )  # fmt: skip


@_jit
def add_rows(
    padded: Array, origin: int, stride: int, length: int, block: int, last: int, q: Array, used: int,
    rows: Array, beam: Array,
) -> None:  # fmt: skip
    """The transpose of `block_sums` for `used` blocks of as many segments, added to the rows block..last of `padded`."""
    cast = padded.dtype.type
    one, zero, lanes = broadcast(cast(1), LANES), broadcast(cast(0), LANES), ramp(cast(0), LANES)
    size = q.size // GROUP
    rates, offsets, at = np.empty(GROUP, padded.dtype), np.empty(GROUP, padded.dtype), np.empty((3, GROUP), np.int64)
    for r in range(block, last):
        active, first, end, common, common_end = 0, length, -1, 0, length
        for c in range(used):
            if rows[c, 0] <= r < rows[c, 1]:
                column = beam[c, 0]
                rate = beam[c, 2] * (r - (rows[c, 0] + rows[c, 1] - 1) / 2) / beam[c, 1]
                rates[active], offsets[active] = cast(rate), cast(rate * (column - CENTRE))
                # columns between which this row sees something of q
                a0 = math.floor(rows[c, 2] + rate * (rows[c, 2] - column)) - LANES
                a1 = math.ceil(rows[c, 3] + rate * (rows[c, 3] - column)) + 1
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
def backproject(
    padded: Array, origin: int, stride: int, start_row: int, stop_row: int, length: int, place: Array, source: Array,
    slope: Array, width: Array, ray: Array, cubic: Array, sinogram: Array,
) -> None:  # fmt: skip
    """The transpose of `project`, written to the rows start_row..stop_row, multiples of BLOCK, of `padded`."""
    size = buffer_length(length)
    q, parts = np.empty(GROUP * size, padded.dtype), np.empty(4 * size, padded.dtype)
    node, made = np.empty(slope.shape[1] + 8, np.int32), np.empty((3, slope.shape[1] + 8), padded.dtype)
    fraction, sharpen, values = made[0], made[1], made[2]
    rows, beam = np.empty((GROUP, 4), np.int64), np.empty((GROUP, 3))
    padded[origin + start_row * stride : origin + stop_row * stride] = 0
    for g in range(0, len(place), GROUP):
        for block in range(start_row, stop_row, BLOCK):
            used, last = 0, min(block + BLOCK, stop_row)
            for s in range(g, min(g + GROUP, len(place))):
                v, column, row, sign = place[s, 0], source[s, 0], source[s, 1], source[s, 2]
                low, high = in_front(block, last, row, sign)
                while low < high:
                    r0, r1 = piece(low, high, row, sign)
                    low, high = (r1, high) if sign > 0 else (low, r0)
                    middle, start, stop, t0, t1 = reach(
                        r0,
                        r1,
                        column,
                        row,
                        sign,
                        length,
                        slope[v],
                        source[s, 3],
                        place[s, 1],
                        place[s, 1] + place[s, 2],
                    )
                    if start < stop:
                        rows[used, 0], rows[used, 1], rows[used, 2], rows[used, 3] = r0, r1, t0, t1
                        beam[used, 0], beam[used, 1], beam[used, 2] = column, middle, sign
                        half = (r1 - r0 - 1) / 2
                        place_bins(
                            middle, half, column, slope[v, start:stop], width[v, start:stop], node, fraction, sharpen
                        )
                        for b in range(start, stop):
                            values[b - start] = ray[v, b] * sinogram[v, b]
                        wide = (middle * source[s, 3]) ** 2 / 24 > -WIDEST
                        read_adjoint(
                            values, t0, t1, wide, node, fraction, sharpen, cubic, stop - start, parts,
                            q[used * size : (used + 1) * size],
                        )  # fmt: skip
                        used += 1
                    if used == GROUP:
                        add_rows(padded, origin, stride, length, block, last, q, used, rows, beam)
                        used = 0
            add_rows(padded, origin, stride, length, block, last, q, used, rows, beam)
