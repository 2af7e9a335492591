"""Slow twins: what a member computes, written as its documentation says and as plainly as numpy allows."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from invreg.operators import Parallel2D, Views2D, Views3D

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


def fan_transform(image: Array, views: Views2D, pixel: float) -> Array:
    """XRay of one image (h, w) for divergent views, ray by ray: Joseph's sums over blocks of rows, read at the bin."""
    h, w = image.shape
    sinogram = np.zeros(views.shape)
    places = [views.points(np.arange(views.detectors) + d) for d in (-0.5, 0.0, 0.5)]
    for a, b in np.ndindex(views.shape):
        edge, ray, other = (place[a, b] - views.source[a] for place in places)
        opening = abs(np.arctan2(edge[0] * other[1] - edge[1] * other[0], edge @ other))
        by_rows = abs(ray[1]) >= abs(ray[0])
        (across, along), rows = ((ray[0], -ray[1]), image) if by_rows else ((-ray[1], ray[0]), image.T)
        column, row = views.source[a] / pixel * [1, -1] + [(w - 1) / 2, (h - 1) / 2]
        if not by_rows:
            column, row = row, column
        slope, sign = across / abs(along), np.sign(along)
        length = pixel * np.sqrt(1 + slope**2)
        for block in fan_blocks(len(rows), row, sign):
            middle = sign * (block.mean() - row)
            t = column + middle * slope
            # the variance of the bin where it passes the block, less those of a pixel and of linear interpolation
            spread = min(1, (len(block) - 1) / 2 * abs(slope))
            missing = (middle * opening * (1 + slope**2)) ** 2 / 12 - 1 / 12 - (spread / 2 - spread**2 / 3)
            reach = 6 + int(2 * np.sqrt(max(missing, 0)))
            nodes = np.arange(np.floor(t) - reach, np.floor(t) + reach + 1)
            weights = (
                cubic(t - nodes) - missing / 2 * sharpening(t - nodes)
                if missing <= 0.5
                else reading(t - nodes, missing)
            )
            for r in block:
                at = nodes + sign * (r - block.mean()) / middle * (nodes - column)
                values = np.interp(at, np.arange(-1, rows.shape[1] + 1), np.pad(rows[r], 1))
                sinogram[a, b] += length * weights @ values
    return sinogram


def fan_blocks(count: int, source: float, sign: float) -> list[Array]:
    """The rows in front of the source, 64 at most to a block; fewer near it: shifts grow by 1/20 a pixel at most."""
    blocks = []
    for start in range(0, count, 64):
        rows = np.arange(start, min(start + 64, count))[:: int(sign)]
        rows = rows[sign * (rows - source) > 0]
        while rows.size:
            most = 1 + int(2 / 19 * abs(rows[0] - source))
            blocks.append(rows[:most])
            rows = rows[most:]
    return blocks


def joseph(volume: Array, views: Views3D, pixel: float, thickness: float) -> Array:
    """JosephProjector of one volume (depth, h, w), ray by ray: interpolation on the planes of its driving axis."""
    size = np.array([pixel, -pixel, thickness])
    middle = (np.array(volume.shape[::-1]) - 1) / 2
    points = views.points(np.arange(float(views.rows)), np.arange(float(views.columns)))
    padded = np.pad(volume, 1)  # its own neighbours outside, so that the edge fades to 0 over a voxel
    result = np.empty(views.shape)
    for view, row, column in np.ndindex(views.shape):
        point, source = points[view, row, column], views.source[view]
        origin, ray = (point, source) if views.parallel else (source, point - source)
        o, d = origin / size + middle, ray / size
        axis = int(np.argmax(np.abs(d)))
        t = (np.arange(volume.shape[2 - axis]) - o[axis]) / d[axis]
        places = o + (t if views.parallel else t[t > 0])[:, None] * d
        total = map_coordinates(padded, places[:, ::-1].T + 1, order=1, mode="constant").sum()
        result[view, row, column] = total * np.linalg.norm(ray) / abs(d[axis])
    return result
