"""The numbers of a cone-beam scan: where source, axis and flat detector are."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from invreg.io.errors import InputError

if TYPE_CHECKING:
    from invreg.operators.tomography import ConeBeam, Views3D

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cone:
    """A point source and a flat detector that turn about an axis; lengths in the unit of the scan, angles in radians.

    At angle a the source looks along (-sin a, cos a, 0), the detector's columns run along u = (cos a, sin a, 0) and its
    rows along v = (0, 0, 1), so that row 0 is the lowest. The rotation axis is z, which is counted from the plane in
    which the source turns.

    source_origin, source_detector: distances along the view direction from the source to the axis and to the detector.
    row_pitch: distance of the rows (that of the columns is the pixel size of the scan).
    offset_u, offset_v: where the detector's middle is, from the foot of the perpendicular of the source.
    axis_offset: where the axis is, along u, from that perpendicular.
    roll: turn of the axis in the plane of the detector, from v towards u; tilt: from v along the view direction.
    vectors: (view, 12) where each view has its own place: source, middle of the detector, step of a column and step of
    a row, each (x, y, z), with z counted as in the file. The other numbers are then means.
    """

    source_origin: float
    source_detector: float
    row_pitch: float
    offset_u: float = 0.0
    offset_v: float = 0.0
    axis_offset: float = 0.0
    roll: float = 0.0
    tilt: float = 0.0
    vectors: Array | None = None

    def __post_init__(self) -> None:
        numbers = [getattr(self, key) for key in self.__dataclass_fields__ if key != "vectors"]
        if not np.isfinite(numbers).all() or (self.vectors is not None and not np.isfinite(self.vectors).all()):
            raise InputError("the cone geometry holds values that are not finite numbers; expected lengths and angles")
        if not 0 < self.source_origin <= self.source_detector or self.row_pitch <= 0:
            raise InputError(
                f"the source is {self.source_origin:g} from the axis and {self.source_detector:g} from the detector, "
                f"rows are {self.row_pitch:g} apart; expected 0 < source to axis <= source to detector, rows apart > 0"
            )

    def centre(self, columns: int, pitch: float) -> float:
        """The bin onto which the axis falls in the plane of the source."""
        shift = self.axis_offset * self.source_detector / self.source_origin - self.offset_u
        return (columns - 1) / 2 + shift / pitch

    def central_row(self, rows: int) -> float:
        """The row in the plane that the source turns in."""
        return (rows - 1) / 2 - self.offset_v / self.row_pitch

    def geometry(
        self, angles: Array, shape: tuple[int, ...], pitch: float, centre: float | None, unit: str
    ) -> "ConeBeam | Views3D":
        """The rays onto a detector of this shape (row, column).

        A ConeBeam where all views are alike and the axis does not lean, else the general case. centre: the column onto
        which the axis falls where it is known better than by `axis_offset`, which is then changed.
        """
        from invreg.operators.tomography import ConeBeam, Views3D

        rows, columns = shape
        near, far, shift = self.source_origin, self.source_detector, self.axis_offset
        if self.vectors is not None:
            return Views3D(*np.split(self.vectors, 4, axis=1), rows, columns, unit)
        if centre is not None:
            shift = ((centre - (columns - 1) / 2) * pitch + self.offset_u) * near / far
        if not (self.roll or self.tilt):
            # seen from the source the axis is a little aside: the ray through it meets a detector that is turned
            aside = np.arctan(shift / near)
            lengths = {"source_origin": near / np.cos(aside), "source_detector": far / np.cos(aside)}
            axis = (columns - 1) / 2 + (shift * far / near - self.offset_u) / pitch
            return ConeBeam(
                angles - aside, rows, columns, pitch, self.row_pitch, axis, self.central_row(rows), unit,
                **lengths, tilt=(0.0, -float(aside), 0.0),
            )  # fmt: skip
        (cr, sr), (ct, st) = ((np.cos(t), np.sin(t)) for t in (self.roll, self.tilt))
        lean = np.array([[1, 0, 0], [0, ct, st], [0, -st, ct]]) @ np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
        source = np.array([-shift, -near, 0.0])  # along u, the view and v, from the axis
        middle = source + np.array([self.offset_u, far, self.offset_v])
        local = np.stack([source, middle, [pitch, 0, 0], [0, 0, self.row_pitch]]) @ lean
        c, s = np.cos(angles), np.sin(angles)
        frames = np.stack(
            [np.stack([c, s, 0 * c], 1), np.stack([-s, c, 0 * c], 1), np.stack([0 * c, 0 * c, 0 * c + 1], 1)], 1
        )
        return Views3D(*np.einsum("ik,akx->iax", local, frames), rows, columns, unit)

    def views(self, index: slice | npt.NDArray[np.int64]) -> "Cone":
        """With some of the views."""
        return self if self.vectors is None else replace(self, vectors=self.vectors[index])

    def moved(self, pitch: float, bins: float, rows: float, factor: float = 1, row_factor: float = 1) -> "Cone":
        """With the detector's middle moved by some bins and rows, then both steps multiplied.

        This is what cropping and binning do. pitch: distance of the columns before.
        """
        vectors = self.vectors
        if vectors is not None:
            source, middle, u, v = np.split(vectors, 4, axis=1)
            vectors = np.hstack([source, middle + bins * u + rows * v, factor * u, row_factor * v])
        return replace(
            self,
            offset_u=self.offset_u + bins * pitch,
            offset_v=self.offset_v + rows * self.row_pitch,
            row_pitch=self.row_pitch * row_factor,
            vectors=vectors,
        )


def from_vectors(vectors: Array) -> tuple[Array, float, Cone, tuple[slice, slice]]:
    """Angles, distance of columns, cone and how to turn the images, from (view, 12) as in `Cone`, in any orientation.

    The turn is a pair of slices (rows, columns) that reverses axes, so that the source looks from the left column to
    the right one and from the lowest row up, as `Cone` has it; the vectors in the cone go with the turned images.
    Raises InputError where the source lies behind the axis or the vectors are of no detector.
    """
    if vectors.ndim != 2 or vectors.shape[1] != 12 or not len(vectors) or not np.isfinite(vectors).all():
        raise InputError(f"scan vectors of shape {vectors.shape}; expected 12 finite numbers a view")
    s, d, u, v = np.split(vectors, 4, axis=1)
    down = bool(v[:, 2].mean() < 0)  # rows run down: the lowest one is the last
    v = -v if down else v
    forward = np.stack([-u[:, 1], u[:, 0]], axis=1)
    back = bool((forward * s[:, :2]).sum(1).mean() > 0)  # columns run from right to left
    u = -u if back else u
    across = np.linalg.norm(u, axis=1)
    normal = np.cross(u, v)
    size = np.linalg.norm(normal, axis=1)
    if not (size > 0).all():
        raise InputError("scan vectors whose steps of column and row are not of a plane; expected two directions")
    normal /= size[:, None]
    angles = np.arctan2(u[:, 1], u[:, 0])
    forward = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
    along_u, along_v = u / across[:, None], v / np.linalg.norm(v, axis=1)[:, None]
    distance = ((d - s) * normal).sum(1)
    foot = s + np.abs(distance)[:, None] * np.sign(distance)[:, None] * normal
    cone = Cone(
        source_origin=float(-(s[:, :2] * forward).sum(1).mean()),
        source_detector=float(np.abs(distance).mean()),
        row_pitch=float(np.linalg.norm(v, axis=1).mean()),
        offset_u=float(((d - foot) * along_u).sum(1).mean()),
        offset_v=float(((d - foot) * along_v).sum(1).mean()),
        axis_offset=float(-(s[:, :2] * along_u[:, :2]).sum(1).mean()),
        vectors=np.hstack([s, d, u, v]),
    )
    turn = slice(None, None, -1)
    return angles, float(across.mean()), cone, (turn if down else slice(None), turn if back else slice(None))
