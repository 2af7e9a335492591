"""Reading and writing images: the format is told by content, that of a new file by its name."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

from invreg.io import camera, dicom, fits, nifti, picture, tiff_folder, tiff_image, zeiss
from invreg.io.errors import InputError
from invreg.io.image import Image
from invreg.io.writing import replaced

_KNOWN = "DICOM (a file or the folder of a series), NIfTI, FITS, TIFF, GeoTIFF, PNG, JPEG, camera raw or Zeiss .txm"
_START = 352  # bytes that tell a format
_WRITERS = {".tif": tiff_image, ".tiff": tiff_image, ".nii": nifti, ".fits": fits, ".fit": fits}


def reader(path: Path) -> Callable[[Path], Image] | None:
    """What reads an image that can be nothing else; None for measurements, plain TIFF files and all that is unknown.

    Raises InputError where the file is missing or empty.
    """
    try:
        if path.is_dir():
            return dicom.read if dicom.files(path) else None
        with path.open("rb") as file:
            start = file.read(_START)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not start:
        raise InputError(f"{path}: the file is empty; expected {_KNOWN}")
    for module in (dicom, picture):
        if module.recognise(start):
            return module.read
    plain = _unpacked(path, start)
    for packed in (fits, nifti):
        if packed.recognise(plain):
            return packed.read
    if camera.recognise(path, start):
        return camera.read
    if tiff_folder.is_tiff(path) and tiff_image.georeferenced(path):
        return tiff_image.read
    return zeiss.volume if start.startswith(zeiss.MAGIC) and zeiss.is_volume(path) else None


def _unpacked(path: Path, start: bytes) -> bytes:
    """The first bytes of what is in a gzip file, of others as they are."""
    if start[:2] != b"\x1f\x8b":
        return start
    try:
        with gzip.open(path) as file:
            return file.read(_START)
    except (OSError, EOFError, zlib.error):
        return start


def read_image(path: str | Path) -> Image:
    """An image or a volume from a file, or from the folder of a DICOM series.

    Raises InputError for everything that is wrong with the file, in one sentence.
    """
    path = Path(path)
    read = reader(path)
    if read is None and path.is_file() and tiff_folder.is_tiff(path):
        read = tiff_image.read
    if read is None:
        raise InputError(f"{path}: this is no image of a known format; expected {_KNOWN}")
    return read(path)


def write_image(path: str | Path, image: Image) -> None:
    """Write an image as .tif, .nii, .nii.gz or .fits, with what its metadata keep of that format.

    A GeoTIFF of other pixels than were read is taken to show the same ground. Replaces what is there. Raises InputError
    for another name, for what is no `Image`, and where the file cannot be written.
    """
    path = Path(path)
    if not isinstance(image, Image):
        raise InputError(f'{path}: takes an Image, such as Image(array, "height:width"); got {type(image).__name__}')
    module = _WRITERS.get(Path(path.name.lower().removesuffix(".gz")).suffix)
    if module is None or (path.suffix.lower() == ".gz" and module is not nifti):
        raise InputError(f"{path}: images are written as .tif, .nii, .nii.gz or .fits; choose one of these names")
    with replaced(path) as part:
        module.write(part, image)
