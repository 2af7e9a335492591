"""Geometries to and from the dictionaries of the ASTRA toolbox, which is not needed for it.

ASTRA's coordinates are ours: x along columns, y against the rows of a 2-D image, z along slices. Its vectors are per
view, in this order, (x, y) or (x, y, z) each:

- parallel_vec, parallel3d_vec: direction of the rays, middle of the detector, step from column to column (and to row)
- fanflat_vec, cone_vec: place of the source, then as above
- cyl_cone_vec: as cone_vec, and the radius of the cylinder, whose axis must pass the source here

Lengths keep their number: ASTRA has no units. Volumes are another matter: the rows of ASTRA's 3-D volumes run along y,
and projections are (row, view, column) there; see astra.py.
"""

from typing import Any

import numpy as np

from invreg.operators.tomography.geometry import Array, FanBeam2D, Geometry2D, Parallel2D, Views2D
from invreg.operators.tomography.geometry3d import ConeBeam, Geometry3D, Parallel3D, Views3D

FLAT = "parallel", "fanflat", "parallel_vec", "fanflat_vec"
_DISTANCES = "DistanceOriginSource", "DistanceOriginDetector"
PLAIN = {  # what they say beside the number of bins
    "parallel": ("DetectorWidth", "ProjectionAngles"),
    "fanflat": ("DetectorWidth", "ProjectionAngles", *_DISTANCES),
    "parallel3d": ("DetectorSpacingX", "DetectorSpacingY", "ProjectionAngles"),
    "cone": ("DetectorSpacingX", "DetectorSpacingY", "ProjectionAngles", *_DISTANCES),
}
VECTORS = {"parallel_vec": 6, "fanflat_vec": 6, "parallel3d_vec": 12, "cone_vec": 12, "cyl_cone_vec": 13}


def to_astra(geometry: Geometry2D | Geometry3D) -> dict[str, Any]:
    """What `astra.create_proj_geom` returns for the views of `geometry`, with one row of vectors a view.

    Raises ValueError for a curved detector in a plane, which ASTRA does not have, and for one in space with u x v
    away from the source: ASTRA's arcs bend the other way then.
    """
    views = geometry.general()
    if isinstance(views, Views2D):
        if views.curved:
            raise ValueError("ASTRA has no curved detector in a plane; take a ConeBeam of one row with curved=True")
        kind = "parallel_vec" if views.parallel else "fanflat_vec"
        vectors = np.hstack([views.source, views.detector, views.axis])
        return {"type": kind, "DetectorCount": views.detectors, "Vectors": vectors}
    kind = "parallel3d_vec" if views.parallel else "cyl_cone_vec" if views.curved else "cone_vec"
    parts = [views.source, views.detector, views.u, views.v]
    if views.curved:
        _refuse_left_hand(views)
        parts.append(np.linalg.norm(across_axis(views.detector - views.source, views.v), axis=1, keepdims=True))
    size = {"DetectorRowCount": views.rows, "DetectorColCount": views.columns}
    return {"type": kind, **size, "Vectors": np.hstack(parts)}


def from_astra(geometry: dict[str, Any], unit: str = "pixel") -> Geometry2D | Geometry3D:
    """The geometry of an ASTRA projection dictionary; its lengths are said to be in `unit`.

    The plain types become Parallel2D, FanBeam2D, Parallel3D and ConeBeam, the others Views2D and Views3D. Raises
    ValueError for another type, missing entries, vectors of another shape, and a cylinder about another line than that
    through the source.
    """
    kind = geometry.get("type")
    if kind not in (*PLAIN, *VECTORS):
        known = ", ".join([*PLAIN, *VECTORS])
        raise ValueError(f"this is no ASTRA projection geometry we know: its type is {kind!r}; known are {known}")
    bins = ("DetectorCount",) if kind in FLAT else ("DetectorRowCount", "DetectorColCount")
    missing = [key for key in (*bins, *PLAIN.get(kind, ("Vectors",))) if key not in geometry]
    if missing:
        raise ValueError(f"an ASTRA projection geometry of type {kind!r} must have {', '.join(missing)}; it has not")
    if kind in VECTORS:
        return _from_vectors(geometry, str(kind), unit)
    angles = np.asarray(geometry["ProjectionAngles"], dtype=np.float64)
    source, through = 0.0, 0.0
    if kind in ("fanflat", "cone"):
        source = float(geometry["DistanceOriginSource"])
        through = source + float(geometry["DistanceOriginDetector"])
    if kind in ("parallel", "fanflat"):
        bins, pitch = geometry["DetectorCount"], float(geometry["DetectorWidth"])
        if kind == "parallel":
            return Parallel2D(angles, bins, pitch, unit=unit)
        return FanBeam2D(angles, bins, pitch, unit=unit, source_origin=source, source_detector=through)
    rows, columns = geometry["DetectorRowCount"], geometry["DetectorColCount"]
    pitch, row_pitch = float(geometry["DetectorSpacingX"]), float(geometry["DetectorSpacingY"])
    if kind == "parallel3d":
        return Parallel3D(angles, rows, columns, pitch, row_pitch, unit=unit)
    return ConeBeam(angles, rows, columns, pitch, row_pitch, unit=unit, source_origin=source, source_detector=through)


def _from_vectors(geometry: dict[str, Any], kind: str, unit: str) -> Views2D | Views3D:
    vectors = np.asarray(geometry["Vectors"], dtype=np.float64)
    if vectors.ndim != 2 or vectors.shape[1] != VECTORS[kind]:
        raise ValueError(f"Vectors of {kind} must be (view, {VECTORS[kind]}); got {vectors.shape}")
    parallel = kind.startswith("parallel")
    if VECTORS[kind] == 6:
        return Views2D(vectors[:, :2], vectors[:, 2:4], vectors[:, 4:], geometry["DetectorCount"], unit, parallel)
    source, detector, u, v = np.split(vectors[:, :12], 4, axis=1)
    rows, columns = geometry["DetectorRowCount"], geometry["DetectorColCount"]
    views = Views3D(source, detector, u, v, rows, columns, unit, parallel, curved=kind == "cyl_cone_vec")
    if views.curved:
        radius = np.linalg.norm(across_axis(views.detector - views.source, views.v), axis=1)
        wrong = np.abs(vectors[:, 12] - radius) > 1e-6 * radius
        if wrong.any():
            view = int(np.argmax(wrong))
            raise ValueError(
                f"in view {view} the cylinder's radius is {vectors[view, 12]:g} and the source {radius[view]:g} from "
                "the detector's middle; only cylinders about the source are known here"
            )
        _refuse_left_hand(views)
    return views


def _refuse_left_hand(views: Views3D) -> None:
    left = ((views.source - views.detector) * np.cross(views.u, views.v)).sum(1) < 0
    if left.any():
        raise ValueError(
            f"in view {int(np.argmax(left))} the arc bends away from the source in ASTRA's convention, where u x v "
            "points to the centre of the arc: reverse v and the rows of the data"
        )


def across_axis(vectors: Array, axis: Array) -> Array:
    """The parts of vectors (view, 3) perpendicular to axis (view, 3)."""
    along = (vectors * axis).sum(1, keepdims=True) / (axis * axis).sum(1, keepdims=True)
    return vectors - along * axis
