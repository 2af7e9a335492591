"""Acquisition geometries of tomography, as data."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Parallel2D:
    """Parallel rays in a plane onto a line of `detectors` bins.

    The ray of view a and bin j is x cos(angles[a]) + y sin(angles[a]) = (j - centre) * pitch, with x to the
    right along the columns and y up against the rows of the image, the rotation axis at the image's centre.

    angles: (view,) radians, any order. pitch: distance of bins, in `unit`. centre: the bin position (fractional,
    0 is the middle of the first bin) onto which the rotation axis falls; default the middle of the detector.
    unit: the unit of length ("mm", "um", "nm", "pixel"). Raises ValueError for empty or non-finite values.
    """

    angles: npt.NDArray[np.float64]
    detectors: int
    pitch: float = 1.0
    centre: float | None = None
    unit: str = "pixel"

    def __post_init__(self) -> None:
        angles = np.ascontiguousarray(self.angles, dtype=np.float64)
        if angles.ndim != 1 or angles.size == 0 or not np.isfinite(angles).all():
            raise ValueError(f"angles must be a non-empty list of finite radians; got shape {angles.shape}")
        if self.detectors < 1 or not (np.isfinite(self.pitch) and self.pitch > 0):
            raise ValueError(f"need detectors >= 1 and pitch > 0; got {self.detectors} and {self.pitch}")
        object.__setattr__(self, "angles", angles)
        if self.centre is None:
            object.__setattr__(self, "centre", (self.detectors - 1) / 2)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a sinogram, (angle, detector)."""
        return self.angles.size, self.detectors

    @cached_property
    def positions(self) -> npt.NDArray[np.float64]:
        """Signed distance of each bin's ray from the rotation axis, (detector,), in `unit`."""
        assert self.centre is not None
        return (np.arange(self.detectors, dtype=np.float64) - self.centre) * self.pitch

    def views(self, index: slice | npt.NDArray[np.int64]) -> "Parallel2D":
        """The same geometry with some of its views."""
        return replace(self, angles=self.angles[index])


@dataclass(frozen=True, eq=False)
class FanFlat2D:
    """Rays of a fan in a plane from a point source onto a straight line of `detectors` bins.

    At angle a the source stands at source_origin * (sin a, -cos a) from the rotation axis; the line of bins is
    perpendicular to source and axis, at source_detector from the source, its bins counted along (cos a, sin a).
    As the source moves away the rays become those of Parallel2D (with pitch divided by the magnification).

    angles, detectors, pitch, centre and unit as in Parallel2D; pitch is measured on the detector. Both
    distances in `unit`. Raises ValueError as Parallel2D does, and unless 0 < source_origin <= source_detector.
    """

    angles: npt.NDArray[np.float64]
    detectors: int
    pitch: float = 1.0
    centre: float | None = None
    unit: str = "pixel"
    source_origin: float = np.inf
    source_detector: float = np.inf

    def __post_init__(self) -> None:
        plain = Parallel2D(self.angles, self.detectors, self.pitch, self.centre, self.unit)
        object.__setattr__(self, "angles", plain.angles)
        object.__setattr__(self, "centre", plain.centre)
        if not 0 < self.source_origin <= self.source_detector < np.inf:
            raise ValueError(
                "need 0 < source_origin <= source_detector, both finite; "
                f"got {self.source_origin} and {self.source_detector}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a sinogram, (angle, detector)."""
        return self.angles.size, self.detectors
