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

# geometry, slice thickness, bound on the error against exact averages over the bins, a few per cent above what it is:
# most of it is the raster, 48 voxels wide
SCANS: dict[str, tuple[Geometry, float, float]] = {
    "circle": (cone(), 1.0, 0.046),
    "wide cone": (cone(90, 90, 3.0, source_origin=1.0 * N, source_detector=2.5 * N), 1.0, 0.053),
    "half bins": (cone(110, 110, 0.75), 1.0, 0.082),
    "wide rows": (cone(13, row_pitch=7.0), 1.0, 0.03),
    "double bins": (cone(30, 30, 3.0), 1.0, 0.03),
    "detector aside": (cone(centre=21.3, row_centre=38.0), 1.0, 0.057),
    "rows counted down": (replace(cone().general(), v=-cone().general().v), 1.0, 0.046),
    "thick slices": (cone(), 1.6, 0.074),
    "thin slices": (cone(), 0.55, 0.03),
    "cylinder": (cone(curved=True, centre=25.0), 1.0, 0.05),
    "helix": (cone(16, angles=HELIX, heights=helix(HELIX, 14.0)), 1.0, 0.031),
    "source beside": (Views3D(LOW, -1.2 * LOW, 1.6 * ASIDE, np.array([[0, 0, 1.9]] * 2), 70, 80), 1.0, 0.056),
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
        assert error < bound and error < theirs


def gaussian(shape: tuple[int, ...], pixel: float, centre: tuple[float, ...], width: float, height: float) -> Array:
    """exp(-|p - centre|^2 / 2) in units of `width` in the slices and `height` along z, at the voxels' middles."""
    z, y, x = ((np.arange(n) - (n - 1) / 2) * pixel for n in shape)
    along = [(x - centre[0]) / width, (-y - centre[1]) / width, (z - centre[2]) / height]
    return np.exp(-(along[0] ** 2 + along[1][:, None] ** 2 + along[2][:, None, None] ** 2) / 2)


@pytest.mark.parametrize("tilt", [(0.0, 0.0, 0.0), (0.2, -0.15, 0.4)], ids=["upright", "tilted"])
@pytest.mark.parametrize("curved", [False, True], ids=["flat", "curved"])
def test_the_error_falls_with_its_square_on_smooth_objects(tilt, curved):
    if curved and any(tilt):
        pytest.skip("cylinders stand upright")
    centre, width, height, errors = (0.1, -0.2, 0.15), 0.15, 0.2, []
    for n in (16, 32, 64):
        g = ConeBeam(
            TURN[:5], n, n, 5 / n, source_origin=3.0, source_detector=6.0, centre=0.45 * n, tilt=tilt, curved=curved
        )
        v = g.general()
        scale = np.array([width, width, height])
        ray = (v.points(np.arange(n), np.arange(n)) - v.source[:, None, None]) / scale
        gap = (centre - v.source[:, None, None]) / scale
        length, near = np.linalg.norm(ray * scale, axis=-1), np.linalg.norm(np.cross(gap, ray), axis=-1)
        rr = np.linalg.norm(ray, axis=-1)
        exact = np.sqrt(2 * np.pi) * length / rr * np.exp(-((near / rr) ** 2) / 2)
        volume = gaussian((n, n, n), 2 / n, centre, width, height)
        errors.append(distance(project(projector(g, volume.shape, 2 / n, 2 / n), volume), exact))
    assert errors[1] < 0.35 * errors[0] and errors[2] < 0.35 * errors[1], errors


@pytest.mark.parametrize("name", TILTED)
def test_joseph_agrees_with_the_slow_twin(name):
    g, thickness = TILTED[name]
    volume = np.random.default_rng(1).standard_normal((7, 9, 8))
    expected = joseph(volume, g.general(), 1.0, thickness)
    assert np.abs(expected).max() > 1
    ours = project(JosephProjector(g.general(), volume.shape, 1.0, thickness), volume)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_tilted_detectors_go_to_joseph():
    assert isinstance(projector(TILTED["tilted"][0], (7, 9, 8)), JosephProjector)
    assert isinstance(projector(Parallel3D(TURN, 7, 12), (7, 9, 8)), SlicesProjector)


@pytest.mark.parametrize("curved", [False, True], ids=["flat", "curved"])
def test_tall_cylinders_are_seen_as_ellipses_in_a_fan(curved):
    """In the row at the height of the source, where rays keep to the plane; thin rows, so that averages agree."""
    ellipsoids, _ = phantom(1.0)
    ellipsoids[:, 3], ellipsoids[:, 6] = 0, 1e9
    volume = ellipsoid_volume(ellipsoids, (21, N, N), sub=4)
    g = cone(1, 60, row_pitch=0.1, curved=curved)
    flat = FanBeam2D(TURN, 60, 1.5, source_origin=3.0 * N, source_detector=4.5 * N, curved=curved).general()
    lift = [np.pad(vector, ((0, 0), (0, 1))) for vector in (flat.source, flat.detector, flat.axis)]
    in_plane = Views3D(*lift, np.tile([0.0, 0, 1e-6], (TURN.size, 1)), 1, 60, curved=curved)
    exact = ellipsoid_projections(ellipsoids, in_plane, sub=8)
    assert distance(project(projector(g, volume.shape), volume), exact) < 0.04


def test_a_far_source_is_parallel():
    """On a smooth object: along z the apertures of the two projectors differ."""
    volume = gaussian((N, N, N), 2 / N, (0.1, 0.0, 0.2), 0.3, 0.3)
    far = cone(N, 60, 1.0, source_origin=1e6, source_detector=1e6)
    near = Parallel3D(TURN, N, 60)
    rays, slices = (project(projector(g, volume.shape), volume) for g in (far, near))
    assert distance(rays, slices) < 2e-3  # a sixth of a squared slice, over twice the variance of the object


@pytest.mark.parametrize("scan", ["circle", "helix", "cylinder"])
def test_moving_volume_source_and_detector_together_changes_nothing(scan):
    g, _, _ = SCANS[scan]
    g = g.general()
    up = np.array([0.0, 0.0, 4.0])
    moved = replace(g, source=g.source + up, detector=g.detector + up)
    volume = np.random.default_rng(2).standard_normal((24, 20, 20))
    small, large = np.pad(volume, ((4, 4), (0, 0), (0, 0))), np.pad(volume, ((8, 0), (0, 0), (0, 0)))
    for kind in (ConeProjector, JosephProjector):
        before = project(kind(g, small.shape, 1.0, 1.0), small)
        after = project(kind(moved, large.shape, 1.0, 1.0), large)
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-10 * np.abs(before).max())


def test_turning_volume_and_views_by_a_right_angle_changes_nothing():
    """Of Joseph's rays, but for ties of the driving axis on the diagonal, of which there are none here."""
    volume = np.random.default_rng(3).standard_normal((9, 20, 20))
    turned = np.ascontiguousarray(np.rot90(volume, axes=(1, 2)))
    first, second = (cone(12, 30, 2.0, angles=TURN + turn).general() for turn in (0, np.pi / 2))
    before, after = (project(JosephProjector(g, x.shape, 1.0, 1.0), x) for g, x in ((first, volume), (second, turned)))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-10)


# name -> projector's geometry and the volume's shape, for what holds of all three
ALL: dict[str, tuple[Geometry, tuple[int, int, int], float]] = {
    **{name: (g, (13, 18, 15), 3 * thickness) for name, (g, thickness, _) in SCANS.items()},
    **{name: (g, (7, 9, 8), thickness) for name, (g, thickness) in TILTED.items()},
    "slices": (Parallel3D(TURN, 13, 20), (13, 18, 15), 1.0),
    "rows and slices": (Parallel3D(TURN, 9, 20, row_pitch=1.7, row_centre=2.3), (13, 18, 15), 0.8),
    "one voxel": (cone(3, 3), (1, 1, 1), 1.0),
    "one slice": (cone(3, 20, 4.0), (1, 18, 15), 1.0),
    "one column of voxels": (cone(20, 3), (18, 1, 1), 1.0),
}
everything = pytest.mark.parametrize("name", ALL)


@everything
def test_the_adjoint_on_noise_of_mean_zero(name, dtype, generator):
    g, shape, thickness = ALL[name]
    A = XRay(g, shape, 1.0 if max(shape) < 10 else 3.0, slice_thickness=thickness)
    x = A.domain.random(generator=generator, dtype=dtype)
    y = A.codomain.random(generator=generator, dtype=dtype)
    Ax, Aty = A(x).double(), A.adjoint(y).double()
    assert Ax.norm() > 0
    mismatch = abs((Ax * y).sum() - (x * Aty).sum()) / (Ax.norm() * y.norm())
    assert float(mismatch) < (1e-6 if dtype == torch.float32 else 1e-12)


@everything
def test_both_precisions_agree(name, generator):
    g, shape, thickness = ALL[name]
    A = XRay(g, shape, 1.0 if max(shape) < 10 else 3.0, slice_thickness=thickness)
    x, y = (space.random(generator=generator, dtype=torch.float64) for space in (A.domain, A.codomain))
    for f, t in ((A, x), (A.adjoint, y)):
        assert torch.linalg.vector_norm(f(t.float()).double() - f(t)) < 2e-5 * torch.linalg.vector_norm(f(t))


@pytest.mark.parametrize("name", ["circle", "wide cone", "helix", "tilted", "diagonals", "rows and slices"])
def test_the_number_of_threads_does_not_matter(name, threads: Callable[[int], None], dtype, generator):
    g, _, thickness = ALL[name]
    A = XRay(g, (20, 100, 70), 0.4, slice_thickness=thickness / 3)  # several slabs
    x, y = (space.random(2, generator=generator, dtype=dtype) for space in (A.domain, A.codomain))
    answers = []
    for count in (1, 2, 3):
        threads(count)
        answers.append((A(x), A.adjoint(y)))
    for forward, adjoint in answers[1:]:
        assert torch.equal(forward, answers[0][0]) and torch.equal(adjoint, answers[0][1])


def test_rows_that_are_slices_are_projected_as_slices():
    volume = np.random.default_rng(5).standard_normal((5, 12, 11))
    g = Parallel3D(TURN, 3, 17, row_pitch=0.1, row_centre=1.0, pitch=0.3)
    ours = project(projector(g, volume.shape, 0.1, 0.3), volume)
    plane = XRay(g.plane, (12, 11), 0.3)
    np.testing.assert_array_equal(ours, plane(torch.from_numpy(volume[1:4])).numpy().transpose(1, 0, 2))


def test_rows_average_the_slices_they_see():
    volume = np.random.default_rng(6).standard_normal((6, 12, 11))
    g = Parallel3D(TURN, 2, 17, row_pitch=2.5)  # edges at -2.5, 0, 2.5; slices at -3, -2, ..., 3
    weights = np.array([[0.5, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0.5]]) / 2.5
    means = torch.from_numpy(np.einsum("rk,khw->rhw", weights, volume))
    expected = XRay(g.plane, (12, 11))(means).numpy().transpose(1, 0, 2)
    np.testing.assert_allclose(project(projector(g, volume.shape), volume), expected, rtol=0, atol=1e-12)


def test_rows_may_stand_at_heights_of_their_own():
    volume = np.random.default_rng(7).standard_normal((6, 12, 11))
    g = Parallel3D(TURN[:3], 3, 17).general()
    moved = replace(g, detector=g.detector + np.array([[0, 0, 0.0], [0, 0, 1], [0, 0, 1.25]]))
    together = project(projector(moved, volume.shape), volume)
    for view in range(3):
        alone = project(projector(moved.views(np.array([view])), volume.shape), volume)
        np.testing.assert_allclose(together[view], alone[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("thickness", [1.0, 30.0])
def test_one_slice_is_seen_as_a_fan_sees_it(thickness):
    image = gaussian((1, 24, 24), 1.0, (1.0, 2.0, 0.0), 4.0, 4.0)
    fan = FanBeam2D(TURN, 40, 1.2, source_origin=60.0, source_detector=80.0)
    g = ConeBeam(TURN, 1, 40, 1.2, source_origin=60.0, source_detector=80.0)
    y = XRay(g, (1, 24, 24), 1.0, slice_thickness=thickness)(torch.from_numpy(image))[:, 0]
    assert distance(y.numpy(), XRay(fan, (24, 24), 1.0)(torch.from_numpy(image[0])).numpy()) < 0.01


@pytest.mark.parametrize("kind", [ConeProjector, JosephProjector])
def test_rays_that_miss_are_zero_and_the_volume_behind_the_source_is_not_seen(kind):
    g = cone(5, 9, 40.0, angles=TURN[:3]).general()
    y = project(kind(g, (4, 6, 6), 1.0, 1.0), np.ones((4, 6, 6)))
    middle = np.zeros((5, 9), bool)
    middle[2, 4] = True
    assert (y[:, middle] > 0.8).all() and (y[:, ~middle] == 0).all()
    away = replace(g, detector=2 * g.source - g.detector)  # the detector on the other side of the source
    operator = kind(away, (4, 6, 6), 1.0, 1.0)
    assert (project(operator, np.ones((4, 6, 6))) == 0).all()
    assert (operator.backproject(torch.ones(1, *away.shape)) == 0).all()


def test_rays_that_turn_away_from_the_axis_are_harmless():
    """A source beside the volume whose fan opens beyond a right angle to the axis, towards bins that see nothing."""
    source, detector = np.array([[30.0, 0, 0]]), np.array([[0.0, 30, 0]])
    g = Views3D(source, detector, np.array([[3.0, 3.0, 0]]), np.array([[0, 0, 2.0]]), 9, 60)
    volume = gaussian((16, 16, 16), 1.0, (0.0, 0.0, 0.0), 3.0, 3.0)
    ours, theirs = (project(kind(g, volume.shape, 1.0, 1.0), volume) for kind in (ConeProjector, JosephProjector))
    assert distance(ours, theirs) < 0.05
