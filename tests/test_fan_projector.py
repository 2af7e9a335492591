"""The fan-beam ray transform against exact line integrals, ASTRA, parallel rays and a slow twin."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import fan_transform
from phantoms import SHEPP_LOGAN, ellipse_image, random_ellipses, scaled
from test_corrections import fan_integrals

from invreg.operators import FanBeam2D, Parallel2D, Views2D, XRay
from invreg.operators.tomography.fan import FanProjector

Array = np.ndarray
TURN = np.linspace(0.003, 2 * np.pi, 40, endpoint=False)
SHORT = np.random.default_rng(0).permutation(np.linspace(-1.0, 3.0, 40))  # unsorted

# name, image, pixel size, pitch on the detector, bins, offset of the axis in bins, angles, distances, curved,
# bound on the averaged error
SCANS = {
    "flat": ((96, 96), 1.0, 1.5, 147, 0.0, TURN, (192, 288), False, 0.020),
    "curved": ((96, 96), 1.0, 1.5, 147, 0.0, TURN, (192, 288), True, 0.020),
    "half bins": ((96, 96), 1.0, 0.75, 294, 0.0, TURN, (192, 288), False, 0.029),
    "wide bins": ((96, 96), 1.0, 3.0, 74, 0.0, TURN, (192, 288), False, 0.010),
    "very wide bins": ((96, 96), 1.0, 6.0, 40, 0.0, TURN, (192, 288), False, 0.009),
    "offset": ((96, 96), 1.0, 1.5, 150, 20.25, TURN, (192, 288), False, 0.021),
    "short scan, millimetres": ((80, 110), 0.02, 0.03, 180, 2.5, SHORT, (6.0, 9.0), False, 0.029),
    "close source": ((96, 96), 1.0, 1.5, 220, 0.0, TURN, (80, 120), False, 0.026),
    "detector at the axis": ((110, 80), 1.0, 1.0, 160, 0.0, TURN, (300, 300), True, 0.022),
    "one view": ((96, 96), 1.0, 1.5, 147, 0.0, np.array([0.7]), (192, 288), False, 0.020),
}
scans = pytest.mark.parametrize("scan", SCANS)


def scan_of(name: str) -> tuple[Array, Array, FanBeam2D, float]:
    """Ellipses, their image, the geometry and the pixel size."""
    shape, pixel, pitch, bins, offset, angles, (near, far), curved, _ = SCANS[name]
    g = FanBeam2D(angles, bins, pitch, (bins - 1) / 2 + offset, "mm", near, far, curved)
    ellipses = scaled(SHEPP_LOGAN, min(shape) / 2 * pixel)
    return ellipses, ellipse_image(ellipses, shape, pixel), g, pixel


def bin_averages(ellipses: Array, g: FanBeam2D) -> Array:
    """Exact line integrals averaged over each bin, by eight Gauss points on it."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    total = np.zeros(g.shape)
    for x, weight in zip(nodes, weights, strict=True):
        total += weight / 2 * exact(ellipses, replace(g, centre=g.centre - x / 2))
    return total


def exact(ellipses: Array, g: FanBeam2D) -> Array:
    """`fan_integrals`, for an arc bin by bin on a flat detector that meets the same ray."""
    if not g.curved:
        return fan_integrals(ellipses, g)
    flat = np.tan(g.positions / g.source_detector) * g.source_detector
    rays = [FanBeam2D(g.angles, 1, 1.0, -u, g.unit, g.source_origin, g.source_detector) for u in flat]
    return np.concatenate([fan_integrals(ellipses, ray) for ray in rays], axis=1)


def distance(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def project(image: Array, g: FanBeam2D | Views2D, pixel: float) -> Array:
    return XRay(g, image.shape, pixel)(torch.from_numpy(image)).numpy()


def astra_project(image: Array, g: FanBeam2D, pixel: float) -> Array:
    """ASTRA's `line_fanflat`, its own unit of length being the pixel."""
    astra = pytest.importorskip("astra", reason="compares with ASTRA")
    views = g.general()
    rays = np.hstack([views.source, views.detector, views.axis]) / pixel
    geometry = astra.create_proj_geom("fanflat_vec", g.detectors, rays)
    projector = astra.create_projector("line_fanflat", geometry, astra.create_vol_geom(*image.shape))
    out = np.empty(g.shape, np.float32)
    astra.projector.direct_FP(projector, image.astype(np.float32), out=out)
    astra.projector.delete(projector)
    return out * pixel


@scans
def test_line_integrals_of_ellipses(scan):
    ellipses, image, g, pixel = scan_of(scan)
    assert distance(project(image, g, pixel), bin_averages(ellipses, g)) < SCANS[scan][-1]


@pytest.mark.parametrize("scan", [name for name in SCANS if not SCANS[name][-2] and name != "one view"])
def test_line_integrals_are_better_than_those_of_astra(scan):
    """On the flat detectors that it knows; in some single views near 45 degrees it may be better by a sixth."""
    ellipses, image, g, pixel = scan_of(scan)
    truth = bin_averages(ellipses, g)
    assert distance(project(image, g, pixel), truth) < distance(astra_project(image, g, pixel), truth)


def test_the_error_falls_with_its_square_on_smooth_images():
    """A Gaussian, whose line integrals are Gaussians of the distance from its middle."""
    errors = []
    for n in (16, 32, 64):
        g = FanBeam2D(TURN, 3 * n, 2 / n, None, "mm", 3.0, 4.0)
        x = (np.arange(n) + 0.5) * 2 / n - 1
        image = np.exp(-((x - 0.1) ** 2 + (-x[:, None] + 0.2) ** 2) / (2 * 0.15**2))
        views = g.general()
        rays = views.points(np.arange(3.0 * n)) - views.source[:, None]
        to = np.array([0.1, -0.2]) - views.source[:, None]
        away = (rays[..., 0] * to[..., 1] - rays[..., 1] * to[..., 0]) / np.linalg.norm(rays, axis=2)
        truth = np.sqrt(2 * np.pi) * 0.15 * np.exp(-(away**2) / (2 * 0.15**2))
        errors.append(distance(project(image, g, 2 / n), truth))
    assert errors[1] < 0.3 * errors[0] and errors[2] < 0.3 * errors[1], errors


def vectors(source: list[list[float]], detector: list[list[float]], axis: list[list[float]], **more: int) -> Views2D:
    return Views2D(np.array(source), np.array(detector), np.array(axis), **more)


@pytest.mark.parametrize(
    ("shape", "pixel", "g"),
    [
        ((9, 7), 1.0, FanBeam2D(np.array([-1.0, 0.3, 6.9, 2.4, 4.0]), 13, 0.9, 4.3, "mm", 14.0, 20.0)),
        ((9, 7), 0.7, FanBeam2D(np.array([-1.0, 0.3, 6.9, 2.4, 4.0]), 13, 0.9, 5.3, "mm", 14.0, 20.0, True)),
        ((5, 8), 0.3, FanBeam2D(np.array([0.1, 1.3, 2.2, 3.0]), 6, 1.2, 2.0, "mm", 5.0, 6.0)),  # bins of 3 pixels
        ((6, 6), 1.0, FanBeam2D(np.arange(8) * np.pi / 4, 9, 1.0, None, "mm", 9.0, 12.0)),  # rays of 45 degrees
        ((8, 6), 1.0, FanBeam2D(np.arange(8) * np.pi / 4, 5, 9.0, None, "mm", 9.0, 12.0)),  # bins of 37 degrees
        ((1, 1), 1.0, FanBeam2D(np.array([0.4]), 1, 2.0, None, "mm", 3.0, 4.0)),
        ((1, 9), 2.0, FanBeam2D(np.array([0.4, 1.8]), 4, 3.0, None, "mm", 30.0, 40.0)),
        ((5, 4), 1.0, FanBeam2D(np.array([0.4, 2.0]), 61, 1.7, None, "mm", 40.0, 50.0)),  # most bins see nothing
        ((7, 6), 1.0, FanBeam2D(np.array([0.4, 2.0]), 5, 0.9, -2.0, "mm", 20.0, 30.0)),  # the axis off the detector
        ((70, 5), 1.0, FanBeam2D(np.array([0.1, 1.6]), 9, 5.0, None, "mm", 300.0, 400.0)),  # more rows than a block
        ((80, 90), 1.0, FanBeam2D(np.array([0.75, 2.3]), 9, 30.0, None, "mm", 80.0, 120.0)),
        # sources at a corner, beside the image, and far to the side; detectors anywhere
        ((6, 7), 1.0, vectors([[3.6, 3.1]], [[-6.0, -4.0]], [[0.6, -0.9]], detectors=15)),
        ((6, 7), 1.0, vectors([[3.51, 0.2]], [[-4.0, 1.0]], [[0.1, 1.1]], detectors=17)),
        ((6, 7), 1.0, vectors([[-5.0, 2.2]], [[4.0, -9.0]], [[1.3, 0.4]], detectors=12)),
        ((6, 7), 1.0, vectors([[-9, 0.5], [0, 60.0]], [[9, 0.3], [4.0, -50.0]], [[0, 9.0], [-7.0, 0]], detectors=9)),
        ((6, 7), 1.0, vectors([[4.0, 0.1]], [[-4.0, 0.3]], [[0.1, 3.0]], detectors=9, curved=True)),  # all around
    ],
)  # fmt: skip
def test_agreement_with_the_slow_twin(shape, pixel, g):
    image = np.random.default_rng(1).standard_normal(shape)
    A = FanProjector(g.general(), shape, pixel)
    expected = fan_transform(image, g.general(), pixel)
    np.testing.assert_allclose(A.project(torch.from_numpy(image)[None])[0].numpy(), expected, rtol=0, atol=1e-10)
    assert np.abs(expected).max() > 0
    y = np.random.default_rng(2).standard_normal(expected.shape)
    back = A.backproject(torch.from_numpy(y)[None])[0].numpy()
    assert abs((back * image).sum() - (y * expected).sum()) < 1e-10


def anyhow(rng: np.random.Generator) -> tuple[tuple[int, int], Views2D]:
    """A small image of pixels of length 1 and a view from anywhere outside, onto narrow or wide bins at a slant."""
    shape = (int(rng.integers(1, 30)), int(rng.integers(1, 30)))
    half = np.array(shape[::-1]) / 2
    source = rng.choice([-1, 1], 2) * half * rng.choice([1.02, 0.3, 4.0], 2)
    if (np.abs(source) < half).all():
        source[rng.integers(2)] *= 5
    ray = rng.uniform(-1, 1, 2) * half.max() - source * rng.uniform(1, 3)
    ahead = ray / np.linalg.norm(ray)
    axis = np.array([-ahead[1], ahead[0]]) + rng.uniform(-1, 1) * ahead
    axis *= rng.choice([0.3, 1.0, 3.0, 8.0]) * rng.choice([-1, 1])
    curved = bool(rng.integers(2))
    return shape, vectors([source], [source + ray], [axis], detectors=int(rng.integers(1, 25)), curved=curved)


@pytest.mark.parametrize("seed", range(30))
def test_any_view_agrees_with_the_slow_twin(seed):
    rng = np.random.default_rng(seed)
    shape, views = anyhow(rng)
    image = rng.standard_normal(shape)
    computed = FanProjector(views, shape, 1.0).project(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(computed, fan_transform(image, views, 1.0), rtol=0, atol=1e-10)


@scans
def test_the_adjoint_on_noise_of_mean_zero(scan, dtype, generator):
    _, image, g, pixel = scan_of(scan)
    A = XRay(g, image.shape, pixel)
    x = A.domain.random(generator=generator, dtype=dtype)
    y = A.codomain.random(generator=generator, dtype=dtype)
    Ax, Aty = A(x).double(), A.adjoint(y).double()
    mismatch = abs((Ax * y).sum() - (x * Aty).sum()) / (Ax.norm() * y.norm())
    assert float(mismatch) < (1e-6 if dtype == torch.float32 else 1e-12)


def test_single_precision_is_close_to_double():
    for scan in SCANS:
        _, image, g, pixel = scan_of(scan)
        A, x = XRay(g, image.shape, pixel), torch.from_numpy(image)
        y = A(x)
        assert float((A(x.float()) - y).norm() / y.norm()) < 1e-6
        back = A.adjoint(y)
        assert float((A.adjoint(y.float()) - back).norm() / back.norm()) < 1e-6


def test_the_number_of_threads_does_not_matter(threads: Callable[[int], None], dtype, generator):
    g = FanBeam2D(TURN, 200, 1.5, 90.0, "mm", 300.0, 450.0)
    A = XRay(g, (150, 130), 1.0)
    for batch in ((), (3,)):
        x = A.domain.random(*batch, generator=generator, dtype=dtype)
        y = A.codomain.random(*batch, generator=generator, dtype=dtype)
        answers = []
        for count in (1, 2, 3):
            threads(count)
            answers.append((A(x), A.adjoint(y)))
        for forward, adjoint in answers[1:]:
            assert torch.equal(forward, answers[0][0]) and torch.equal(adjoint, answers[0][1])


def test_a_batch_is_a_loop(generator):
    _, image, g, pixel = scan_of("offset")
    A = XRay(g, image.shape, pixel)
    x, y = (space.random(2, generator=generator) for space in (A.domain, A.codomain))
    for i in range(2):
        assert torch.equal(A(x)[i], A(x[i])) and torch.equal(A.adjoint(y)[i], A.adjoint(y[i]))


def test_far_away_it_is_the_parallel_transform():
    """Up to where the rows are read: once for all, or once a block."""
    angles = np.linspace(0.01, 2 * np.pi, 25, endpoint=False)
    ellipses = scaled(random_ellipses(2, 12), 48.0)
    image = ellipse_image(ellipses, (96, 96))
    far = project(image, FanBeam2D(angles, 120, 1.0, None, "mm", 1e6, 1e6), 1.0)
    parallel = project(image, Parallel2D(angles, 120, 1.0), 1.0)
    assert distance(far, parallel) < 5e-3


def test_rays_that_miss_give_zero():
    """Beside the image, and away from it: behind the source nothing is seen."""
    image = torch.ones(1, 20, 20, dtype=torch.float64)
    beside = vectors([[0.0, 40.0]], [[60.0, -40.0]], [[1.0, 0.0]], detectors=20)
    behind = vectors([[0.0, 40.0]], [[0.0, 80.0]], [[1.0, 0.0]], detectors=20)
    for views in (beside, behind):
        A = FanProjector(views, (20, 20), 1.0)
        assert not A.project(image).any() and not A.backproject(torch.ones(1, 1, 20, dtype=torch.float64)).any()
