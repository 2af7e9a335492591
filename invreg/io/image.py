"""An image or a volume with what its file says about it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from invreg.io.errors import InputError

SPATIAL = ("depth", "height", "width")


@dataclass(frozen=True, eq=False)
class Image:
    """Values on a regular grid, as the file has them. Values never change; corrections give a new Image.

    values: (*, height, width), float32 where that holds what is stored, else float64; row 0 as in the file. axes:
    their names, such as "channel:height:width" or "depth:height:width". quantity: what the values are ("HU", "counts",
    a unit, "" where the file does not say). spacing: distance of pixels along each of the axes depth, height and width
    that is there, in `unit` ("mm", "um", "m", "degree", ...), or None.
    metadata: what else the format says (each reader tells its keys); `write_image` puts it back. `bits` is how many a
    value is stored with, `encoding` "sRGB" for pictures whose values are not proportional to light.
    warnings: what a user should know. Raises InputError where these do not fit together.
    """

    values: npt.NDArray[Any]
    axes: str
    quantity: str = ""
    spacing: tuple[float, ...] | None = None
    unit: str = "pixel"
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    name: str = "image"
    format: str = ""

    def __post_init__(self) -> None:
        values, axes = np.asarray(self.values), self.axes.split(":")
        if values.ndim != len(axes) or axes[-2:] != ["height", "width"] or 0 in values.shape:
            raise InputError(f"{self.name}: an image of shape {values.shape} with axes {self.axes}; none may be empty")
        if values.dtype.kind not in "buif":
            raise InputError(f"{self.name}: an image of {values.dtype}; expected real numbers")
        small = values.dtype.kind in "buif" and values.dtype.itemsize <= (4 if values.dtype.kind == "f" else 2)
        object.__setattr__(self, "values", np.ascontiguousarray(values, np.float32 if small else np.float64))
        spatial = [axis for axis in axes if axis in SPATIAL]
        if self.spacing is not None:
            spacing = tuple(float(x) for x in self.spacing)
            if len(spacing) != len(spatial) or not (np.isfinite(spacing).all() and min(spacing) > 0):
                raise InputError(
                    f"{self.name}: pixels {spacing} apart along {', '.join(spatial)}; expected lengths > 0"
                )
            object.__setattr__(self, "spacing", spacing)
        bad = int((~np.isfinite(self.values)).sum())
        if bad:
            told = f"{bad} values ({bad / self.values.size:.2g} of all) are not finite numbers"
            object.__setattr__(self, "warnings", (*self.warnings, told))

    @property
    def linear(self) -> npt.NDArray[Any]:
        """Values proportional to light, 1 for the brightest that the bits can tell; others as they are.

        sRGB is undone as IEC 61966-2-1 defines it. Raises InputError where the file does not tell its bits.
        """
        bits = self.metadata.get("bits")
        if not isinstance(bits, int):
            raise InputError(
                f"{self.name}: the file does not tell how many bits a value has; scale its values yourself"
            )
        scaled = self.values / (2**bits - 1)
        if self.metadata.get("encoding") != "sRGB":
            return scaled
        return np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4).astype(self.values.dtype)
