"""Geometries of tomography from and to ODL 1.0."""

from typing import Any

import numpy as np

from invreg.operators.tomography.geometry import FanBeam2D, Geometry2D, Parallel2D, Views2D
from invreg.operators.tomography.geometry3d import ConeBeam, Geometry3D, Parallel3D, Views3D
from invreg.operators.tomography.recognise import recognise

try:
    import odl
    from odl.applications.tomo import (
        ConeBeamGeometry,
        DivergentBeamGeometry,
        FanBeamGeometry,
        Geometry,
        Parallel2dGeometry,
        Parallel3dAxisGeometry,
    )
except ModuleNotFoundError as error:
    raise ImportError("invreg.adapters.odl needs odl: pip install 'invreg[interop]'") from error

CURVED = (odl.applications.tomo.CircularDetector, odl.applications.tomo.CylindricalDetector)
FLAT = (odl.applications.tomo.Flat1dDetector, odl.applications.tomo.Flat2dDetector)


def from_geometry(geometry: Geometry, unit: str = "pixel") -> Geometry2D | Geometry3D:
    """The same rays, whatever moves: as Parallel2D, FanBeam2D, Parallel3D or ConeBeam where they are such, else views.

    Rotations about other axes than z and shifts of source or detector come as Views2D or Views3D. Raises
    ValueError for uneven bins, for spherical detectors and for arcs about another point than the source.
    """
    partition, detector = geometry.det_partition, geometry.detector
    if not partition.is_uniform:
        raise ValueError("from_geometry takes evenly spaced bins; those of this ODL geometry are not")
    if not isinstance(detector, (*FLAT, *CURVED)):
        raise ValueError(
            f"from_geometry takes flat detectors and arcs about the source; got a {type(detector).__name__}"
        )
    curved = isinstance(detector, CURVED)
    middle, steps = np.atleast_1d(partition.mid_pt), np.atleast_1d(partition.cell_sides)
    angles = np.atleast_1d(geometry.angles)
    place = _places(geometry, angles, middle)
    axes = [_places(geometry, angles, middle + h) - _places(geometry, angles, middle - h) for h in np.diag(steps / 2)]
    if isinstance(geometry, DivergentBeamGeometry):
        source = np.stack([np.ravel(geometry.src_position(a)) for a in angles])
    else:
        source = -np.stack([np.ravel(geometry.det_to_src(a, _one(middle))) for a in angles])
    if curved:  # the chord of a step is its tangent, shortened
        radius = np.linalg.norm(source - place if geometry.ndim == 2 else _level(source - place, axes[1]), axis=1)
        if not np.allclose(radius, detector.radius, rtol=1e-6):
            raise ValueError(
                f"from_geometry takes arcs about the source, which is at {np.median(radius):g}; "
                f"the radius of this detector is {detector.radius:g}"
            )
        axes[0] *= steps[0] / (2 * np.sin(steps[0] / 2))
    if geometry.ndim == 2:
        flat = Views2D(source, place, axes[0], partition.size, unit, not _divergent(geometry), curved)
        return recognise(flat)
    columns, rows = partition.shape
    return recognise(Views3D(source, place, *axes, rows, columns, unit, not _divergent(geometry), curved))


def to_geometry(geometry: Geometry2D | Geometry3D) -> Geometry:
    """The same rays in ODL, which takes increasing angles only (and no name of the unit).

    Sinograms of 3-D geometries have the axes (angle, column, row) there. Raises ValueError for angles that do not
    increase, and for what ODL has no name for: Views2D, Views3D, tilted detectors, heights that are no helix. Its
    back end astra_cpu (1.0.0) computes as if the axis fell on the middle of the detector, whatever is said.
    """
    if isinstance(geometry, Views2D | Views3D):
        raise ValueError(f"ODL has no name for a {type(geometry).__name__}; use XRay and to_operator")
    if np.any(np.diff(geometry.angles) <= 0):
        raise ValueError("ODL takes increasing angles; sort them first: geometry.views(np.argsort(geometry.angles))")
    angles = odl.nonuniform_partition(geometry.angles)
    if isinstance(geometry, Parallel2D):
        return Parallel2dGeometry(angles, _bins((geometry.positions, geometry.pitch)))
    if isinstance(geometry, Parallel3D):
        return Parallel3dAxisGeometry(angles, _panel(geometry))
    curved = {"det_curvature_radius": geometry.source_detector} if geometry.curved else {}
    radii = geometry.source_origin, geometry.source_detector - geometry.source_origin
    if isinstance(geometry, FanBeam2D):
        scale = geometry.source_detector if geometry.curved else 1.0
        return FanBeamGeometry(angles, _bins((geometry.positions / scale, geometry.pitch / scale)), *radii, **curved)
    if any(geometry.tilt):
        raise ValueError("ODL has no name for a tilted detector; use XRay and to_operator")
    if geometry.curved:
        curved = {"det_curvature_radius": (geometry.source_detector, None)}
    advance, offset = _helix(geometry)
    return ConeBeamGeometry(angles, _panel(geometry), *radii, pitch=advance, offset_along_axis=offset, **curved)


def _helix(g: ConeBeam) -> tuple[float, float]:
    """Advance a turn, and height at angle 0, of heights that are even in the angle."""
    if g.heights is None:
        return 0.0, 0.0
    slope, offset = np.polyfit(g.angles, g.heights, 1) if g.angles.size > 1 else (0.0, g.heights[0])
    if np.abs(offset + slope * g.angles - g.heights).max() > 1e-6 * (np.ptp(g.heights) + g.source_origin):
        raise ValueError("ODL takes heights of a circle or an even helix only; use XRay and to_operator")
    return float(2 * np.pi * slope), float(offset)


def _bins(*axes: tuple[np.ndarray, float]) -> Any:
    """Partition of evenly spaced places and their distance, axis by axis."""
    low = [places[0] - step / 2 for places, step in axes]
    high = [places[-1] + step / 2 for places, step in axes]
    return odl.uniform_partition(low, high, [places.size for places, _ in axes])


def _panel(g: Parallel3D | ConeBeam) -> Any:
    scale = g.source_detector if isinstance(g, ConeBeam) and g.curved else 1.0
    row_pitch = g.pitch if g.row_pitch is None else g.row_pitch
    return _bins((g.positions / scale, g.pitch / scale), (g.row_positions, row_pitch))


def _divergent(geometry: Geometry) -> bool:
    return isinstance(geometry, DivergentBeamGeometry)


def _one(parameter: np.ndarray) -> Any:
    return float(parameter[0]) if parameter.size == 1 else parameter


def _places(geometry: Geometry, angles: np.ndarray, parameter: np.ndarray) -> np.ndarray:
    return np.stack([np.ravel(geometry.det_point_position(a, _one(parameter))) for a in angles])


def _level(vectors: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The part of vectors across `up`."""
    return vectors - (vectors * up).sum(1, keepdims=True) / (up * up).sum(1, keepdims=True) * up
