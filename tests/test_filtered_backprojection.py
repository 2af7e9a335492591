"""Filtered back-projection of fan and cone beams against phantoms of known line integrals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from phantoms import SHEPP_LOGAN, ellipse_image, ellipse_sinogram, scaled
from test_corrections import fan_integrals

import invreg
from invreg.operators import ConeBeam, FanBeam2D, Parallel2D, Parallel3D, XRay, fbp, fdk, helix
from invreg.operators.tomography.backproject import _numba, _torch
from invreg.operators.tomography.redundancy import arc, parker_weights
from invreg.solvers import CGLS

N = 128
FULL = 0.2 + np.arange(360) * 2 * np.pi / 360
BINS = int(1.6 * N)


def fan(angles=FULL, bins=BINS, centre=None, curved=False) -> FanBeam2D:
    return FanBeam2D(angles, bins, 1.5, centre, "mm", 2.0 * N, 3.0 * N, curved)


def short_arc(excess: float = 0.0) -> np.ndarray:
    """Half a turn, the fan and an excess in radians."""
    length = np.pi + 2 * fan().fan_angles.max() + excess
    return 0.3 + np.linspace(0, length, int(length / (2 * np.pi) * 360) + 1)


def integrals(e: np.ndarray, g: FanBeam2D) -> torch.Tensor:
    """Exact line integrals, also of an arc: its rays are those of a fan of unequal bins."""
    if not g.curved:
        return torch.from_numpy(fan_integrals(e, g))
    columns = []
    for angle in g.fan_angles:
        one = FanBeam2D(
            g.angles, 1, 1.0, -g.source_detector * np.tan(angle), g.unit, g.source_origin, g.source_detector
        )
        columns.append(fan_integrals(e, one))
    return torch.from_numpy(np.concatenate(columns, axis=1))


SCANS = {
    "full turn": fan(),
    "axis between bins": fan(centre=(BINS - 1) / 2 + 3.3),
    "short arc": fan(short_arc()),
    "short arc, backwards": fan(short_arc()[::-1] - 2 * np.pi),
    "longer arc": fan(short_arc(1.0)),
    "arc, full turn": fan(curved=True),
    "arc, short arc": fan(short_arc(), curved=True),
    "offset to the right": fan(bins=130, centre=25.2),
    "offset to the left": fan(bins=130, centre=104.2),
    "offset arc": fan(bins=130, centre=25.2, curved=True),
    "views in disorder": fan(FULL[np.random.default_rng(0).permutation(360)]),
    "wide bins": FanBeam2D(FULL, 110, 3.0, None, "mm", 2.0 * N, 3.0 * N),
}


@pytest.mark.parametrize("name", SCANS)
def test_attenuation_per_length_in_a_disk(name):
    """Each pixel of a disk off the axis within 1.5 %, the mean within 0.2 %."""
    g = SCANS[name]
    disk, inner = (scaled(np.array([[0.37, 0.2, -0.15, r, r, 0]]), N / 2) for r in (0.6, 0.5))
    x = fbp(integrals(disk, g), g, (N, N), 1.0).numpy()
    inside = x[ellipse_image(inner, (N, N)) > 0.3699] / 0.37
    assert abs(inside.mean() - 1) < 2e-3 and abs(inside - 1).max() < 0.015, (inside.mean(), inside.min(), inside.max())


@pytest.mark.parametrize("name", ["full turn", "short arc", "arc, full turn", "offset to the right"])
def test_no_worse_than_the_parallel_scan_of_as_many_rays(name):
    e = scaled(SHEPP_LOGAN, N / 2)
    truth = ellipse_image(e, (N, N))
    parallel = Parallel2D(np.arange(180) * np.pi / 180, BINS)
    reference = fbp(torch.from_numpy(ellipse_sinogram(e, parallel)), parallel, (N, N)).numpy()
    x = fbp(integrals(e, SCANS[name]), SCANS[name], (N, N), 1.0).numpy()
    assert np.linalg.norm(x - truth) < 1.3 * np.linalg.norm(reference - truth)


def test_a_far_source_gives_the_parallel_reconstruction():
    e = scaled(SHEPP_LOGAN, N / 2)
    g = FanBeam2D(FULL, BINS, 1.0, None, "mm", 1e6, 1e6)
    parallel = Parallel2D(FULL, BINS, 1.0, None, "mm")
    x = fbp(integrals(e, g), g, (N, N), 1.0, filter="hann")
    reference = fbp(torch.from_numpy(ellipse_sinogram(e, parallel)), parallel, (N, N), filter="hann")
    assert float((x - reference).norm() / reference.norm()) < 0.03


def test_every_line_of_a_short_arc_counts_once():
    """Parker's weights of the two measurements of a line add up to 1, and change smoothly."""
    for excess in (0.0, 0.4, 1.5):
        angles = short_arc(excess)
        gamma = np.linspace(-0.3, 0.3, 61)
        start, length = arc(angles)
        beta = np.random.default_rng(1).uniform(0, length, 4000)
        g = np.random.default_rng(2).uniform(-0.3, 0.3, 4000)
        again = beta + np.pi - 2 * g
        earlier = beta - np.pi - 2 * g

        def weight(b, gg, dense=angles, start=start):  # at any angle of the arc: as one of its views
            views = np.append(dense, start + b)
            return parker_weights(views, np.array([gg]))[-1, 0]

        sums = [
            weight(b, gg) + (weight(a, -gg) if a <= length else 0.0) + (weight(c, -gg) if c >= 0 else 0.0)
            for b, gg, a, c in zip(beta[:300], g, again, earlier, strict=False)
        ]
        np.testing.assert_allclose(sums, 1, atol=1e-6)
        assert np.abs(np.diff(parker_weights(angles, gamma), axis=1)).max() < 0.2


# Cones


def balls(g: ConeBeam, centres: np.ndarray, radii: np.ndarray, values: np.ndarray) -> torch.Tensor:
    """Exact line integrals through balls: chords."""
    views = g.general()
    source = views.source[:, None, None]
    ray = views.points(np.arange(g.rows), np.arange(g.columns)) - source
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    total = np.zeros(g.shape)
    for c, r, value in zip(centres, radii, values, strict=True):
        gap = c - source
        along = (gap * ray).sum(-1)
        total += value * 2 * np.sqrt(np.clip(r**2 - ((gap * gap).sum(-1) - along**2), 0, None))
    return torch.from_numpy(total)


CONE = {"pitch": 1.5, "unit": "mm", "source_origin": 192.0, "source_detector": 288.0}
CENTRES = np.array([[3.0, -8.0, 4.0], [-10.0, 6.0, -7.0]])
RADII, VALUES = np.array([9.0, 7.0]), np.array([0.5, 0.8])
CONES = {
    "flat": ConeBeam(FULL[::2], 60, 74, **CONE),
    "offset": ConeBeam(FULL[::2], 60, 50, centre=12.0, row_centre=33.0, **CONE),
    "cylinder": ConeBeam(FULL[::2], 60, 74, curved=True, **CONE),
    "tilted": ConeBeam(FULL[::2], 70, 84, tilt=(0.15, -0.1, 0.2), **CONE),
    "flat rows": ConeBeam(FULL[::2], 120, 74, row_pitch=0.75, **CONE),
    "short arc": ConeBeam(0.3 + np.linspace(0, np.pi + 0.4, 120), 60, 74, **CONE),
}


@pytest.mark.parametrize("name", CONES)
def test_fdk_of_balls(name):
    g = CONES[name]
    shape, thickness = (36, 48, 52), 1.0
    x = fdk(balls(g, CENTRES, RADII, VALUES).float(), g, shape, 1.0, slice_thickness=thickness, filter="shepp-logan")
    z, y, xs = (np.arange(n) - (n - 1) / 2 for n in shape)
    for c, r, value in zip(CENTRES, RADII, VALUES, strict=True):
        inside = (xs - c[0]) ** 2 + (-y[:, None] - c[1]) ** 2 + (z[:, None, None] - c[2]) ** 2 < (r - 2) ** 2
        part = x.numpy()[inside] / value
        assert abs(part.mean() - 1) < 0.01 and part.std() < 0.03, (part.mean(), part.std())


def test_slices_of_another_thickness_are_those_of_the_volume():
    g = CONES["flat"]
    y = balls(g, CENTRES, RADII, VALUES)
    fine = fdk(y, g, (36, 48, 52), 1.0, slice_thickness=1.0)
    coarse = fdk(y, g, (12, 48, 52), 1.0, slice_thickness=3.0)
    torch.testing.assert_close(coarse, fine[1::3])


def test_numba_and_torch_project_back_alike():
    for g in (CONES["flat"], CONES["cylinder"], CONES["offset"]):
        y = balls(g, CENTRES, RADII, VALUES)[:7]
        part = g.views(slice(0, 7))
        one, two = (torch.full((10, 48, 52), 7.0, dtype=torch.float64) for _ in range(2))
        for back, volume in ((_numba, one), (_torch, two)):
            back(lambda index, y=y: y[index], [slice(0, 4), slice(4, 7)], part, 1.0, 2.0, volume)
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


def test_the_middle_slice_of_a_cone_is_a_fan():
    """An object that does not change along z, in the plane of the source."""
    e = scaled(SHEPP_LOGAN, N / 2)
    g = fan()
    sinogram = integrals(e, g)
    cone = ConeBeam(FULL, 3, BINS, 1.5, 1.5, None, None, "mm", 2.0 * N, 3.0 * N)
    x = fdk(sinogram[:, None].expand(cone.shape), cone, (1, N, N), 1.0)[0]
    reference = fbp(sinogram, g, (N, N), 1.0)
    assert float((x - reference).norm() / reference.norm()) < 2e-3  # neighbouring rows are weighted by their cosine


def test_parallel_rays_in_space_give_their_slices():
    e = scaled(SHEPP_LOGAN, N / 2)
    plane = Parallel2D(np.arange(90) * np.pi / 90, BINS)
    sinogram = torch.from_numpy(ellipse_sinogram(e, plane))
    space = Parallel3D(plane.angles, 4, BINS)
    heights = torch.tensor([1.0, 2.0, 0.0, -1.0], dtype=torch.float64)
    x = fbp(heights[:, None, None] * sinogram, space.plane, (N, N))
    y = fbp((heights[:, None, None] * sinogram).movedim(0, 1), space, (4, N, N))
    torch.testing.assert_close(x, y)


def test_what_fdk_refuses():
    g = CONES["flat"]
    y = torch.zeros(g.shape)
    climbing = replace(g, heights=helix(np.unwrap(g.angles), 5.0))
    with pytest.raises(ValueError, match=r"fdk takes a circle; the source .* moves by .* mm along the axis: use CGLS"):
        fdk(y, climbing, (4, 8, 8))
    with pytest.raises(ValueError, match=r"fdk takes real .*\(\*batch, 180, 60, 74\); got .* \(180, 60, 73\)"):
        fdk(y[..., :-1], g, (4, 8, 8))
    with pytest.raises(ValueError, match="source stands inside the image"):
        fdk(y, g, (4, 500, 500), 1.0)
    with pytest.raises(ValueError, match="unknown filter 'shep'"):
        fdk(y, g, (4, 8, 8), filter="shep")


def test_a_helix_is_solved_by_its_exact_adjoint():
    """Two balls further apart than the detector is high, which no circle sees both."""
    angles = np.arange(180) * 6 * np.pi / 180
    g = ConeBeam(angles, 14, 60, heights=helix(angles, 9.0), **CONE)
    centres, radii = np.array([[3.0, -6.0, 9.0], [-7.0, 5.0, -9.0]]), np.array([6.0, 5.0])
    shape = (32, 32, 32)
    y = balls(g, centres, radii, VALUES).float()
    x = invreg.solve(CGLS(XRay(g, shape, 1.0), y), torch.zeros(shape), max_iter=25, tol=0.0, every=25).x.numpy()
    z, r, c = np.meshgrid(*[np.arange(32) - 15.5] * 3, indexing="ij")
    for centre, radius, value in zip(centres, radii, VALUES, strict=True):
        inside = (c - centre[0]) ** 2 + (-r - centre[1]) ** 2 + (z - centre[2]) ** 2 < (radius - 1.5) ** 2
        assert abs(x[inside].mean() / value - 1) < 0.02
    empty = np.minimum.reduce([(c - p[0]) ** 2 + (-r - p[1]) ** 2 + (z - p[2]) ** 2 for p in centres]) > 8**2
    assert abs(x[empty]).mean() < 0.02


@pytest.mark.parametrize("centre", [14.2, 85.8], ids=["to the right", "to the left"])
def test_an_offset_detector_goes_round_a_full_turn(centre):
    """As exact as a detector of twice the width: lines that half the views measure count twice."""
    g = Parallel2D(np.arange(361) * 2 * np.pi / 361, 101, centre=centre)
    disk, inner = (scaled(np.array([[0.37, 0.2, -0.15, r, r, 0]]), 64) for r in (0.5, 0.4))
    y = torch.from_numpy(ellipse_sinogram(disk, g, average_bins=True))
    x = fbp(y, g, (128, 128), A=XRay(g, (128, 128)))
    inside = x.numpy()[ellipse_image(inner, (128, 128)) > 0.3699] / 0.37
    assert abs(inside.mean() - 1) < 1e-3 and abs(inside - 1).max() < 0.015, (inside.mean(), inside.min(), inside.max())
    space = Parallel3D(g.angles, 2, 101, centre=centre)
    torch.testing.assert_close(fbp(torch.stack([y, 2 * y], 1), space, (2, 128, 128))[1], 2 * x)


SMALL = Parallel2D(np.arange(8) * np.pi / 8, 20)
SMALL_FAN = FanBeam2D(np.arange(8) * np.pi / 4, 20, source_origin=40.0, source_detector=50.0)
SMALL_CONE = ConeBeam(np.arange(8) * np.pi / 4, 3, 20, source_origin=40.0, source_detector=50.0)


@pytest.mark.parametrize("g", [SMALL, SMALL_FAN, SMALL_CONE], ids=["parallel", "fan", "cone"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(g, value):
    y = torch.zeros(2, *g.shape)
    y[1, 3, ..., 4] = value
    inverse, shape = (fdk, (4, 12, 12)) if g is SMALL_CONE else (fbp, (12, 12))
    with pytest.raises(ValueError, match=r"takes finite \w+; \d of the \d+ values are not: fill them in"):
        inverse(y, g, shape)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda y: fbp(y, SMALL_CONE, (3, 12, 12)), TypeError, "fbp takes a Parallel2D, .* got ConeBeam: use fdk"),
        (lambda y: fbp(y, SMALL.general(), (12, 12)), TypeError, "got Views2D: use fdk"),
        (lambda y: fdk(y, SMALL_FAN, (1, 12, 12)), TypeError, "fdk takes a ConeBeam; got FanBeam2D: use fbp"),
        (
            lambda y: fbp(y[:, 0], SMALL, (12, 12), A=XRay(SMALL, (9, 9))),
            ValueError,
            r"an A from \(12, 12\) to \(8, 20",
        ),
        (lambda y: fbp(y[:, 0], SMALL_FAN, (1, 12, 12)), ValueError, r"a FanBeam2D takes images of shape \(h, w\)"),
        (lambda y: fbp(y[:, 0], SMALL_FAN, (12, 12), -1.0), ValueError, "pixel_size must be a positive length"),
        (lambda y: fdk(y, SMALL_CONE, (3, 12, 12), slice_thickness=0.0), ValueError, "slice_thickness must be a pos"),
        (lambda y: fdk(y.requires_grad_(), SMALL_CONE, (3, 12, 12)), RuntimeError, "is not differentiable: give it"),
        (lambda y: XRay(SMALL, (12, 12)).adjoint(y[:, 0].half()), TypeError, "float32 or float64; got torch.float16"),
    ],
)
def test_what_filtered_back_projection_cannot_do_is_told(call, error, told):
    with pytest.raises(error, match=told):
        call(torch.zeros(8, 3, 20))
