"""Parts of a scan, and coarser scans: flats, darks, mask, pixel size and axis go along."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from invreg.io.cone import Cone
from invreg.io.errors import InputError
from invreg.io.scan import Scan


def rows(scan: Scan, part: slice) -> Scan:
    """Some detector rows. Raises InputError where none is left."""
    return replace(_cut(scan, (slice(None), part, slice(None))), cone=rows_of(scan.cone, part, scan.projections.shape))


def rows_of(cone: Cone | None, part: slice, shape: tuple[int, ...]) -> Cone | None:
    """The cone of some rows of a detector whose projections have this shape (angle, row, detector)."""
    chosen = np.arange(shape[1])[part]
    if cone is None or chosen.size == 0:
        return cone
    return cone.moved(1.0, 0, float(chosen.mean()) - (shape[1] - 1) / 2, row_factor=part.step or 1)


def central_row(cone: Cone, count: int, name: str) -> int:
    """The row nearest to the plane of the source. Raises InputError where that misses the `count` rows."""
    row = round(cone.central_row(count))
    if not 0 <= row < count:
        raise InputError(
            f"{name}: the source of this cone beam turns in the plane of row {row}, the detector has 0:{count}; "
            "such a scan has no slice that can be reconstructed by itself"
        )
    return row


def central_slice(scan: Scan) -> Scan:
    """The row of a cone beam that is nearest to the plane of the source, as a fan beam.

    A fan looks straight at the axis: its angles are turned by that of `axis_offset` seen from the source, by which the
    detector is then out of square, an error of second order. Roll, tilt and the wobble of single views are left out.
    Raises InputError for other beams and where the plane misses the detector.
    """
    cone = scan.cone
    if cone is None:
        raise InputError(f"{scan.name}: this is no cone beam; only a cone has a central slice")
    row = central_row(cone, scan.projections.shape[1], scan.name)
    axis = cone.centre(scan.projections.shape[2], scan.pixel_size) if scan.centre is None else scan.centre
    part = _cut(scan, (slice(None), slice(row, row + 1), slice(None)))
    told = scan.sources | {"fan": f"the central row {row} of the cone beam"}
    fan = cone.source_origin, cone.source_detector
    angles = scan.angles - np.arctan(cone.axis_offset / cone.source_origin)
    return replace(part, cone=None, fan=fan, centre=axis, angles=angles, sources=told)


def views(scan: Scan, part: int | slice | npt.ArrayLike) -> Scan:
    """Some views: how many, evenly spread, a slice, or which. Raises InputError where none or too few are left."""
    count = scan.angles.size
    if isinstance(part, int):
        if not 1 <= part <= count:
            raise InputError(f"{scan.name}: {part} views asked for; it has {count}")
        part = np.arange(part) * count // part
    index = np.arange(count)[part if isinstance(part, slice) else np.asarray(part)]
    cut = {"projections": scan.projections[index], "angles": scan.angles[index]}
    cone = None if scan.cone is None else scan.cone.views(index)
    return replace(scan, **cut, cone=cone, mask=None if scan.mask is None else scan.mask[index])


def cropped(scan: Scan, first: int, end: int) -> Scan:
    """The detector bins from first up to, not including, end; the axis keeps its place on the object."""
    if not 0 <= first < end <= scan.projections.shape[2]:
        raise InputError(f"{scan.name}: bins {first}:{end} asked for; it has 0:{scan.projections.shape[2]}")
    # an unknown axis counts as the middle of the whole detector, and would move with the crop
    bins = scan.projections.shape[2]
    axis = (bins - 1) / 2 if scan.centre is None and scan.fan else scan.centre
    part = _cut(scan, (slice(None), slice(None), slice(first, end)))
    cone = scan.cone and scan.cone.moved(scan.pixel_size, (first + end - bins) / 2, 0)
    return replace(part, centre=None if axis is None else axis - first, cone=cone)


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
    lost = [-((shape[k] % f) / 2) for k, f in ((2, factor), (1, row_factor))]  # at the end, from the middle
    return replace(
        scan,
        cone=scan.cone and scan.cone.moved(scan.pixel_size, *lost, factor, row_factor),
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
