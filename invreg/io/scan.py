"""A measurement: projections with all that is needed to reconstruct from them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from invreg.io.cone import Cone
from invreg.io.errors import InputError

if TYPE_CHECKING:
    import torch

    from invreg.operators.tomography import ConeBeam, FanBeam2D, Parallel2D, Views3D

KINDS = ("counts", "transmission", "line integrals")
UNITS = ("mm", "um", "nm", "pixel")


@dataclass(frozen=True, eq=False)
class Scan:
    """Projections of a rotating object, raw or corrected. Values never change; corrections give a new Scan.

    projections: (angle, row, detector) float32, in counts, as transmission (1 where nothing absorbs) or as line
    integrals (0 where nothing absorbs), as `kind` says. angles: (angle,) float64 radians, any order.
    flats, darks: (n, row, detector) float32 counts with the object out, with the beam off, or None. They stay
    when the projections are corrected, as the noise is read from them.
    pixel_size: distance of detector bins in `unit` ("mm", "um", "nm", "pixel" where it is unknown).
    centre: bin position of the rotation axis (0 is the middle of the first bin), None where it is unknown.
    mask: True where a value is bad, in the shape of the projections, or None.
    fan: distances (source to axis, source to detector) in `unit` for a point source and a flat line of bins;
    None for parallel rays. cone: the numbers of a point source and a flat detector of many rows, in `unit`, or None;
    `select.central_slice` makes a fan of it. sources: where each field came from. warnings: what a user should know.
    Raises InputError where shapes, kinds or units do not fit together.
    """

    projections: npt.NDArray[np.float32]
    angles: npt.NDArray[np.float64]
    kind: str
    flats: npt.NDArray[np.float32] | None = None
    darks: npt.NDArray[np.float32] | None = None
    pixel_size: float = 1.0
    unit: str = "pixel"
    centre: float | None = None
    mask: npt.NDArray[np.bool_] | None = None
    fan: tuple[float, float] | None = None
    sources: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    name: str = "scan"
    cone: Cone | None = None

    def __post_init__(self) -> None:
        for key, dtype in (("projections", np.float32), ("flats", np.float32), ("darks", np.float32),
                           ("angles", np.float64), ("mask", np.bool_)):  # fmt: skip
            value: Any = getattr(self, key)
            if value is not None:
                object.__setattr__(self, key, np.ascontiguousarray(value, dtype))
        fits(self.name, self.projections.shape, self.angles.shape, self.flats, self.darks, self.mask)
        if self.kind not in KINDS:
            raise InputError(f"{self.name}: kind is {self.kind!r}; it must be one of {', '.join(KINDS)}")
        if self.unit not in UNITS or not (np.isfinite(self.pixel_size) and self.pixel_size > 0):
            raise InputError(
                f"{self.name}: pixel size {self.pixel_size:g} {self.unit!r}; "
                f"it must be positive, in one of {', '.join(UNITS)}"
            )
        if not np.isfinite(self.angles).all():
            raise InputError(f"{self.name}: some angles are not finite numbers; give them with angles=")
        if self.cone is not None and self.fan is not None:
            raise InputError(f"{self.name}: both fan and cone are given; expected one of them")

    @property
    def geometry(self) -> "Parallel2D | FanBeam2D | ConeBeam | Views3D":
        """The rays of one detector row, or of all of a cone. An unknown centre is the middle of the detector."""
        from invreg.operators.tomography import FanBeam2D, Parallel2D

        if self.cone is not None:
            return self.cone.geometry(self.angles, self.projections.shape[1:], self.pixel_size, self.centre, self.unit)
        common = (self.angles, self.projections.shape[2], self.pixel_size, self.centre, self.unit)
        return Parallel2D(*common) if self.fan is None else FanBeam2D(*common, *self.fan)

    @property
    def sinogram(self) -> "torch.Tensor":
        """Line integrals, (row, angle, detector) float32. Raises InputError where there are none yet."""
        import torch

        if self.kind != "line integrals":
            raise InputError(f"{self.name} holds {self.kind}, not line integrals; use invreg.io.correct(scan)")
        if not np.isfinite(self.projections).all():
            raise InputError(f"{self.name} has values that are not finite; use invreg.io.correct(scan)")
        return torch.from_numpy(self.projections).permute(1, 0, 2).contiguous()


def fits(name: str, shape: tuple[int, ...], angles: tuple[int, ...], flats: Any, darks: Any, mask: Any) -> None:
    """Raise InputError unless the shapes of projections, angles, flats, darks and mask belong to one scan."""
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"{name}: projections have shape {shape}; expected (angle, row, detector), none empty")
    if angles != shape[:1]:
        n = angles[0] if len(angles) == 1 else angles
        told = f"{name}: {n} angles for {shape[0]} projections"
        if shape.count(n) == 1:
            told += (
                f"; axis {shape.index(n)} of the shape {shape} has that length, so the axes seem to be in "
                "another order: store them as (angle, row, detector)"
            )
        else:
            told += "; there must be one angle a projection: mend the file or give them with angles="
        raise InputError(told)
    for key, value in (("flats", flats), ("darks", darks)):
        if value is not None and (len(value.shape) != 3 or value.shape[1:] != shape[1:] or 0 in value.shape):
            raise InputError(
                f"{name}: {key} have shape {tuple(value.shape)}; expected (n, {shape[1]}, {shape[2]}) "
                f"as the projections are {shape}"
            )
    if mask is not None and mask.shape != shape:
        raise InputError(f"{name}: the mask has shape {mask.shape}, the projections {shape}; they must agree")
