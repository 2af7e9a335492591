"""Numba kernel of the dual step of total variation: gradient, ascent and projection in one pass over memory.

As separate torch operations the step moves ten arrays of the size of the image, and takes five times as long.
"""

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def ascend(x: Array, u: Array, step: float, radius: Array, out: Array, start: int, stop: int) -> None:
    """out = projection of u + step D x onto |.|_2 <= radius, rows start..stop.

    x (h, w); u, out (2, h, w); radius (h, w) or (1, 1). D as in `operators.Gradient` of spacing 1.
    """
    height, width = x.shape
    s = x.dtype.type(step)
    one = np.full(width, radius[0, 0], x.dtype)
    for i in range(start, stop):
        limit = one if radius.shape[0] == 1 else radius[i]
        here, below = x[i], x[min(i + 1, height - 1)]
        u0, u1, v0, v1 = u[0, i], u[1, i], out[0, i], out[1, i]
        for j in range(width - 1):
            a = u0[j] + s * (below[j] - here[j])
            b = u1[j] + s * (here[j + 1] - here[j])
            size = math.sqrt(a * a + b * b)
            scale = limit[j] / max(size, limit[j]) if limit[j] > 0 else limit[j]
            v0[j] = scale * a
            v1[j] = scale * b
        j = width - 1
        a, b = u0[j] + s * (below[j] - here[j]), u1[j]
        size = math.sqrt(a * a + b * b)
        scale = limit[j] / max(size, limit[j]) if limit[j] > 0 else limit[j]
        v0[j] = scale * a
        v1[j] = scale * b
