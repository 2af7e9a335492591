"""DICOM: one image, or the folder of a series as a volume."""

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.errors import InputError, words
from invreg.io.image import Image
from invreg.io.optional import needed


@dataclass(frozen=True, eq=False)
class _Slice:
    """What counts of one file; lists are empty where it does not say."""

    file: Path
    dataset: Any
    series: str
    description: str
    modality: str
    shape: tuple[int, int]
    position: list[float]
    orientation: list[float]
    spacing: list[float]
    thickness: float
    slope: float
    intercept: float | None
    rescaled: str
    bits: int


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

    Values are rescaled as the files say, to Hounsfield units for CT. metadata: modality, bits, position (of the first
    pixel) and orientation (directions of a row and of a column) in the patient's frame in mm; nothing that names the
    patient. Raises InputError for mixed series, missing slices, colour, frames in one file, and objects without an
    image.
    """
    with needed("pydicom", path, "DICOM"):
        import pydicom
    volume = path.is_dir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break the standard but that nobody needs here
        slices = [_opened(pydicom, file) for file in (files(path) if volume else [path])]
        _alike(path, slices)
        slices, distance, notes = _sorted(path, slices) if volume else (slices, 1.0, [])
        values = [_values(one) for one in slices]
    first = slices[0]
    if first.modality == "CT" and first.intercept is None:
        notes.append("the file has no rescale intercept; its values are taken as Hounsfield units as they are")
    spacing = ((distance, *first.spacing) if volume else tuple(first.spacing)) if first.spacing else None
    return Image(
        np.stack(values) if volume else values[0],
        "depth:height:width" if volume else "height:width",
        "HU" if first.modality == "CT" else first.rescaled,
        spacing,
        "pixel" if spacing is None else "mm",
        {
            "modality": first.modality,
            "position": first.position,
            "orientation": first.orientation,
            "bits": first.bits,
        },
        tuple(notes),
        path.stem,
        f"DICOM, {len(slices)} files" if volume else "DICOM",
    )


def _opened(pydicom: Any, file: Path) -> _Slice:
    try:
        found = pydicom.dcmread(file)
        kind = str(getattr(found.get("SOPClassUID"), "name", "unknown"))
        whole = "Rows" in found and "PixelData" in found
        frames, samples = int(found.get("NumberOfFrames") or 1), int(found.get("SamplesPerPixel") or 1)
        spacing = found.get("PixelSpacing") or found.get("ImagerPixelSpacing") or []
        intercept = found.get("RescaleIntercept")
        one = _Slice(
            file=file,
            dataset=found,
            series=str(found.get("SeriesInstanceUID", "")),
            description=str(found.get("SeriesDescription", "no name")),
            modality=str(found.get("Modality", "")),
            shape=(int(found.get("Rows") or 0), int(found.get("Columns") or 0)),
            position=[float(x) for x in found.get("ImagePositionPatient") or []],
            orientation=[float(x) for x in found.get("ImageOrientationPatient") or []],
            spacing=[float(x) for x in spacing],
            thickness=float(found.get("SliceThickness") or 1.0),
            slope=float(found.get("RescaleSlope", 1)),
            intercept=None if intercept is None else float(intercept),
            rescaled=str(found.get("RescaleType", "")),
            bits=int(found.get("BitsStored") or 16),
        )
    except Exception as error:  # pydicom raises whatever the damaged bytes lead it to, some of it when asked for values
        raise InputError(f"{file}: this DICOM file cannot be read ({words(error)}); copy it again") from None
    if not whole:
        raise InputError(f"{file}: a DICOM object without an image ({kind}); keep only images in the folder")
    if frames > 1:
        raise InputError(f"{file}: many frames in one file ({kind}); convert it to one file a slice")
    if samples != 1:
        raise InputError(f"{file}: a colour image; expected one value a pixel")
    return one


def _alike(path: Path, slices: list[_Slice]) -> None:
    """Raise InputError unless all files are of one series, shape, orientation and pixel spacing."""
    series = Counter(s.series for s in slices)
    if len(series) > 1:
        names = {s.series: s.description for s in slices}
        told = ", ".join(f"{names[uid]} ({count} files)" for uid, count in series.most_common())
        raise InputError(f"{path}: {len(series)} series in one folder, {told}; put each into a folder of its own")
    first = slices[0]
    for one in slices:
        for key in ("shape", "orientation", "spacing"):
            if getattr(one, key) != getattr(first, key):
                told = f"{key} is {getattr(one, key)}, in {first.file.name} {getattr(first, key)}"
                raise InputError(f"{one.file}: {told}; slices of one volume must agree, put the others elsewhere")


def _sorted(path: Path, slices: list[_Slice]) -> tuple[list[_Slice], float, list[str]]:
    """In order along the normal, distance of slices in mm, notes. Raises InputError for gaps and doubles."""
    for one in slices:
        if len(one.position) != 3 or len(one.orientation) != 6:
            raise InputError(f"{one.file}: no position and orientation; slices without them cannot be put in order")
    if len(slices) == 1:
        return slices, slices[0].thickness, ["a single slice; its thickness is taken as its distance"]
    normal = np.cross(*np.reshape(slices[0].orientation, (2, 3)))
    slices = sorted(slices, key=lambda s: float(s.position @ normal))
    places = np.array([s.position for s in slices])
    steps = np.diff(places @ normal)
    step = float(np.median(steps))
    k = int(np.argmax(np.abs(steps - step)))
    if steps.min() < 1e-3:
        a, b = (slices[int(steps.argmin()) + i].file.name for i in (0, 1))
        raise InputError(f"{path}: {a} and {b} lie in the same place; a volume has one slice a place")
    if abs(steps[k] - step) > EVEN * step:
        missing = round(steps[k] / step) - 1
        count = f"{missing} slices are missing" if missing > 0 else "slices lie unevenly"
        a, b = (slices[k + i].file.name for i in (0, 1))
        raise InputError(f"{path}: {count}: {a} and {b} are {steps[k]:.4g} mm apart, others {step:.4g} mm")
    along = (places[-1] - places[0]) / (len(slices) - 1)
    shear = float(np.linalg.norm(along - normal * (along @ normal)))
    told = [f"each slice is {shear:.3g} mm aside of the one before (gantry tilt); the volume is sheared"]
    return slices, step, told if shear > EVEN * step else []


def _values(one: _Slice) -> np.ndarray:
    """(height, width) as the rescale slope and intercept say."""
    try:
        stored = one.dataset.pixel_array
    except Exception as error:  # a missing decoder, missing bytes
        raise InputError(f"{one.file}: the pixels cannot be decoded ({words(error)})") from None
    return (stored * np.float64(one.slope) + (one.intercept or 0.0)).astype(np.float32)
