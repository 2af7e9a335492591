"""What a measurement file holds, told without reading its arrays."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from invreg.io.cone import Cone

Index = slice | npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stored:
    """An array that is still in its file. shape: (n, row, detector). where: its path, for people to read.

    load(index, rows) reads `index` of the first axis and the rows of the second, all detector bins.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    where: str
    load: Callable[[Index, slice], npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Header:
    """Everything about a file but the pixel values.

    format: in words. projections, flats, darks, mask: Stored or None. angles: (n,) as stored, with angle_unit
    "degrees", "radians" or None where the file does not say. kind: as in Scan, None where the file does not
    say. pixel_size, unit, centre, fan, cone: as in Scan, None where missing. sources: path in the file of each
    field. notes: where a file says more, in words.
    """

    name: str
    format: str
    projections: Stored
    angles: npt.NDArray[np.float64] | None = None
    angle_unit: str | None = None
    flats: Stored | None = None
    darks: Stored | None = None
    mask: Stored | None = None
    kind: str | None = None
    pixel_size: float | None = None
    unit: str | None = None
    centre: float | None = None
    fan: tuple[float, float] | None = None
    cone: Cone | None = None
    sources: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """What a reconstruction would like to know and the file does not tell, in words."""
        told: list[tuple[bool, str]] = [
            (self.angles is None, "angles"),
            (self.angles is not None and self.angle_unit is None, "unit of the angles"),
            (self.kind is None, "kind of the values (counts, transmission or line integrals)"),
            (self.kind == "counts" and self.flats is None, "flats"),
            (self.kind == "counts" and self.darks is None, "darks"),
            (self.pixel_size is None, "pixel size"),
            (self.centre is None, "rotation centre"),
        ]
        return tuple(word for absent, word in told if absent)


def stored(array: npt.NDArray[Any], where: str) -> Stored:
    """An array that is already in memory, (n, row, detector), as if it were still in its file."""
    return Stored(array.shape, array.dtype, where, lambda index, rows: array[index, rows])
