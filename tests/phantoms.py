"""Ellipse phantoms with exact line integrals, the truth that projectors are measured against.

An ellipse is a row (value, centre x, centre y, half-axis a, half-axis b, rotation phi in radians): x to the
right, y up, origin at the rotation axis, as in `Parallel2D`; `phi` turns the a-axis counter-clockwise from x.
Phantoms are arrays (n, 6) in the unit disc; `scaled` gives them a length.
"""

import numpy as np
import numpy.typing as npt

from invreg.operators.tomography.geometry import Parallel2D

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


def random_ellipses(seed: int, n: int) -> Array:
    """`n` ellipses of values in [0.2, 1], inside the disc of radius 0.9."""
    rng = np.random.default_rng(seed)
    half = rng.uniform(0.05, 0.3, (n, 2))
    radius = (0.9 - half.max(1)) * np.sqrt(rng.uniform(0, 1, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return np.column_stack([rng.uniform(0.2, 1, n), x, y, half, rng.uniform(0, np.pi, n)])


def scaled(ellipses: Array, radius: float) -> Array:
    """The phantom with its unit disc blown up to `radius`; values stay (attenuation per length)."""
    return ellipses * np.array([1, radius, radius, radius, radius, 1])


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
