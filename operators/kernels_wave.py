"""Numba kernels of the acoustic wave equation: all time steps of one shot, its derivative and the transpose of that.

Fields lie in a halo of two zeros. With L the Laplacian in units of the spacing, absorbing layers included, a step is

    w = L u[n] + source s[n],   u[n + 1] = 2 u[n] - u[n - 1] + m w,   m = (c dt / spacing)^2.

In the layers d/dx becomes d/dx + memory, a recursive convolution (Pasalic and McGarry, SEG 2010):

    p <- b p + a D1 u,   z <- b z + a (D2 u + D1 p),   L u = D2 u + D1 p + z   along each axis.

D1 is antisymmetric and D2 symmetric, so that the transpose runs the same sums in reverse. `layers` are the fields
a, b along columns and a, b along rows, 0 outside the `width` nodes of the layers; `memory` is p, z along columns and
p, z along rows. The inner loops run over slices of equal length, from which the compiler makes vectors; with indices
j - 2 it would not, since a negative one counts from the end.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")

HALO = 2


@_jit
def around(f: Array, k: int, step: int, n: int) -> tuple[Array, Array, Array, Array, Array]:
    """The n values of a flat field from k on, and their neighbours two and one steps before and after."""
    return (
        f[k - 2 * step : k - 2 * step + n],
        f[k - step : k - step + n],
        f[k : k + n],
        f[k + step : k + step + n],
        f[k + 2 * step : k + 2 * step + n],
    )


@_jit
def laplacian(u: Array, w: Array) -> None:
    """w = D2 u along both axes."""
    one = u.dtype.type(1)
    here, near, far = -one * 5, one * 4 / 3, -one / 12
    rows, columns = u.shape
    n, flat = columns - 2 * HALO, u.ravel()
    for i in range(HALO, rows - HALO):
        f0, f1, f2, f3, f4 = around(flat, i * columns + HALO, 1, n)
        g0, g1, _, g3, g4 = around(flat, i * columns + HALO, columns, n)
        out = w[i, HALO : HALO + n]
        for j in range(n):
            out[j] = here * f2[j] + near * (f1[j] + f3[j] + g1[j] + g3[j]) + far * (f0[j] + f4[j] + g0[j] + g4[j])


@_jit
def bands(shape: tuple[int, int], width: int) -> list[tuple[int, int, int, int, int]]:
    """Axis, rows and columns of the layers, with the two nodes more that their differences reach."""
    (rows, columns), beyond = shape, 2 * HALO + width
    return [
        (0, HALO, rows - HALO, HALO, beyond),
        (0, HALO, rows - HALO, columns - beyond, columns - HALO),
        (1, HALO, beyond, HALO, columns - HALO),
        (1, rows - beyond, rows - HALO, HALO, columns - HALO),
    ]


@_jit
def add_layers(u: Array, memory: Array, layers: Array, width: int, w: Array) -> None:
    """w += what the layers add to the Laplacian, and `memory` goes one step on."""
    one = u.dtype.type(1)
    here, near, far = -one * 5 / 2, one * 4 / 3, -one / 12
    before, beyond = one * 2 / 3, -one / 12
    columns, flat = u.shape[1], u.ravel()
    for axis, top, bottom, left, right in bands(u.shape, width):
        step, n = (1, columns)[axis], right - left
        past, a2, b2 = memory[2 * axis].ravel(), layers[2 * axis], layers[2 * axis + 1]
        for i in range(top, bottom):
            f0, f1, _, f3, f4 = around(flat, i * columns + left, step, n)
            p, a, b = (
                memory[2 * axis, i, left:right],
                layers[2 * axis, i, left:right],
                layers[2 * axis + 1, i, left:right],
            )
            for j in range(n):
                p[j] = b[j] * p[j] + a[j] * (before * (f3[j] - f1[j]) + beyond * (f4[j] - f0[j]))
        for i in range(top, bottom):
            f0, f1, f2, f3, f4 = around(flat, i * columns + left, step, n)
            p0, p1, _, p3, p4 = around(past, i * columns + left, step, n)
            z, a, b = memory[2 * axis + 1, i, left:right], a2[i, left:right], b2[i, left:right]
            out = w[i, left:right]
            for j in range(n):
                slope = before * (p3[j] - p1[j]) + beyond * (p4[j] - p0[j])
                curve = here * f2[j] + near * (f1[j] + f3[j]) + far * (f0[j] + f4[j])
                z[j] = b[j] * z[j] + a[j] * (curve + slope)
                out[j] += slope + z[j]


@_jit
def add_layers_transposed(q: Array, memory: Array, layers: Array, width: int, e: Array, f: Array, out: Array) -> None:
    """out += the transpose of `add_layers` on q, `memory` going one step back; e and f are scratch fields of zeros."""
    one = q.dtype.type(1)
    here, near, far = -one * 5 / 2, one * 4 / 3, -one / 12
    before, beyond = one * 2 / 3, -one / 12
    columns, flat = q.shape[1], q.ravel()
    for axis, top, bottom, left, right in bands(q.shape, width):
        step, n = (1, columns)[axis], right - left
        for i in range(top, bottom):
            z, a, b = (
                memory[2 * axis + 1, i, left:right],
                layers[2 * axis, i, left:right],
                layers[2 * axis + 1, i, left:right],
            )
            q2, e2 = q[i, left:right], e[i, left:right]
            for j in range(n):
                z[j] = q2[j] + b[j] * z[j]
                e2[j] = a[j] * z[j]
        for i in range(top, bottom):
            q0, q1, _, q3, q4 = around(flat, i * columns + left, step, n)
            e0, e1, _, e3, e4 = around(e.ravel(), i * columns + left, step, n)
            p, a, b = (
                memory[2 * axis, i, left:right],
                layers[2 * axis, i, left:right],
                layers[2 * axis + 1, i, left:right],
            )
            f2 = f[i, left:right]
            for j in range(n):
                slope = before * (q3[j] + e3[j] - q1[j] - e1[j]) + beyond * (q4[j] + e4[j] - q0[j] - e0[j])
                p[j] = b[j] * p[j] - slope
                f2[j] = a[j] * p[j]
        for i in range(top, bottom):
            e0, e1, e2, e3, e4 = around(e.ravel(), i * columns + left, step, n)
            f0, f1, _, f3, f4 = around(f.ravel(), i * columns + left, step, n)
            to = out[i, left:right]
            for j in range(n):
                curve = here * e2[j] + near * (e1[j] + e3[j]) + far * (e0[j] + e4[j])
                to[j] += curve - (before * (f3[j] - f1[j]) + beyond * (f4[j] - f0[j]))
        e[top:bottom, left:right] = 0
        f[top:bottom, left:right] = 0


@_jit
def leap(now: Array, m: Array, w: Array, other: Array) -> None:
    """other = 2 now - other + m w: from u[n - 1] to u[n + 1]."""
    two = m.dtype.type(2)
    a, b, c, out = now.ravel(), m.ravel(), w.ravel(), other.ravel()
    for k in range(out.size):
        out[k] = two * a[k] - out[k] + b[k] * c[k]


@_jit
def add_product(m: Array, w: Array, out: Array) -> None:
    a, b, to = m.ravel(), w.ravel(), out.ravel()
    for k in range(to.size):
        to[k] += a[k] * b[k]


@_jit
def advance(
    m: Array, wavelet: Array, row: int, column: int, layers: Array, width: int,
    start: int, stop: int, u: Array, memory: Array, store: Array, receivers: Array, traces: Array,
) -> None:  # fmt: skip
    """The steps start..stop. u[n % 2] is u[n]; `store` keeps the last w's; traces (receiver, time)."""
    for n in range(start, stop):
        now, other = u[n % 2], u[(n + 1) % 2]
        w = store[(n - start) % len(store)]
        laplacian(now, w)
        add_layers(now, memory, layers, width, w)
        w[row, column] += wavelet[n]
        leap(now, m, w, other)
        for r in range(len(receivers)):
            traces[r, n + 1] = other[receivers[r, 0], receivers[r, 1]]


@_jit
def run(
    m: Array, wavelet: Array, row: int, column: int, layers: Array, width: int, receivers: Array, traces: Array
) -> None:
    """Traces (receiver, time) of a shot at (row, column), from rest."""
    u, memory = np.zeros((2, *m.shape), m.dtype), np.zeros((4, *m.shape), m.dtype)
    store = np.zeros((1, *m.shape), m.dtype)
    traces[:, 0] = 0
    advance(m, wavelet, row, column, layers, width, 0, len(wavelet) - 1, u, memory, store, receivers, traces)


@_jit
def run_derivative(
    m: Array, wavelet: Array, row: int, column: int, layers: Array, width: int, receivers: Array,
    dm: Array, traces: Array,
) -> None:  # fmt: skip
    """The derivative of the traces along `dm`: the same steps with the source dm w."""
    u, memory = np.zeros((2, *m.shape), m.dtype), np.zeros((4, *m.shape), m.dtype)
    du, dmemory = np.zeros_like(u), np.zeros_like(memory)
    store, dw = np.zeros((1, *m.shape), m.dtype), np.zeros_like(m)
    nowhere, unseen = np.zeros((0, 2), receivers.dtype), np.zeros((0, 0), m.dtype)
    traces[:, 0] = 0
    for n in range(len(wavelet) - 1):
        advance(m, wavelet, row, column, layers, width, n, n + 1, u, memory, store, nowhere, unseen)
        now, other = du[n % 2], du[(n + 1) % 2]
        laplacian(now, dw)
        add_layers(now, dmemory, layers, width, dw)
        leap(now, m, dw, other)
        add_product(dm, store[0], other)
        for r in range(len(receivers)):
            traces[r, n + 1] = other[receivers[r, 0], receivers[r, 1]]


@_jit
def run_transposed(
    m: Array, wavelet: Array, row: int, column: int, layers: Array, width: int, receivers: Array,
    v: Array, length: int, gradient: Array,
) -> None:  # fmt: skip
    """The transpose of `run_derivative` applied to v (receiver, time), by segments of `length` steps."""
    steps = len(wavelet) - 1
    segments = (steps + length - 1) // length
    u, memory = np.zeros((2, *m.shape), m.dtype), np.zeros((4, *m.shape), m.dtype)
    kept = np.zeros((segments, 6, *m.shape), m.dtype)
    store = np.zeros((length, *m.shape), m.dtype)
    nowhere, unseen = np.zeros((0, 2), receivers.dtype), np.zeros((0, 0), m.dtype)
    for k in range(1, segments):
        start, stop = (k - 1) * length, k * length
        advance(m, wavelet, row, column, layers, width, start, stop, u, memory, store, nowhere, unseen)
        kept[k, :2], kept[k, 2:] = u, memory
    adjoint, back = np.zeros_like(u), np.zeros_like(memory)
    q, out, e, f = np.zeros_like(m), np.zeros_like(m), np.zeros_like(m), np.zeros_like(m)
    one = np.ones_like(m)
    gradient[:] = 0
    for r in range(len(receivers)):
        adjoint[steps % 2, receivers[r, 0], receivers[r, 1]] += v[r, steps]
    for k in range(segments - 1, -1, -1):
        start, stop = k * length, min((k + 1) * length, steps)
        u[:], memory[:] = kept[k, :2], kept[k, 2:]
        advance(m, wavelet, row, column, layers, width, start, stop, u, memory, store, nowhere, unseen)
        for n in range(stop - 1, start - 1, -1):
            later, other = adjoint[(n + 1) % 2], adjoint[n % 2]
            add_product(later, store[n - start], gradient)
            q[:] = 0
            add_product(m, later, q)
            laplacian(q, out)
            add_layers_transposed(q, back, layers, width, e, f, out)
            leap(later, one, out, other)
            for r in range(len(receivers)):
                other[receivers[r, 0], receivers[r, 1]] += v[r, n]
