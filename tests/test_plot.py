"""Pictures of geometries: every kind is drawn, with its parts where they stand."""

import matplotlib
import numpy as np
import pytest

from invreg.operators import ConeBeam, FanBeam2D, Parallel2D, Parallel3D, helix, plot_geometry

ANGLES = np.linspace(0, 2 * np.pi, 20, endpoint=False)
FAR = {"source_origin": 60.0, "source_detector": 90.0, "unit": "mm"}
CASES = {
    "parallel": (Parallel2D(ANGLES[:10], 40, unit="mm"), (30, 20)),
    "fan": (FanBeam2D(ANGLES, 50, centre=20.0, **FAR), (30, 20)),
    "arc": (FanBeam2D(ANGLES, 50, curved=True, **FAR), (30, 20)),
    "general": (FanBeam2D(ANGLES, 50, **FAR).general(), (30, 20)),
    "parallel in space": (Parallel3D(ANGLES, 20, 40, unit="mm"), (16, 30, 20)),
    "cone": (ConeBeam(ANGLES, 20, 50, tilt=(0.1, 0.2, 0.3), **FAR), (16, 30, 20)),
    "helix": (ConeBeam(ANGLES, 20, 50, heights=helix(ANGLES, 9.0), **FAR), (16, 30, 20)),
    "cylinder": (ConeBeam(ANGLES, 20, 50, curved=True, **FAR), (16, 30, 20)),
}


@pytest.fixture(autouse=True)
def no_window():
    before = matplotlib.get_backend()
    matplotlib.use("Agg")
    yield
    matplotlib.pyplot.close("all")
    matplotlib.use(before)


def places(axes, label):
    """What the line of this label shows, (point, dimension)."""
    line = next(line for line in axes.lines if str(line.get_label()).startswith(label))
    return np.array(line.get_data_3d() if hasattr(line, "get_data_3d") else line.get_data()).T


@pytest.mark.parametrize(("geometry", "shape"), CASES.values(), ids=CASES)
def test_every_geometry_is_drawn(geometry, shape):
    figure = plot_geometry(geometry, shape, 0.8, 1.1, view=-3)
    figure.canvas.draw()
    (axes,) = figure.axes
    views = geometry.general()
    assert axes.get_xlabel() == "x [mm]" and f"view {len(views.source) - 3} of" in axes.get_title()
    drawn = np.concatenate([np.array(getattr(line, "get_data_3d", line.get_data)()).T for line in axes.lines])
    corner = np.array([*shape[:-3:-1], *shape[:-2]]) / 2 * [0.8, 0.8, 1.1][: len(shape)]
    assert (np.abs(drawn - corner).max(1) < 1e-9).any()
    ray = places(axes, "rays: central")
    if views.parallel:
        direction = views.source[-3] / np.linalg.norm(views.source[-3])
        np.testing.assert_allclose(np.diff(ray, axis=0)[0] / np.linalg.norm(np.diff(ray, axis=0)), direction)
        assert (ray[0] @ direction) < -np.linalg.norm(corner) < np.linalg.norm(corner) < ray[1] @ direction
    else:
        np.testing.assert_allclose(places(axes, "source in view"), views.source[-3:-2])
        np.testing.assert_allclose(ray, [views.source[-3], views.detector[-3]])
        np.testing.assert_allclose(places(axes, "source in all"), views.source)


@pytest.mark.parametrize(
    ("shape", "view", "told"),
    [
        ((30, 20, 5), 0, r"takes shapes \(h, w\); got \(30, 20, 5\)"),
        ((30, 20), 20, "one of the 20 views, 0 to 19; got 20"),
    ],
)
def test_bad_arguments_are_told(shape, view, told):
    with pytest.raises(ValueError, match=told):
        plot_geometry(CASES["fan"][0], shape, view=view)
