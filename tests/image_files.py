"""Small images in every format that invreg reads, written by other libraries."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

SLICES, HEIGHT, WIDTH = 5, 8, 6
SPACING = 2.5, 0.7, 0.9  # mm, of slices, rows and columns


def volume(seed: int = 0) -> np.ndarray:
    """Stored numbers of 12 bits, (slice, row, column)."""
    return np.random.default_rng(seed).integers(0, 4096, (SLICES, HEIGHT, WIDTH)).astype(np.uint16)


def dicom_slice(path: Path, k: int, values: np.ndarray | None = None, **changed: Any) -> Path:
    """Slice k of an axial CT series that leans by 30 degrees about x; `changed` elements, None leaves one out."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    values = volume()[k] if values is None else values
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"1.2.3.{k + 1}"
    elements = {
        "SeriesInstanceUID": "1.2.3", "SeriesDescription": "head", "Modality": "CT", "PatientName": "Nobody",
        "Rows": values.shape[0], "Columns": values.shape[1], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
        "PixelRepresentation": 0, "PixelSpacing": [SPACING[1], SPACING[2]], "SliceThickness": 2.0,
        "ImageOrientationPatient": [1, 0, 0, 0, round(c, 9), round(s, 9)],
        "ImagePositionPatient": [round(v, 6) for v in (-10, 4 - s * SPACING[0] * k, 7 + c * SPACING[0] * k)],
        "RescaleSlope": 1 + 0.5 * k, "RescaleIntercept": -1024, "PixelData": values.tobytes(),
    } | changed  # fmt: skip
    for key, value in elements.items():
        if value is not None:
            setattr(one, key, value)
    one.save_as(path, enforce_file_format=True)
    return path


def dicom_series(folder: Path) -> Path:
    """The files' names run against the positions, and something else lies beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(SLICES):
        dicom_slice(folder / f"IM{SLICES - k:03}", k)
    (folder / "readme.txt").write_text("not a slice")
    return folder


def hounsfield() -> np.ndarray:
    return volume() * (1 + 0.5 * np.arange(SLICES))[:, None, None] - 1024


def dng(path: Path, values: np.ndarray, pattern: bytes = b"\0\1\1\2", black: int = 64, white: int = 1023) -> Path:
    """A mosaic of 16-bit counts as an uncompressed DNG 1.4 with nothing but what it has to say."""
    tags = [
        (50706, 1, 4, (1, 4, 0, 0), True), (50708, 2, 0, "Test", True), (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, tuple(pattern), True), (50714, 3, 1, black, True), (50717, 3, 1, white, True),
        (50721, 10, 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (50728, 5, 3, (1, 2, 1, 1, 4, 5), True), (50778, 3, 1, 21, True), (271, 2, 0, "Test", True),
        (272, 2, 0, "Test", True),
    ]  # fmt: skip
    tifffile.imwrite(path, values.astype(np.uint16), photometric=32803, extratags=tags, metadata=None)
    return path
