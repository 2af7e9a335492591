"""Whether an image can be seen in the views of a geometry: mistakes told before they cost an hour."""

import numpy as np

from invreg.operators.tomography.geometry import Array, Geometry2D, Views2D
from invreg.operators.tomography.geometry3d import Geometry3D


def refuse_bad_views(
    geometry: Geometry2D | Geometry3D, shape: tuple[int, ...], pixel_size: float, slice_thickness: float
) -> None:
    """Raise ValueError, in one sentence, where the views cannot be those of an image of this shape and size.

    For a shape of another dimension, sizes that are no lengths, a source inside the image, a detector that the image's
    shadow misses in all views, and an image a thousand times as wide or as narrow as what the detector sees.
    """
    views, unit = geometry.general(), geometry.unit
    flat = isinstance(views, Views2D)
    if len(shape) != (2 if flat else 3) or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        axes = "(h, w)" if flat else "(depth, h, w)"
        raise ValueError(
            f"a {type(geometry).__name__} takes images of shape {axes}, whole numbers from 1 on; got {tuple(shape)}"
        )
    for name, size in (("pixel_size", pixel_size), ("slice_thickness", slice_thickness)):
        if not (np.isfinite(size) and size > 0):
            raise ValueError(f"{name} must be a positive length in {unit}; got {size}")
    sizes = np.array([pixel_size, pixel_size, slice_thickness][: len(shape)])
    half = np.array(shape[::-1]) * sizes / 2  # along x, y and z
    width, seen = 2 * half[0], views.detectors if isinstance(views, Views2D) else views.columns
    ratio = width / (seen * views.bin_at_axis) if views.bin_at_axis > 0 else 1.0
    if not 1e-3 < ratio < 1e3:
        raise ValueError(
            f"the image is {width:.4g} {unit} wide, while the detector sees {seen * views.bin_at_axis:.4g} {unit} "
            f"at the axis: are pixel_size = {pixel_size:g} and the geometry both in {unit}?"
        )
    if not views.parallel:
        inside = (np.abs(views.source) < half).all(1)
        if inside.any():
            view = int(np.argmax(inside))
            raise ValueError(
                f"in view {view} the source stands inside the image, {np.linalg.norm(views.source[view]):.4g} {unit} "
                f"from the axis where the image reaches {np.linalg.norm(half):.4g}: take a smaller image or "
                "pixel_size, or check the distances"
            )
    shadow = shadows(geometry, half)
    bins = np.array([seen] if isinstance(views, Views2D) else [views.columns, views.rows])
    hit = ((shadow[:, 1] > -0.5) & (shadow[:, 0] < bins - 0.5)).all(1)
    if not hit.any():
        low, high = shadow[..., 0].min(), shadow[..., 0].max()
        raise ValueError(
            f"the detector misses the image in all views: its shadow falls on bins {low:.4g} to {high:.4g} of "
            f"{seen}: check centre, distances and their unit ({unit})"
        )


def shadows(geometry: Geometry2D | Geometry3D, half: Array) -> Array:
    """Bins between which the corners (+-half) are seen: (view, 2 for lowest and highest, 1 or 2 for column and row).

    Infinite where a corner is beside or behind the source.
    """
    views = geometry.general()
    dimension = half.size
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * dimension)).reshape(dimension, -1).T
    corners = signs * half
    axes = [views.axis] if isinstance(views, Views2D) else [views.u, views.v]
    counts = np.array([views.detectors] if isinstance(views, Views2D) else [views.columns, views.rows])
    n = len(views.source)
    # detector + sum_i s_i axis_i = corner + t ray, for (s, t)
    if views.parallel:
        rays = np.broadcast_to(views.source[:, None], (n, len(corners), dimension))
        gap = corners - views.detector[:, None]
    else:
        rays = corners - views.source[:, None]
        gap = np.broadcast_to((views.source - views.detector)[:, None], rays.shape)
    steps = np.broadcast_to(np.stack(axes, axis=2)[:, None], (n, len(corners), dimension, len(axes)))
    matrix = np.concatenate([steps, -rays[..., None]], axis=3)
    edge_on = np.abs(np.linalg.det(matrix)) < 1e-12 * np.linalg.norm(matrix, axis=2).prod(axis=2)
    matrix = np.where(edge_on[..., None, None], np.eye(dimension), matrix)
    solved = np.linalg.solve(matrix, gap[..., None])[..., 0]
    places, t = solved[..., :-1], solved[..., -1]
    if views.curved:  # from the tangent to the arc
        ray = np.linalg.norm(views.detector - views.source, axis=1)[:, None]
        step = np.linalg.norm(axes[0], axis=1)[:, None] / ray
        places = np.concatenate([np.arctan(places[..., :1] * step[..., None]) / step[..., None], places[..., 1:]], -1)
    unseen = edge_on | (False if views.parallel else t <= 0)
    bins = places + (counts - 1) / 2
    low = np.where(unseen[..., None], -np.inf, bins).min(1)
    high = np.where(unseen[..., None], np.inf, bins).max(1)
    return np.stack([low, high], axis=1)
