"""Folders of the FleX-ray laboratory as in the walnuts of Der Sarkissian et al. (Scientific Data 6, 215, 2019).

A folder of one orbit: scan_000000.tif to scan_001200.tif, di*.tif with the beam off, io*.tif without the object, and
scan_geom_corrected.geom (else scan_geom_original.geom) with twelve numbers a view. The images lie on their side, and
the first line of numbers belongs to the last image but one: the authors' FDKReconstruction.py leaves out the last view,
which repeats the first, and reads the images backwards, each transposed after it was flipped upside down.
"""

from pathlib import Path

import numpy as np

from invreg.io.cone import from_vectors
from invreg.io.errors import InputError, words
from invreg.io.header import Header, Index, Stored
from invreg.io.tiff_folder import natural, stack

_SETTINGS = ("scan_geom_corrected.geom", "scan_geom_original.geom")


def header(path: Path) -> Header:
    """Of the folder of one orbit. Raises InputError for a damaged list of vectors and missing images."""
    found = {key: sorted(path.glob(f"{key}*.tif"), key=natural) for key in ("scan_", "io", "di")}
    file = next((path / name for name in _SETTINGS if (path / name).exists()), sorted(path.glob("scan_geom*.geom"))[0])
    try:
        vectors = np.loadtxt(file, ndmin=2)
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: not a table of scan vectors ({words(error)}); expected 12 numbers a line") from None
    if not found["scan_"] or len(vectors) != len(found["scan_"]):
        raise InputError(
            f"{path}: {len(found['scan_'])} images scan_*.tif and {len(vectors)} lines in {file.name}; "
            "expected one line an image"
        )
    try:
        angles, pitch, cone, turn = from_vectors(vectors[:-1])
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    projections = _upright(stack(found["scan_"][-2::-1]), turn)
    flats, darks = (_upright(stack(found[key]), turn) if found[key] else None for key in ("io", "di"))
    return Header(
        name=f"{path.parent.parent.name} {path.name}".strip(),
        format="walnut folder (FleX-ray)",
        projections=projections,
        flats=flats,
        darks=darks,
        angles=np.unwrap(angles),
        angle_unit="radians",
        kind="counts",
        pixel_size=pitch,
        unit="mm",
        centre=cone.centre(projections.shape[2], pitch),
        cone=cone,
        sources={"angles": file.name, "cone": file.name, "centre": file.name, "pixel_size": file.name},
        notes=(f"the last image, {found['scan_'][-1].name}, repeats the first and is left out",),
    )


def _upright(images: Stored, turn: tuple[slice, slice]) -> Stored:
    """The images turned by a quarter as the authors do, then as the cone wants it."""
    rows, columns = images.shape[2], images.shape[1]

    def load(index: Index, part: slice) -> np.ndarray:
        side = np.arange(rows)[turn[0]][part]  # the upright rows are columns of the file
        whole = images.load(index, slice(None))[:, ::-1][:, turn[1]]
        return np.ascontiguousarray(whole.transpose(0, 2, 1)[:, side])

    return Stored((images.shape[0], rows, columns), images.dtype, images.where, load)
