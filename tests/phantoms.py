"""Ellipse and ellipsoid phantoms with exact line integrals, the truth that projectors are measured against.

An ellipse is a row (value, centre x, centre y, half-axis a, half-axis b, rotation phi in radians): x to the
right, y up, origin at the rotation axis, as in `Parallel2D`; `phi` turns the a-axis counter-clockwise from x.
Phantoms are arrays (n, 6) in the unit disc; `scaled` gives them a length. An ellipsoid is a row (value, centre x, y, z,
half-axes a, b, c, phi), turned by phi about z: (n, 8) in the unit ball.
"""

import numpy as np
import numpy.typing as npt

from invreg.operators.tomography.geometry import Parallel2D
from invreg.operators.tomography.geometry3d import Views3D

Array = npt.NDArray[np.float64]

# the head of Shepp and Logan (1974) with the contrasts of Toft's thesis (1996), in a disc of radius 1
SHEPP_LOGAN: Array = np.array(
    [
        [1.0, 0.0, 0.0, 0.69, 0.92, 0.0],
        [-0.8, 0.0, -0.0184, 0.6624, 0.874, 0.0],
        [-0.2, 0.22, 0.0, 0.11, 0.31, np.deg2rad(-18)],
        [-0.2, -0.22, 0.0, 0.16, 0.41, np.deg2rad(18)],
        [0.1, 0.0, 0.35, 0.21, 0.25, 0.0],
        [0.1, 0.0, 0.1, 0.046, 0.046, 0.0],
        [0.1, 0.0, -0.1, 0.046, 0.046, 0.0],
        [0.1, -0.08, -0.605, 0.046, 0.023, 0.0],
        [0.1, 0.0, -0.606, 0.023, 0.023, 0.0],
        [0.1, 0.06, -0.605, 0.023, 0.046, 0.0],
    ]
)

# the same head in space, half-axes and heights of Schabel's phantom3d (2006)
SHEPP_LOGAN_3D: Array = np.array(
    [
        [1.0, 0.0, 0.0, 0.0, 0.69, 0.92, 0.81, 0.0],
        [-0.8, 0.0, -0.0184, 0.0, 0.6624, 0.874, 0.78, 0.0],
        [-0.2, 0.22, 0.0, 0.0, 0.11, 0.31, 0.22, np.deg2rad(-18)],
        [-0.2, -0.22, 0.0, 0.0, 0.16, 0.41, 0.28, np.deg2rad(18)],
        [0.1, 0.0, 0.35, -0.15, 0.21, 0.25, 0.41, 0.0],
        [0.1, 0.0, 0.1, 0.25, 0.046, 0.046, 0.05, 0.0],
        [0.1, 0.0, -0.1, 0.25, 0.046, 0.046, 0.05, 0.0],
        [0.1, -0.08, -0.605, 0.0, 0.046, 0.023, 0.05, 0.0],
        [0.1, 0.0, -0.606, 0.0, 0.023, 0.023, 0.02, 0.0],
        [0.1, 0.06, -0.605, 0.0, 0.023, 0.046, 0.02, 0.0],
    ]
)


def random_ellipses(seed: int, n: int) -> Array:
    """`n` ellipses of values in [0.2, 1], inside the disc of radius 0.9."""
    rng = np.random.default_rng(seed)
    half = rng.uniform(0.05, 0.3, (n, 2))
    radius = (0.9 - half.max(1)) * np.sqrt(rng.uniform(0, 1, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return np.column_stack([rng.uniform(0.2, 1, n), x, y, half, rng.uniform(0, np.pi, n)])


def random_ellipsoids(seed: int, n: int) -> Array:
    """`n` ellipsoids of values in [0.2, 1], inside the ball of radius 0.9."""
    rng = np.random.default_rng(seed)
    half = rng.uniform(0.1, 0.35, (n, 3))
    direction = rng.standard_normal((n, 3))
    reach = (0.9 - half.max(1)) * np.cbrt(rng.uniform(0, 1, n)) / np.linalg.norm(direction, axis=1)
    return np.column_stack([rng.uniform(0.2, 1, n), reach[:, None] * direction, half, rng.uniform(0, np.pi, n)])


def scaled(ellipses: Array, radius: float) -> Array:
    """The phantom with its unit disc or ball blown up to `radius`; values stay (attenuation per length)."""
    return ellipses * np.array([1.0, *[radius] * (ellipses.shape[1] - 2), 1])


def ellipse_image(ellipses: Array, shape: tuple[int, int], pixel_size: float = 1.0, sub: int = 6) -> Array:
    """Mean of the phantom over each pixel, (h, w), from sub x sub samples a pixel; axis at the centre."""
    h, w = shape
    x = (np.arange(w * sub) + 0.5 - w * sub / 2) * pixel_size / sub
    y = (h * sub / 2 - np.arange(h * sub) - 0.5) * pixel_size / sub
    fine = np.zeros((h * sub, w * sub))
    for value, cx, cy, a, b, phi in ellipses:
        reach = max(a, b)
        rows, cols = np.abs(y - cy) <= reach, np.abs(x - cx) <= reach
        dx, dy = x[cols] - cx, (y[rows] - cy)[:, None]
        u, v = dx * np.cos(phi) + dy * np.sin(phi), dy * np.cos(phi) - dx * np.sin(phi)
        fine[np.ix_(rows, cols)] += value * ((u / a) ** 2 + (v / b) ** 2 <= 1)
    return fine.reshape(h, sub, w, sub).mean((1, 3))


def ellipse_sinogram(ellipses: Array, geometry: Parallel2D, average_bins: bool = False) -> Array:
    """Exact line integrals (angle, detector) at the bin centres, or their averages over each bin."""
    theta, s = geometry.angles[:, None], geometry.positions[None, :]
    result = np.zeros(geometry.shape)
    for value, cx, cy, a, b, phi in ellipses:
        reach = np.hypot(a * np.cos(theta - phi), b * np.sin(theta - phi))
        t = (s - cx * np.cos(theta) - cy * np.sin(theta)) / reach
        if average_bins:
            half = geometry.pitch / 2 / reach
            upper, lower = (np.clip(t + sign * half, -1, 1) for sign in (1, -1))
            areas = [edge * np.sqrt(1 - edge**2) + np.arcsin(edge) for edge in (upper, lower)]
            result += value * a * b * (areas[0] - areas[1]) / geometry.pitch
        else:
            result += value * 2 * a * b * np.sqrt(np.clip(1 - t**2, 0, None)) / reach
    return result


def ellipsoid_volume(
    ellipsoids: Array, shape: tuple[int, int, int], pixel_size: float = 1.0, thickness: float = 1.0, sub: int = 4
) -> Array:
    """Mean of the phantom over each voxel, (depth, h, w), from sub^3 samples a voxel."""
    depth, h, w = shape
    x = (np.arange(w * sub) + 0.5 - w * sub / 2) * pixel_size / sub
    y = (h * sub / 2 - np.arange(h * sub) - 0.5) * pixel_size / sub
    z = (np.arange(depth * sub) + 0.5 - depth * sub / 2) * thickness / sub
    volume = np.zeros(shape)
    for value, cx, cy, cz, a, b, c, phi in ellipsoids:
        box = []  # whole voxels around it
        for axis, centre, reach in ((z, cz, c), (y, cy, max(a, b)), (x, cx, max(a, b))):
            inside = np.flatnonzero(np.abs(axis - centre) <= reach)
            box.append(slice(inside[0] // sub, inside[-1] // sub + 1) if inside.size else slice(0, 0))
        dz, dy, dx = (
            axis[part.start * sub : part.stop * sub] - centre
            for axis, part, centre in zip((z, y, x), box, (cz, cy, cx), strict=True)
        )
        dy = dy[:, None]
        plane = ((dx * np.cos(phi) + dy * np.sin(phi)) / a) ** 2 + ((dy * np.cos(phi) - dx * np.sin(phi)) / b) ** 2
        for k in range(dz.size // sub):
            fine = sum((plane <= 1 - (d / c) ** 2).astype(np.float32) for d in dz[k * sub : (k + 1) * sub])
            if dx.size and dy.size:
                mean = fine.reshape(dy.size // sub, sub, dx.size // sub, sub).sum((1, 3)) / sub**3
                volume[box[0].start + k, box[1], box[2]] += value * mean
    return volume


def ellipsoid_projections(ellipsoids: Array, views: Views3D, sub: int = 1) -> Array:
    """Exact line integrals (angle, row, column), each bin the mean of sub x sub rays spread evenly over it."""
    parts = (np.arange(sub) + 0.5) / sub - 0.5
    rows, columns = ((np.arange(n)[:, None] + parts).ravel() for n in (views.rows, views.columns))
    result = np.zeros(views.shape)
    for view in range(views.shape[0]):
        points = views.views(np.array([view])).points(rows, columns)[0]
        if views.parallel:
            origin, ray = points, np.broadcast_to(views.source[view], points.shape)
        else:
            origin, ray = np.broadcast_to(views.source[view], points.shape), points - views.source[view]
        total = np.zeros(points.shape[:2])
        for value, *centre, a, b, c, phi in ellipsoids:
            cos, sin = np.cos(phi), np.sin(phi)
            to_ball = np.array([[cos / a, sin / a, 0], [-sin / b, cos / b, 0], [0, 0, 1 / c]])
            o, d = (origin - centre) @ to_ball.T, ray @ to_ball.T
            dd, od = (d * d).sum(-1), (o * d).sum(-1)
            root = np.sqrt(np.clip(od**2 - dd * ((o * o).sum(-1) - 1), 0, None))
            near, far = (-od - root) / dd, (-od + root) / dd
            if not views.parallel:
                near, far = near.clip(0), far.clip(0)
            total += value * (far - near) * np.linalg.norm(ray, axis=-1)
        result[view] = total.reshape(views.rows, sub, views.columns, sub).mean((1, 3))
    return result
