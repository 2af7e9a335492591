"""FITS images of astronomy."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.errors import InputError, words
from invreg.io.image import Image
from invreg.io.optional import needed

_SCALING = ("BSCALE", "BZERO", "BLANK", "DATAMIN", "DATAMAX")


def recognise(start: bytes) -> bool:
    """True by the first bytes of a file."""
    return start.startswith(b"SIMPLE  =")


def read(path: Path) -> Image:
    """The first image of the file, (height, width) or (plane, height, width); row 0 is the lowest one, as FITS has it.

    BSCALE, BZERO and BLANK are applied; what is blank is NaN and counted in the warnings. metadata: header, astropy's
    own, with the world coordinates. Raises InputError for damaged files and files without an image.
    """
    with needed("astropy", path, "FITS"):
        from astropy.io import fits
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that break the standard
            warnings.filterwarnings("error", message=".*truncated.*")
            # opened here, as astropy leaves a damaged file open
            with path.open("rb") as stream, fits.open(stream, memmap=False) as file:
                found = [(k, hdu) for k, hdu in enumerate(file) if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
                images = [(k, np.asarray(hdu.data), hdu.header.copy()) for k, hdu in found[:1]]
                others = [f"{hdu.name or 'unnamed'} ({k})" for k, hdu in found[1:]]
    except Exception as error:  # astropy raises whatever the damaged bytes lead it to
        raise InputError(f"{path}: this FITS file cannot be read ({words(error)}); copy it again") from None
    if not images:
        raise InputError(f"{path}: no image in this FITS file, only tables or nothing; expected two axes or more")
    number, values, header = images[0]
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim > 3:
        raise InputError(f"{path}: an image of {values.ndim} axes, {values.shape}; expected two or three")
    notes = [f"image {number} of the file is read; others are {', '.join(others)}"] if others else []
    return Image(
        values,
        "plane:height:width" if values.ndim == 3 else "height:width",
        str(header.get("BUNIT", "")),
        metadata={"header": header, "rows": "from the bottom"},
        warnings=tuple(notes),
        name=path.stem,
        format="FITS",
    )


def write(path: Path, image: Image) -> None:
    """The values with the header that was read, less what belonged to the stored numbers. Raises InputError."""
    with needed("astropy", path, "FITS"):
        from astropy.io import fits
    header: Any = image.metadata.get("header")
    header = header.copy() if isinstance(header, fits.Header) else fits.Header()
    for key in _SCALING:
        header.remove(key, ignore_missing=True)
    if image.quantity:
        header["BUNIT"] = image.quantity
    fits.PrimaryHDU(image.values, header).writeto(path, overwrite=True)
