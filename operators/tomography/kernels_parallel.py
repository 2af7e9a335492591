"""Numba kernels of the parallel-beam ray transform: sheared row sums and a resampling along the detector.

A ray of view theta crosses image row r at column T - d_r, where T depends on the detector position only and the
shift d_r on the row only. So the sum over the rows of Joseph's linear interpolation is, at integer T,

    q[T] = sum_r (1 - w_r) row_r[T - k_r] + w_r row_r[T - k_r - 1],    d_r = k_r + w_r,  k_r = floor(d_r):

contiguous reads with constant weights, which the compiler turns into vector code. Views nearer to the other axis
run on the transposed image. A short resampling takes q to the detector bins. Both steps are explicit sums, and
the adjoint applies the same weights transposed, by blocks of rows: no atomics, the same result on any number
of threads. All kernels release the GIL; they are called from the threads of `threads.py`.
"""

import math
from typing import Any

import numba
import numpy.typing as npt

Array = npt.NDArray[Any]

GUARD = 24  # zeros on both sides of every row: a pass may read that far beyond the image
LANES = 16  # inner loops run a multiple of this, so that they have no scalar remainder
BLOCK = 16  # rows for which an adjoint pass keeps the buffers of its views in the first-level cache

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")


def padded_shape(rows: int, length: int) -> tuple[int, int]:
    """Shape of an image with `rows` driving rows of `length` pixels and its guard of zeros."""
    return -(-rows // 4) * 4, length + 2 * GUARD + LANES


def buffer_margin(rows: int, taps: int) -> int:
    """Index in a view's buffer of T = 0: the largest shift, rows / 2, and room for the guards."""
    return rows // 2 + taps + GUARD


def buffer_length(rows: int, length: int, taps: int) -> int:
    return 2 * buffer_margin(rows, taps) + length + LANES


@_jit
def pad(image: Array, padded: Array, transposed: bool) -> None:
    """Copy (rows, length) or its transpose between the zeros of `padded`."""
    height, width = image.shape
    rows, length = (width, height) if transposed else (height, width)
    padded[:, :GUARD] = 0
    padded[:, GUARD + length :] = 0
    padded[rows:] = 0
    if not transposed:
        padded[:rows, GUARD : GUARD + length] = image
        return
    whole = height // 8 * 8
    for i in range(0, whole, 8):  # eight rows at once fill half a cache line of the transpose
        a0, a1, a2, a3 = image[i], image[i + 1], image[i + 2], image[i + 3]
        a4, a5, a6, a7 = image[i + 4], image[i + 5], image[i + 6], image[i + 7]
        for j in range(width):
            to = padded[j, GUARD + i : GUARD + i + 8]
            to[0], to[1], to[2], to[3] = a0[j], a1[j], a2[j], a3[j]
            to[4], to[5], to[6], to[7] = a4[j], a5[j], a6[j], a7[j]
    for i in range(whole, height):
        for j in range(width):
            padded[j, GUARD + i] = image[i, j]


@_jit
def unpad(padded: Array, image: Array, transposed: bool, add: bool) -> None:
    """The transpose of `pad`, written to `image` or added to it."""
    height, width = image.shape
    if not transposed:
        if add:
            image += padded[:height, GUARD : GUARD + width]
        else:
            image[:] = padded[:height, GUARD : GUARD + width]
        return
    if not add:
        image[:] = 0
    whole = height // 8 * 8
    for i in range(0, whole, 8):
        a0, a1, a2, a3 = image[i], image[i + 1], image[i + 2], image[i + 3]
        a4, a5, a6, a7 = image[i + 4], image[i + 5], image[i + 6], image[i + 7]
        for j in range(width):
            p = padded[j, GUARD + i : GUARD + i + 8]
            a0[j] += p[0]
            a1[j] += p[1]
            a2[j] += p[2]
            a3[j] += p[3]
            a4[j] += p[4]
            a5[j] += p[5]
            a6[j] += p[6]
            a7[j] += p[7]
    for i in range(whole, height):
        for j in range(width):
            image[i, j] += padded[j, GUARD + i]


@_jit
def shear_sum(padded: Array, length: int, shift: Array, slope: Array, margin: int, q: Array) -> None:
    """q[v, margin + T] = sum over the rows r, shifted by shift[v] + r slope[v]; |slope| <= 1."""
    cast = padded.dtype.type
    one = cast(1)
    count = (length + 4 + LANES - 1) // LANES * LANES
    q[:] = 0
    for v0 in range(0, slope.size, 4):  # four views share the rows while these are in the first-level cache
        for r in range(0, padded.shape[0], 4):
            for v in range(v0, min(v0 + 4, slope.size)):
                d0 = shift[v] + r * slope[v]
                d1, d2, d3 = d0 + slope[v], d0 + 2 * slope[v], d0 + 3 * slope[v]
                k0, k1, k2, k3 = math.floor(d0), math.floor(d1), math.floor(d2), math.floor(d3)
                w0, w1, w2, w3 = cast(d0 - k0), cast(d1 - k1), cast(d2 - k2), cast(d3 - k3)
                u0, u1, u2, u3 = one - w0, one - w1, one - w2, one - w3
                first = min(k0, k3)
                o = GUARD + first - 1
                to = q[v, margin + first :]
                a0, a1 = padded[r, o - k0 :], padded[r + 1, o - k1 :]
                a2, a3 = padded[r + 2, o - k2 :], padded[r + 3, o - k3 :]
                for t in range(count):
                    to[t] += (
                        (u0 * a0[t + 1] + w0 * a0[t])
                        + (u1 * a1[t + 1] + w1 * a1[t])
                        + (u2 * a2[t + 1] + w2 * a2[t])
                        + (u3 * a3[t + 1] + w3 * a3[t])
                    )


@_jit
def shear_spread(
    padded: Array, length: int, shift: Array, slope: Array, margin: int, q: Array, start: int, stop: int
) -> None:
    """The transpose of `shear_sum`, written to the rows start..stop of `padded`; views in fours (q is zero beyond)."""
    cast = padded.dtype.type
    one = cast(1)
    count = (length + LANES - 1) // LANES * LANES
    padded[start:stop] = 0
    for r0 in range(start, stop, BLOCK):
        for v in range(0, slope.size, 4):
            for r in range(r0, min(r0 + BLOCK, stop)):
                d0, d1 = shift[v] + r * slope[v], shift[v + 1] + r * slope[v + 1]
                d2, d3 = shift[v + 2] + r * slope[v + 2], shift[v + 3] + r * slope[v + 3]
                k0, k1, k2, k3 = math.floor(d0), math.floor(d1), math.floor(d2), math.floor(d3)
                w0, w1, w2, w3 = cast(d0 - k0), cast(d1 - k1), cast(d2 - k2), cast(d3 - k3)
                u0, u1, u2, u3 = one - w0, one - w1, one - w2, one - w3
                a0, a1 = q[v, margin + k0 :], q[v + 1, margin + k1 :]
                a2, a3 = q[v + 2, margin + k2 :], q[v + 3, margin + k3 :]
                to = padded[r, GUARD:]
                for t in range(count):
                    to[t] += (
                        (u0 * a0[t] + w0 * a0[t + 1])
                        + (u1 * a1[t] + w1 * a1[t + 1])
                        + (u2 * a2[t] + w2 * a2[t + 1])
                        + (u3 * a3[t] + w3 * a3[t + 1])
                    )


@_jit
def resample(q: Array, first: Array, weights: Array, views: Array, sinogram: Array) -> None:
    """sinogram[views[v], b] = sum_k weights[v, b, k] q[v, first[v, b] + k]."""
    for v in range(views.size):
        row, out = q[v], sinogram[views[v]]
        for b in range(first.shape[1]):
            total = q.dtype.type(0)
            for k in range(weights.shape[2]):
                total += weights[v, b, k] * row[first[v, b] + k]
            out[b] = total


@_jit
def resample_adjoint(sinogram: Array, first: Array, weights: Array, views: Array, q: Array) -> None:
    """The transpose of `resample`."""
    q[:] = 0  # also the rows beyond the last view
    for v in range(views.size):
        row, values = q[v], sinogram[views[v]]
        for b in range(first.shape[1]):
            for k in range(weights.shape[2]):
                row[first[v, b] + k] += weights[v, b, k] * values[b]


@_jit
def project(
    image: Array,
    transposed: bool,
    length: int,
    shift: Array,
    slope: Array,
    margin: int,
    first: Array,
    weights: Array,
    views: Array,
    padded: Array,
    q: Array,
    sinogram: Array,
) -> None:
    """Some views of one half of the forward projection; `padded` and `q` are work space."""
    pad(image, padded, transposed)
    shear_sum(padded, length, shift, slope, margin, q)
    resample(q, first, weights, views, sinogram)


@_jit
def backproject(
    sinogram: Array,
    transposed: bool,
    length: int,
    shift: Array,
    slope: Array,
    margin: int,
    first: Array,
    weights: Array,
    views: Array,
    padded: Array,
    q: Array,
    image: Array,
    add: bool,
) -> None:
    """One half of the adjoint, written to `image` or added to it; `padded` and `q` are work space."""
    resample_adjoint(sinogram, first, weights, views, q)
    shear_spread(padded, length, shift, slope, margin, q, 0, padded.shape[0])
    unpad(padded, image, transposed, add)


@_jit
def _cubic(x: float, sharpen: float) -> float:
    """Six-point cubic convolution (Keys 1981, the fourth-order kernel), its node values (1 + 2s, -s) for sharpen s.

    Hermite cubics between the integers, with slopes -2/3 at 1 and 1/12 at 2.
    """
    t = abs(x)
    if t < 1:
        value = 1 - (7 / 3) * t**2 + (4 / 3) * t**3 + sharpen * (2 - 9 * t**2 + 6 * t**3)
    elif t < 2:
        t -= 1
        value = -(2 / 3) * t + 1.25 * t**2 - (7 / 12) * t**3 - sharpen * (1 - 3 * t**2 + 2 * t**3)
    elif t < 3:
        t -= 2
        value = (1 / 12) * t * (1 - t) ** 2
    else:
        value = 0.0
    return value


@_jit
def _cubic_integral(x: float) -> float:
    """Integral of `_cubic` without sharpening from 0 to x."""
    t = min(abs(x), 3.0)
    if t < 1:
        value = t - (7 / 9) * t**3 + (1 / 3) * t**4
    elif t < 2:
        t -= 1
        value = 5 / 9 - (1 / 3) * t**2 + (5 / 12) * t**3 - (7 / 48) * t**4
    else:
        t -= 2
        value = 71 / 144 + (1 / 12) * (t**2 / 2 - 2 * t**3 / 3 + t**4 / 4)
    return value if x >= 0 else -value


@_jit
def resampling(
    centre: Array, width: Array, sharpen: Array, scale: Array, margin: int, length: int, first: Array, weights: Array
) -> None:
    """Weights that read q at `centre`, sharpened, or where width > 0 average it over that width; times `scale`.

    centre (view, bin), the others (view,). Bins whose taps leave the buffer of `length` see nothing of the
    image: their weights are 0.
    """
    taps = weights.shape[2]
    for v in range(centre.shape[0]):
        half = width[v] / 2
        for b in range(centre.shape[1]):
            start = math.floor(centre[v, b] - half) - 2
            index = start + margin
            seen = index >= 0 and index + taps <= length
            first[v, b] = index if seen else 0
            for k in range(taps):
                s = centre[v, b] - (start + k)
                if width[v] > 0:
                    weight = (_cubic_integral(s + half) - _cubic_integral(s - half)) / width[v]
                else:
                    weight = _cubic(s, sharpen[v])
                weights[v, b, k] = scale[v] * weight if seen else 0.0
