"""Geometries as data: where sources and bins stand, that all become the general case, and what is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from invreg.operators import ConeBeam, FanBeam2D, Parallel2D, Parallel3D, Views2D, Views3D, XRay, helix
from invreg.operators.tomography.geometry3d import tilted_from_upright
from invreg.operators.tomography.recognise import recognise

ANGLES = np.array([0.3, -1.0, 2.0, 4.5])
FAN = FanBeam2D(ANGLES, 9, 0.7, 3.3, "mm", 20.0, 31.0)
CONE = ConeBeam(ANGLES, 5, 9, 0.7, 0.9, 3.3, 1.2, "mm", 20.0, 31.0)


def test_parallel_rays_are_where_their_equation_says():
    g = Parallel2D(ANGLES, 9, 0.7, 3.3)
    views = g.general()
    places = views.points(np.arange(9.0))
    for k in (0.0, -5.0, 7.0):  # anywhere along the ray
        x, y = np.moveaxis(places + k * views.source[:, None], -1, 0)
        line = x * np.cos(ANGLES)[:, None] + y * np.sin(ANGLES)[:, None]
        np.testing.assert_allclose(line, np.broadcast_to(g.positions, line.shape), atol=1e-12)


@pytest.mark.parametrize("curved", [False, True])
def test_fans_stand_where_they_say(curved):
    g = replace(FAN, curved=curved)
    views = g.general()
    a = ANGLES
    np.testing.assert_allclose(views.source, 20 * np.stack([np.sin(a), -np.cos(a)], 1), atol=1e-12)
    rays = views.points(np.arange(9.0)) - views.source[:, None]
    across, along = np.stack([np.cos(a), np.sin(a)], 1), np.stack([-np.sin(a), np.cos(a)], 1)
    u, depth = np.einsum("vbd,vd->vb", rays, across), np.einsum("vbd,vd->vb", rays, along)
    if curved:
        np.testing.assert_allclose(np.linalg.norm(rays, axis=2), 31.0)
        np.testing.assert_allclose(np.arctan2(u, depth) * 31.0, np.broadcast_to(g.positions, u.shape), atol=1e-12)
    else:
        np.testing.assert_allclose(depth, 31.0)
        np.testing.assert_allclose(u, np.broadcast_to(g.positions, u.shape), atol=1e-12)
    np.testing.assert_allclose(np.arctan2(u, depth), np.broadcast_to(g.fan_angles, u.shape), atol=1e-12)


@pytest.mark.parametrize("curved", [False, True])
def test_a_cone_is_a_fan_with_height(curved):
    heights = np.array([0.0, 1.0, -2.0, 5.0])
    cone, fan = replace(CONE, curved=curved, heights=heights).general(), replace(FAN, curved=curved).general()
    points = cone.points(np.arange(5.0), np.arange(9.0))
    flat = fan.points(np.arange(9.0))
    np.testing.assert_allclose(points[..., :2], np.broadcast_to(flat[:, None], points[..., :2].shape), atol=1e-12)
    rise = heights[:, None] + (np.arange(5.0) - 1.2) * 0.9
    np.testing.assert_allclose(points[..., 2], np.broadcast_to(rise[..., None], points.shape[:-1]), atol=1e-12)
    np.testing.assert_allclose(cone.source, np.column_stack([fan.source, heights]), atol=1e-12)
    assert cone.upright


def test_a_tilt_turns_the_detector_about_the_central_ray():
    g = replace(CONE, tilt=(0.2, -0.3, 0.1))
    straight, tilted = CONE.general(), g.general()
    assert not tilted.upright
    pivot = straight.points(np.array([1.2]), np.array([3.3]))
    np.testing.assert_allclose(tilted.points(np.array([1.2]), np.array([3.3])), pivot, atol=1e-12)
    near, far = (v.points(np.arange(5.0), np.arange(9.0)) - pivot for v in (straight, tilted))
    np.testing.assert_allclose(np.linalg.norm(near, axis=-1), np.linalg.norm(far, axis=-1))
    about_normal = replace(CONE, tilt=(0.0, 0.0, 0.1)).general()  # columns turn towards the rows, up along z
    np.testing.assert_allclose(about_normal.u[:, 2], 0.7 * np.sin(0.1))
    about_u = replace(CONE, tilt=(0.1, 0.0, 0.0)).general()  # the upper edge leans away from the source
    lean = (about_u.v * np.stack([-np.sin(ANGLES), np.cos(ANGLES), 0 * ANGLES], 1)).sum(1)
    np.testing.assert_allclose(lean, 0.9 * np.sin(0.1))
    # three turns one after the other about axes that stay, in the frame of columns, rows and central ray
    frame = np.stack([straight.u[0] / 0.7, straight.v[0] / 0.9, -straight.source[0] / 20.0], axis=1)
    turn = Rotation.from_euler("xyz", [0.2, -0.3, 0.1]).as_matrix()
    np.testing.assert_allclose(tilted.u[0] / 0.7, frame @ turn[:, 0], atol=1e-12)
    np.testing.assert_allclose(tilted.v[0] / 0.9, frame @ turn[:, 1], atol=1e-12)
    about_v = replace(CONE, tilt=(0.0, 0.1, 0.0)).general()  # the last column leans towards the source
    lean = (about_v.u * np.stack([-np.sin(ANGLES), np.cos(ANGLES), 0 * ANGLES], 1)).sum(1)
    np.testing.assert_allclose(lean, -0.7 * np.sin(0.1))
    places = tilted_from_upright(g)  # the ray through an upright bin meets the tilted detector there
    for row, column in [(0, 0), (4, 2), (1, 8)]:
        hit = tilted.points(places[row, column, :1], places[row, column, 1:])[:, 0, 0] - tilted.source
        ray = straight.points(np.array([row]), np.array([column]))[:, 0, 0] - straight.source
        np.testing.assert_allclose(np.cross(hit, ray), 0, atol=1e-9)


def test_parallel_rays_in_space_are_those_of_the_plane():
    g = Parallel3D(ANGLES, 5, 9, 0.7, 0.9, 3.3, 1.2)
    space, plane = g.general(), g.plane.general()
    points = space.points(np.arange(5.0), np.arange(9.0))
    flat = plane.points(np.arange(9.0))
    np.testing.assert_allclose(points[..., :2], np.broadcast_to(flat[:, None], points[..., :2].shape), atol=1e-12)
    assert space.upright and not replace(space, u=space.u + np.array([0, 0, 0.01])).upright


@pytest.mark.parametrize(
    "g", [FAN, CONE, Parallel2D(ANGLES, 4), Parallel3D(ANGLES, 3, 4), FAN.general(), CONE.general()]
)
def test_some_of_the_views(g):
    heights = np.arange(4.0)
    g = replace(g, heights=heights) if isinstance(g, ConeBeam) else g
    for index in (slice(1, None, 2), np.array([3, 0])):
        part, whole = g.views(index).general(), g.general()
        assert type(g.views(index)) is type(g)
        np.testing.assert_array_equal(part.source, whole.source[index])
        np.testing.assert_array_equal(part.detector, whole.detector[index])


@pytest.mark.parametrize(
    ("g", "shape"), [(Parallel2D(ANGLES, 9), (6, 7)), (FAN, (6, 7)), (CONE, (4, 6, 7)), (CONE.general(), (4, 6, 7))]
)
def test_a_subset_is_those_rows_of_the_operator(g, shape):
    A = XRay(g, shape, 0.9)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape))
    y = A(x)
    for index in (slice(1, None, 2), [3, 0], [-1, 1, 1], [True, False, False, True]):
        torch.testing.assert_close(A.subset(index)(x), y[index])
    parts = [A.subset(slice(k, None, 2)) for k in range(2)]  # ordered subsets add up to the whole
    torch.testing.assert_close(sum(p.adjoint(y[k::2]) for k, p in enumerate(parts)), A.adjoint(y))


def test_a_subset_may_miss_the_image():
    """Views at the ends of a helix look past the volume: their rows are zero."""
    A = XRay(cone(heights=np.array([-90.0, 0.0, 1.0, 90.0])), (4, 6, 7))
    assert A.subset([0])(torch.ones(4, 6, 7)).abs().max() == 0 < A.subset([1])(torch.ones(4, 6, 7)).abs().max()
    assert A.subset([1]).norm() < A.norm()


def test_a_helix_climbs_evenly():
    heights = helix(np.array([0.0, np.pi, 2 * np.pi, 4 * np.pi]), 3.0)
    np.testing.assert_allclose(heights, [-3.0, -1.5, 0.0, 3.0])
    np.testing.assert_allclose(helix(np.array([1.0, -1.0]), 3.0), [3 / 2 / np.pi, -3 / 2 / np.pi])


def fan(**changes) -> FanBeam2D:
    return FanBeam2D(**{"angles": ANGLES, "detectors": 40, "source_origin": 20.0, "source_detector": 31.0} | changes)


def cone(**changes) -> ConeBeam:
    first = {"angles": ANGLES, "rows": 9, "columns": 9, "source_origin": 20.0, "source_detector": 31.0}
    return ConeBeam(**first | changes)


def edge_on() -> Views2D:
    views = FAN.general()
    return replace(views, axis=views.detector - views.source)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: fan(pitch=0.0), "need detectors >= 1 and whole and pitch > 0; got 40 and 0.0"),
        (lambda: fan(detectors=0), "need detectors >= 1"),
        (lambda: fan(detectors=10.5), "need detectors >= 1 and whole and pitch > 0; got 10.5 and"),
        (lambda: fan(angles=[]), "angles must be a non-empty list of finite radians; got shape (0,)"),
        (lambda: fan(angles=[0.0, np.nan]), "got shape (2,), 1 of 2 values not finite"),
        (lambda: fan(angles=np.arange(0, 360, 2.0)), "angles run evenly from 0 to 358, which are degrees"),
        (lambda: Parallel2D(np.linspace(0, 180, 91), 4), "angles run evenly from 0 to 180, which are degrees"),
        (lambda: fan(centre=np.inf), "centre must be a finite bin position; got inf"),
        (lambda: fan(source_detector=10.0), "need 0 < source_origin <= source_detector, both finite"),
        (lambda: fan(source_origin=-3.0), "got -3 and 31"),
        (lambda: fan(curved=True, pitch=3.0), "it must stay below a right angle on either side"),
        (lambda: cone(row_pitch=-1.0), "need rows >= 1 and whole and pitch > 0; got 9 and -1.0"),
        (lambda: cone(heights=[1.0]), "heights must be finite, one a view, (4,), in pixel; got (1,)"),
        (lambda: cone(tilt=(0.0, 2.0, 0.0)), "tilt must be three angles in radians between -pi/2 and pi/2"),
        (lambda: cone(tilt=(0.1, 0, 0), curved=True), "has no tilt; leave one of them out"),
        (lambda: helix(ANGLES, 0.0), "a helix needs an advance a turn that is finite and not 0; got 0.0"),
        (lambda: helix(np.array([0, 1, 2, 0.1]), 1.0), "the angles of a helix must run one way; view 3 turns back"),
        (
            lambda: replace(FAN.general(), axis=FAN.general().detector - FAN.general().source),
            "the detector is seen edge-on",
        ),
        (lambda: replace(FAN.general(), axis=np.zeros((4, 2))), "need detectors >= 1 and whole and pitch > 0"),
        (lambda: replace(FAN.general(), source=np.zeros((3, 2))), "got 3 of source, 4 of detector, 4 of axis"),
        (
            lambda: replace(FAN.general(), source=np.zeros((4, 3))),
            "source must be finite vectors, one a view",
        ),
        (lambda: replace(CONE.general(), v=CONE.general().u), "the detector has no area or is seen edge-on"),
        (lambda: replace(Parallel2D(ANGLES, 4).general(), curved=True), "leave curved out"),
        (lambda: replace(Parallel3D(ANGLES, 4, 4).general(), curved=True), "leave curved out"),
        (lambda: XRay(fan(), (80, 80), 1.0), "in view 0 the source stands inside the image, 20 pixel from the axis"),
        (
            lambda: XRay(fan(centre=900.0), (20, 20), 1.0),
            "the detector misses the image in all views: its",
        ),
        (lambda: XRay(cone(row_centre=900.0), (4, 8, 8), 1.0), "the detector misses the image in all views"),
        (lambda: XRay(fan(unit="mm"), (20, 20), 1e4), "the image is 2e+05 mm wide, while the detector sees"),
        (
            lambda: XRay(fan(), (20, 20, 20), 1.0),
            "a FanBeam2D takes images of shape (h, w), whole numbers from 1 on; got",
        ),
        (lambda: XRay(fan(), (20.5, 20), 1.0), "whole numbers from 1 on; got (20.5, 20)"),
        (lambda: XRay(fan(), (20, 20)).subset([]), "of 4 views and at least one of them; got []"),
        (lambda: XRay(fan(), (20, 20)).subset([4]), "of 4 views and at least one of them; got [4]"),
        (lambda: XRay(fan(), (20, 20)).subset(3), "subset takes a slice, a list of indices or one boolean a view"),
        (lambda: XRay(cone(), (20, 20), 1.0), "a ConeBeam takes images of shape (depth, h, w)"),
        (lambda: XRay(fan(), (20, 0), 1.0), "whole numbers from 1 on; got (20, 0)"),
        (lambda: XRay(fan(), (20, 20), -1.0), "pixel_size must be a positive length in pixel; got -1.0"),
        (lambda: XRay(cone(), (4, 8, 8), slice_thickness=np.nan), "slice_thickness must be a positive length"),
        (lambda: XRay(fan(), (20, 20), backend="cuda"), "unknown backend 'cuda'; known are numba, triton, astra"),
    ],
)
def test_bad_geometry_gets_one_sentence(make, told):
    with pytest.raises(ValueError, match=re.escape(told)) as error:
        make()
    assert "\n" not in str(error.value)


def test_angles_in_radians_are_not_taken_for_degrees():
    for angles in (np.arange(0, 360, 1) * 2.399963, np.linspace(0, 2 * np.pi, 721), np.linspace(0, 50 * np.pi, 4000)):
        assert Parallel2D(angles, 4).angles.size == angles.size


def test_what_the_general_case_sees():
    assert isinstance(FAN.general(), Views2D) and isinstance(CONE.general(), Views3D)
    for g in (FAN, CONE, replace(FAN, curved=True), Parallel2D(ANGLES, 9, 0.7), Parallel3D(ANGLES, 4, 9, 0.7)):
        assert g.general().bin_at_axis == pytest.approx(g.bin_at_axis, rel=0.02)
        assert g.general().shape == g.shape and g.general().general().shape == g.shape


# To and from ODL


TURN = np.linspace(-0.4, 5.0, 7)
NAMED = {
    "parallel": Parallel2D(TURN, 9, 0.7, 3.3),
    "fan": replace(FAN, angles=TURN, unit="pixel"),
    "arc": replace(FAN, angles=TURN, unit="pixel", curved=True),
    "parallel in space": Parallel3D(TURN, 5, 9, 0.7, 0.9, 3.3, 1.2),
    "cone": replace(CONE, angles=TURN, unit="pixel"),
    "cylinder": replace(CONE, angles=TURN, unit="pixel", curved=True),
    "helix": replace(CONE, angles=TURN, unit="pixel", heights=helix(TURN, 6.0) + 1.0),
}


def same_rays(one, two) -> None:
    a, b = one.general(), two.general()
    assert type(a) is type(b) and a.shape == b.shape and (a.parallel, a.curved) == (b.parallel, b.curved)
    bins = (np.array([0.0, 2.5, 8.0]),) if isinstance(a, Views2D) else (np.array([0.0, 3.3]), np.array([0.0, 8.0]))
    source, points = (np.expand_dims(v.source, tuple(range(1, len(bins) + 1))) for v in (a, b)), (a, b)
    (s, t), (p, q) = source, (v.points(*bins) for v in points)
    ray, other = (s, t) if a.parallel else (p - s, q - t)
    ray, other = (np.broadcast_to(r / np.linalg.norm(r, axis=-1, keepdims=True), p.shape) for r in (ray, other))
    np.testing.assert_allclose(ray, other, atol=1e-6)
    gap = q - p
    np.testing.assert_allclose(gap - (gap * ray).sum(-1, keepdims=True) * ray, 0, atol=1e-5)


@pytest.mark.parametrize("name", NAMED)
def test_views_are_recognised(name):
    g = NAMED[name]
    again = recognise(g.general())
    assert type(again) is type(g)
    same_rays(again, g)
    np.testing.assert_allclose(again.positions, g.positions)


def test_a_source_on_the_axis_is_not_recognised():
    views = replace(FAN.general(), source=np.zeros((4, 2)))
    assert recognise(views) is views
    level = Parallel3D(ANGLES, 3, 4).general()
    along = replace(level, source=np.tile([0.0, 0.0, 1.0], (4, 1)), v=level.source)
    assert recognise(along) is along


def test_what_is_not_recognised_stays_as_it_is():
    for g in (replace(CONE, tilt=(0.1, 0, 0)), replace(CONE, angles=ANGLES)):
        views = g.general()
        moved = replace(views, source=views.source + np.array([[0, 0, 0], [0.1, 0, 0], [0, 0, 0], [0, 0, 0]]))
        assert recognise(moved) is moved
    assert isinstance(recognise(replace(CONE, tilt=(0.1, 0, 0)).general()), Views3D)


@pytest.mark.parametrize("name", NAMED)
def test_to_odl_and_back(name):
    adapter = pytest.importorskip("invreg.adapters.odl_geometry", exc_type=ImportError)
    g = NAMED[name]
    theirs = adapter.to_geometry(g)
    again = adapter.from_geometry(theirs)
    assert type(again) is type(g)
    same_rays(again, g)


def test_an_odl_geometry_that_is_turned_and_shifted():
    adapter = pytest.importorskip("invreg.adapters.odl_geometry", exc_type=ImportError)
    import odl
    from odl.applications.tomo import ConeBeamGeometry

    angles, panel = odl.nonuniform_partition(TURN), odl.uniform_partition([-3, -2], [3, 2], (6, 4))
    theirs = ConeBeamGeometry(
        angles, panel, 20, 11, axis=(1, 0, 0), det_shift_func=lambda a: np.stack([0 * a, 0.1 * a, 0 * a], axis=-1)
    )
    ours = adapter.from_geometry(theirs)
    assert isinstance(ours, Views3D) and ours.shape == (7, 4, 6)
    for view, angle in enumerate(TURN):
        np.testing.assert_allclose(ours.source[view], theirs.src_position(angle), atol=1e-9)
        for row, column in [(0, 0), (3, 1)]:
            parameter = panel.grid[column, row]
            point = ours.points(np.array([row]), np.array([column]))[view, 0, 0]
            np.testing.assert_allclose(point, theirs.det_point_position(angle, parameter), atol=1e-9)


def test_what_odl_has_no_name_for():
    adapter = pytest.importorskip("invreg.adapters.odl_geometry", exc_type=ImportError)
    for g, told in [
        (replace(CONE, tilt=(0.1, 0, 0), angles=TURN), "ODL has no name for a tilted detector"),
        (CONE.general(), "ODL has no name for a Views3D"),
        (CONE, "ODL takes increasing angles"),
        (replace(CONE, angles=TURN, heights=TURN**2), "heights of a circle or an even helix only"),
    ]:
        with pytest.raises(ValueError, match=told):
            adapter.to_geometry(g)
