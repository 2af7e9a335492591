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
        return (np.arange(self.detectors) - self.centre) * self.pitch

    def views(self, index: slice | npt.NDArray[np.int64]) -> "Parallel2D":
        """The same geometry with some of its views."""
        return replace(self, angles=self.angles[index])
