"""Numba kernels of the acoustic wave equation: all time steps of one shot, its derivative and the transpose of that.

Fields lie in a halo of two zeros. With L the Laplacian in units of the spacing, absorbing layers included, a step is

    w = L u[n] + source s[n],   u[n + 1] = 2 u[n] - u[n - 1] + m w,   m = (c dt / h)^2.

In the layers d/dx becomes d/dx + memory, a recursive convolution (Pasalic and McGarry, SEG 2010):

    p <- b p + a D1 u,   z <- b z + a (D2 u + D1 p),   L u = D2 u + D1 p + z   along each axis.

D1 is antisymmetric and D2 symmetric, so that the transpose runs the same sums in reverse. Layers are `width` nodes;
a and b are 0 elsewhere.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")

HALO = 2


@_jit
def first(f0: Any, f1: Any, f3: Any, f4: Any, one: Any) -> Any:
    """D1 from the values two before, one before, one after and two after; `one` is 1 in their precision."""
    return one * 2 / 3 * (f3 - f1) - one / 12 * (f4 - f0)


@_jit
def second(f0: Any, f1: Any, f2: Any, f3: Any, f4: Any, one: Any) -> Any:
    return one * 4 / 3 * (f1 + f3) - one / 12 * (f0 + f4) - one * 5 / 2 * f2


@_jit
def plain_laplacian(u: Array, w: Array) -> None:
    one = u.dtype.type(1)
    rows, columns = u.shape
    for i in range(HALO, rows - HALO):
        for j in range(HALO, columns - HALO):
            w[i, j] = second(u[i, j - 2], u[i, j - 1], u[i, j], u[i, j + 1], u[i, j + 2], one) + second(
                u[i - 2, j], u[i - 1, j], u[i, j], u[i + 1, j], u[i + 2, j], one
            )


@_jit
def bands(length: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the layers lie along an axis, and two nodes more, which their differences reach."""
    left = min(2 * HALO + width, length - HALO)
    return (HALO, left), (max(left, length - 2 * HALO - width), length - HALO)


@_jit
def add_layers(u: Array, memory: Array, width: int, a: Array, b: Array, c: Array, d: Array, w: Array) -> None:
    """Update `memory`, (p, z along columns, p, z along rows), and add the layers to w; a, b of columns, c, d of rows."""
    one = u.dtype.type(1)
    rows, columns = u.shape
    p, z = memory[0], memory[1]
    for low, high in bands(columns, width):
        for i in range(HALO, rows - HALO):
            for j in range(low, high):
                p[i, j] = b[j] * p[i, j] + a[j] * first(u[i, j - 2], u[i, j - 1], u[i, j + 1], u[i, j + 2], one)
        for i in range(HALO, rows - HALO):
            for j in range(low, high):
                slope = first(p[i, j - 2], p[i, j - 1], p[i, j + 1], p[i, j + 2], one)
                curve = second(u[i, j - 2], u[i, j - 1], u[i, j], u[i, j + 1], u[i, j + 2], one)
                z[i, j] = b[j] * z[i, j] + a[j] * (curve + slope)
                w[i, j] += slope + z[i, j]
    p, z = memory[2], memory[3]
    for low, high in bands(rows, width):
        for i in range(low, high):
            for j in range(HALO, columns - HALO):
                p[i, j] = d[i] * p[i, j] + c[i] * first(u[i - 2, j], u[i - 1, j], u[i + 1, j], u[i + 2, j], one)
        for i in range(low, high):
            for j in range(HALO, columns - HALO):
                slope = first(p[i - 2, j], p[i - 1, j], p[i + 1, j], p[i + 2, j], one)
                curve = second(u[i - 2, j], u[i - 1, j], u[i, j], u[i + 1, j], u[i + 2, j], one)
                z[i, j] = d[i] * z[i, j] + c[i] * (curve + slope)
                w[i, j] += slope + z[i, j]


@_jit
def add_layers_transposed(
    q: Array, memory: Array, width: int, a: Array, b: Array, c: Array, d: Array, e: Array, f: Array, out: Array
) -> None:
    """The transpose of `add_layers`, from the adjoint q of w to that of u; e and f are scratch fields of zeros."""
    one = q.dtype.type(1)
    rows, columns = q.shape
    p, z = memory[0], memory[1]
    for low, high in bands(columns, width):
        for i in range(HALO, rows - HALO):
            for j in range(low, high):
                z[i, j] = q[i, j] + b[j] * z[i, j]
                e[i, j] = a[j] * z[i, j]
            for j in range(low, high):
                p[i, j] = b[j] * p[i, j] - first(
                    q[i, j - 2] + e[i, j - 2],
                    q[i, j - 1] + e[i, j - 1],
                    q[i, j + 1] + e[i, j + 1],
                    q[i, j + 2] + e[i, j + 2],
                    one,
                )
                f[i, j] = a[j] * p[i, j]
            for j in range(low, high):
                out[i, j] += second(e[i, j - 2], e[i, j - 1], e[i, j], e[i, j + 1], e[i, j + 2], one)
                out[i, j] -= first(f[i, j - 2], f[i, j - 1], f[i, j + 1], f[i, j + 2], one)
            for j in range(low, high):
                e[i, j], f[i, j] = 0, 0
    p, z = memory[2], memory[3]
    for low, high in bands(rows, width):
        for i in range(low, high):
            for j in range(HALO, columns - HALO):
                z[i, j] = q[i, j] + d[i] * z[i, j]
                e[i, j] = c[i] * z[i, j]
        for i in range(low, high):
            for j in range(HALO, columns - HALO):
                p[i, j] = d[i] * p[i, j] - first(
                    q[i - 2, j] + e[i - 2, j],
                    q[i - 1, j] + e[i - 1, j],
                    q[i + 1, j] + e[i + 1, j],
                    q[i + 2, j] + e[i + 2, j],
                    one,
                )
                f[i, j] = c[i] * p[i, j]
        for i in range(low, high):
            for j in range(HALO, columns - HALO):
                out[i, j] += second(e[i - 2, j], e[i - 1, j], e[i, j], e[i + 1, j], e[i + 2, j], one)
                out[i, j] -= first(f[i - 2, j], f[i - 1, j], f[i + 1, j], f[i + 2, j], one)
        e[low:high] = 0
        f[low:high] = 0


@_jit
def leap(m: Array, w: Array, now: Array, other: Array) -> None:
    """other = 2 now - other + m w: from u[n - 1] to u[n + 1]."""
    one = m.dtype.type(1)
    for i in range(HALO, m.shape[0] - HALO):
        for j in range(HALO, m.shape[1] - HALO):
            other[i, j] = 2 * one * now[i, j] - other[i, j] + m[i, j] * w[i, j]


@_jit
def advance(
    m: Array, wavelet: Array, row: int, column: int, width: int, a: Array, b: Array, c: Array, d: Array,
    start: int, stop: int, u: Array, memory: Array, store: Array, receivers: Array, traces: Array,
) -> None:  # fmt: skip
    """The steps start..stop. u[n % 2] is u[n]; `store` keeps the last w's; traces (receiver, time)."""
    for n in range(start, stop):
        now, other = u[n % 2], u[(n + 1) % 2]
        w = store[(n - start) % store.shape[0]]
        plain_laplacian(now, w)
        add_layers(now, memory, width, a, b, c, d, w)
        w[row, column] += wavelet[n]
        leap(m, w, now, other)
        for r in range(len(receivers)):
            traces[r, n + 1] = other[receivers[r, 0], receivers[r, 1]]


@_jit
def run(
    m: Array, wavelet: Array, row: int, column: int, width: int, a: Array, b: Array, c: Array, d: Array,
    receivers: Array, traces: Array,
) -> None:  # fmt: skip
    """Traces (receiver, time) of a shot at (row, column), from rest."""
    u, memory = np.zeros((2, *m.shape), m.dtype), np.zeros((4, *m.shape), m.dtype)
    store = np.zeros((1, *m.shape), m.dtype)
    traces[:, 0] = 0
    advance(m, wavelet, row, column, width, a, b, c, d, 0, len(wavelet) - 1, u, memory, store, receivers, traces)


@_jit
def run_derivative(
    m: Array, wavelet: Array, row: int, column: int, width: int, a: Array, b: Array, c: Array, d: Array,
    receivers: Array, dm: Array, traces: Array,
) -> None:  # fmt: skip
    """The derivative of the traces along `dm`: the same steps with the source dm w."""
    u, memory = np.zeros((2, *m.shape), m.dtype), np.zeros((4, *m.shape), m.dtype)
    du, dmemory = np.zeros((2, *m.shape), m.dtype), np.zeros((4, *m.shape), m.dtype)
    store, dw, unseen = np.zeros((1, *m.shape), m.dtype), np.zeros_like(m), np.zeros((0, 0), m.dtype)
    nowhere = np.zeros((0, 2), receivers.dtype)
    traces[:, 0] = 0
    for n in range(len(wavelet) - 1):
        advance(m, wavelet, row, column, width, a, b, c, d, n, n + 1, u, memory, store, nowhere, unseen)
        now, other = du[n % 2], du[(n + 1) % 2]
        plain_laplacian(now, dw)
        add_layers(now, dmemory, width, a, b, c, d, dw)
        leap(m, dw, now, other)
        leap_on(dm, store[0], other)
        for r in range(len(receivers)):
            traces[r, n + 1] = other[receivers[r, 0], receivers[r, 1]]


@_jit
def leap_on(m: Array, w: Array, out: Array) -> None:
    """out += m w."""
    for i in range(HALO, m.shape[0] - HALO):
        for j in range(HALO, m.shape[1] - HALO):
            out[i, j] += m[i, j] * w[i, j]


@_jit
def run_transposed(
    m: Array, wavelet: Array, row: int, column: int, width: int, a: Array, b: Array, c: Array, d: Array,
    receivers: Array, v: Array, length: int, gradient: Array,
) -> None:  # fmt: skip
    """The transpose of `run_derivative` applied to v (receiver, time), by segments of `length` steps."""
    steps = len(wavelet) - 1
    segments = (steps + length - 1) // length
    u, memory = np.zeros((2, *m.shape), m.dtype), np.zeros((4, *m.shape), m.dtype)
    kept = np.zeros((segments, 6, *m.shape), m.dtype)
    store = np.zeros((min(length, steps), *m.shape), m.dtype)
    nowhere, unseen = np.zeros((0, 2), receivers.dtype), np.zeros((0, 0), m.dtype)
    for k in range(1, segments):
        start, stop = (k - 1) * length, k * length
        advance(m, wavelet, row, column, width, a, b, c, d, start, stop, u, memory, store, nowhere, unseen)
        kept[k, :2], kept[k, 2:] = u, memory
    adjoint, back = np.zeros_like(u), np.zeros_like(memory)
    q, lap, e, f = np.zeros_like(m), np.zeros_like(m), np.zeros_like(m), np.zeros_like(m)
    gradient[:] = 0
    for r in range(len(receivers)):
        adjoint[steps % 2, receivers[r, 0], receivers[r, 1]] += v[r, steps]
    for k in range(segments - 1, -1, -1):
        start, stop = k * length, min((k + 1) * length, steps)
        u[:], memory[:] = kept[k, :2], kept[k, 2:]
        advance(m, wavelet, row, column, width, a, b, c, d, start, stop, u, memory, store, nowhere, unseen)
        for n in range(stop - 1, start - 1, -1):
            later, other = adjoint[(n + 1) % 2], adjoint[n % 2]
            leap_on(later, store[n - start], gradient)
            q[:] = 0
            leap_on(m, later, q)
            plain_laplacian(q, lap)
            add_layers_transposed(q, back, width, a, b, c, d, e, f, lap)
            accumulate(later, lap, other)
            for r in range(len(receivers)):
                other[receivers[r, 0], receivers[r, 1]] += v[r, n]


@_jit
def accumulate(later: Array, lap: Array, other: Array) -> None:
    """other = 2 later - other + lap: from the adjoint of u[n + 2] to that of u[n]."""
    one = later.dtype.type(1)
    for i in range(HALO, later.shape[0] - HALO):
        for j in range(HALO, later.shape[1] - HALO):
            other[i, j] = 2 * one * later[i, j] - other[i, j] + lap[i, j]
