"""The ray transforms in space against exact line integrals of ellipsoids, slow twins and their limits in the plane."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import joseph
from phantoms import (
    SHEPP_LOGAN_3D,
    ellipsoid_projections,
    ellipsoid_volume,
    random_ellipsoids,
    scaled,
)

from invreg.operators import ConeBeam, FanBeam2D, Parallel3D, Views3D, XRay, helix
from invreg.operators.tomography.cone import ConeProjector
from invreg.operators.tomography.joseph import JosephProjector
from invreg.operators.tomography.slices import SlicesProjector

Array = np.ndarray
Geometry = ConeBeam | Parallel3D | Views3D
TURN = np.linspace(0.05, 2 * np.pi, 9, endpoint=False)
N = 48


def cone(rows: int = 60, columns: int = 60, pitch: float = 1.5, angles: Array = TURN, **options: object) -> ConeBeam:
    """A magnification of 1.5 onto bins which, unless said otherwise, are one voxel wide at the axis."""
    return ConeBeam(angles, rows, columns, pitch, **{"source_origin": 3.0 * N, "source_detector": 4.5 * N} | options)


HELIX = np.linspace(0, 4 * np.pi, 15)
LOW = np.array([[0.9 * N, 0.2 * N, -0.7 * N], [-0.3 * N, 0.8 * N, 0.6 * N]])  # sources beside the volume, low and high
ASIDE = np.array([[0.2, 1.3, 0.0], [1.4, 0.5, 0.0]])

# geometry, slice thickness, bound on the error of the exact averages over the bins (half of what is inherent at the
# edges of so few voxels: the phantom's raster and the width of its interpolation)
SCANS: dict[str, tuple[Geometry, float, float]] = {
    "circle": (cone(), 1.0, 0.05),
    "wide cone": (cone(90, 90, 3.0, source_origin=1.0 * N, source_detector=2.5 * N), 1.0, 0.05),
    "half bins": (cone(110, 110, 0.75), 1.0, 0.07),
    "wide rows": (cone(13, row_pitch=7.0), 1.0, 0.05),
    "double bins": (cone(30, 30, 3.0), 1.0, 0.05),
    "detector aside": (cone(centre=21.3, row_centre=38.0), 1.0, 0.05),
    "rows counted down": (replace(cone().general(), v=-cone().general().v), 1.0, 0.05),
    "thick slices": (cone(), 1.6, 0.05),
    "thin slices": (cone(), 0.55, 0.05),
    "cylinder": (cone(curved=True, centre=25.0), 1.0, 0.05),
    "helix": (cone(16, angles=HELIX, heights=helix(HELIX, 14.0)), 1.0, 0.05),
    "source beside": (Views3D(LOW, -1.2 * LOW, 1.6 * ASIDE, np.array([[0, 0, 1.9]] * 2), 70, 80), 1.0, 0.05),
}
scans = pytest.mark.parametrize("scan", SCANS)

RNG = np.random.default_rng(4)
TILTED: dict[str, tuple[Geometry, float]] = {
    "tilted": (cone(9, 10, 9.0, angles=TURN[:4], tilt=(0.1, -0.2, 0.3)), 1.0),
    "curved": (cone(9, 10, 9.0, angles=TURN[:4], curved=True), 1.3),
    "helix": (cone(4, 10, 9.0, angles=TURN, heights=helix(TURN, 40.0)), 0.7),
    "any directions": (Views3D(*RNG.standard_normal((4, 12, 3)), 5, 6, parallel=True), 1.3),
    "source below": (Views3D(np.array([[2.0, 1, -9]]), np.array([[0, 3.0, 9]]), *np.eye(3)[:2, None] * 2, 6, 5), 1.0),
    "diagonals": (Views3D(-np.ones((1, 3)) * 20, np.ones((1, 3)) * 9, *[[[1.0, -1, 0]], [[0, 1.0, -1]]], 5, 5), 1.0),
}


def projector(g: Geometry, shape: tuple[int, ...], thickness: float = 1.0, pixel: float = 1.0) -> object:
    return XRay(g, shape, pixel, slice_thickness=thickness).projector(torch.device("cpu"))


def project(projector: object, volume: Array) -> Array:
    return projector.project(torch.from_numpy(volume)[None])[0].numpy()


def distance(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def phantom(thickness: float, kind: Array = SHEPP_LOGAN_3D) -> tuple[Array, Array]:
    """Ellipsoids, and their volume of the same height whatever the slices."""
    ellipsoids = scaled(kind, N / 2)
    return ellipsoids, ellipsoid_volume(ellipsoids, (round(N / thickness), N, N), 1.0, thickness, sub=3)


@scans
def test_line_integrals_of_ellipsoids(scan):
    """Averaged over the bins: better than Joseph's rays through their middles, the more so where rows are wide."""
    g, thickness, bound = SCANS[scan]
    for kind in (SHEPP_LOGAN_3D, random_ellipsoids(3, 8)):
        ellipsoids, volume = phantom(thickness, kind)
        exact = ellipsoid_projections(ellipsoids, g.general(), sub=4)
        ours = projector(g, volume.shape, thickness)
        assert isinstance(ours, ConeProjector)
        error = distance(project(ours, volume), exact)
        theirs = distance(project(JosephProjector(g.general(), volume.shape, 1.0, thickness), volume), exact)
        print(scan, f"{error:.4f} {theirs:.4f}")
        assert error < bound and error < theirs
