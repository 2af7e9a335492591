"""Numba kernels of second-order total generalised variation of images: its two operators, transposes and dual steps.

Arrays are contiguous, of one precision; rows start..stop of the h ones are written:

    x (3, h, w)   an image and the two components of a field w, as TGV has them
    p (2, h, w)   slopes D x - w, 0 at the last pixel of their axis
    q (3, h, w)   bends E w: the two diagonal entries and sqrt(2) times the mixed one
"""

import math

from invreg.priors.kernels_cpu import Array, compiled

HALF = math.sqrt(0.5)


@compiled
def _slope(x: Array, i: int, j: int) -> tuple[float, float]:
    here = x[0, i, j]
    a = x[0, i + 1, j] - here - x[1, i, j] if i + 1 < x.shape[1] else x.dtype.type(0)
    b = x[0, i, j + 1] - here - x[2, i, j] if j + 1 < x.shape[2] else x.dtype.type(0)
    return a, b


@compiled
def _bend(x: Array, i: int, j: int) -> tuple[float, float, float]:
    zero = x.dtype.type(0)
    a, b, c = zero, zero, zero
    if i > 0:
        a = x[1, i, j] - x[1, i - 1, j]
        c += x[2, i, j] - x[2, i - 1, j]
    if j > 0:
        b = x[2, i, j] - x[2, i, j - 1]
        c += x[1, i, j] - x[1, i, j - 1]
    return a, b, x.dtype.type(HALF) * c


@compiled
def slopes(x: Array, out: Array, start: int, stop: int) -> None:
    """out (2, h, w) = D x[0] - x[1:]."""
    for i in range(start, stop):
        for j in range(x.shape[2]):
            out[0, i, j], out[1, i, j] = _slope(x, i, j)


@compiled
def bends(x: Array, out: Array, start: int, stop: int) -> None:
    """out (3, h, w) = E x[1:]."""
    for i in range(start, stop):
        for j in range(x.shape[2]):
            out[0, i, j], out[1, i, j], out[2, i, j] = _bend(x, i, j)


@compiled
def slopes_adjoint(p: Array, out: Array, start: int, stop: int) -> None:
    """The transpose of `slopes`, out (3, h, w)."""
    h, w = p.shape[1], p.shape[2]
    zero = p.dtype.type(0)
    for i in range(start, stop):
        for j in range(w):
            a = p[0, i, j] if i < h - 1 else zero
            b = p[1, i, j] if j < w - 1 else zero
            back = -a - b
            if i > 0:
                back += p[0, i - 1, j]
            if j > 0:
                back += p[1, i, j - 1]
            out[0, i, j], out[1, i, j], out[2, i, j] = back, -a, -b


@compiled
def bends_adjoint(q: Array, out: Array, start: int, stop: int) -> None:
    """The transpose of `bends`, out (3, h, w)."""
    h, w = q.shape[1], q.shape[2]
    half, zero = q.dtype.type(HALF), q.dtype.type(0)
    for i in range(start, stop):
        for j in range(w):
            a, b = zero, zero
            if i > 0:
                a += q[0, i, j]
                b += half * q[2, i, j]
            if i < h - 1:
                a -= q[0, i + 1, j]
                b -= half * q[2, i + 1, j]
            if j > 0:
                b += q[1, i, j]
                a += half * q[2, i, j]
            if j < w - 1:
                b -= q[1, i, j + 1]
                a -= half * q[2, i, j + 1]
            out[0, i, j], out[1, i, j], out[2, i, j] = zero, a, b


@compiled
def ascend_slopes(x: Array, p: Array, step: float, radius: float, out: Array, start: int, stop: int) -> None:
    """out = the projection of p + step (D x[0] - x[1:]) onto lengths up to the radius."""
    s, r = x.dtype.type(step), x.dtype.type(radius)
    for i in range(start, stop):
        for j in range(x.shape[2]):
            a, b = _slope(x, i, j)
            a, b = p[0, i, j] + s * a, p[1, i, j] + s * b
            scale = r / max(math.sqrt(a * a + b * b), r)
            out[0, i, j], out[1, i, j] = scale * a, scale * b


@compiled
def ascend_bends(x: Array, q: Array, step: float, radius: float, out: Array, start: int, stop: int) -> None:
    """out = the projection of q + step E x[1:] onto lengths up to the radius."""
    s, r = x.dtype.type(step), x.dtype.type(radius)
    for i in range(start, stop):
        for j in range(x.shape[2]):
            a, b, c = _bend(x, i, j)
            a, b, c = q[0, i, j] + s * a, q[1, i, j] + s * b, q[2, i, j] + s * c
            scale = r / max(math.sqrt(a * a + b * b + c * c), r)
            out[0, i, j], out[1, i, j], out[2, i, j] = scale * a, scale * b, scale * c
