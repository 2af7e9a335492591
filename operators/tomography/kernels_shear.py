"""Inner loops of kernels_cone.py: columns of voxels, sheared sums of them along z, and their reading at the rows."""

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from invreg.operators.tomography.kernels_parallel import _cubic_integral

Array = npt.NDArray[Any]

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")

# The inner loops take whole arrays and unsigned places in them: slices would count references, and signed places may be
# negative, which keeps the compiler from vector code.


@_jit
def readings(
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
def read(
    q: Array, index: Array, weights: Array, taps: int, first: int, last: int, slot: int, u: int, sums: Array
) -> None:
    """sums[slot, u, i] += sum_k weights[k, i] q[index[i] + k]."""
    for i in range(np.uint64(first), np.uint64(last)):
        total = sums[slot, u, i]
        at = np.uint64(index[i])
        for k in range(np.uint64(taps)):
            total += weights[k, i] * q[at + k]
        sums[slot, u, i] = total


@_jit
def read_adjoint(
    sums: Array, view: int, u: int, index: Array, weights: Array, taps: int, first: int, last: int, q: Array
) -> None:
    """q[index[i] + k] += weights[k, i] sums[view, u, i]."""
    for i in range(np.uint64(first), np.uint64(last)):
        value = sums[view, u, i]
        at = np.uint64(index[i])
        for k in range(np.uint64(taps)):
            q[at + k] += weights[k, i] * value


@_jit
def interpolate(volume: Array, near: int, far: int, wn: float, wf: float, count: int, g: Array, at: int) -> None:
    """g[at + k] = wn volume[near + k] + wf volume[far + k]."""
    i, j, k, one = np.uint64(near), np.uint64(far), np.uint64(at), np.uint64(1)
    a, b = g.dtype.type(wn), g.dtype.type(wf)
    for _ in range(count):
        g[k] = a * volume[i] + b * volume[j]
        i, j, k = i + one, j + one, k + one


@_jit
def add(g: Array, at: int, w: float, count: int, volume: Array, to: int) -> None:
    """volume[to + k] += w g[at + k]."""
    i, j, one = np.uint64(at), np.uint64(to), np.uint64(1)
    b = g.dtype.type(w)
    for _ in range(count):
        volume[j] += b * g[i]
        i, j = i + one, j + one


@_jit
def shear(g: Array, at: int, f0: float, delta: float, count: int, q: Array, to: int) -> None:
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
def shear_adjoint(q: Array, at: int, f0: float, delta: float, count: int, g: Array, to: int) -> None:
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
