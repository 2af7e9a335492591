"""Slow twins: what a member computes, written as its documentation says and as plainly as numpy allows."""

import numpy as np
import numpy.typing as npt

from invreg.operators import Parallel2D

Array = npt.NDArray[np.float64]


def ray_transform(image: Array, g: Parallel2D, pixel: float) -> Array:
    """XRay of one image (h, w), view by view: Joseph's sums at integer positions, read at the bins."""
    sinogram = np.empty(g.shape)
    for a, theta in enumerate(g.angles):
        along, across, rows = np.cos(theta), np.sin(theta), image
        if abs(along) < abs(across):
            along, across, rows = -across, -along, image.T
        n, length = rows.shape
        reach = n + length + 40 + int(2 * g.pitch / pixel)
        places = np.arange(-reach, length + reach)
        q = np.zeros(places.size)
        for r, row in enumerate(rows):
            q += np.interp(places - (r - (n - 1) / 2) * -across / along, np.arange(-1, length + 1), np.pad(row, 1))
        # the variance of the bin, seen along the rows, less those of a pixel and of linear interpolation
        missing = (g.pitch / pixel / along) ** 2 / 12 - 1 / 12 - 1 / 6
        bins = (np.arange(g.detectors) - g.centre) * g.pitch / pixel / along + (length - 1) / 2
        inside = (bins > -n - 20) & (bins < length + n + 20)  # the others see nothing
        for b in range(g.detectors):
            weights = reading(bins[b] - places, missing) if inside[b] else np.zeros(places.size)
            sinogram[a, b] = pixel / abs(along) * weights @ q
    return sinogram


def reading(t: Array, missing: float) -> Array:
    """Keys' six-point cubic at t, sharpened by a negative variance or averaged over a box of a positive one."""
    if missing <= 0:
        return cubic(t) - missing / 2 * sharpening(t)
    half = np.sqrt(3 * missing)
    nodes, weights = np.polynomial.legendre.leggauss(4)
    result = np.empty(t.size)
    for i, x in enumerate(t):
        knots = np.arange(np.ceil(x - half), np.floor(x + half) + 1)
        edges = np.concatenate([[x - half], knots, [x + half]])
        middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
        result[i] = (width[:, None] * weights * cubic(middle[:, None] + width[:, None] * nodes)).sum() / (2 * half)
    return result


def cubic(t: Array) -> Array:
    """Keys (1981), eq. 25: the kernel of fourth order."""
    t = np.abs(t)
    pieces = [
        4 / 3 * t**3 - 7 / 3 * t**2 + 1,
        -7 / 12 * t**3 + 3 * t**2 - 59 / 12 * t + 15 / 6,
        1 / 12 * t**3 - 2 / 3 * t**2 + 21 / 12 * t - 3 / 2,
    ]
    return np.select([t < 1, t < 2, t < 3], pieces, 0.0)


def sharpening(t: Array) -> Array:
    """Minus the second difference, (-1, 2, -1) at the integers, with smooth steps between them."""
    t = np.abs(t)
    first, second = (3 * u**2 - 2 * u**3 for u in (t, t - 1))
    return np.select([t < 1, t < 2], [2 - 3 * first, second - 1], 0.0)
