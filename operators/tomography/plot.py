"""Pictures of a geometry: where source, object and detector stand."""

from typing import Any

import numpy as np

from invreg.operators.tomography.geometry import Array, Geometry2D, Views2D
from invreg.operators.tomography.geometry3d import Geometry3D, Views3D

SOURCE, OBJECT, DETECTOR, RAYS = "tab:red", "tab:gray", "tab:blue", "tab:orange"


def plot(
    geometry: Geometry2D | Geometry3D,
    shape: tuple[int, ...],
    pixel_size: float | None = None,
    slice_thickness: float | None = None,
    view: int = 0,
) -> Any:
    """A figure of one view of an image of `shape`, (h, w) or (depth, h, w), and of the source's way through all views.

    Source, object, detector with its first bin marked, its central ray and those at its edges. Where on its rays a
    detector of parallel rays stands makes no difference: it is drawn behind the object, and the rays from before it.
    Sizes default as in XRay, in `geometry.unit`. Returns the matplotlib figure. Raises ValueError for a shape of
    another dimension and a view that there is not.
    """
    import matplotlib.pyplot as plt

    views = geometry.general()
    flat = isinstance(views, Views2D)
    count = len(views.source)
    if len(shape) != (2 if flat else 3):
        raise ValueError(
            f"a {type(geometry).__name__} takes shapes {'(h, w)' if flat else '(depth, h, w)'}; got {shape}"
        )
    if not -count <= view < count:
        raise ValueError(f"view must be one of the {count} views, 0 to {count - 1}; got {view}")
    view %= count
    pixel = geometry.bin_at_axis if pixel_size is None else pixel_size
    half = np.array([*shape[:-3:-1], *shape[:-2]]) * pixel / 2
    if not flat:
        half[2] *= (pixel if slice_thickness is None else slice_thickness) / pixel

    edge, ends = outline(views, view)
    path, starts = views.source, np.broadcast_to(views.source[view], ends.shape)
    if views.parallel:
        far = 1.3 * max(float(np.linalg.norm(half)), float(np.abs(edge).max()))
        path = -far * path / np.linalg.norm(path, axis=1, keepdims=True)
        edge, starts, ends = edge - path[view], ends + path[view], ends - path[view]

    figure = plt.figure(figsize=(9, 6), layout="constrained")
    axes: Any = figure.add_subplot(projection=None if flat else "3d")
    for i, line in enumerate(box(half)):
        axes.plot(*line.T, color=OBJECT, lw=1.5, label=None if i else f"object {' x '.join(map(str, shape))}")
    for i, ray in enumerate(np.stack([starts, ends], axis=1)):
        axes.plot(*ray.T, color=RAYS, lw=0.7 if i else 1.2, label=None if i else "rays: central and at the edges")
    axes.plot(*edge.T, color=DETECTOR, lw=2.5, label=f"detector {' x '.join(map(str, views.shape[1:]))}")
    axes.plot(*edge[:1].T, "s", color=DETECTOR, ms=6, label="its first bin")
    told = "direction of the rays" if views.parallel else "source"
    axes.plot(*path.T, ".", color=SOURCE, ms=3, alpha=0.4, label=f"{told} in all {count} views")
    axes.plot(*path[view, :, None], "o", color=SOURCE, ms=7, label=f"{told} in view {view}")
    for name, letter in zip(("set_xlabel", "set_ylabel", "set_zlabel"), "xyz"[: len(half)], strict=False):
        getattr(axes, name)(f"{letter} [{geometry.unit}]")
    axes.set_aspect("equal")
    axes.locator_params(nbins=5)
    axes.set_title(f"{type(geometry).__name__}, view {view} of {count}")
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


def outline(views: Views2D | Views3D, view: int) -> tuple[Array, Array]:
    """The edge of the detector in one view (point, dimension), and its middle and ends, where rays are drawn to."""
    one = views.views(slice(view, view + 1))
    if isinstance(one, Views2D):
        last = one.detectors - 0.5
        return one.points(np.linspace(-0.5, last, 65))[0], one.points(np.array([(one.detectors - 1) / 2, -0.5, last]))[
            0
        ]
    rows, columns = np.array([-0.5, one.rows - 0.5]), np.linspace(-0.5, one.columns - 0.5, 65)
    low, high = one.points(rows, columns)[0]
    edge = np.concatenate([low, high[::-1], low[:1]])
    middle = one.points(np.array([(one.rows - 1) / 2]), np.array([(one.columns - 1) / 2]))[0, 0]
    return edge, np.concatenate([middle, low[[0, -1]], high[[0, -1]]])


def box(half: Array) -> list[Array]:
    """The edges of a rectangle or box between -half and half, as lines (2, dimension)."""
    dimension = half.size
    corners = np.array(np.meshgrid(*[[-1, 1]] * dimension)).reshape(dimension, -1).T
    pairs = [(a, b) for i, a in enumerate(corners) for b in corners[i + 1 :] if np.abs(a - b).sum() == 2]
    return [np.array(pair) * half for pair in pairs]
