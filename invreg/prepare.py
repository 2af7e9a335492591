"""From a measurement file and the settings to sinograms ready for a recipe, some rows at a time."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.io import InputError, Scan, correct, header, line_integral_std, read
from invreg.io.centre import truncation
from invreg.io.header import Header
from invreg.io.select import binned, central_row, central_slice
from invreg.operators.tomography import ConeBeam, FanBeam2D, Parallel2D, XRay
from invreg.operators.tomography.redundancy import arc
from invreg.progress import Clock
from invreg.recipes import RECIPES

if TYPE_CHECKING:  # pydantic comes with it
    from invreg.recipes.config import Config

Array = npt.NDArray[Any]

LOOK = 8  # rows looked at before the work starts, evenly chosen, to find the centre and the range of values
TRUNCATED, REACHING = 0.3, 0.05  # of the largest line integrals, at the detector's ends: refused, warned of
OFFSET = 0.1  # of its bins, by which the sides of a detector differ from where it counts as offset on purpose


@dataclass(frozen=True)
class Survey:
    """What is known of a measurement before the work: from its header and a look at a few rows.

    rows: first and end of the chosen rows. raw, scan: the rows looked at, `looked` (numbers in the file), as
    stored and as line integrals. noise: where its level comes from. A: the ray transform of every row, with its
    image's pixel in `geometry.unit`. cone: where the recipe wants a whole cone beam, its rays; the row looked at is
    then the one in the plane of the source, and a row of the volume the slice that the detector's row sees at the axis.
    """

    path: Path
    header: Header
    rows: tuple[int, int]
    looked: Array
    raw: Scan
    scan: Scan
    noise: str
    A: XRay
    warnings: tuple[str, ...]
    cone: ConeBeam | None = None

    @property
    def geometry(self) -> Parallel2D | FanBeam2D:
        return self.A.geometry

    @property
    def axis(self) -> float:
        """The rotation axis as a bin of the detector before binning."""
        bins = self.raw.projections.shape[2] // self.scan.projections.shape[2]
        assert self.geometry.centre is not None
        return (self.geometry.centre + 0.5) * bins - 0.5

    @property
    def shown(self) -> int:
        """The row to show, the middle one of those looked at, as an index into them."""
        return len(self.looked) // 2

    @property
    def thickness(self) -> float | None:
        """Distance of the slices of a cone beam, in `geometry.unit`."""
        g = self.cone
        return None if g is None or g.row_pitch is None else g.row_pitch * g.source_origin / g.source_detector

    def slices(self, first: int, end: int) -> XRay:
        """The ray transform of the slices first to end of a cone beam."""
        g = self.cone
        assert g is not None and g.row_centre is not None and self.thickness is not None
        height = ((first + end - 1) / 2 - g.row_centre) * self.thickness
        lowered = replace(g, heights=np.full(g.angles.size, -height))
        shape = (end - first, *self.A.domain.shape)
        return XRay(lowered, shape, self.A.pixel_size, slice_thickness=self.thickness)


def survey(config: "Config", clock: Clock) -> Survey:
    """Look at a few rows. Raises InputError for all that is wrong with the file or does not fit the settings."""
    assert config.data.file is not None
    path = Path(config.data.file)
    with clock("read"):
        told = header(path)
    first, end = span(config, told)
    rows = slice(first, end, max(1, (end - first) // LOOK))
    if told.cone is not None:
        row = central_row(told.cone, told.projections.shape[1], told.name)
        rows = slice(row, row + 1)
    with clock("read"):
        stored = load(config, rows)
    raw = _plane(stored)
    if raw.kind != "line integrals" and not (raw.projections > 0).any():
        raise InputError(f"{path}: no {raw.kind} above 0 in the rows looked at; nothing was measured there")
    with clock("correct"):
        scan = corrected(config, raw, config.correct.centre)
    try:
        g, cone = scan.geometry, None
        if RECIPES[config.recipe].volume:
            cone = _whole(config, told, stored, scan.centre)
            g = FanBeam2D(
                cone.angles, cone.columns, cone.pitch, cone.centre, cone.unit, cone.source_origin, cone.source_detector
            )
        assert isinstance(g, Parallel2D | FanBeam2D)
        bins = spanned(g.detectors, None if scan.fan is None else g.centre)
        size = config.image.size or bins
        if size > 4 * bins:
            raise InputError(
                f"{path}: an image of {size} pixels on a side from {bins} detector bins; take at most "
                f"{4 * bins}, finer pixels hold nothing that was measured"
            )
        # the image always spans the detector: a smaller number of pixels means larger ones, not a part of the object
        A = XRay(g, (size, size), g.bin_at_axis * bins / size)
    except ValueError as error:  # distances that cannot be those of a scan
        raise InputError(f"{path}: {error}") from None
    warnings = (*scan.warnings, *_cone(config, told, first), *_wide(config, scan, g), *_wedge(g))
    looked, noise = np.arange(rows.start, rows.stop, rows.step), line_integral_std(scan)[1]
    return Survey(path, told, (first, end), looked, raw, scan, noise, A, warnings, cone)


def _whole(config: "Config", told: Header, stored: Scan, centre: float | None) -> ConeBeam:
    """The rays of all rows of a cone beam, binned; centre: the bin of the axis then."""
    _, rows, bins = told.projections.shape
    f = config.correct.bin
    assert told.cone is not None
    cone = told.cone.moved(stored.pixel_size, -(bins % f) / 2, 0, f)
    g = cone.geometry(stored.angles, (rows, bins // f), stored.pixel_size * f, centre, stored.unit)
    assert isinstance(g, ConeBeam)
    return g


def _plane(scan: Scan) -> Scan:
    return scan if scan.cone is None else central_slice(scan)


def span(config: "Config", told: Header) -> tuple[int, int]:
    """First and end of the chosen rows. Raises InputError where the file has none such, or no beam for the recipe."""
    count = told.projections.shape[1]
    if RECIPES[config.recipe].volume:
        _refuse_no_circle(config.recipe, told)
    elif told.cone is not None:
        row = central_row(told.cone, told.projections.shape[1], told.name)
        if config.data.rows not in (None, f"{row}:{row + 1}"):
            raise InputError(
                f"{told.name}: rows {config.data.rows} of a cone beam asked for; rows of a cone are not slices, "
                f'only the central one can be reconstructed by itself: rows="{row}:{row + 1}"'
                f"{_hint(told)}"
            )
        return row, row + 1
    begin, _, stop = (config.data.rows or ":").partition(":")
    first, end = int(begin or 0), int(stop or count)
    if not 0 <= first < end <= count:
        raise InputError(f"{told.name}: rows {config.data.rows} asked for; the file has 0:{count}")
    return first, end


def _refuse_no_circle(recipe: str, told: Header) -> None:
    """Raise InputError where the file has no cone beam of a source on a circle about an axis along the rows."""
    if told.cone is None:
        beam = "parallel rays" if told.fan is None else "a fan beam"
        raise InputError(f"{told.name}: recipe {recipe} takes a cone beam, and this is a scan of {beam}; use fbp")
    c = told.cone
    if _circular(told):
        return
    why = f"the axis of this one leans by {np.rad2deg(np.hypot(c.roll, c.tilt)):.3g} degrees"
    mean = "roll=0, tilt=0"
    if c.vectors is not None:
        why, mean = "each view of this one has its own place", "vectors=None"
    raise InputError(
        f"{told.name}: recipe {recipe} takes a source on a circle about an upright axis, and {why}; in Python "
        f"CGLS(XRay(scan.geometry, shape), y) solves it as it is, and a copy of the scan with "
        f"dataclasses.replace(scan.cone, {mean}) is one that {recipe} takes"
    )


def _circular(told: Header) -> bool:
    c = told.cone
    return c is not None and c.vectors is None and not (c.roll or c.tilt)


def _hint(told: Header) -> str:
    return "; --recipe fdk gives the whole volume" if _circular(told) else ""


def load(config: "Config", rows: slice) -> Scan:
    """Some rows of the measurement as they are stored, with the chosen views."""
    data = config.data
    assert data.file is not None
    turn = tuple(float(x) for x in data.angle_range.split(":")) if data.angle_range else None
    return read(
        data.file,
        rows=rows,
        views=data.views,
        angles=data.angles,
        angle_range=turn,  # type: ignore[arg-type]
        angle_unit=data.angle_unit,
        kind=data.kind,
    )


def corrected(config: "Config", raw: Scan, centre: Any) -> Scan:
    """Line integrals, binned, with the axis `centre`, a bin of the unbinned detector or "auto"."""
    c = config.correct
    scan = correct(raw, floor=c.floor, bad_pixels=c.bad_pixels, rings=c.rings, centre=centre)
    return binned(scan, c.bin) if c.bin > 1 else scan


def spanned(bins: int, axis: float | None) -> int:
    """How many bins an image has to span: those of the detector, or twice its longer side where it is offset.

    axis: the bin onto which the axis of a fan falls, None for parallel rays.
    """
    uneven = 0.0 if axis is None else abs(bins - 1 - 2 * axis)
    return bins + math.ceil(uneven) if uneven > OFFSET * bins else bins


def batch(
    config: "Config", seen: Survey, first: int, end: int, clock: Clock
) -> tuple[XRay, Any, Tensor, tuple[str, ...]]:
    """The rows first to end: ray transform, sinograms (row, angle, detector), their noise (row,), warnings.

    Of a whole cone beam its views, to be read by slices, whose noise is unknown.
    """
    if seen.cone is not None:
        from invreg.cone_views import ConeViews

        return seen.slices(first, end), ConeViews(config, seen), torch.full((end - first,), math.nan), ()
    with clock("read"):
        raw = _plane(load(config, slice(first, end)))
    with clock("correct"):
        scan = corrected(config, raw, seen.axis)
        std = torch.from_numpy(line_integral_std(scan)[0])
    device = config.compute.device
    return seen.A, scan.sinogram.to(device), std.to(device), scan.warnings


def truth(seen: Survey, row: int) -> Array | None:
    """The true image of a row, on the grid of the reconstruction, or None.

    Our own format may carry one as /truth, (row, h, w) or (1, h, w), with `pixel_size` as an attribute, centred
    on the rotation axis.
    """
    import h5py
    from skimage.transform import resize

    if not seen.path.is_file() or not h5py.is_hdf5(seen.path):
        return None
    with h5py.File(seen.path, "r") as file:
        if "truth" not in file:
            return None
        stored = file["truth"]
        image = stored[row if stored.shape[0] > 1 else 0].astype(np.float32)
        pixel = float(stored.attrs.get("pixel_size", seen.geometry.bin_at_axis))
    image = _centred(image, round(seen.A.domain.shape[0] * seen.A.pixel_size / pixel))
    size = seen.A.domain.shape[0]
    if image.shape[0] % size == 0:  # means over whole blocks are exact, and leave an image of this size as it is
        k = image.shape[0] // size
        return image.reshape(size, k, size, k).mean((1, 3))
    return resize(image, (size, size), order=1, anti_aliasing=True)


def _centred(image: Array, n: int) -> Array:
    """The middle n by n pixels of an image, zeros where it is smaller."""
    pad = [max(0, n - size) for size in image.shape]
    image = np.pad(image, [(p // 2, p - p // 2) for p in pad])
    top, left = ((size - n) // 2 for size in image.shape)
    return image[top : top + n, left : left + n]


def _cone(config: "Config", told: Header, row: int) -> tuple[str, ...]:
    """A note that only one row of a cone beam is taken."""
    if told.cone is None or RECIPES[config.recipe].volume or (count := told.projections.shape[1]) == 1:
        return ()
    note = f"a cone beam of {count} rows: only the central row {row} is taken, as a fan beam"
    return (note + _hint(told),)


def _wide(config: "Config", scan: Scan, g: Parallel2D | FanBeam2D) -> tuple[str, ...]:
    """A warning where the object reaches past the detector. Raises InputError where it does by much.

    On a full turn the short side of an offset detector lacks nothing: the long one sees it from the other side.
    """
    values = scan.projections
    if _offset(g) and arc(g.angles) is None:
        uneven = round(g.positions[[0, -1]].sum() / g.pitch)
        values = np.pad(values, ((0, 0), (0, 0), (max(0, uneven), max(0, -uneven))))
    level = truncation(values)
    if level > TRUNCATED and not config.correct.truncated:
        raise InputError(
            f"{scan.name}: the detector is narrower than the object, at its ends the line integrals are still "
            f"{level:.0%} of their largest; use --truncated to reconstruct the inner part all the same"
        )
    if level <= REACHING:
        return ()
    told = f"at the detector's ends the line integrals are still {level:.0%} of their largest: "
    return (told + "something reaches past the detector, so the level and the rim of the image are not to be trusted",)


def _wedge(g: Parallel2D | FanBeam2D) -> tuple[str, ...]:
    """A warning where part of the lines through the object is not measured at all.

    The ray of view a and fan angle f lies on the line of view a + pi - 2 f and fan angle -f, if the detector has that.
    """
    fan = np.zeros(2) if isinstance(g, Parallel2D) else g.fan_angles
    short = max(0.0, min(-fan[0], fan[-1]))
    seen = [np.concatenate([g.angles, g.angles + np.pi - 2 * f]) for f in (-short, 0.0, short)]
    if _offset(g):  # lines that only its longer side sees
        seen.append(g.angles)
    widest = 0.0
    for angles in seen:
        turn = np.sort(np.rad2deg(angles) % 360)
        gaps = np.diff(turn, append=turn[0] + 360)
        if gaps.max() >= max(10.0, 3 * float(np.median(gaps[gaps > 1e-6]))):
            widest = max(widest, float(gaps.max()))
    if not widest:
        return ()
    what = "view" if isinstance(g, Parallel2D) else "ray of some bins of the fan"
    wedge = f"a wedge of {widest:.0f} degrees of the half turn"
    return (f"no {what} falls in {wedge}: edges along such rays are not measured",)


def _offset(g: Parallel2D | FanBeam2D) -> bool:
    return isinstance(g, FanBeam2D) and spanned(g.detectors, g.centre) > g.detectors
