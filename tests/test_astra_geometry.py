"""Geometries to and from ASTRA: against its own dictionaries, its sinograms and where it projects points."""

from dataclasses import replace

import numpy as np
import pytest

from invreg.operators import ConeBeam, FanBeam2D, Parallel2D, Parallel3D, Views2D, Views3D, from_astra, helix, to_astra

ANGLES = np.array([0.1, np.pi / 4, 1.3, 2.4, 4.0, 5.9])
FAN = {"source_origin": 60, "source_detector": 90}
CONE = {"centre": 15.2, "row_centre": 7.1, **FAN}
SPACES = {
    "parallel": Parallel3D(ANGLES, 12, 30, 1.2, 1.5, 15.2, 7.1),
    "cone": ConeBeam(ANGLES, 12, 30, 1.2, 1.5, **CONE),
    "tilted": ConeBeam(ANGLES, 12, 30, 1.2, 1.5, tilt=(0.1, -0.2, 0.3), **CONE),
    "helix": ConeBeam(ANGLES, 12, 30, 1.2, 1.5, heights=helix(ANGLES, 20.0), **CONE),
    "cylinder": ConeBeam(ANGLES, 12, 30, 1.2, 1.5, curved=True, heights=helix(ANGLES, 20.0), **CONE),
}
PLAIN = {
    "parallel": Parallel2D(ANGLES, 30, 1.2),
    "fanflat": FanBeam2D(ANGLES, 30, 1.2, **FAN),
    "parallel3d": Parallel3D(ANGLES, 12, 30, 1.2, 1.5),
    "cone": ConeBeam(ANGLES, 12, 30, 1.2, 1.5, **FAN),
}


def by_astra(kind, astra):
    """The same scan as PLAIN[kind], told to ASTRA by its documentation."""
    size = (1.2, 30) if kind in ("parallel", "fanflat") else (1.2, 1.5, 12, 30)
    return astra.create_proj_geom(kind, *size, ANGLES, *((60, 30) if kind in ("fanflat", "cone") else ()))


@pytest.fixture
def astra():
    return pytest.importorskip("astra", exc_type=ImportError)


def same(a, b):
    """Whether the rays and bins are the same; the direction of parallel rays has neither length nor sign."""
    a, b = a.general(), b.general()
    names = ("detector", "axis") if isinstance(a, Views2D) else ("detector", "u", "v")
    for name in names if a.parallel else ("source", *names):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=0, atol=1e-12)
    if a.parallel:
        lengths = np.linalg.norm(a.source, axis=1) * np.linalg.norm(b.source, axis=1)
        np.testing.assert_allclose(np.abs((a.source * b.source).sum(1)), lengths)
    return (a.shape, a.parallel, a.curved) == (b.shape, b.parallel, b.curved)


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_types_are_read(kind, astra):
    theirs = by_astra(kind, astra)
    ours = from_astra(theirs, unit="mm")
    assert type(ours) is type(PLAIN[kind]) and ours.unit == "mm"
    assert same(ours, PLAIN[kind])
    assert same(from_astra(astra.geom_2vec(theirs)), PLAIN[kind])
    made, expected = to_astra(PLAIN[kind]), astra.geom_2vec(theirs)
    assert made.keys() == expected.keys() and made["type"] == expected["type"]


@pytest.mark.parametrize(
    "geometry", [*PLAIN.values(), *SPACES.values()], ids=[*PLAIN, *(f"{name} in space" for name in SPACES)]
)
def test_there_and_back(geometry):
    there = to_astra(geometry)
    assert same(from_astra(there), geometry)


@pytest.mark.parametrize("geometry", SPACES.values(), ids=SPACES)
def test_astra_sees_points_where_our_rays_end(geometry, astra):
    """ASTRA's own projection of a point on the ray of a bin is that bin."""
    from astra.experimental import projectPoint

    views, there = geometry.general(), to_astra(geometry)
    assert astra.create_proj_geom(there["type"], 12, 30, there["Vectors"]).keys() == there.keys()
    bins = views.points(np.array([0.0, 3.0, 11.0]), np.array([0.0, 13.0, 29.0]))
    for view, of_view in enumerate(bins):
        for row, of_row in zip((0, 3, 11), of_view, strict=True):
            for column, place in zip((0, 13, 29), of_row, strict=True):
                source = views.source[view]
                point = place - 40 * source if views.parallel else source + 0.6 * (place - source)
                got = projectPoint(there, *point, view)
                np.testing.assert_allclose(got, (column, row), rtol=0, atol=1e-6)


def blobs(shape, pixel):
    """A sum of Gaussians without symmetry, and the function of their line integrals (point, unit direction)."""
    parts = [(1.0, 3.0, -4.0, 3.5), (0.6, -7.0, 5.0, 2.5), (0.8, 5.0, 8.0, 3.0), (-0.4, -3.0, -8.0, 2.2)]
    h, w = shape
    x, y = (np.arange(w) - (w - 1) / 2) * pixel, ((h - 1) / 2 - np.arange(h)) * pixel
    image = sum(a * np.exp(-((x - p) ** 2 + (y[:, None] - q) ** 2) / (2 * s**2)) for a, p, q, s in parts)

    def integral(point, ray):
        total = 0.0
        for a, p, q, s in parts:
            distance = (point[..., 0] - p) * ray[..., 1] - (point[..., 1] - q) * ray[..., 0]
            total = total + a * np.sqrt(2 * np.pi) * s * np.exp(-(distance**2) / (2 * s**2))
        return total

    return image.astype(np.float32), integral


TURNED = FanBeam2D(ANGLES, 60, 1.1, 31.7, **FAN).general()
PLANES = {
    "parallel": Parallel2D(ANGLES, 60, 0.9, 26.3),
    "fan": FanBeam2D(ANGLES, 60, 1.3, 26.3, **FAN),
    "free": Views2D(  # each view with its own offset, distance and pitch
        TURNED.source * np.linspace(0.9, 1.2, 6)[:, None],
        TURNED.detector + np.linspace(-4, 4, 6)[:, None],
        TURNED.axis * np.linspace(1, 1.4, 6)[:, None] + 0.1,
        60,
    ),
}


@pytest.mark.parametrize("geometry", PLANES.values(), ids=PLANES)
def test_astra_s_sinogram_is_that_of_our_rays(geometry, astra):
    shape, pixel = (70, 64), 0.7
    image, integral = blobs(shape, pixel)
    views = geometry.general()
    places = views.points(np.arange(float(views.detectors)))
    rays = np.broadcast_to(views.source[:, None], places.shape) if views.parallel else places - views.source[:, None]
    expected = integral(places, rays / np.linalg.norm(rays, axis=-1, keepdims=True))
    h, w = np.array(shape) * pixel / 2
    window = astra.create_vol_geom(*shape, -w, w, -h, h)
    projector = astra.create_projector("line" if views.parallel else "line_fanflat", to_astra(geometry), window)
    try:
        got = astra.create_sino(image, projector)[1]
    finally:
        astra.clear()
    assert np.linalg.norm(got - expected) < 0.01 * np.linalg.norm(expected)


BINS = {"DetectorRowCount": 2, "DetectorColCount": 3}


@pytest.mark.parametrize(
    ("geometry", "told"),
    [
        ({"type": "sparse_matrix"}, "its type is 'sparse_matrix'; known are parallel, "),
        ({"type": "parallel"}, "of type 'parallel' must have DetectorCount, DetectorWidth, ProjectionAngles; it has"),
        ({"type": "cone_vec", "Vectors": []}, "must have DetectorRowCount, DetectorColCount; it has not"),
        (
            {**BINS, "type": "cone_vec", "Vectors": np.zeros((3, 6))},
            r"Vectors of cone_vec must be \(view, 12\); got \(3, 6\)",
        ),
        (
            {**to_astra(SPACES["cylinder"]), "Vectors": to_astra(SPACES["cylinder"])["Vectors"] * [*[1.0] * 12, 1.1]},
            "in view 0 the cylinder's radius is 99 and the source 90",
        ),
    ],
)
def test_what_cannot_be_read_is_told(geometry, told):
    with pytest.raises(ValueError, match=told):
        from_astra(geometry)


def test_an_arc_in_a_plane_is_not_astra_s():
    with pytest.raises(ValueError, match="ASTRA has no curved detector in a plane"):
        to_astra(FanBeam2D(ANGLES, 30, 1.2, curved=True, **FAN))


def test_an_arc_that_bends_away_is_told():
    """ASTRA's arcs bend by the hand of (u, v): the same vectors with v reversed project elsewhere there."""
    left = to_astra(SPACES["cylinder"])
    left["Vectors"][:, 9:12] *= -1
    with pytest.raises(ValueError, match="in view 0 the arc bends away from the source in ASTRA's convention"):
        from_astra(left)
    views = SPACES["cylinder"].general()
    with pytest.raises(ValueError, match="reverse v and the rows"):
        to_astra(replace(views, v=-views.v))


def test_views_of_one_kind_are_kept():
    assert isinstance(from_astra(to_astra(PLANES["free"])), Views2D)
    assert isinstance(from_astra(to_astra(SPACES["tilted"])), Views3D)
