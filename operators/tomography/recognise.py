"""Views that are those of a parallel, fan or cone beam by name, whose analytic inversions are known."""

import numpy as np

from invreg.operators.tomography.geometry import Array, FanBeam2D, Geometry2D, Parallel2D, Views2D
from invreg.operators.tomography.geometry3d import ConeBeam, Geometry3D, Parallel3D, Views3D


def recognise(views: Views2D | Views3D) -> Geometry2D | Geometry3D:
    """The Parallel2D, FanBeam2D, Parallel3D or ConeBeam of these views, or the views where they are none of them.

    The detector has to stand across the ray through the rotation axis, at the same distances in every view, with
    columns along the direction of rotation and rows along z. Tilts are not recognised.
    """
    made = _candidate(views)
    if made is None:
        return views
    general = made.general()
    scale = np.abs(views.detector).max() + np.linalg.norm(views.detector - views.source, axis=1).max()
    names = ["detector", "axis"] if isinstance(views, Views2D) else ["detector", "u", "v"]
    gaps = [np.abs(getattr(views, name) - getattr(general, name)).max() for name in names]
    if views.parallel:  # where along its rays a detector stands is all the same
        along = views.source / np.linalg.norm(views.source, axis=1, keepdims=True)
        shift = views.detector - general.detector
        gaps[0] = np.abs(shift - (shift * along).sum(1, keepdims=True) * along).max()
        gaps.append(np.abs(along - general.source).max() * scale)
    else:
        gaps.append(np.abs(views.source - general.source).max())
    return made if max(gaps) <= 1e-6 * scale else views


def _candidate(views: Views2D | Views3D) -> Geometry2D | Geometry3D | None:
    """What the geometry of these views would be, judged by the first of them."""
    flat = isinstance(views, Views2D)
    u: Array = views.axis if isinstance(views, Views2D) else views.u
    pitch = float(np.linalg.norm(u[0]))
    if views.parallel:
        across = u[:, :2]
    else:  # the source is on the ray through the axis; an arc's columns need not be across that ray in the middle
        across = np.stack([-views.source[:, 1], views.source[:, 0]], axis=1)
    angles = np.unwrap(np.arctan2(across[:, 1], across[:, 0]))
    columns = views.detectors if isinstance(views, Views2D) else views.columns
    origin, step = float(np.linalg.norm(views.source[0, :2])), float(np.linalg.norm(across[0]))
    if origin == 0 or step == 0:  # on the axis, or along it
        return None
    unit_across = across[0] / step
    offset = float(views.detector[0, :2] @ unit_across)
    if views.parallel:
        centre = (columns - 1) / 2 - offset / pitch
        if flat:
            return Parallel2D(angles, columns, pitch, centre, views.unit)
    ray = views.detector[0, :2] - views.source[0, :2]
    along = -views.source[0, :2] / origin
    far = float(np.linalg.norm(ray)) if views.curved else float(ray @ along)
    turn = float(np.arctan2(ray @ unit_across, ray @ along)) * far if views.curved else float(ray @ unit_across)
    if not views.parallel:
        if not 0 < origin <= far * (1 + 1e-9):
            return None
        far = max(far, origin)
        centre = (columns - 1) / 2 - turn / pitch
        if flat:
            return FanBeam2D(angles, columns, pitch, centre, views.unit, origin, far, views.curved)
    assert isinstance(views, Views3D)
    row_pitch = float(np.linalg.norm(views.v[0]))
    low = float(views.detector[0, 2]) - (0.0 if views.parallel else float(views.source[0, 2]))
    row_centre = (views.rows - 1) / 2 - low / row_pitch
    if views.parallel:
        return Parallel3D(angles, views.rows, columns, pitch, row_pitch, centre, row_centre, views.unit)
    heights = views.source[:, 2]
    return ConeBeam(
        angles, views.rows, columns, pitch, row_pitch, centre, row_centre, views.unit, origin, far,
        curved=views.curved, heights=heights if np.any(heights) else None,
    )  # fmt: skip
