"""Zeiss (Xradia) scans, .txrm: an OLE2 file with a stream for each image and each setting.

What the streams mean, the sense of rotation and that row 0 is the lowest are taken from the Core Imaging Library's
reader, as the maker has published nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.cone import Cone
from invreg.io.errors import InputError, words
from invreg.io.header import Header, Index, Stored, stored
from invreg.io.image import Image
from invreg.io.optional import needed

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_TYPES = {5: np.dtype("<u2"), 10: np.dtype("<f4")}  # ImageInfo/DataType
_CHUNK = 100  # images in a folder ImageData1, ImageData2, ...


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The olefile.OleFileIO. Raises InputError for a damaged file and where olefile is not installed."""
    with needed("olefile", path, "Zeiss .txrm"):
        import olefile
    try:
        file = olefile.OleFileIO(path)
    except Exception as error:  # whatever the damaged bytes lead it to
        raise InputError(f"{path}: this .txrm file cannot be opened ({words(error)}); copy it again") from None
    with file:
        yield file


def numbers(file: Any, path: Path, key: str, dtype: str, count: int = 1) -> np.ndarray:
    """The first `count` numbers of a stream. Raises InputError where it is missing, too short or not finite."""
    if not file.exists(key):
        raise InputError(f"{path}: the stream {key} is missing; this is no scan or an unfinished one")
    try:
        data = file.openstream(key).read()
    except Exception as error:  # as above
        raise InputError(f"{path}: the stream {key} cannot be read ({words(error)}); copy the file again") from None
    found = np.frombuffer(data[: len(data) // np.dtype(dtype).itemsize * np.dtype(dtype).itemsize], dtype)
    if found.size < count:
        raise InputError(f"{path}: the stream {key} holds {found.size} numbers, expected {count}; copy the file again")
    if not np.isfinite(found[:count]).all():
        raise InputError(f"{path}: the stream {key} holds numbers that are not finite; copy the file again")
    return found[:count]


def images(file: Any, path: Path) -> tuple[tuple[int, int, int], np.dtype[Any]]:
    """Shape (image, row, column), rows from the lowest, and type. Raises InputError for an unknown type."""
    keys = ("ImagesTaken" if file.exists("ImageInfo/ImagesTaken") else "NoOfImages", "ImageHeight", "ImageWidth")
    shape = tuple(int(numbers(file, path, f"ImageInfo/{key}", "<u4")[0]) for key in keys)
    code = int(numbers(file, path, "ImageInfo/DataType", "<u4")[0])
    if 0 in shape or code not in _TYPES:
        raise InputError(f"{path}: images of shape {shape} and type {code}; expected some, of type 5 or 10")
    return shape, _TYPES[code]  # type: ignore[return-value]


def image(file: Any, path: Path, k: int, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> np.ndarray:
    """Image k, (row, column), rows from the lowest."""
    key = f"ImageData{k // _CHUNK + 1}/Image{k + 1}"
    return numbers(file, path, key, dtype.str, shape[1] * shape[2]).reshape(shape[1:])


def header(path: Path) -> Header:
    """Read all but the images. Raises InputError for a volume (.txm), missing settings and damaged streams."""
    with opened(path) as file:
        if _holds_volume(file, path):
            raise InputError(f"{path}: this holds a reconstructed volume (.txm), no projections; give the .txrm file")
        shape, dtype = images(file, path)
        planned = int(numbers(file, path, "ImageInfo/NoOfImages", "<u4")[0])
        n, rows, columns = shape
        pixel = float(numbers(file, path, "ImageInfo/PixelSize", "<f4")[0])
        angles = numbers(file, path, "ImageInfo/Angles", "<f4", n).astype(np.float64)
        cone = None
        if numbers(file, path, "ImageInfo/XrayGeometry", "<i4")[0] == 1:
            near, behind = (
                float(np.abs(numbers(file, path, f"ImageInfo/{key}Distance", "<f4", n).mean(dtype=np.float64))) * 1e3
                for key in ("StoRA", "DtoRA")
            )
            if not (pixel > 0 and near > 0):
                raise InputError(f"{path}: pixels of {pixel:g} um, source {near:g} um from the axis; expected above 0")
            pixel *= (near + behind) / near  # the file has that of the object
            cone = Cone(near, near + behind, pixel)
        shifts = np.zeros((n, 2), int)
        if file.exists("Alignment/X-Shifts") and file.exists("Alignment/Y-Shifts"):
            x, y = (numbers(file, path, f"Alignment/{key}-Shifts", "<f4", n) for key in "XY")
            shifts = np.rint(np.stack([y, x], axis=1)).astype(int)
        beam = None
        if file.exists("ReferenceData/Image"):
            key, kind = "ReferenceData/DataType", dtype
            if file.exists(key):
                kind = _TYPES.get(int(numbers(file, path, key, "<u4")[0]), dtype)
            beam = numbers(file, path, "ReferenceData/Image", kind.str, rows * columns).reshape(rows, columns)
    moved = bool(shifts.any()) and beam is not None
    notes = [] if planned == n else [f"{n} of {planned} projections were taken"]
    if shifts.any():
        notes.append(f"the images are shifted by up to {np.abs(shifts).max()} pixels as their alignment says")
    return Header(
        name=path.stem,
        format="Zeiss .txrm",
        projections=_projections(path, shape, dtype, shifts, beam if moved else None),
        flats=stored(beam[None], "ReferenceData/Image") if beam is not None and not moved else None,
        angles=-angles,
        angle_unit="degrees",
        kind="transmission" if moved else "counts",
        pixel_size=pixel,
        unit="um",
        cone=cone,
        sources={"angles": "ImageInfo/Angles, against their sign", "pixel_size": "ImageInfo/PixelSize"}
        | ({"cone": "ImageInfo/StoRADistance, DtoRADistance"} if cone else {}),
        notes=tuple(notes),
    )


def _projections(
    path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], shifts: np.ndarray, beam: np.ndarray | None
) -> Stored:
    """The images, the lowest row first: divided by the beam if given, then shifted by (rows, columns) each."""

    def load(index: Index, part: slice) -> np.ndarray:
        out = []
        with opened(path) as file:
            for k in np.arange(shape[0])[index]:
                frame = image(file, path, int(k), shape, dtype)
                if beam is not None:
                    frame = np.divide(
                        frame, beam, out=np.zeros(frame.shape, np.float32), where=beam > 0, casting="same_kind"
                    )
                out.append(np.roll(frame, shifts[k], axis=(0, 1))[part])
        return np.stack(out)

    return Stored(shape, np.dtype(np.float32) if beam is not None else dtype, "ImageData1/Image1 and on", load)


def is_volume(path: Path) -> bool:
    """True for a reconstructed volume, .txm. Raises InputError where the file is damaged."""
    with opened(path) as file:
        return _holds_volume(file, path)


def _holds_volume(file: Any, path: Path) -> bool:
    key = "ImageInfo/AcquisitionMode"
    return bool(file.exists(key) and numbers(file, path, key, "<i4")[0] != 0)


def volume(path: Path) -> Image:
    """A reconstructed volume, .txm: (depth, height, width) in the units of the maker's program. Raises InputError."""
    with opened(path) as file:
        shape, dtype = images(file, path)
        pixel = float(numbers(file, path, "ImageInfo/PixelSize", "<f4")[0])
        values = np.stack([image(file, path, k, shape, dtype) for k in range(shape[0])])
    if not pixel > 0:
        raise InputError(f"{path}: pixels of {pixel:g} um; expected above 0")
    return Image(values, "depth:height:width", "", (pixel,) * 3, "um", name=path.stem, format="Zeiss .txm")
