"""DICOM: one image, or the folder of a series as a volume."""

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.errors import InputError, words
from invreg.io.image import Image
from invreg.io.optional import needed

EVEN = 0.01  # share of the distance of slices by which it may vary


def recognise(start: bytes) -> bool:
    """True by the first bytes of a file."""
    return start[128:132] == b"DICM"


def files(folder: Path) -> list[Path]:
    """The DICOM files right in a folder, but for the directory that discs carry."""
    found = []
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name.upper() != "DICOMDIR":
            with file.open("rb") as opened:
                if recognise(opened.read(132)):
                    found.append(file)
    return found


def read(path: Path) -> Image:
    """One file, (height, width), or all of a folder, (depth, height, width) along the normal of the slices.

    Values are rescaled as the files say, to Hounsfield units for CT. metadata: modality, position (of the first pixel)
    and orientation (directions of a row and of a column) in the patient's frame in mm; nothing that names the patient.
    Raises InputError for mixed series, missing slices, colour, frames in one file, and objects without an image.
    """
    with needed("pydicom", path, "DICOM"):
        import pydicom
    paths = files(path) if path.is_dir() else [path]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break the standard but that nobody needs here
        slices = [_opened(pydicom, file) for file in paths]
        _alike(path, paths, slices)
        order, spacing, notes = _sorted(path, paths, slices)
        values = [_values(paths[k], slices[k]) for k in order]
    first = slices[order[0]]
    modality = str(first.get("Modality", ""))
    if modality == "CT" and "RescaleIntercept" not in first:
        notes.append("the file has no rescale intercept; its values are taken as Hounsfield units as they are")
    rows = first.get("PixelSpacing", first.get("ImagerPixelSpacing"))
    plane = None if rows is None else (float(rows[0]), float(rows[1]))
    volume = path.is_dir()
    whole = plane if not volume or plane is None else (spacing, *plane)
    return Image(
        np.stack(values) if volume else values[0],
        "depth:height:width" if volume else "height:width",
        "HU" if modality == "CT" else str(first.get("RescaleType", "")),
        whole,
        "mm" if whole is not None else "pixel",
        {
            "modality": modality,
            "position": [float(x) for x in first.get("ImagePositionPatient", [])],
            "orientation": [float(x) for x in first.get("ImageOrientationPatient", [])],
            "bits": int(first.get("BitsStored", 16)),
        },
        tuple(notes),
        path.stem,
        f"DICOM, {len(paths)} files" if volume else "DICOM",
    )


def _opened(pydicom: Any, file: Path) -> Any:
    try:
        found = pydicom.dcmread(file)
    except Exception as error:  # pydicom raises whatever the damaged bytes lead it to
        raise InputError(f"{file}: this DICOM file cannot be read ({words(error)}); copy it again") from None
    kind = str(getattr(found.get("SOPClassUID"), "name", "unknown"))
    if "Rows" not in found or "PixelData" not in found:
        raise InputError(f"{file}: a DICOM object without an image ({kind}); keep only images in the folder")
    if int(found.get("NumberOfFrames") or 1) > 1:
        raise InputError(f"{file}: many frames in one file ({kind}); convert it to one file a slice")
    if int(found.get("SamplesPerPixel", 1)) != 1:
        raise InputError(f"{file}: a colour image; expected one value a pixel")
    return found


def _alike(path: Path, paths: list[Path], slices: list[Any]) -> None:
    """Raise InputError unless all files are of one series, shape, orientation and pixel spacing."""
    series = Counter(str(s.get("SeriesInstanceUID", "")) for s in slices)
    if len(series) > 1:
        names = {str(s.get("SeriesInstanceUID", "")): str(s.get("SeriesDescription", "no name")) for s in slices}
        told = ", ".join(f"{names[uid]} ({count} files)" for uid, count in series.most_common())
        raise InputError(f"{path}: {len(series)} series in one folder, {told}; put each into a folder of its own")
    for file, one in zip(paths, slices, strict=True):
        for key in ("Rows", "Columns", "ImageOrientationPatient", "PixelSpacing"):
            if one.get(key) != slices[0].get(key):
                told = f"{key} is {one.get(key)}, in {paths[0].name} {slices[0].get(key)}"
                raise InputError(f"{file}: {told}; slices of one volume must agree, put the others elsewhere")


def _sorted(path: Path, paths: list[Path], slices: list[Any]) -> tuple[list[int], float, list[str]]:
    """Order along the normal, distance of slices in mm, notes. Raises InputError for gaps and doubles."""
    if len(slices) == 1 and not path.is_dir():
        return [0], 1.0, []
    for file, one in zip(paths, slices, strict=True):
        if len(one.get("ImagePositionPatient") or []) != 3 or len(one.get("ImageOrientationPatient") or []) != 6:
            raise InputError(f"{file}: no position and orientation; slices without them cannot be put in order")
    x, y = np.reshape([float(v) for v in slices[0].ImageOrientationPatient], (2, 3))
    normal = np.cross(x, y)
    places = np.array([[float(v) for v in s.ImagePositionPatient] for s in slices])
    heights = places @ normal
    order = np.argsort(heights, kind="stable")
    if len(slices) == 1:
        return [0], float(slices[0].get("SliceThickness") or 1.0), ["a single slice; its thickness is its distance"]
    steps = np.diff(heights[order])
    step = float(np.median(steps))
    k = int(np.argmax(np.abs(steps - step)))
    a, b = (paths[order[i]].name for i in (k, k + 1))
    if steps.min() < 1e-3:
        a, b = (paths[order[i]].name for i in (int(steps.argmin()), int(steps.argmin()) + 1))
        raise InputError(f"{path}: {a} and {b} lie in the same place; a volume has one slice a place")
    if abs(steps[k] - step) > EVEN * step:
        missing = round(steps[k] / step) - 1
        count = f"{missing} slices are missing" if missing > 0 else "slices lie unevenly"
        raise InputError(f"{path}: {count}: {a} and {b} are {steps[k]:.4g} mm apart, others {step:.4g} mm")
    along = (places[order[-1]] - places[order[0]]) / (len(slices) - 1)
    shear = float(np.linalg.norm(along - normal * (along @ normal)))
    told = [f"each slice is {shear:.3g} mm aside of the one before (gantry tilt); the volume is sheared"]
    return order.tolist(), step, told if shear > EVEN * step else []


def _values(file: Path, one: Any) -> np.ndarray:
    """(height, width) as the rescale slope and intercept say."""
    try:
        stored = one.pixel_array
    except Exception as error:  # a missing decoder, missing bytes
        raise InputError(f"{file}: the pixels cannot be decoded ({words(error)})") from None
    slope, intercept = float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))
    return (stored * np.float64(slope) + intercept).astype(np.float32)
