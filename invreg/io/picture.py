"""PNG and JPEG pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.errors import InputError, words
from invreg.io.image import Image
from invreg.io.optional import needed

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def recognise(start: bytes) -> bool:
    """True by the first bytes of a file."""
    return start.startswith((_PNG, _JPEG))


def read(path: Path) -> Image:
    """(height, width) of a grey picture, (channel, height, width) of red, green and blue; transparency is left out.

    Values are as stored: 0 to 2^bits - 1. With 8 bits they are taken as sRGB, not proportional to light, with 16 as
    proportional; `Image.linear` undoes it. Raises InputError for a damaged file.
    """
    with path.open("rb") as file:
        start = file.read(26).ljust(26, b"\0")
    png = start.startswith(_PNG)
    bits = start[24] if png else 8
    try:
        values = _sixteen(path) if bits == 16 else _eight(path)
    except InputError:
        raise
    except Exception as error:  # Pillow raises whatever the damaged bytes lead it to
        raise InputError(f"{path}: this picture cannot be read ({words(error)}); save it again") from None
    notes = []
    if values.ndim == 3:
        channels = values.shape[2]
        if channels in (2, 4):
            notes = ["its transparency is left out"] if (values[..., -1] != values[..., -1].max()).any() else []
            values = values[..., :-1]
        values = values[..., 0] if values.shape[2] == 1 else np.moveaxis(values, 2, 0)
    meta: dict[str, Any] = {"bits": max(bits, 8), "encoding": "linear" if bits == 16 else "sRGB"}
    axes = "channel:height:width" if values.ndim == 3 else "height:width"
    return Image(values, axes, "", None, "pixel", meta, tuple(notes), path.stem, "PNG" if png else "JPEG")


def _eight(path: Path) -> np.ndarray:
    from PIL import Image as Pillow

    with Pillow.open(path) as picture:
        modes = {"1": "L", "P": "RGBA" if "transparency" in picture.info else "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
        return np.asarray(picture.convert(modes[picture.mode]) if picture.mode in modes else picture)


def _sixteen(path: Path) -> np.ndarray:
    """Pillow would cut colours of 16 bits down to 8."""
    with needed("imagecodecs", path, "a PNG of 16 bits"):
        import imagecodecs
    return np.asarray(imagecodecs.png_decode(path.read_bytes()))
