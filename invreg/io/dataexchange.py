"""HDF5 in the DataExchange layout (De Carlo et al., J. Synchrotron Rad. 21, 2014)."""

from pathlib import Path
from typing import Any

from invreg.io.angles import unit_of
from invreg.io.errors import InputError
from invreg.io.hdf5 import in_file, label, scalar, text, vector
from invreg.io.header import Header
from invreg.io.lengths import length

_PIXEL = ("measurement/instrument/detector/actual_pixel_size_x", "measurement/instrument/detector/pixel_size_x")


def recognise(file: Any) -> bool:
    """True for a file with the group /exchange."""
    return "exchange" in file


def header(path: Path, file: Any) -> Header:
    """Read all but the arrays. Raises InputError where /exchange/data is missing or not an array."""
    group = file["exchange"]
    if "data" not in group:
        raise InputError(f"{path}: /exchange/data is missing; found only {', '.join(group) or 'nothing'} there")
    order = _order(group["data"], path)
    fields: dict[str, Any] = {}
    for key, name in (("flats", "data_white"), ("darks", "data_dark")):
        if name in group:
            fields[key] = in_file(path, group[name], order=_order(group[name], path))
    if "theta" in group:
        where = f"{path}:/exchange/theta"
        fields["angles"] = vector(group["theta"], where)
        fields["angle_unit"] = unit_of(label(group["theta"]))
    for key in _PIXEL:
        if key in file:
            where = f"{path}:/{key}"
            value, unit = length(scalar(file[key], where), label(file[key]) or "m", where)
            fields |= {"pixel_size": value, "unit": unit, "sources": {"pixel_size": f"/{key}"}}
            break
    unit_word = (label(group["data"]) or "").lower()
    if "flats" in fields or unit_word == "counts" or group["data"].dtype.kind in "ui":
        fields["kind"] = "counts"
    name = text(file["measurement/sample/name"]) if "measurement/sample/name" in file else path.stem
    data = in_file(path, group["data"], order=order)
    return Header(name=name, format="HDF5 DataExchange", projections=data, **fields)


def _order(dataset: Any, path: Path) -> tuple[int, ...]:
    """Where angle, row and detector stand, by the attribute "axes" ("theta:y:x"), else in this order."""
    words = text(dataset.attrs.get("axes", "")).split(":")
    if len(words) != 3:
        return (0, 1, 2)
    kinds = ["y" if w == "y" else "x" if w == "x" else "theta" for w in words]
    if sorted(kinds) != ["theta", "x", "y"]:
        raise InputError(f"{path}:{dataset.name}: unknown axes {':'.join(words)!r}; expected theta:y:x")
    return tuple(kinds.index(k) for k in ("theta", "y", "x"))
