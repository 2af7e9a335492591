"""One small measurement in every format that invreg reads, and as no format should hold it."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import tifffile

VIEWS, ROWS, BINS = 20, 3, 16
PIXEL_MM = 0.25


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Counts of 16 bits: projections, flats and darks (n, row, detector), angles in degrees."""
    rng = np.random.default_rng(seed)
    return {
        "projections": rng.integers(2000, 9000, (VIEWS, ROWS, BINS)).astype(np.uint16),
        "flats": rng.integers(10000, 12000, (4, ROWS, BINS)).astype(np.uint16),
        "darks": rng.integers(90, 110, (5, ROWS, BINS)).astype(np.uint16),
        "angles": np.arange(VIEWS) * 9.0,
    }


def dataexchange(path: Path, unit: str | None = "degrees", **changed: Any) -> Path:
    """`changed` by the names of `arrays`; None leaves a dataset out."""
    a = arrays() | changed
    names = {"projections": "data", "flats": "data_white", "darks": "data_dark", "angles": "theta"}
    with h5py.File(path, "w") as file:
        group = file.create_group("exchange")
        for key, name in names.items():
            if a[key] is not None:
                group[name] = a[key]
        if unit is not None and "theta" in group:
            group["theta"].attrs["units"] = unit
        file["measurement/instrument/detector/actual_pixel_size_x"] = PIXEL_MM * 1e-3
        file["measurement/instrument/detector/actual_pixel_size_x"].attrs["units"] = "m"
    return path


def nxtomo(path: Path) -> Path:
    """Frames in the order darks, half the flats, projections with a rejected frame, the other flats."""
    a = arrays()
    rejected = np.zeros((1, ROWS, BINS), np.uint16)
    half = VIEWS // 2
    parts = [
        (a["darks"], 2), (a["flats"][:2], 1), (a["projections"][:half], 0),
        (rejected, 3), (a["projections"][half:], 0), (a["flats"][2:], 1),
    ]  # fmt: skip
    keys = np.concatenate([np.full(len(p), k) for p, k in parts])
    turns = np.zeros(len(keys))
    turns[keys == 0] = a["angles"]
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry0000")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"], entry["title"] = "NXtomo", "a sample"
        detector = entry.create_group("instrument/detector")
        detector["data"] = np.concatenate([p for p, _ in parts])
        detector["image_key"] = keys
        detector["x_pixel_size"] = PIXEL_MM
        detector["x_pixel_size"].attrs["units"] = "mm"
        entry["sample/rotation_angle"] = turns
        entry["sample/rotation_angle"].attrs["units"] = "degree"
    return path


def tiff_folder(path: Path) -> Path:
    """proj_1.tif to proj_20.tif (not zero-padded), flats and darks in folders, angles in a text file."""
    a = arrays()
    for folder, key in (("", "projections"), ("flats", "flats"), ("dark_fields", "darks")):
        (path / folder).mkdir(parents=True, exist_ok=True)
        for k, image in enumerate(a[key]):
            tifffile.imwrite(path / folder / f"{'proj' if not folder else 'img'}_{k + 1}.tif", image)
    (path / "angles_deg.txt").write_text("# view angle\n" + "\n".join(f"{k}, {v}" for k, v in enumerate(a["angles"])))
    return path


def tiff_stack(path: Path) -> Path:
    tifffile.imwrite(path, arrays()["projections"])
    path.with_name("angles_deg.txt").write_text("\n".join(map(str, arrays()["angles"])))
    return path


def npz(path: Path) -> Path:
    with path.open("wb") as file:
        np.savez(file, **arrays(), angle_unit="degrees", pixel_size_mm=PIXEL_MM)
    return path


def matlab5(path: Path) -> Path:
    scipy.io.savemat(path, arrays() | {"angle_unit": "degrees", "pixel_size_mm": PIXEL_MM}, appendmat=False)
    return path


def matlab73(path: Path) -> Path:
    """As MATLAB writes it: a block of 512 bytes before the HDF5 signature, axes in reverse, classes as attributes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in (arrays() | {"pixel_size_mm": np.array([[PIXEL_MM]])}).items():
            file[key] = np.atleast_2d(value).T
            file[key].attrs["MATLAB_class"] = np.bytes_(value.dtype.name)
        file["angle_unit"] = np.array([[ord(c)] for c in "degrees"], np.uint16)
        file["angle_unit"].attrs["MATLAB_class"] = np.bytes_("char")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


HTC = {
    "angles": np.arange(VIEWS) * 0.5,
    "distanceSourceOrigin": 410.66,
    "distanceSourceDetector": 553.74,
    "pixelSize": 0.05,
    "pixelSizePost": 0.2,
    "geometricMagnification": 553.74 / 410.66,
}


def htc(path: Path) -> Path:
    """The structure of the Helsinki Tomography Challenge 2022 in a v5 file."""
    sinogram = np.linspace(0, 2, VIEWS * BINS).reshape(VIEWS, BINS)
    struct = {"type": "2D", "sinogram": sinogram, "parameters": HTC}
    scipy.io.savemat(path, {"CtDataLimited": struct}, appendmat=False)
    return path


def htc73(path: Path) -> Path:
    """The same in a v7.3 file."""
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("CtDataFull")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        group["sinogram"] = np.linspace(0, 2, VIEWS * BINS).reshape(VIEWS, BINS).T
        for key, value in HTC.items():
            group[f"parameters/{key}"] = np.atleast_2d(value).T
    return path
