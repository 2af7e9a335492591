"""A folder of TIFF projections, or one TIFF stack, with angles in a text file beside them."""

import re
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.angles import from_text
from invreg.io.errors import InputError, words
from invreg.io.header import Header, Index, Stored

_FLAT, _DARK = ("flat", "white", "bright", "open", "ob"), ("dark", "di")
_ANGLES = re.compile(r"(angle|theta|tilt|rotation)", re.IGNORECASE)


def header(path: Path) -> Header:
    """Sort the TIFF files under a folder (or the pages of one file) and read their shapes, not their pixels.

    A file is a flat or a dark by its name or its folder's: flat, white, bright, open, ob; dark, di. Files go in
    natural order (2 before 10). Raises InputError where there are none or their shapes differ.
    """
    files = [path] if path.is_file() else _found(path)
    sorted_in: dict[str, list[Path]] = {"projections": [], "flats": [], "darks": []}
    for file in files:
        sorted_in[_role(file, path)].append(file)
    if not sorted_in["projections"]:
        raise InputError(f"{path}: no TIFF projections; found {len(files)} TIFF files, all named flat or dark")
    fields: dict[str, Any] = {role: stack(names) for role, names in sorted_in.items() if names}
    folder = path if path.is_dir() else path.parent
    texts = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in (".txt", ".csv", ".tlt", ".rawtlt", ".dat")]
    named = [f for f in texts if _ANGLES.search(f.stem) or "tlt" in f.suffix or f.stem == path.stem]
    if len(named) > 1:
        raise InputError(f"{path}: several lists of angles ({', '.join(f.name for f in named)}); say which by angles=")
    if named:
        fields |= {"angles": from_text(named[0]), "sources": {"angles": named[0].name}}
        fields["angle_unit"] = "radians" if "rad" in named[0].stem.lower() else None
        fields["angle_unit"] = "degrees" if "deg" in named[0].stem.lower() else fields["angle_unit"]
    if "flats" in fields or fields["projections"].dtype.kind in "ui":
        fields["kind"] = "counts"
    kind = "TIFF stack" if path.is_file() else f"folder of {len(files)} TIFF files"
    return Header(name=path.stem, format=kind, **fields)


def is_tiff(path: Path) -> bool:
    """True by the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _found(folder: Path) -> list[Path]:
    files = [f for f in folder.rglob("*") if f.suffix.lower() in (".tif", ".tiff") and f.is_file()]
    if not files:
        raise InputError(f"{folder}: this folder holds no TIFF files; expected projections as .tif or .tiff")
    return sorted(files, key=natural)


def natural(file: Path) -> list[int | str]:
    """A key that sorts 2 before 10."""
    return [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", str(file))]


def _role(file: Path, root: Path) -> str:
    """projections, flats or darks, by the first word of the file's name or its folder's below the root."""
    parts = [*file.parent.relative_to(root).parts, file.stem] if root.is_dir() else [file.stem]
    words = [re.match(r"[a-z]*", p.lower()).group() for p in parts]  # type: ignore[union-attr]
    for role, names in (("flats", _FLAT), ("darks", _DARK)):
        if any(word.rstrip("s").removesuffix("field") in names for word in words):
            return role
    return "projections"


def stack(files: list[Path]) -> Stored:
    """The pages of all files as one array; only the first page's shape is read, and each file's page count.

    Raises InputError for a damaged file, for colours and for images of different shapes.
    """
    import tifffile

    pages: list[tuple[Path, int]] = []
    first: tuple[tuple[int, ...], np.dtype[Any] | None] | None = None
    for file in files:
        try:
            with tifffile.TiffFile(file) as tiff:
                page = tiff.pages[0]
                seen = (page.shape, page.dtype)
                pages += [(file, i) for i in range(len(tiff.pages))]
        except Exception as error:  # tifffile raises whatever the damaged bytes lead it to
            raise InputError(f"{file}: this TIFF file cannot be read ({words(error)}); write it again") from None
        if first is None:
            first = seen
        if seen != first or len(seen[0]) != 2 or seen[1] is None or seen[1].kind not in "uif":
            raise InputError(
                f"{file}: a page of shape {seen[0]} and type {seen[1]}; expected grey images (row, detector), "
                f"all like {files[0].name} with {first[0]} of {first[1]}"
            )
    assert first is not None and first[1] is not None

    def load(index: Index, rows: slice) -> np.ndarray:
        wanted = [pages[i] for i in np.arange(len(pages))[index]]
        images = []
        try:
            for file, group in groupby(wanted, key=itemgetter(0)):
                with tifffile.TiffFile(file) as tiff:
                    images += [tiff.pages[page].asarray()[rows] for _, page in group]
            return np.stack(images)
        except Exception as error:  # as above
            raise InputError(
                f"{files[0].parent}: a TIFF file cannot be read ({words(error)}); write it again"
            ) from None

    where = files[0].name if len(files) == 1 else f"{files[0].name} to {files[-1].name}"
    return Stored((len(pages), *first[0]), first[1], where, load)
