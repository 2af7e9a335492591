"""MATLAB files, v5 and v7.3: arrays of known names, or the CtData structure of the Helsinki challenges."""

from pathlib import Path
from typing import Any

import numpy as np

from invreg.io import named
from invreg.io.errors import InputError
from invreg.io.header import Header, stored


def header(path: Path) -> Header:
    """Read a v5 file (scipy) whole. Raises InputError where it is damaged."""
    import scipy.io

    try:
        arrays = scipy.io.loadmat(path, simplify_cells=True)
    except Exception as error:  # scipy raises whatever the damaged bytes lead it to
        raise InputError(f"{path}: this MATLAB file cannot be read ({error}); save it again") from None
    return _header(path, "MATLAB v5", {k: v for k, v in arrays.items() if not k.startswith("__")})


def recognise(file: Any) -> bool:
    """True for an HDF5 file that MATLAB wrote (v7.3): its datasets say their class."""
    return any("MATLAB_class" in item.attrs for item in file.values())


def header_hdf5(path: Path, file: Any) -> Header:
    """Read a v7.3 file, in which axes stand in reverse."""
    return _header(path, "MATLAB v7.3 (HDF5)", {k: _value(v) for k, v in file.items() if not k.startswith("#")})


def _value(item: Any) -> Any:
    if hasattr(item, "keys"):
        return {k: _value(v) for k, v in item.items()}
    value = np.asarray(item[()]).T
    if item.attrs.get("MATLAB_class", b"") == b"char":
        return "".join(chr(c) for c in value.ravel())
    return value


def _header(path: Path, format: str, arrays: dict[str, Any]) -> Header:
    """The CtData structure where there is one, else arrays by name."""
    structs = {k: v for k, v in arrays.items() if isinstance(v, dict) and "sinogram" in v and "parameters" in v}
    if not structs:
        return named.header(path, format, {k: v for k, v in arrays.items() if not isinstance(v, dict)})
    if len(structs) > 1:
        raise InputError(f"{path}: several CT structures ({', '.join(structs)}); expected one a file")
    name, ct = next(iter(structs.items()))
    told = ct["parameters"]
    values: dict[str, float] = {}
    for key in ("distanceSourceOrigin", "distanceSourceDetector", "pixelSizePost", "pixelSize"):
        if key in told:
            values[key] = float(np.asarray(told[key], dtype=np.float64).ravel()[0])
    size = values.get("pixelSizePost", values.get("pixelSize"))  # after binning, where the scanner binned
    if "angles" not in told or size is None or not {"distanceSourceOrigin", "distanceSourceDetector"} <= set(values):
        raise InputError(
            f"{path}: {name}.parameters lacks some of angles, distanceSourceOrigin, distanceSourceDetector, "
            f"pixelSize; found {', '.join(told)}"
        )
    sinogram = np.asarray(ct["sinogram"])
    if sinogram.ndim != 2 or sinogram.dtype.kind not in "uif":
        raise InputError(f"{path}: {name}.sinogram has shape {sinogram.shape}; expected (angle, detector)")
    where = f"{name}.parameters"
    return Header(
        name=path.stem,
        format=f"{format}, {name}",
        projections=stored(sinogram[:, None, :], f"{name}.sinogram"),
        angles=np.asarray(told["angles"], dtype=np.float64).ravel(),
        angle_unit="degrees",
        kind="line integrals",
        pixel_size=size,
        unit="mm",
        fan=(values["distanceSourceOrigin"], values["distanceSourceDetector"]),
        sources={"angles": f"{where}.angles", "pixel_size": where, "fan": where, "kind": "the layout's definition"},
    )
