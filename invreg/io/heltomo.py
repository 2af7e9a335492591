"""Cone-beam folders of the University of Helsinki (FIPS): PROJECT0001.tif, ... and PROJECT.txt with the settings.

As the lab's HelTomo toolbox reads them: each image is divided by the mean of its 128 x 128 pixels at the top left,
which the object does not reach. The images are already corrected by the detector.
"""

from pathlib import Path

import numpy as np

from invreg.io.cone import Cone
from invreg.io.errors import InputError
from invreg.io.header import Header, Index, Stored
from invreg.io.lengths import convert, length
from invreg.io.settings import Settings
from invreg.io.tiff_folder import natural, stack

FREE = 128  # pixels on a side of the corner without object


def recognise(path: Path) -> bool:
    """True for a settings file."""
    with path.open("rb") as file:
        start = file.read(4096)
    return b"DistanceSourceOrigin" in start and b"NumberImages" in start


def settings(folder: Path) -> Path | None:
    """The settings file in a folder, or None. Raises InputError where there are several."""
    found = [f for f in sorted(folder.glob("*.txt")) if recognise(f)]
    if len(found) > 1:
        raise InputError(f"{folder}: several scans ({', '.join(f.name for f in found)}); name one of these files")
    return found[0] if found else None


def header(path: Path) -> Header:
    """From the settings file. Raises InputError for missing or impossible settings and missing images."""
    told = Settings(path)
    if told.word("GeometryType").lower() != "cone":
        raise InputError(f"{path}: GeometryType is {told.word('GeometryType')!r}; only Cone is known")
    pitch, unit = length(told.positive("PixelSize"), told.word("PixelSizeUnit"), f"{path}: PixelSizeUnit")
    near, far = (
        convert(*length(told.positive(key), told.word("DistanceUnit"), f"{path}: DistanceUnit"), unit)
        for key in ("DistanceSourceOrigin", "DistanceSourceDetector")
    )
    if far < near:
        raise InputError(
            f"{path}: DistanceSourceDetector is {far:g} {unit}, DistanceSourceOrigin {near:g}; exchange them"
        )
    views = round(told.positive("NumberImages"))
    files = sorted(path.parent.glob(f"{path.stem}*.tif"), key=natural)
    if len(files) != views:
        raise InputError(f"{path}: {len(files)} images {path.stem}*.tif beside it, NumberImages says {views}")
    return Header(
        name=told.words.get("ProjectName") or path.stem,
        format="HelTomo folder (FIPS)",
        projections=_transmission(stack(files)),
        angles=told.number("AngleFirst") + told.number("AngleInterval") * np.arange(views),
        angle_unit="degrees",
        kind="transmission",
        pixel_size=pitch,
        unit=unit,
        cone=Cone(near, far, pitch),
        sources={"angles": path.name, "cone": path.name, "kind": f"counts by those of the free {FREE} x {FREE} pixels"},
    )


def _transmission(frames: Stored) -> Stored:
    """Counts by the mean of the free corner of each image."""

    def load(index: Index, rows: slice) -> np.ndarray:
        whole = frames.load(index, slice(None)).astype(np.float32)
        free = whole[:, :FREE, :FREE].mean((1, 2), keepdims=True, dtype=np.float64)
        if not (free > 0).all():
            raise InputError(f"{frames.where}: the top left corner, where the beam is free, holds no counts")
        return whole[:, rows] / free.astype(np.float32)

    return Stored(frames.shape, np.dtype(np.float32), frames.where, load)
