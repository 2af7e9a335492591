"""Nikon (X-Tek) cone-beam scans: an .xtekct file of settings and its projections, as SophiaBeads has them.

The sense of rotation and the side from which the images are seen are those of the Core Imaging Library's reader
(Jorgensen et al., Phil. Trans. R. Soc. A 379, 2021), of which the angle list beside the settings is no part either.
"""

from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.cone import Cone
from invreg.io.errors import InputError
from invreg.io.header import Header, Index, Stored
from invreg.io.settings import Settings
from invreg.io.tiff_folder import natural, stack


def recognise(start: bytes) -> bool:
    """True by the first bytes of a settings file."""
    return b"[XTekCT]" in start


def header(path: Path) -> Header:
    """From the .xtekct file or the folder that holds one. Raises InputError for missing or impossible settings."""
    if path.is_dir():
        found = sorted(path.glob("*.xtekct"))
        if len(found) > 1:
            raise InputError(f"{path}: several scans ({', '.join(f.name for f in found)}); name one of these files")
        path = found[0]
    told = Settings(path)
    columns, rows, views = (round(told.positive(k)) for k in ("DetectorPixelsX", "DetectorPixelsY", "Projections"))
    near, far = told.positive("SrcToObject"), told.positive("SrcToDetector")
    pitch, row_pitch = told.positive("DetectorPixelSizeX"), told.positive("DetectorPixelSizeY")
    if far < near:
        raise InputError(f"{path}: SrcToDetector is {far:g}, SrcToObject {near:g} mm; the detector is the further one")
    top, bottom = told.number("CentreOfRotationTop", 0.0), told.number("CentreOfRotationBottom", 0.0)
    shift = told.number("ObjectOffsetX", (top + bottom) / 2 * near / far)
    roll = np.deg2rad(told.number("ObjectRoll", -np.rad2deg(np.arctan2(top - bottom, rows * row_pitch))))
    aside, above = told.number("DetectorOffsetX", 0.0), told.number("DetectorOffsetY", 0.0)
    cone = Cone(near, far, row_pitch, -aside, above, -shift, float(roll), np.deg2rad(told.number("ObjectTilt", 0.0)))
    angles = told.number("InitialAngle", 0.0) - 180 + told.number("AngularStep") * np.arange(views)
    notes = ()
    if aside or above:
        notes = (f"the detector is {aside:g}, {above:g} mm aside; the sign of this is not published, check the centre",)
    white = told.positive("WhiteLevel")
    return Header(
        name=told.words.get("Name") or path.stem,
        format="Nikon .xtekct",
        projections=_projections(told, (views, rows, columns), white),
        angles=angles,
        angle_unit="degrees",
        kind="transmission",
        pixel_size=pitch,
        unit="mm",
        centre=cone.centre(columns, pitch),
        cone=cone,
        sources={
            "angles": f"{path.name}: InitialAngle - 180 + AngularStep * view",
            "kind": f"counts by WhiteLevel {white:g}",
            "cone": path.name,
            "centre": f"{path.name}: axis {shift:g} mm aside",
        },
        notes=notes,
    )


def _projections(told: Settings, shape: tuple[int, int, int], white: float) -> Stored:
    """The images as transmission, seen from the source, columns from left to right and rows from the lowest up.

    They are stored as seen from behind the detector, the top row first. Raises InputError where they are missing or of
    another size.
    """
    folder = told.path.parent / told.words.get("InputFolderName", "").replace("\\", "/")
    folder = folder if folder.is_dir() else told.path.parent
    name = told.words.get("Name") or told.path.stem
    files = sorted((f for f in folder.iterdir() if f.suffix.lower() in (".tif", ".tiff", ".raw")), key=natural)
    files = [f for f in files if f.stem[: len(name)] == name and f.stem[len(name) :].strip("_- ").isdigit()] or files
    if len(files) != shape[0]:
        raise InputError(f"{told.path}: {len(files)} projections beside it in {folder}, Projections says {shape[0]}")
    frames = _raw(files, shape[1:]) if files[0].suffix.lower() == ".raw" else stack(files)
    if frames.shape != shape:
        raise InputError(f"{folder}: images of {frames.shape[1:]} pixels; {told.path.name} says {shape[1:]}")

    def load(index: Index, rows: slice) -> np.ndarray:
        stored = np.arange(shape[1])[::-1][rows]
        lowest = slice(int(stored.min()), int(stored.max()) + 1, rows.step)  # the same rows, in the file's order
        return frames.load(index, lowest)[:, ::-1, ::-1].astype(np.float32) / np.float32(white)

    return Stored(shape, np.dtype(np.float32), frames.where, load)


def _raw(files: list[Path], shape: tuple[int, ...]) -> Stored:
    """Files of 16-bit counts without a header, low byte first."""
    dtype = np.dtype("<u2")
    for file in files:
        if file.stat().st_size != (size := shape[0] * shape[1] * dtype.itemsize):
            raise InputError(
                f"{file}: {file.stat().st_size} bytes; expected {size} for 16-bit counts of {shape} pixels"
            )

    def load(index: Index, rows: slice) -> np.ndarray:
        chosen: list[Any] = [files[i] for i in np.arange(len(files))[index]]
        return np.stack([np.fromfile(file, dtype).reshape(shape)[rows] for file in chosen])

    return Stored((len(files), *shape), dtype, f"{files[0].name} to {files[-1].name}", load)  # type: ignore[arg-type]
