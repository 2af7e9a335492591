"""Parts of a scan, and coarser scans: flats, darks, mask, pixel size and axis go along."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from invreg.io.errors import InputError
from invreg.io.scan import Scan


def rows(scan: Scan, part: slice) -> Scan:
    """Some detector rows. Raises InputError where none is left."""
    return _cut(scan, (slice(None), part, slice(None)))


def views(scan: Scan, part: int | slice | npt.ArrayLike) -> Scan:
    """Some views: how many, evenly spread, a slice, or which. Raises InputError where none or too few are left."""
    count = scan.angles.size
    if isinstance(part, int):
        if not 1 <= part <= count:
            raise InputError(f"{scan.name}: {part} views asked for; it has {count}")
        part = np.arange(part) * count // part
    index = np.arange(count)[part if isinstance(part, slice) else np.asarray(part)]
    cut = {"projections": scan.projections[index], "angles": scan.angles[index]}
    return replace(scan, **cut, mask=None if scan.mask is None else scan.mask[index])


def cropped(scan: Scan, first: int, end: int) -> Scan:
    """The detector bins from first up to, not including, end; the axis keeps its place on the object."""
    if not 0 <= first < end <= scan.projections.shape[2]:
        raise InputError(f"{scan.name}: bins {first}:{end} asked for; it has 0:{scan.projections.shape[2]}")
    # an unknown axis counts as the middle of the whole detector, and would move with the crop
    axis = (scan.projections.shape[2] - 1) / 2 if scan.centre is None and scan.fan else scan.centre
    part = _cut(scan, (slice(None), slice(None), slice(first, end)))
    return replace(part, centre=None if axis is None else axis - first)


def binned(scan: Scan, factor: int, row_factor: int = 1) -> Scan:
    """The mean of every `factor` bins, and of every `row_factor` rows; what is left over at the end is dropped.

    Masked values do not count in a mean; where all are masked, the result is. Counts stay counts of one bin, so
    the noise read from binned flats is that of the binned scan. Raises InputError where no bin is left.
    """
    shape = scan.projections.shape
    if factor < 1 or row_factor < 1 or factor > shape[2] or row_factor > shape[1]:
        raise InputError(f"{scan.name}: bins of {factor} x {row_factor} (bins x rows) from {shape[2]} x {shape[1]}")
    good = np.isfinite(scan.projections)
    if scan.mask is not None:
        good &= ~scan.mask
    weight = _means(good.astype(np.float32), factor, row_factor)
    total = _means(np.where(good, scan.projections, 0), factor, row_factor)
    empty = weight == 0
    axis = scan.centre
    if axis is None and scan.fan:
        axis = (shape[2] - 1) / 2
    return replace(
        scan,
        projections=total / np.where(empty, 1, weight),
        mask=empty if empty.any() else None,
        flats=None if scan.flats is None else _means(scan.flats, factor, row_factor),
        darks=None if scan.darks is None else _means(scan.darks, factor, row_factor),
        pixel_size=scan.pixel_size * factor,
        centre=None if axis is None else (axis - (factor - 1) / 2) / factor,
    )


def _cut(scan: Scan, box: tuple[slice, slice, slice]) -> Scan:
    parts = {k: getattr(scan, k) for k in ("projections", "flats", "darks", "mask")}
    return replace(scan, **{k: None if v is None else v[box] for k, v in parts.items()})


def _means(values: npt.NDArray[np.float32], factor: int, row_factor: int) -> npt.NDArray[np.float32]:
    """Means over blocks of rows and bins of (n, row, detector)."""
    n, r, d = values.shape[0], values.shape[1] // row_factor, values.shape[2] // factor
    blocks = values[:, : r * row_factor, : d * factor].reshape(n, r, row_factor, d, factor)
    return blocks.mean((2, 4), dtype=np.float64).astype(np.float32)
