"""Numba kernels that read a row of values, one a pixel, at detector bins anywhere on it, and their transpose.

The reading is six-point cubic convolution as in `kernels_parallel._cubic`, sharpened or smoothed so that the
variance of the bin results; its weights are polynomials of the fraction, made anew for each bin, eight taps at a time.
"""

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numpy.polynomial import Polynomial

from invreg.operators.tomography.kernels_vectors import broadcast, load, store, totals

Array = npt.NDArray[Any]

TAPS = 8  # values that a bin reads, the last two with weight 0
PIXEL_VARIANCE = 1 / 12
WIDEST = -0.25  # bins that need less smoothing are smoothed by three points, others averaged

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")


def cubic_taps(dtype: npt.DTypeLike) -> Array:
    """Keys' six weights of `kernels_parallel._cubic` as polynomials of the fraction, flat, (13 * TAPS,).

    Four powers plain, four of what sharpening adds, five of the integral up to the place; each of all taps. Tap k lies
    at floor(t) - 2 + k.
    """
    plain: list[list[float]] = [
        [1, 0, -7 / 3, 4 / 3],
        [5 / 2, -59 / 12, 3, -7 / 12],
        [-3 / 2, 21 / 12, -2 / 3, 1 / 12],
    ]
    added: list[list[float]] = [[2, 0, -9, 6], [4, -12, 9, -2], [0] * 4]
    table: Array = np.zeros((13, TAPS))
    below = 0.0
    for tap in (5, 4, 3, 2, 1, 0):
        away = Polynomial([2 - tap, 1]) if tap < 3 else Polynomial([tap - 2, -1])  # distance of the tap from t
        piece = abs(2 * tap - 5) // 2
        table[:4, tap] = Polynomial(plain[piece])(away).coef
        table[4:8, tap] = Polynomial(added[piece])(away).coef
        integral = Polynomial(table[:4, tap]).integ(k=below)
        table[8:, tap], below = integral.coef, integral(1.0)
    return table.astype(dtype).ravel()


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
def any_wide(middle: float, width: float) -> bool:
    """Whether bins at most so wide may need averaging."""
    return (middle * width) ** 2 / 24 > -WIDEST


@_jit
def weights(cubic: Array, fraction: float, sharpen: float) -> Any:
    """Weights of the eight values from two before the node."""
    f, s = broadcast(fraction, 8), broadcast(sharpen, 8)
    high = load(cubic, 16, 8) + s * load(cubic, 48, 8) + f * (load(cubic, 24, 8) + s * load(cubic, 56, 8))
    return load(cubic, 0, 8) + s * load(cubic, 32, 8) + f * (load(cubic, 8, 8) + s * load(cubic, 40, 8) + f * high)


@_jit
def nearby(node: int, t0: int, t1: int) -> int:
    """The node, or for a bin that sees nothing of t0..t1 a place in the zeros around."""
    return min(max(node, t0 - 8), t1 + 8)


@_jit
def integrals(cubic: Array, fraction: float) -> Any:
    """Of the eight values from two before the node, how much of each one's cubic lies below a place."""
    f = broadcast(fraction, 8)
    high = load(cubic, 80, 8) + f * (load(cubic, 88, 8) + f * load(cubic, 96, 8))
    return load(cubic, 64, 8) + f * (load(cubic, 72, 8) + f * high)


@_jit
def edges(node: int, fraction: float, sharpen: float) -> tuple[int, float, int, float, float]:
    """Nodes and fractions of the two edges between which a wide bin averages, and one over their distance."""
    half = math.sqrt(-6 * sharpen)
    low, high = fraction - half, fraction + half
    below, above = math.floor(low), math.floor(high)
    return node + int(below), low - below, node + int(above), high - above, 1 / (2 * half)


@_jit
def tapped(
    q: Array, origin: int, t0: int, t1: int, wide: bool, b: int, node: Array, fraction: Array, sharpen: Array,
    cubic: Array,
) -> Any:  # fmt: skip
    """What each tap of a bin adds to it, for a wide bin those at its edges."""
    if wide and sharpen[b] < WIDEST:
        cast = q.dtype.type
        low, f, high, g, share = edges(node[b], fraction[b], sharpen[b])
        upper = integrals(cubic, cast(g)) * load(q, origin - 2 + nearby(high, t0, t1), 8)
        lower = integrals(cubic, cast(f)) * load(q, origin - 2 + nearby(low, t0, t1), 8)
        return broadcast(cast(share), 8) * (upper - lower)
    return weights(cubic, fraction[b], sharpen[b]) * load(q, origin - 2 + nearby(node[b], t0, t1), 8)


@_jit
def read(
    q: Array, origin: int, t0: int, t1: int, wide: bool, node: Array, fraction: Array, sharpen: Array,
    cubic: Array, ray: Array, values: Array, out: Array,
) -> None:  # fmt: skip
    """out += ray times q at the bins, sharpened or averaged to their width.

    q[origin + t], zero outside t0..t1; `wide`: some bins may need averaging.
    """
    cast = q.dtype.type
    for b in range(0, out.size, 8):
        sums = totals(
            tapped(q, origin, t0, t1, wide, b, node, fraction, sharpen, cubic),
            tapped(q, origin, t0, t1, wide, b + 1, node, fraction, sharpen, cubic),
            tapped(q, origin, t0, t1, wide, b + 2, node, fraction, sharpen, cubic),
            tapped(q, origin, t0, t1, wide, b + 3, node, fraction, sharpen, cubic),
            tapped(q, origin, t0, t1, wide, b + 4, node, fraction, sharpen, cubic),
            tapped(q, origin, t0, t1, wide, b + 5, node, fraction, sharpen, cubic),
            tapped(q, origin, t0, t1, wide, b + 6, node, fraction, sharpen, cubic),
            tapped(q, origin, t0, t1, wide, b + 7, node, fraction, sharpen, cubic),
        )
        store(values, b, sums)
    if wide:
        for b in range(out.size):
            if sharpen[b] < WIDEST:
                low, _, high, _, share = edges(node[b], fraction[b], sharpen[b])
                between = cast(0)
                for t in range(max(t0, low - 2), min(t1 + 1, high - 2)):
                    between += q[origin + t]
                values[b] += cast(share) * between
    for b in range(out.size):
        out[b] += ray[b] * values[b]


@_jit
def read_adjoint(
    values: Array, origin: int, t0: int, t1: int, wide: bool, node: Array, fraction: Array, sharpen: Array,
    cubic: Array, count: int, parts: Array, q: Array,
) -> None:  # fmt: skip
    """The transpose of `read` for `values` times ray, written to q.

    In four parts, so that no bin waits for what its neighbour has just written.
    """
    cast = q.dtype.type
    zero, size = broadcast(cast(0), 16), parts.size // 4
    first, last = origin + t0 - 32, origin + t1 + 32 + 1
    for c in range(4):
        for t in range(first, last, 16):
            store(parts, c * size + t, zero)
    for b in range(count):
        at = b % 4 * size + origin
        if wide and sharpen[b] < WIDEST:
            low, f, high, g, share = edges(node[b], fraction[b], sharpen[b])
            value = cast(share) * values[b]
            i, j = at - 2 + nearby(high, t0, t1), at - 2 + nearby(low, t0, t1)
            store(parts, i, load(parts, i, 8) + integrals(cubic, cast(g)) * broadcast(value, 8))
            store(parts, j, load(parts, j, 8) - integrals(cubic, cast(f)) * broadcast(value, 8))
            for t in range(max(t0, low - 2), min(t1 + 1, high - 2)):
                parts[at + t] += value
        else:
            i = at - 2 + nearby(node[b], t0, t1)
            store(parts, i, load(parts, i, 8) + weights(cubic, fraction[b], sharpen[b]) * broadcast(values[b], 8))
    for t in range(first, last, 16):
        sums = load(parts, t, 16)
        for c in range(1, 4):
            sums = sums + load(parts, c * size + t, 16)
        store(q, t, sums)
