"""Raw frames of cameras: DNG, CR2, NEF, ARW and what else LibRaw reads."""

from pathlib import Path

import numpy as np

from invreg.io.errors import InputError, words
from invreg.io.image import Image
from invreg.io.optional import needed

_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")  # of files that are no TIFF
_CFA = 32803  # the photometric interpretation of a mosaic of colours in TIFF


def recognise(path: Path, start: bytes) -> bool:
    """True by the first bytes, and for a TIFF where one of its images is a mosaic of colours."""
    if start.startswith(_STARTS) or start[4:11] == b"ftypcrx" or start[8:10] == b"CR":
        return True
    if start[:4] not in (b"II*\0", b"MM\0*"):
        return False
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [tiff.pages[0], *(tiff.pages[0].pages or [])]
            return any(page.tags.valueof(262) == _CFA for page in pages)
    except Exception:  # tifffile raises whatever the damaged bytes lead it to; the TIFF reader says so
        return False


def read(path: Path) -> Image:
    """The mosaic of the sensor, (height, width) in counts: nothing is taken off, interpolated or balanced.

    metadata: pattern, colours of the 2 x 2 (6 x 6 for X-Trans) pixels from the top left such as "RGGB"; black, the
    level of each of these pixels without light; white, the level where it saturates; balance, the camera's factors for
    R, G, B, G. Raises InputError for damaged files and sensors without a mosaic.
    """
    with needed("rawpy", path, "camera raw files"):
        import rawpy
    try:
        with rawpy.imread(str(path)) as raw:
            if raw.raw_pattern is None or np.max(raw.raw_pattern) >= len(raw.color_desc):
                raise InputError(f"{path}: this raw file has no mosaic of colours; expected one value a pixel")
            values, pattern = raw.raw_image_visible.copy(), np.asarray(raw.raw_pattern)
            names, black = raw.color_desc.decode(), np.asarray(raw.black_level_per_channel)
            white, balance = int(raw.white_level), [float(x) for x in raw.camera_whitebalance]
    except rawpy.LibRawError as error:
        raise InputError(f"{path}: this raw file cannot be read ({words(error)}); copy it again") from None
    meta = {
        "pattern": "".join(names[k] for k in pattern.ravel()),
        "black": black[pattern].ravel().tolist(),
        "white": white,
        "balance": balance,
    }
    return Image(values, "height:width", "counts", metadata=meta, name=path.stem, format="camera raw")
