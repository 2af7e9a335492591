"""Acquisition geometries of tomography in space, as data.

Coordinates: x to the right along the columns of a slice, y up against its rows, z along the slices and the rotation
axis, which is at the volume's centre. Every geometry becomes `Views3D`. Detectors have (row, column) bins; rows are
counted along z, columns along the direction of rotation.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from invreg.operators.tomography.geometry import (
    Array,
    Index,
    Parallel2D,
    bin_at_axis,
    check_bins,
    check_distances,
    check_vectors,
    checked_angles,
    in_plane,
    middle,
    on_arc,
)


@dataclass(frozen=True, eq=False)
class Parallel3D:
    """Parallel rays, perpendicular to the rotation axis, onto a flat detector of rows x columns.

    angles, centre and unit as in Parallel2D; pitch: distance of columns, row_pitch: of rows (default the same).
    row_centre: the row position at height 0, default the middle. Raises ValueError as Parallel2D does.
    """

    angles: Array
    rows: int
    columns: int
    pitch: float = 1.0
    row_pitch: float | None = None
    centre: float | None = None
    row_centre: float | None = None
    unit: str = "pixel"

    def __post_init__(self) -> None:
        object.__setattr__(self, "angles", checked_angles(self.angles))
        _check_panel(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the projections, (angle, row, column)."""
        return self.angles.size, self.rows, self.columns

    @property
    def bin_at_axis(self) -> float:
        """Distance of neighbouring columns' rays at the rotation axis, in `unit`."""
        return self.pitch

    @property
    def positions(self) -> Array:
        """Signed distance of each column's rays from the plane of the axis, (column,), in `unit`."""
        return self.plane.positions

    @property
    def row_positions(self) -> Array:
        """Height of each row's rays, (row,), in `unit`."""
        assert self.row_centre is not None
        return (np.arange(self.rows, dtype=np.float64) - self.row_centre) * _row_pitch(self)

    @property
    def plane(self) -> Parallel2D:
        """The rays of one row."""
        return Parallel2D(self.angles, self.columns, self.pitch, self.centre, self.unit)

    def views(self, index: Index) -> "Parallel3D":
        """The same geometry with some of its views."""
        return replace(self, angles=self.angles[index])

    def general(self) -> "Views3D":
        """Source and detector of every view."""
        across, along = (_lift(vector) for vector in in_plane(self.angles))
        up = np.broadcast_to([0.0, 0.0, 1.0], along.shape)
        u, v = self.pitch * across, _row_pitch(self) * up
        return Views3D(along, _middle(self, u, v), u, v, self.rows, self.columns, self.unit, parallel=True)


@dataclass(frozen=True, eq=False)
class ConeBeam:
    """Rays of a cone from a point source onto a detector of rows x columns, on a circle or, with heights, a helix.

    At angle a the source stands at source_origin * (sin a, -cos a) from the rotation axis and at heights[a] along it;
    the detector stands opposite, at source_detector from the source, its columns counted along (cos a, sin a) and
    its rows along z. The ray through the rotation axis at the source's height meets it at column `centre` and row
    `row_centre` (fractional positions, default the middle); other values are a detector offset.

    angles, unit as in Parallel2D; pitch: distance of columns, row_pitch: of rows (default the same), on the
    detector. tilt: turns of the detector in radians about its columns' direction (the upper edge moves away from
    the source), about that of its rows (the last column moves towards the source) and about its normal (columns turn
    up), in that order, about axes that stay, around that point. curved: the detector is a cylinder about the line
    through the source along z, as in clinical scanners (no tilt then). heights: (view,), see `helix`. Raises
    ValueError as FanBeam2D does, for heights that do not fit the angles and for a tilt of a right angle or more.
    """

    angles: Array
    rows: int
    columns: int
    pitch: float = 1.0
    row_pitch: float | None = None
    centre: float | None = None
    row_centre: float | None = None
    unit: str = "pixel"
    source_origin: float = np.inf
    source_detector: float = np.inf
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)
    curved: bool = False
    heights: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "angles", checked_angles(self.angles))
        _check_panel(self)
        check_distances(self.source_origin, self.source_detector, self.unit)
        if len(self.tilt) != 3 or not all(np.isfinite(t) and abs(t) < np.pi / 2 for t in self.tilt):
            raise ValueError(f"tilt must be three angles in radians between -pi/2 and pi/2; got {self.tilt}")
        if self.curved and any(self.tilt):
            raise ValueError("a curved detector is a cylinder about the source and has no tilt; leave one of them out")
        if self.heights is not None:
            heights = np.ascontiguousarray(self.heights, dtype=np.float64)
            if heights.shape != self.angles.shape or not np.isfinite(heights).all():
                raise ValueError(
                    f"heights must be finite, one a view, {self.angles.shape}, in {self.unit}; got {heights.shape}"
                )
            object.__setattr__(self, "heights", heights)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the projections, (angle, row, column)."""
        return self.angles.size, self.rows, self.columns

    @property
    def bin_at_axis(self) -> float:
        """Distance of neighbouring columns' rays at the rotation axis, in `unit`."""
        return self.pitch * self.source_origin / self.source_detector

    @property
    def positions(self) -> Array:
        """Signed place of each column from the ray through the axis, on the detector, (column,), in `unit`."""
        assert self.centre is not None
        return (np.arange(self.columns, dtype=np.float64) - self.centre) * self.pitch

    @property
    def row_positions(self) -> Array:
        """Height of each row above that ray, along the detector, (row,), in `unit`."""
        assert self.row_centre is not None
        return (np.arange(self.rows, dtype=np.float64) - self.row_centre) * _row_pitch(self)

    @property
    def fan_angles(self) -> Array:
        """Angle of each column's rays with the plane through source and axis, (column,), radians; without tilt."""
        ratio = self.positions / self.source_detector
        return ratio if self.curved else np.arctan(ratio)

    def views(self, index: Index) -> "ConeBeam":
        """The same geometry with some of its views."""
        heights = None if self.heights is None else self.heights[index]
        return replace(self, angles=self.angles[index], heights=heights)

    def general(self) -> "Views3D":
        """Source and detector of every view."""
        across, along = (_lift(vector) for vector in in_plane(self.angles))
        up = np.broadcast_to([0.0, 0.0, 1.0], along.shape)
        height = 0.0 if self.heights is None else self.heights[:, None] * up
        source = height - self.source_origin * along
        turn = _turn(*self.tilt)  # columns: the turned axes in the frame (across, up, along)
        frame = np.stack([across, up, along], axis=2)
        u, v = self.pitch * (frame @ turn[:, 0]), _row_pitch(self) * (frame @ turn[:, 1])
        if self.curved:
            assert self.centre is not None
            angle = ((self.columns - 1) / 2 - self.centre) * self.pitch / self.source_detector
            ray = np.cos(angle) * along + np.sin(angle) * across
            u = self.pitch * (np.cos(angle) * across - np.sin(angle) * along)
            point = source + self.source_detector * ray + _middle(self, 0 * u, v)
        else:
            point = source + self.source_detector * along + _middle(self, u, v)
        return Views3D(source, point, u, v, self.rows, self.columns, self.unit, curved=self.curved)


@dataclass(frozen=True, eq=False)
class Views3D:
    """The general case in space: where the source and the detector stand in each view.

    source: (view, 3), the place (x, y, z) of the source, or with `parallel` the direction of the rays (any length).
    detector: (view, 3), the middle of the detector. u, v: (view, 3), the steps from column to column and from row to
    row. curved: the detector is a cylinder whose axis passes the source along v, and which u touches in the middle of
    the detector. Lengths in `unit`. Raises ValueError for shapes that do not fit, values that are not finite, and
    detectors without area or seen edge-on.
    """

    source: Array
    detector: Array
    u: Array
    v: Array
    rows: int
    columns: int
    unit: str = "pixel"
    parallel: bool = False
    curved: bool = False

    def __post_init__(self) -> None:
        check_vectors(self, ("source", "detector", "u", "v"), 3)
        check_bins("rows", self.rows, float(np.linalg.norm(self.v, axis=1).min()))
        check_bins("columns", self.columns, float(np.linalg.norm(self.u, axis=1).min()))
        ray = self.source if self.parallel else self.detector - self.source
        normal = np.cross(self.u, self.v)
        lengths = [np.linalg.norm(vector, axis=1) for vector in (ray, self.u, self.v)]
        flat = np.abs((ray * normal).sum(1)) <= 1e-6 * np.prod(lengths, axis=0)
        if flat.any():
            raise ValueError(
                f"in view {int(np.argmax(flat))} the detector has no area or is seen edge-on; "
                "u and v must span a plane that the rays cross"
            )
        if self.curved and self.parallel:
            raise ValueError("a cylinder is about a source, which parallel rays do not have; leave curved out")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the projections, (angle, row, column)."""
        return len(self.source), self.rows, self.columns

    @property
    def bin_at_axis(self) -> float:
        """Median distance of neighbouring columns' rays where they pass the origin, in `unit`."""
        if self.parallel:
            return float(np.median(np.linalg.norm(self.u, axis=1)))
        return bin_at_axis(self.source, self.detector, self.u, np.cross(self.u, self.v))

    def views(self, index: Index) -> "Views3D":
        """The same geometry with some of its views."""
        vectors = {name: getattr(self, name)[index] for name in ("source", "detector", "u", "v")}
        return replace(self, **vectors)

    def general(self) -> "Views3D":
        """Itself."""
        return self

    @property
    def upright(self) -> bool:
        """Whether in all views rows run up along z, columns across it, and parallel rays perpendicular to it."""
        level = [self.u[:, 2], *([self.source[:, 2]] if self.parallel else [])]
        scale = np.linalg.norm(self.v, axis=1)
        leaning = np.abs(self.v[:, :2]).max(1) > 1e-9 * scale
        return not (leaning.any() or any((np.abs(z) > 1e-9 * scale).any() for z in level))

    def points(self, rows: Array, columns: Array) -> Array:
        """Places on the detector at fractional bin positions, (view, len(rows), len(columns), 3)."""
        steps = (columns - (self.columns - 1) / 2)[:, None]
        up = (rows - (self.rows - 1) / 2)[:, None, None] * self.v[:, None, None]
        if not self.curved:
            return up + (self.detector[:, None] + steps * self.u[:, None])[:, None]
        # the arc is about the point of the cylinder's axis at the height of the detector's middle
        ray = self.detector - self.source
        v2 = (self.v * self.v).sum(1, keepdims=True)
        foot = self.source + (ray * self.v).sum(1, keepdims=True) / v2 * self.v
        return up + on_arc(foot, self.detector, self.u, steps)[:, None]


Geometry3D = Parallel3D | ConeBeam | Views3D


def helix(angles: npt.ArrayLike, advance: float) -> Array:
    """Heights of a source that climbs `advance` (a length, negative: descends) each turn, 0 in the middle: (view,).

    Raises ValueError unless advance is finite and not 0, and the angles run one way without a jump back.
    """
    values = checked_angles(angles)
    if not np.isfinite(advance) or advance == 0:
        raise ValueError(
            f"a helix needs an advance a turn that is finite and not 0; got {advance}: for a circle leave heights out"
        )
    steps = np.diff(values)
    if not ((steps > 0).all() or (steps < 0).all()):
        where = int(np.argmax(steps * np.sign(values[-1] - values[0]) <= 0)) + 1
        raise ValueError(
            f"the angles of a helix must run one way; view {where} turns back: sort the views, and let angles go on "
            "beyond 2 pi (numpy.unwrap)"
        )
    return (values - (values[0] + values[-1]) / 2) * advance / (2 * np.pi)


def tilted_from_upright(g: ConeBeam) -> Array:
    """Where the rays of the bins of the same detector without tilt meet the tilted one: (row, column, 2) in bins."""
    assert g.centre is not None and g.row_centre is not None
    u = (np.arange(g.columns) - g.centre) * g.pitch
    v = (np.arange(g.rows) - g.row_centre) * _row_pitch(g)
    rays = np.stack([*np.broadcast_arrays(u, v[:, None], g.source_detector)], axis=2)
    turn = _turn(*g.tilt)
    reach = g.source_detector * turn[2, 2] / (rays @ turn[:, 2])  # to the plane with this normal
    hit = (rays * reach[..., None] - [0, 0, g.source_detector]) @ turn[:, :2]
    return hit[..., ::-1] / [_row_pitch(g), g.pitch] + [g.row_centre, g.centre]


def _lift(vectors: Array) -> Array:
    return np.pad(vectors, ((0, 0), (0, 1)))


def _row_pitch(g: Parallel3D | ConeBeam) -> float:
    assert g.row_pitch is not None
    return g.row_pitch


def _middle(g: Parallel3D | ConeBeam, u: Array, v: Array) -> Array:
    """From the point at (row_centre, centre) to the middle of the detector."""
    assert g.centre is not None and g.row_centre is not None
    return ((g.columns - 1) / 2 - g.centre) * u + ((g.rows - 1) / 2 - g.row_centre) * v


def _check_panel(g: Parallel3D | ConeBeam) -> None:
    if g.row_pitch is None:
        object.__setattr__(g, "row_pitch", g.pitch)
    check_bins("columns", g.columns, g.pitch)
    check_bins("rows", g.rows, _row_pitch(g))
    object.__setattr__(g, "centre", middle(g.columns, g.centre))
    object.__setattr__(g, "row_centre", middle(g.rows, g.row_centre))


def _turn(about_u: float, about_v: float, about_normal: float) -> Array:
    """Rotation matrix of three turns in the frame (u, v, normal), the first applied first."""
    (cu, su), (cv, sv), (cn, sn) = ((np.cos(t), np.sin(t)) for t in (about_u, about_v, about_normal))
    first = np.array([[1, 0, 0], [0, cu, -su], [0, su, cu]])
    second = np.array([[cv, 0, sv], [0, 1, 0], [-sv, 0, cv]])
    third = np.array([[cn, -sn, 0], [sn, cn, 0], [0, 0, 1]])
    return third @ second @ first
