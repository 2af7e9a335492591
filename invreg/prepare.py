"""From a measurement file and the settings to sinograms ready for a recipe, some rows at a time."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.io import InputError, Scan, correct, header, line_integral_std, read, to_parallel
from invreg.io.centre import truncation
from invreg.io.header import Header
from invreg.io.select import binned, central_row, central_slice
from invreg.operators.tomography import Parallel2D, XRay
from invreg.progress import Clock

if TYPE_CHECKING:  # pydantic comes with it
    from invreg.recipes.config import Config

Array = npt.NDArray[Any]

LOOK = 8  # rows looked at before the work starts, evenly chosen, to find the centre and the range of values
TRUNCATED, REACHING = 0.3, 0.05  # of the largest line integrals, at the detector's ends: refused, warned of


@dataclass(frozen=True)
class Survey:
    """What is known of a measurement before the work: from its header and a look at a few rows.

    rows: first and end of the chosen rows. raw, scan: the rows looked at, `looked` (numbers in the file), as
    stored and as line integrals. noise: where its level comes from. A: the ray transform of every row, with its
    image's pixel in `geometry.unit`.
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

    @property
    def geometry(self) -> Parallel2D:
        return self.A.geometry

    @property
    def axis(self) -> float:
        """The rotation axis as a bin of the detector before binning."""
        if self.raw.fan is not None:
            return _fan_axis(self.raw)
        bins = self.raw.projections.shape[2] // self.scan.projections.shape[2]
        assert self.geometry.centre is not None
        return (self.geometry.centre + 0.5) * bins - 0.5

    @property
    def shown(self) -> int:
        """The row to show, the middle one of those looked at, as an index into them."""
        return len(self.looked) // 2


def survey(config: "Config", clock: Clock) -> Survey:
    """Look at a few rows. Raises InputError for all that is wrong with the file or does not fit the settings."""
    assert config.data.file is not None
    path = Path(config.data.file)
    with clock("read"):
        told = header(path)
    first, end = span(config, told)
    step = max(1, (end - first) // LOOK)
    with clock("read"):
        raw = load(config, slice(first, end, step))
    with clock("correct"):
        scan = corrected(config, raw, config.correct.centre)
    warnings = (*scan.warnings, *_cone(told, first), *_wide(config, scan), *_wedge(scan))
    detectors = scan.projections.shape[2]
    size = config.image.size or detectors
    if size > 4 * detectors:
        raise InputError(
            f"{path}: an image of {size} pixels on a side from {detectors} detector bins; take at most "
            f"{4 * detectors}, finer pixels hold nothing that was measured"
        )
    # the image always spans the detector: a smaller number of pixels means larger ones, not a part of the object
    A = XRay(scan.geometry, (size, size), scan.pixel_size * detectors / size)
    looked, noise = np.arange(first, end, step), line_integral_std(scan)[1]
    return Survey(path, told, (first, end), looked, raw, scan, noise, A, warnings)


def span(config: "Config", told: Header) -> tuple[int, int]:
    """First and end of the chosen rows. Raises InputError where the file has no such rows."""
    count = told.projections.shape[1]
    if told.cone is not None:
        row = central_row(told.cone, told.projections.shape[1], told.name)
        if config.data.rows not in (None, f"{row}:{row + 1}"):
            raise InputError(
                f"{told.name}: rows {config.data.rows} of a cone beam asked for; rows of a cone are not slices, "
                f'only the central one can be reconstructed by itself: rows="{row}:{row + 1}"'
            )
        return row, row + 1
    begin, _, stop = (config.data.rows or ":").partition(":")
    first, end = int(begin or 0), int(stop or count)
    if not 0 <= first < end <= count:
        raise InputError(f"{told.name}: rows {config.data.rows} asked for; the file has 0:{count}")
    return first, end


def load(config: "Config", rows: slice) -> Scan:
    """Some rows of the measurement as they are stored, with the chosen views; a cone's central row as a fan."""
    data = config.data
    assert data.file is not None
    turn = tuple(float(x) for x in data.angle_range.split(":")) if data.angle_range else None
    scan = read(
        data.file,
        rows=rows,
        views=data.views,
        angles=data.angles,
        angle_range=turn,  # type: ignore[arg-type]
        angle_unit=data.angle_unit,
        kind=data.kind,
    )
    return scan if scan.cone is None else central_slice(scan)


def corrected(config: "Config", raw: Scan, centre: Any) -> Scan:
    """Line integrals along parallel rays, binned, with the axis `centre`, a bin of the unbinned detector or "auto".

    A fan beam's axis is not searched for: "auto" takes what the file says, else the middle of the detector.
    """
    c = config.correct
    if raw.fan is not None and centre == "auto":
        centre = _fan_axis(raw)
    scan = correct(raw, floor=c.floor, bad_pixels=c.bad_pixels, rings=c.rings, centre=centre)
    if raw.fan is not None:
        scan = to_parallel(scan)
    return binned(scan, c.bin) if c.bin > 1 else scan


def _fan_axis(raw: Scan) -> float:
    return (raw.projections.shape[2] - 1) / 2 if raw.centre is None else raw.centre


def batch(config: "Config", seen: Survey, first: int, end: int, clock: Clock) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The rows first to end: sinograms (row, angle, detector), noise's standard deviation (row,), warnings."""
    with clock("read"):
        raw = load(config, slice(first, end))
    with clock("correct"):
        scan = corrected(config, raw, seen.axis)
        std = torch.from_numpy(line_integral_std(scan)[0])
    device = config.compute.device
    return scan.sinogram.to(device), std.to(device), scan.warnings


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
        pixel = float(stored.attrs.get("pixel_size", seen.geometry.pitch))
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


def _cone(told: Header, row: int) -> tuple[str, ...]:
    """A note that only one row of a cone beam is taken."""
    if told.cone is None or (count := told.projections.shape[1]) == 1:
        return ()
    return (f"a cone beam of {count} rows: only the central row {row} is taken, as a fan beam",)


def _wide(config: "Config", scan: Scan) -> tuple[str, ...]:
    """A warning where the object reaches past the detector. Raises InputError where it does by much."""
    level = truncation(scan.projections)
    if level > TRUNCATED and not config.correct.truncated:
        raise InputError(
            f"{scan.name}: the detector is narrower than the object, at its ends the line integrals are still "
            f"{level:.0%} of their largest; use --truncated to reconstruct the inner part all the same"
        )
    if level <= REACHING:
        return ()
    told = f"at the detector's ends the line integrals are still {level:.0%} of their largest: "
    return (told + "something reaches past the detector, so the level and the rim of the image are not to be trusted",)


def _wedge(scan: Scan) -> tuple[str, ...]:
    """A warning where part of the half turn is not seen at all."""
    turn = np.sort(np.rad2deg(scan.angles) % 180)
    gaps = np.diff(turn, append=turn[0] + 180)
    widest = float(gaps.max())
    if widest < max(10.0, 3 * float(np.median(gaps))):
        return ()
    return (
        f"no view falls in a wedge of {widest:.0f} degrees of the half turn: edges along such rays are not measured",
    )
