"""Acquisition geometries of tomography in a plane, as data.

Coordinates: x to the right along the columns of the image, y up against its rows, the rotation axis at the image's
centre. Every geometry becomes `Views2D`, where source and detector stand freely in each view.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Index = slice | npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Parallel2D:
    """Parallel rays in a plane onto a line of `detectors` bins.

    The ray of view a and bin j is x cos(angles[a]) + y sin(angles[a]) = (j - centre) * pitch, with x to the
    right along the columns and y up against the rows of the image, the rotation axis at the image's centre.

    angles: (view,) radians, any order. pitch: distance of bins, in `unit`. centre: the bin position (fractional,
    0 is the middle of the first bin) onto which the rotation axis falls; default the middle of the detector.
    unit: the unit of length ("mm", "um", "nm", "pixel"). Raises ValueError for empty or non-finite values, and for
    angles that are evenly spread over 180 or 360, which are degrees.
    """

    angles: Array
    detectors: int
    pitch: float = 1.0
    centre: float | None = None
    unit: str = "pixel"

    def __post_init__(self) -> None:
        object.__setattr__(self, "angles", checked_angles(self.angles))
        check_bins("detectors", self.detectors, self.pitch)
        object.__setattr__(self, "centre", middle(self.detectors, self.centre))

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a sinogram, (angle, detector)."""
        return self.angles.size, self.detectors

    @property
    def bin_at_axis(self) -> float:
        """Distance of neighbouring rays at the rotation axis, in `unit`."""
        return self.pitch

    @cached_property
    def positions(self) -> Array:
        """Signed distance of each bin's ray from the rotation axis, (detector,), in `unit`."""
        assert self.centre is not None
        return (np.arange(self.detectors, dtype=np.float64) - self.centre) * self.pitch

    def views(self, index: Index) -> "Parallel2D":
        """The same geometry with some of its views."""
        return replace(self, angles=self.angles[index])

    def general(self) -> "Views2D":
        """Source and detector of every view."""
        across, along = in_plane(self.angles)
        middle = self.positions.mean() * across
        return Views2D(along, middle, self.pitch * across, self.detectors, self.unit, parallel=True)


@dataclass(frozen=True, eq=False)
class FanBeam2D:
    """Rays of a fan in a plane from a point source onto `detectors` bins, on a straight line or on an arc.

    At angle a the source stands at source_origin * (sin a, -cos a) from the rotation axis; the detector is
    perpendicular to source and axis, at source_detector from the source, its bins counted along (cos a, sin a).
    As the source moves away the rays become those of Parallel2D (with pitch divided by the magnification).

    angles, detectors, pitch, centre and unit as in Parallel2D; pitch is measured on the detector. Both distances in
    `unit`. curved: the bins lie on an arc about the source, evenly spaced by `pitch` along it. A short scan is one
    of fewer angles, an offset detector one whose `centre` is not its middle. Raises ValueError as Parallel2D does,
    unless 0 < source_origin <= source_detector, and for a fan of half a turn or more.
    """

    angles: Array
    detectors: int
    pitch: float = 1.0
    centre: float | None = None
    unit: str = "pixel"
    source_origin: float = np.inf
    source_detector: float = np.inf
    curved: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "angles", checked_angles(self.angles))
        check_bins("detectors", self.detectors, self.pitch)
        object.__setattr__(self, "centre", middle(self.detectors, self.centre))
        check_distances(self.source_origin, self.source_detector, self.unit)
        if np.abs(self.fan_angles).max() >= np.pi / 2:
            raise ValueError(
                f"the fan opens by {np.rad2deg(np.ptp(self.fan_angles)):.4g} degrees; it must stay below a right angle "
                f"on either side: are pitch = {self.pitch:g} and source_detector = {self.source_detector:g} both in "
                f"{self.unit}?"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a sinogram, (angle, detector)."""
        return self.angles.size, self.detectors

    @property
    def bin_at_axis(self) -> float:
        """Distance of neighbouring rays at the rotation axis, in `unit`."""
        return self.pitch * self.source_origin / self.source_detector

    @cached_property
    def positions(self) -> Array:
        """Signed place of each bin on the detector from the ray through the axis, (detector,), in `unit`."""
        assert self.centre is not None
        return (np.arange(self.detectors, dtype=np.float64) - self.centre) * self.pitch

    @cached_property
    def fan_angles(self) -> Array:
        """Angle of each bin's ray with the ray through the rotation axis, (detector,), radians."""
        ratio = self.positions / self.source_detector
        return ratio if self.curved else np.arctan(ratio)

    def views(self, index: Index) -> "FanBeam2D":
        """The same geometry with some of its views."""
        return replace(self, angles=self.angles[index])

    def general(self) -> "Views2D":
        """Source and detector of every view."""
        across, along = in_plane(self.angles)
        offset = self.positions.mean()
        source = -self.source_origin * along
        if self.curved:
            turn = offset / self.source_detector
            middle = source + self.source_detector * (np.cos(turn) * along + np.sin(turn) * across)
            axis = self.pitch * (np.cos(turn) * across - np.sin(turn) * along)
        else:
            middle = source + self.source_detector * along + offset * across
            axis = self.pitch * across
        return Views2D(source, middle, axis, self.detectors, self.unit, curved=self.curved)


@dataclass(frozen=True, eq=False)
class Views2D:
    """The general case in a plane: where the source and the detector stand in each view.

    source: (view, 2), the place (x, y) of the source, or with `parallel` the direction of the rays (any length).
    detector: (view, 2), the middle of the detector. axis: (view, 2), the step from bin to bin. curved: the bins lie
    on an arc about the source, which `axis` touches in the middle of the detector. Lengths in `unit`. Raises
    ValueError for shapes that do not fit, values that are not finite, and steps of no length or along the rays.
    """

    source: Array
    detector: Array
    axis: Array
    detectors: int
    unit: str = "pixel"
    parallel: bool = False
    curved: bool = False

    def __post_init__(self) -> None:
        check_vectors(self, ("source", "detector", "axis"), 2)
        check_bins("detectors", self.detectors, float(np.linalg.norm(self.axis, axis=1).min()))
        ray = self.source if self.parallel else self.detector - self.source
        crossed = np.abs(ray[:, 0] * self.axis[:, 1] - ray[:, 1] * self.axis[:, 0])
        scale = np.linalg.norm(ray, axis=1) * np.linalg.norm(self.axis, axis=1)
        _refuse_edge_on(crossed, scale, self.curved and self.parallel)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a sinogram, (angle, detector)."""
        return len(self.source), self.detectors

    @property
    def bin_at_axis(self) -> float:
        """Median distance of neighbouring rays where they pass the origin, in `unit`."""
        if self.parallel:
            return float(np.median(np.linalg.norm(self.axis, axis=1)))
        normal = np.stack([-self.axis[:, 1], self.axis[:, 0]], axis=1)
        return bin_at_axis(self.source, self.detector, self.axis, normal)

    def views(self, index: Index) -> "Views2D":
        """The same geometry with some of its views."""
        return replace(self, source=self.source[index], detector=self.detector[index], axis=self.axis[index])

    def general(self) -> "Views2D":
        """Itself."""
        return self

    def points(self, bins: Array) -> Array:
        """Places on the detector at fractional bin numbers, (view, len(bins), 2); 0 is the middle of the first bin."""
        steps = (bins - (self.detectors - 1) / 2)[:, None]
        if not self.curved:
            return self.detector[:, None] + steps * self.axis[:, None]
        return on_arc(self.source, self.detector, self.axis, steps)


Geometry2D = Parallel2D | FanBeam2D | Views2D


def in_plane(angles: Array) -> tuple[Array, Array]:
    """Unit vectors along the detector, (cos a, sin a), and along the central ray, (-sin a, cos a): (view, 2) each."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([cos, sin], axis=1), np.stack([-sin, cos], axis=1)


def on_arc(source: Array, detector: Array, axis: Array, steps: Array) -> Array:
    """Places on arcs about the sources at `steps` (bin, 1) from their middle: (view, bin, dimension)."""
    ray = detector - source
    radius = np.linalg.norm(ray, axis=1)[:, None, None]
    pitch = np.linalg.norm(axis, axis=1)[:, None, None]
    turn = steps * pitch / radius
    return source[:, None] + np.cos(turn) * ray[:, None] + np.sin(turn) * radius / pitch * axis[:, None]


def middle(count: int, centre: float | None) -> float:
    """`centre`, or the middle of `count` bins where it is None."""
    if centre is None:
        return (count - 1) / 2
    if not np.isfinite(centre):
        raise ValueError(f"centre must be a finite bin position; got {centre}")
    return float(centre)


def checked_angles(angles: npt.ArrayLike) -> Array:
    """Angles as float64 (view,). Raises ValueError where they are empty, not finite, or degrees."""
    values = np.ascontiguousarray(angles, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"angles must be a non-empty list of finite radians; got {_found(values)}")
    steps = np.diff(np.sort(values))
    if values.size > 4 and np.ptp(steps) <= 1e-3 * steps.mean() and steps.mean() > 0:
        span = np.ptp(values)
        if any(abs(span + closing * steps.mean() - turn) < 1e-3 * turn for turn in (180, 360) for closing in (0, 1)):
            raise ValueError(
                f"angles run evenly from {values.min():g} to {values.max():g}, which are degrees; "
                "they must be radians: use numpy.deg2rad"
            )
    return values


def check_bins(name: str, count: int, pitch: float) -> None:
    """Raise ValueError unless there are bins, a whole number of them, at a positive distance."""
    if not isinstance(count, int | np.integer) or count < 1 or not (np.isfinite(pitch) and pitch > 0):
        raise ValueError(f"need {name} >= 1 and whole and pitch > 0; got {count} and {pitch}")


def check_distances(source_origin: float, source_detector: float, unit: str) -> None:
    """Raise ValueError unless the source is before the axis and the detector not before it."""
    if not 0 < source_origin <= source_detector < np.inf:
        raise ValueError(
            "need 0 < source_origin <= source_detector, both finite, the distances from the source to the rotation "
            f"axis and to the detector in {unit}; got {source_origin:g} and {source_detector:g}"
        )


def check_vectors(views: object, names: tuple[str, ...], dimension: int) -> None:
    """Make the named fields float64 (view, dimension). Raises ValueError where they do not fit together."""
    shapes = {}
    for name in names:
        value = np.ascontiguousarray(getattr(views, name), dtype=np.float64)
        object.__setattr__(views, name, value)
        shapes[name] = value.shape
        if value.ndim != 2 or value.shape[1] != dimension or value.size == 0 or not np.isfinite(value).all():
            raise ValueError(f"{name} must be finite vectors, one a view, (view, {dimension}); got {_found(value)}")
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{len(getattr(views, name))} of {name}" for name in names)
        raise ValueError(f"need as many vectors of each kind as views; got {told}")


def bin_at_axis(source: Array, detector: Array, axis: Array, normal: Array) -> float:
    """Median step of the bins as seen from the source at the distance of the origin, along the detector's normal."""
    near, far = ((place * normal).sum(1) for place in (-source, detector - source))
    return float(np.median(np.linalg.norm(axis, axis=1) * np.abs(near / far)))


def _found(values: Array) -> str:
    wrong = int((~np.isfinite(values)).sum())
    return f"shape {values.shape}" + (f", {wrong} of {values.size} values not finite" if wrong else "")


def _refuse_edge_on(crossed: Array, scale: Array, curved_parallel: bool) -> None:
    flat = crossed <= 1e-6 * scale
    if flat.any():
        view = int(np.argmax(flat))
        raise ValueError(
            f"in view {view} the detector is seen edge-on: source, detector and axis lie on one line; "
            "axis must point across the rays"
        )
    if curved_parallel:
        raise ValueError("an arc is about a source, which parallel rays do not have; leave curved out")
