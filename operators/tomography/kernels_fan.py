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
from invreg.operators.tomography.kernels_vectors import broadcast, load, maximum, ramp, store, total

Array = npt.NDArray[Any]

BLOCK = 32  # rows
LANES = 16  # values of a tile
TAPS = 8  # values that a bin reads, the last two with weight 0
GROUP = 8  # segments for which a block stays in the second-level cache, and buffers in the first
STEEPEST = 0.05  # largest shift of a row per value of t: a tile of 16 then needs three vectors, both ways
EDGE = BLOCK // 2 + 16  # how far beyond the image t may lie: half a block on the diagonal, and what a bin reads
MARGIN = EDGE + 3 * LANES  # place of t = 0 in a buffer
GUARD = 2 * EDGE + 2 * LANES + 16  # zeros between the rows: t beyond the image, shifted, and the rest of a tile
PIXEL_VARIANCE = 1 / 12

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
    zero, lanes = broadcast(cast(0), 16), ramp(cast(0), 16)
    count = high - low
    first = 0.5 if count % 2 == 0 else 1.0
    step = stride if sign > 0 else -stride
    up = origin + (low + (count + 1) // 2) * stride  # the rows next to the middle, above and below in number
    down = origin + (low + count // 2 - 1) * stride
    if sign < 0:
        up, down = down, up
    store(q, MARGIN + t0 - 16, zero)
    t = t0
    while t <= t1:
        m = (t + 7.5 - column) / middle
        sums = zero
        if count % 2:
            sums = load(padded, origin + (low + count // 2) * stride + t, 16)
        i, j = up + t, down + t
        for p in range(count // 2):
            away = first + p
            shift = away * m
            whole = np.rint(shift)
            k = int(whole)
            d = broadcast(cast(shift - whole), 16) + broadcast(cast(away / middle), 16) * lanes
            right = maximum(d, zero)
            left = right - d
            # rows on either side of the middle are shifted as much, to either side
            mid = load(padded, i + k, 16) + load(padded, j - k, 16)
            after = load(padded, i + k + 1, 16) + load(padded, j - k - 1, 16)
            before = load(padded, i + k - 1, 16) + load(padded, j - k + 1, 16)
            sums = sums + (mid + right * (after - mid) + left * (before - mid))
            i += step
            j -= step
        store(q, MARGIN + t, sums)
        t += 16
    store(q, MARGIN + t, zero)


@_jit
def lacking(middle: float, half: float, slope: float, width: float) -> float:
    """Variance of the bin along t less those of a pixel and of the interpolation in the block, square pixels."""
    x = half * abs(slope)  # the fractions of the shifts spread over 0..x, and average w (1 - w)
    return (middle * width) ** 2 / 12 - PIXEL_VARIANCE - (x / 2 - x * x / 3 if x < 1 else 1 / 6)


@_jit
def averaged(t: float, node: int, half: float) -> float:
    """Weight of the value at `node` in the mean of the cubic over t - half to t + half."""
    return (_cubic_integral(t - node + half) - _cubic_integral(t - node - half)) / (2 * half)


@_jit
def read(
    q: Array, t0: int, t1: int, column: float, middle: float, half: float, slope: Array, width: Array, ray: Array,
    cubic: Array, start: int, stop: int, out: Array,
) -> None:  # fmt: skip
    """out[b] += ray[b] times q at the bins start..stop, sharpened or averaged to their width."""
    cast = q.dtype.type
    p0, p1, p2, p3 = load(cubic, 0, 8), load(cubic, 8, 8), load(cubic, 16, 8), load(cubic, 24, 8)
    s0, s1, s2, s3 = load(cubic, 32, 8), load(cubic, 40, 8), load(cubic, 48, 8), load(cubic, 56, 8)
    for b in range(start, stop):
        t = column + middle * slope[b]
        missing = lacking(middle, half, slope[b], width[b])
        if missing <= 0.5:
            node = math.floor(t)
            f, s = broadcast(cast(t - node), 8), broadcast(cast(-missing / 2), 8)
            weights = p0 + s * s0 + f * (p1 + s * s1 + f * (p2 + s * s2 + f * (p3 + s * s3)))
            value = total(weights * load(q, MARGIN + int(node) - 2, 8))
        else:
            value = cast(0)
            w = math.sqrt(3 * missing)
            for node in range(max(t0, math.floor(t - w) - 2), min(t1, math.floor(t + w) + 3) + 1):
                value += cast(averaged(t, node, w)) * q[MARGIN + node]
        out[b] += ray[b] * value


@_jit
def read_adjoint(
    values: Array, t0: int, t1: int, column: float, middle: float, half: float, slope: Array, width: Array, ray: Array,
    cubic: Array, start: int, stop: int, parts: Array, q: Array,
) -> None:  # fmt: skip
    """The transpose of `read`, written to q; eight `parts`, so that no bin waits for its neighbours."""
    cast = q.dtype.type
    zero = broadcast(cast(0), 16)
    size = parts.size // 8
    first, last = MARGIN + t0 - 32, MARGIN + t1 + 33
    for c in range(8):
        for t in range(first, last, 16):
            store(parts, c * size + t, zero)
    p0, p1, p2, p3 = load(cubic, 0, 8), load(cubic, 8, 8), load(cubic, 16, 8), load(cubic, 24, 8)
    s0, s1, s2, s3 = load(cubic, 32, 8), load(cubic, 40, 8), load(cubic, 48, 8), load(cubic, 56, 8)
    for b in range(start, stop):
        t = column + middle * slope[b]
        missing = lacking(middle, half, slope[b], width[b])
        value = ray[b] * values[b]
        at = b % 8 * size + MARGIN
        if missing <= 0.5:
            node = math.floor(t)
            f, s = broadcast(cast(t - node), 8), broadcast(cast(-missing / 2), 8)
            weights = p0 + s * s0 + f * (p1 + s * s1 + f * (p2 + s * s2 + f * (p3 + s * s3)))
            i = at + int(node) - 2
            store(parts, i, load(parts, i, 8) + weights * broadcast(value, 8))
        else:
            w = math.sqrt(3 * missing)
            for node in range(max(t0, math.floor(t - w) - 2), min(t1, math.floor(t + w) + 3) + 1):
                parts[at + node] += cast(averaged(t, node, w)) * value
    for t in range(first, last, 16):
        sums = load(parts, t, 16)
        for c in range(1, 8):
            sums = sums + load(parts, c * size + t, 16)
        store(q, t, sums)


@_jit
def project(
    padded: Array, origin: int, stride: int, rows: int, length: int, place: Array, source: Array, slope: Array,
    width: Array, ray: Array, cubic: Array, sinogram: Array,
) -> None:  # fmt: skip
    """Write the bins of the segments `place`, `source`."""
    q = np.empty(buffer_length(length), padded.dtype)
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
                        r0, r1, column, row, sign, length, slope[v], source[s, 3], place[s, 1], place[s, 1] + place[s, 2]
                    )
                    if start < stop:
                        block_sums(padded, origin, stride, r0, r1, sign, column, middle, q, t0, t1)
                        read(
                            q, t0, t1, column, middle, (r1 - r0 - 1) / 2, slope[v], width[v], ray[v], cubic,
                            start, stop, sinogram[v],
                        )  # fmt: skip


@_jit
def add_rows(
    padded: Array, origin: int, stride: int, length: int, block: int, last: int, q: Array, used: int,
    rows: Array, beam: Array,
) -> None:  # fmt: skip
    """The transpose of `block_sums` for `used` blocks of as many segments, added to the rows block..last of `padded`."""
    cast = padded.dtype.type
    one, zero, lanes = broadcast(cast(1), 16), broadcast(cast(0), 16), ramp(cast(0), 16)
    rate, back, column = np.empty(GROUP), np.empty(GROUP), np.empty(GROUP)
    left_end, right_end, at = np.empty(GROUP, np.int64), np.empty(GROUP, np.int64), np.empty(GROUP, np.int64)
    for r in range(block, last):
        active, first, end = 0, length, -1
        for c in range(used):
            if rows[c, 0] <= r < rows[c, 1]:
                column[active] = beam[c, 0]
                rate[active] = beam[c, 2] * (r - (rows[c, 0] + rows[c, 1] - 1) / 2) / beam[c, 1]
                back[active] = -1 / (1 + rate[active])
                # columns between which this row sees something of q
                a0 = math.floor(rows[c, 2] + rate[active] * (rows[c, 2] - column[active])) - 1
                a1 = math.ceil(rows[c, 3] + rate[active] * (rows[c, 3] - column[active])) + 1
                first, end = min(first, a0), max(end, a1)
                left_end[active], right_end[active] = a0 - 15, a1
                at[active] = c * (q.size // GROUP) + MARGIN
                active += 1
        first, end = max(first, 0) // 16 * 16, min(end, length - 1)
        to = origin + r * stride
        for a in range(first, end + 1, 16):
            sums = load(padded, to + a, 16)
            for c in range(active):
                if left_end[c] <= a <= right_end[c]:
                    shift = rate[c] * (a + 7.5 - column[c])
                    whole = np.rint(shift * back[c])
                    e = broadcast(cast(rate[c]), 16)
                    d = broadcast(cast(shift + whole * (1 + rate[c])), 16) + e * lanes
                    minus = zero - d
                    i = at[c] + a + int(whole)
                    sums = (
                        sums
                        + (one - maximum(d, minus)) * load(q, i, 16)
                        + maximum(d - e, zero) * load(q, i - 1, 16)
                        + maximum(minus - e, zero) * load(q, i + 1, 16)
                    )
            store(padded, to + a, sums)


@_jit
def backproject(
    padded: Array, origin: int, stride: int, start_row: int, stop_row: int, length: int, place: Array, source: Array,
    slope: Array, width: Array, ray: Array, cubic: Array, sinogram: Array,
) -> None:  # fmt: skip
    """The transpose of `project`, written to the rows start_row..stop_row, multiples of BLOCK, of `padded`."""
    size = buffer_length(length)
    q, parts = np.empty(GROUP * size, padded.dtype), np.empty(8 * size, padded.dtype)
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
                        r0, r1, column, row, sign, length, slope[v], source[s, 3], place[s, 1], place[s, 1] + place[s, 2]
                    )
                    if start < stop:
                        rows[used, 0], rows[used, 1], rows[used, 2], rows[used, 3] = r0, r1, t0, t1
                        beam[used, 0], beam[used, 1], beam[used, 2] = column, middle, sign
                        read_adjoint(
                            sinogram[v], t0, t1, column, middle, (r1 - r0 - 1) / 2, slope[v], width[v], ray[v], cubic,
                            start, stop, parts, q[used * size : (used + 1) * size],
                        )  # fmt: skip
                        used += 1
                    if used == GROUP:
                        add_rows(padded, origin, stride, length, block, last, q, used, rows, beam)
                        used = 0
            add_rows(padded, origin, stride, length, block, last, q, used, rows, beam)
