"""Numba kernels of total variation: differences, their transpose, the dual steps and the primal-dual gap.

As separate torch operations a dual step moves three times the memory. Arrays are contiguous, of one precision:

    x (channel, depth, h, w)         an image, of depth 1 below three axes and of h = 1 below two
    u (channel, axes, depth, h, w)   a field: the differences of x along its last `axes` axes, 1 to 3 of them
    inverse (axes,)                  one over the spacing, of the precision of x
    radius (depth, h, w) or (1, 1, 1)

D and its boundary are those of `operators.Gradient`. Rows start..stop of the depth * h ones are written.
"""

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
BLOCK = 16  # rows of an image that a step takes at a time

compiled = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
# sums in any order, which is what lets them run in vector registers
summing = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")


@compiled
def _next_row(x: Array, c: int, z: int, i: int, axis: int) -> Array:
    """The row after (z, i) along axis 0 (depth) or 1 (h); at the end the row itself, for a difference of 0."""
    if axis == 0:
        return x[c, min(z + 1, x.shape[1] - 1), i]
    return x[c, z, min(i + 1, x.shape[2] - 1)]


@compiled
def _difference_row(x: Array, inverse: Array, c: int, a: int, z: int, i: int, out: Array) -> None:
    """The row (z, i) of (D x)[c, a]."""
    here, k, width = x[c, z, i], inverse[a], x.shape[3]
    axis = 3 - len(inverse) + a
    if axis == 2:
        for j in range(width - 1):
            out[j] = k * (here[j + 1] - here[j])
        out[width - 1] = 0
    else:
        after = _next_row(x, c, z, i, axis)
        for j in range(width):
            out[j] = k * (after[j] - here[j])


@compiled
def _adjoint_row(u: Array, inverse: Array, c: int, z: int, i: int, out: Array) -> None:
    """The row (z, i) of (D^T u)[c]."""
    axes, depth, height, width = u.shape[1], u.shape[2], u.shape[3], u.shape[4]
    k, here = inverse[axes - 1], u[c, axes - 1, z, i]
    if width == 1:
        out[0] = 0
    else:
        out[0] = -k * here[0]
        for j in range(1, width - 1):
            out[j] = k * (here[j - 1] - here[j])
        out[width - 1] = k * here[width - 2]
    for a in range(axes - 1):
        k = inverse[a]
        along_depth = a == axes - 3
        place, count = (z, depth) if along_depth else (i, height)
        if place < count - 1:
            here = u[c, a, z, i]
            for j in range(width):
                out[j] -= k * here[j]
        if place > 0:
            before = u[c, a, z - 1, i] if along_depth else u[c, a, z, i - 1]
            for j in range(width):
                out[j] += k * before[j]


@compiled
def gradient(x: Array, inverse: Array, out: Array, start: int, stop: int) -> None:
    """out = D x."""
    for r in range(start, stop):
        z, i = r // x.shape[2], r % x.shape[2]
        for c in range(x.shape[0]):
            for a in range(len(inverse)):
                _difference_row(x, inverse, c, a, z, i, out[c, a, z, i])


@compiled
def adjoint(u: Array, inverse: Array, out: Array, start: int, stop: int) -> None:
    """out = D^T u."""
    for r in range(start, stop):
        z, i = r // out.shape[2], r % out.shape[2]
        for c in range(out.shape[0]):
            _adjoint_row(u, inverse, c, z, i, out[c, z, i])


@compiled
def residual(y: Array, u: Array, inverse: Array, out: Array, start: int, stop: int) -> None:
    """out = y - D^T u, the image that belongs to a dual field in denoising."""
    for r in range(start, stop):
        z, i = r // out.shape[2], r % out.shape[2]
        for c in range(out.shape[0]):
            to, data = out[c, z, i], y[c, z, i]
            _adjoint_row(u, inverse, c, z, i, to)
            for j in range(len(to)):
                to[j] = data[j] - to[j]


@compiled
def _ascent_row(x: Array, inverse: Array, step: float, z: int, i: int, c: int, a: int, p: Array, square: Array) -> None:
    """Add the row (z, i) of (step D x)[c, a] to p (w,), and the square of the sum to `square` (w,)."""
    here, width = x[c, z, i], x.shape[3]
    k = x.dtype.type(step) * inverse[a]
    axis = 3 - len(inverse) + a
    if axis == 2:
        for j in range(width - 1):
            q = p[j] + k * (here[j + 1] - here[j])
            p[j] = q
            square[j] += q * q
        square[width - 1] += p[width - 1] * p[width - 1]
    else:
        after = _next_row(x, c, z, i, axis)
        for j in range(width):
            q = p[j] + k * (after[j] - here[j])
            p[j] = q
            square[j] += q * q


@compiled
def _project_row(
    x: Array, v: Array, inverse: Array, limit: Array, step: float, soft: float, isotropic: bool, z: int, i: int,
    square: Array,
) -> None:  # fmt: skip
    """In place, the row (z, i) of v becomes a w / max(w + soft, |a|) of a = v + step D x, with the radius w = limit."""
    channels, axes, width = x.shape[0], len(inverse), x.shape[3]
    low, tiny = x.dtype.type(soft), x.dtype.type(1e-37)
    for group in range(1 if isotropic else axes):
        first, last = (0, axes) if isotropic else (group, group + 1)
        square[:] = 0
        for c in range(channels):
            for a in range(first, last):
                _ascent_row(x, inverse, step, z, i, c, a, v[c, a, z, i], square)
        for j in range(width):
            square[j] = limit[j] / max(math.sqrt(square[j]), max(limit[j] + low, tiny))
        for c in range(channels):
            for a in range(first, last):
                p = v[c, a, z, i]
                for j in range(width):
                    p[j] *= square[j]


@compiled
def _project_plane_row(
    here: Array, below: Array, u0: Array, u1: Array, v0: Array, v1: Array, inverse: Array, limit: Array, step: float,
    soft: float,
) -> None:  # fmt: skip
    """The same from u to v for one channel and two axes, in one pass over the row: twice as fast."""
    k0, k1 = here.dtype.type(step) * inverse[0], here.dtype.type(step) * inverse[1]
    low, tiny, last = here.dtype.type(soft), here.dtype.type(1e-37), len(here) - 1
    for j in range(last):
        a = u0[j] + k0 * (below[j] - here[j])
        b = u1[j] + k1 * (here[j + 1] - here[j])
        scale = limit[j] / max(math.sqrt(a * a + b * b), max(limit[j] + low, tiny))
        v0[j] = scale * a
        v1[j] = scale * b
    a, b = u0[last] + k0 * (below[last] - here[last]), u1[last]
    scale = limit[last] / max(math.sqrt(a * a + b * b), max(limit[last] + low, tiny))
    v0[last] = scale * a
    v1[last] = scale * b


@compiled
def ascend(
    x: Array, u: Array, inverse: Array, radius: Array, step: float, soft: float, isotropic: bool, out: Array,
    start: int, stop: int,
) -> None:  # fmt: skip
    """out = projection of a = u + step D x, a w / max(w + soft, |a|) with the radius w and soft = step * huber.

    The dual step of primal-dual methods. Lengths are taken over the channels and, if `isotropic`, over the axes.
    """
    height, width = x.shape[2], x.shape[3]
    plane = isotropic and x.shape[0] == 1 and len(inverse) == 2
    square, one = np.empty(width, x.dtype), np.full(width, radius[0, 0, 0], x.dtype)
    for r in range(start, stop):
        z, i = r // height, r % height
        limit = one if radius.size == 1 else radius[z, i]
        if plane:
            _project_plane_row(
                x[0, z, i], _next_row(x, 0, z, i, 1), u[0, 0, z, i], u[0, 1, z, i], out[0, 0, z, i], out[0, 1, z, i],
                inverse, limit, step, soft,
            )  # fmt: skip
        else:
            for c in range(x.shape[0]):
                for a in range(len(inverse)):
                    to, from_ = out[c, a, z, i], u[c, a, z, i]
                    for j in range(width):
                        to[j] = from_[j]
            _project_row(x, out, inverse, limit, step, soft, isotropic, z, i, square)


@compiled
def ascend_ahead(
    x: Array, u: Array, v: Array, inverse: Array, radius: Array, step: float, soft: float, isotropic: bool,
    beta: float, start: int, stop: int,
) -> None:  # fmt: skip
    """In place: u' = projection of v + step D x, v = u' + beta (u' - u), u = u'."""
    height, width = x.shape[2], x.shape[3]
    plane = isotropic and x.shape[0] == 1 and len(inverse) == 2
    square, one, b = np.empty(width, x.dtype), np.full(width, radius[0, 0, 0], x.dtype), x.dtype.type(beta)
    p = np.empty((2, width), x.dtype)
    for r in range(start, stop):
        z, i = r // height, r % height
        limit = one if radius.size == 1 else radius[z, i]
        if plane:
            _project_plane_row(
                x[0, z, i], _next_row(x, 0, z, i, 1), v[0, 0, z, i], v[0, 1, z, i], p[0], p[1],
                inverse, limit, step, soft,
            )  # fmt: skip
        else:
            _project_row(x, v, inverse, limit, step, soft, isotropic, z, i, square)
        for c in range(x.shape[0]):
            for a in range(len(inverse)):
                old, ahead = u[c, a, z, i], v[c, a, z, i]
                new = p[a] if plane else ahead
                for j in range(width):
                    q = new[j]
                    ahead[j] = q + b * (q - old[j])
                    old[j] = q


@compiled
def fista(
    y: Array, u: Array, v: Array, x: Array, inverse: Array, radius: Array, step: float, soft: float,
    isotropic: bool, betas: Array, block: int,
) -> None:  # fmt: skip
    """len(betas) accelerated projected-gradient steps on the dual of denoising, in place, with x as workspace.

    `block` rows at a time, every step one block behind the one before, so that y, u and v are still in the cache. It
    must be as far as differences reach: of a volume the rows of a plane.
    """
    rows = x.shape[1] * x.shape[2]
    blocks = (rows + block - 1) // block
    for t in range(blocks + len(betas)):
        for s in range(max(t - blocks, 0), min(t + 1, len(betas))):
            start = (t - s) * block
            residual(y, v, inverse, x, start, min(start + block, rows))
            if t > s:
                ascend_ahead(
                    x, u, v, inverse, radius, step, soft, isotropic, betas[s], start - block, min(start, rows)
                )  # fmt: skip


@summing
def gap(
    y: Array, u: Array, x: Array, inverse: Array, radius: Array, huber: float, isotropic: bool, out: Array,
    start: int, stop: int,
) -> None:  # fmt: skip
    """out (rows, 2) = primal value and primal-dual gap of denoising at x = y - D^T u, of each row, in float64.

    The gap is a sum of terms w phi(|b|) + huber |u|^2 / (2 w) - <u, b> of the differences b = D x, none of them
    negative, so that no large numbers cancel.
    """
    channels, axes = x.shape[0], len(inverse)
    height, width = x.shape[2], x.shape[3]
    one = radius.shape[0] == 1 and radius.shape[1] == 1 and radius.shape[2] == 1
    b = np.empty(width, x.dtype)
    size, square, product = np.empty(width), np.empty(width), np.empty(width)
    for r in range(start, stop):
        z, i = r // height, r % height
        primal = excess = 0.0
        for c in range(channels):
            data, image = y[c, z, i], x[c, z, i]
            for j in range(width):
                d = np.float64(image[j]) - np.float64(data[j])
                primal += 0.5 * d * d
        limit = radius[0, 0] if one else radius[z, i]
        for group in range(1 if isotropic else axes):
            low, high = (0, axes) if isotropic else (group, group + 1)
            size[:] = 0
            square[:] = 0
            product[:] = 0
            for c in range(channels):
                for a in range(low, high):
                    _difference_row(x, inverse, c, a, z, i, b)
                    w = u[c, a, z, i]
                    for j in range(width):
                        bj, uj = np.float64(b[j]), np.float64(w[j])
                        size[j] += bj * bj
                        square[j] += uj * uj
                        product[j] += uj * bj
            for j in range(width):
                m = np.float64(limit[0 if one else j])
                length = math.sqrt(size[j])
                if huber > 0:
                    short = min(length, huber)
                    value = m * (short * short / (2 * huber) + length - short)
                    conjugate = huber * square[j] / (2 * m) if m > 0 else 0.0
                else:
                    value, conjugate = m * length, 0.0
                primal += value
                excess += value + conjugate - product[j]
        out[r, 0], out[r, 1] = primal, excess
