"""Arrays known by their names, as in .npz and plain .mat files."""

from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.errors import InputError
from invreg.io.header import Header, Stored, stored
from invreg.io.lengths import length

NAMES = {
    "projections": ("projections", "proj", "data", "tomo"),
    "sinogram": ("sinogram", "sinograms", "sino", "m"),
    "flats": ("flats", "flat", "white", "data_white"),
    "darks": ("darks", "dark", "data_dark"),
    "angles": ("angles", "theta", "angles_deg", "theta_deg", "angles_rad", "theta_rad"),
    "pixel_size": ("pixel_size", "pixelsize", "pixel_size_mm", "pixel_size_um", "pixel_size_nm"),
    "unit": ("unit", "units"),
    "angle_unit": ("angle_unit", "angle_units"),
    "centre": ("centre", "center", "rotation_centre", "rotation_center"),
    "kind": ("kind",),
}


def header(path: Path, format: str, arrays: dict[str, Any]) -> Header:
    """A Header from arrays by name, (angle, row, detector), or a sinogram (row, angle, detector), or 2-D.

    Raises InputError where no array has the name of projections or of a sinogram, or where one is unusable.
    """
    found = {field: next((n for n in arrays if n.lower() in names), None) for field, names in NAMES.items()}
    which = "projections" if found["projections"] else "sinogram"
    if found[which] is None:
        raise InputError(
            f"{path}: no projections; found {', '.join(arrays) or 'nothing'}, expected 'projections' "
            "(angle, row, detector) or 'sinogram' (row, angle, detector)"
        )
    fields: dict[str, Any] = {"projections": _array(path, found[which], arrays, which == "sinogram")}
    for key in ("flats", "darks"):
        if found[key]:
            fields[key] = _array(path, found[key], arrays, sinogram=False)
    if name := found["angles"]:
        fields["angles"] = _numbers(path, name, arrays)
        fields["angle_unit"] = {"deg": "degrees", "rad": "radians"}.get(name[-3:].lower())
        if found["angle_unit"]:
            fields["angle_unit"] = str(arrays[found["angle_unit"]])
    if name := found["pixel_size"]:
        told = str(arrays[found["unit"]]) if found["unit"] else name.rpartition("_")[2] if name[-1] == "m" else "pixel"
        fields["pixel_size"], fields["unit"] = length(_one(path, name, arrays), told, f"{path}:{name}")
    if name := found["centre"]:
        fields["centre"] = _one(path, name, arrays)
    if name := found["kind"]:
        fields["kind"] = str(arrays[name])
    elif found["flats"] or fields["projections"].dtype.kind in "ui":
        fields["kind"] = "counts"
    fields["sources"] = {field: name for field, name in found.items() if name and field != "sinogram"}
    return Header(name=path.stem, format=format, **fields)


def _array(path: Path, name: str | None, arrays: dict[str, Any], sinogram: bool) -> Stored:
    value = np.asarray(arrays[name or ""])
    if value.dtype.kind not in "buif" or value.ndim not in (2, 3):
        raise InputError(f"{path}: {name} is {value.dtype} of shape {value.shape}; expected 2 or 3 axes of numbers")
    if value.ndim == 2:
        value = value[:, None, :]
    elif sinogram:
        value = value.transpose(1, 0, 2)
    return stored(value, str(name))


def _numbers(path: Path, name: str, arrays: dict[str, Any]) -> np.ndarray:
    try:
        return np.asarray(arrays[name], dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise InputError(f"{path}: {name} is not a list of numbers; found {arrays[name]!r}") from None


def _one(path: Path, name: str, arrays: dict[str, Any]) -> float:
    values = _numbers(path, name, arrays)
    if values.size != 1:
        raise InputError(f"{path}: {name} has {values.size} values; expected one number")
    return float(values[0])
