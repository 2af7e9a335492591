"""Reading: the format is told by content, the pixels are read by slices, the values are looked at."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from invreg.io import angles as angle_module
from invreg.io import dataexchange, heltomo, images, matlab, native, nexus, nikon, npz, tiff_folder, walnut, zeiss
from invreg.io.check import check
from invreg.io.errors import InputError
from invreg.io.hdf5 import opened, text
from invreg.io.header import Header, Stored
from invreg.io.scan import Scan, fits
from invreg.io.select import rows_of

_HDF5 = {native: native.header, dataexchange: dataexchange.header, nexus: nexus.header, matlab: matlab.header_hdf5}
_KNOWN = "HDF5 (our own, DataExchange, NXtomo), MATLAB, .npz, .xtekct, .txrm, TIFF or a folder of TIFFs"
_IMAGE = "{path}: this is an image, no measurement; invreg simulate makes one of it, invreg.io.read_image reads it"


def header(path: str | Path) -> Header:
    """What is in a measurement file, without its pixels (.npz and MATLAB v5 have to be read whole).

    Raises InputError where the file is missing, empty, damaged or of no known format.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _folder(path)
        with path.open("rb") as file:
            start = file.read(128)
            hdf5 = start.startswith(_MAGIC) or any(_at(file, 512 * 2**k) for k in range(4))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not start:
        raise InputError(f"{path}: the file is empty; expected {_KNOWN}")
    if hdf5:
        with opened(path) as file:
            for module, read_header in _HDF5.items():
                if module.recognise(file):
                    return read_header(path, file)
            if text(file.attrs.get("format", "")) == native.MEASUREMENT:
                name = text(file["operator"].attrs.get("name", "?")) if "operator" in file else "?"
                raise InputError(
                    f"{path}: a measurement of {name}, no scan; invreg.io.read_measurement reads it for use in Python, "
                    "the command line reconstructs scans alone so far"
                )
            raise InputError(
                f"{path}: HDF5, but in no known layout; found {', '.join(file) or 'nothing'} at its root, expected "
                "our own, DataExchange (/exchange/data), NXtomo or MATLAB v7.3"
            )
    if start.startswith(b"PK\x03\x04"):
        return npz.header(path)
    if start.startswith(b"MATLAB 5.0"):
        return matlab.header(path)
    if tiff_folder.is_tiff(path):
        return tiff_folder.header(path)
    if start.startswith(zeiss.MAGIC):
        return zeiss.header(path)
    if nikon.recognise(start):
        return nikon.header(path)
    if heltomo.recognise(path):
        return heltomo.header(path)
    if images.reader(path) is not None:
        raise InputError(_IMAGE.format(path=path))
    looks = "a text file" if start.isascii() and b"\0" not in start else "of no known format"
    raise InputError(f"{path}: this is {looks}; expected {_KNOWN}")


def _folder(path: Path) -> Header:
    """What is in a folder, told by the settings file beside the images."""
    if any(path.glob("*.xtekct")):
        return nikon.header(path)
    if any(path.glob("scan_geom*.geom")):
        return walnut.header(path)
    if settings := heltomo.settings(path):
        return heltomo.header(settings)
    if images.reader(path) is not None:
        raise InputError(_IMAGE.format(path=path))
    return tiff_folder.header(path)


_MAGIC = b"\x89HDF\r\n\x1a\n"


def _at(file: Any, offset: int) -> bool:
    """HDF5 files may begin with a block of the user's, as MATLAB's do: the signature then stands at 512, 1024..."""
    file.seek(offset)
    return bool(file.read(8) == _MAGIC)


def read(
    path: str | Path,
    *,
    rows: slice | None = None,
    views: int | slice | None = None,
    angles: npt.ArrayLike | str | Path | None = None,
    angle_range: tuple[float, float] | None = None,
    angle_unit: str | None = None,
    kind: str | None = None,
) -> Scan:
    """Read a measurement.

    rows: which detector rows, all by default. views: how many, evenly spread, or which. What the file lacks or
    tells wrongly: angles (one a projection of the file, or the path of a text file) in `angle_unit` ("degrees",
    the default, or "radians"); angle_range (first, end) in degrees, evenly spread, the end being the view after
    the last; angle_unit also overrides the file's; kind "counts", "transmission" or "line integrals".
    Raises InputError for everything that is wrong with the file or these arguments, in one sentence.
    """
    path, told = Path(path), header(path)
    name, count = told.name, told.projections.shape[0]
    radians, sources, notes = _angles(path, told, angles, angle_range, angle_unit)
    fits(str(path), told.projections.shape, radians.shape, told.flats, told.darks, told.mask)
    index, lines = _views(path, views, count), _rows(path, rows, told.projections.shape[1])
    _affordable(path, told, index, lines)

    parts: dict[str, Any] = {}
    sources |= {key: word for key, word in told.sources.items() if key not in sources}
    for key in ("projections", "flats", "darks", "mask"):
        part: Stored | None = getattr(told, key)
        if part is not None:
            parts[key] = part.load(index if key in ("projections", "mask") else slice(None), lines)
            sources.setdefault(key, part.where)
    top = np.iinfo(told.projections.dtype).max if told.projections.dtype.kind in "ui" else None
    if kind is None and told.kind is None:
        kind, note = _guess(parts["projections"])
        notes.append(note)
    elif kind is not None:
        sources["kind"] = "as told"
    sources.setdefault("kind", "the file" if told.kind else "default")
    for key, value in (("pixel_size", told.pixel_size), ("centre", told.centre)):
        sources.setdefault(key, "default" if value is None else "the file")
    scan = Scan(
        angles=radians[index],
        kind=kind or told.kind or "",
        pixel_size=told.pixel_size or 1.0,
        unit=told.unit or "pixel",
        centre=told.centre,
        fan=told.fan,
        cone=told.cone and rows_of(told.cone.views(index), lines, told.projections.shape),
        sources=sources,
        warnings=(*told.notes, *notes),
        name=name,
        **parts,
    )
    return check(scan, top)


def _angles(
    path: Path,
    told: Header,
    angles: npt.ArrayLike | str | Path | None,
    angle_range: tuple[float, float] | None,
    angle_unit: str | None,
) -> tuple[npt.NDArray[np.float64], dict[str, str], list[str]]:
    """Radians for each projection of the file, from the arguments if given, else from the file."""
    if angles is not None and angle_range is not None:
        raise InputError(f"{path}: both angles and angle_range are given; expected one of them")
    if angle_range is not None:
        spread = angle_module.evenly(angle_range, told.projections.shape[0])
        source = f"angle_range {angle_range[0]:g} to {angle_range[1]:g} degrees, end left out"
        return np.deg2rad(spread), {"angles": source}, []
    if angles is not None:
        from_file = isinstance(angles, str | Path)
        values = angle_module.from_text(Path(angles)) if isinstance(angles, str | Path) else np.asarray(angles, float)
        source, label = (str(angles) if from_file else "as told"), None
        if not from_file:
            angle_unit = angle_unit or "degrees"
    elif told.angles is not None:
        values, label, source = told.angles, told.angle_unit, told.sources.get("angles", "the file")
    else:
        raise InputError(f"{path}: no angles; give them with angles= or angle_range=")
    if not np.isfinite(values).all():
        raise InputError(f"{path}: some angles are not finite numbers; give them with angles=")
    radians, unit, notes = angle_module.to_radians(values, label, angle_unit, str(path))
    return radians, {"angles": source if source.endswith(("degrees", "radians")) else f"{source}, {unit}"}, notes


def _views(path: Path, views: int | slice | None, count: int) -> npt.NDArray[np.int64]:
    """Indices of the wanted views, rising."""
    if isinstance(views, int):
        if not 1 <= views <= count:
            raise InputError(f"{path}: {views} views asked for; the file has {count}")
        return np.arange(views) * count // views
    return _chosen(path, "views", views, count)


def _rows(path: Path, rows: slice | None, count: int) -> slice:
    """A slice with begin, end and step in numbers."""
    chosen = _chosen(path, "rows", rows, count)
    return slice(int(chosen[0]), int(chosen[-1]) + 1, None if rows is None else rows.step)


def _chosen(path: Path, word: str, part: slice | None, count: int) -> npt.NDArray[np.int64]:
    if part is None:
        return np.arange(count)
    if part.step is not None and part.step < 1:
        raise InputError(f"{path}: {word} are chosen with step {part.step}; expected a rising slice")
    chosen = np.arange(count)[part]
    if chosen.size == 0 or max(part.start or 0, part.stop or 0) > count:
        raise InputError(f"{path}: {word} {part.start}:{part.stop} asked for; the file has 0:{count}")
    return chosen


def _affordable(path: Path, told: Header, index: npt.NDArray[np.int64], rows: slice) -> None:
    """Raise InputError where the chosen part does not fit into the memory of this machine."""
    step = rows.step or 1
    n = index.size * len(range(rows.start, rows.stop, step)) * told.projections.shape[2]
    need = n * (4 + told.projections.dtype.itemsize)
    try:
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return
    if need > have:
        raise InputError(
            f"{path}: projections of shape {told.projections.shape} need {need / 2**30:.3g} GB, this machine has "
            f"{have / 2**30:.3g}; choose some with rows= or views="
        )


def _guess(values: npt.NDArray[Any]) -> tuple[str, str]:
    """The kind of values of which nothing is known, and a warning that says so."""
    good = values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()
    low, middle, high = np.percentile(good, (1, 50, 99)) if good.size else (0.0, 0.0, 0.0)
    if high > 100 and low >= 0:
        kind = "counts"
    elif 0 <= low and high < 1.3 and middle > 0.4:
        kind = "transmission"
    else:
        kind = "line integrals"
    return kind, (
        f"nothing in the file says what the values are; {low:.3g} to {high:.3g} was taken as {kind}; "
        'say kind="counts", "transmission" or "line integrals" if not'
    )
