"""Our own HDF5 layout, versions 1 and 2; docs/format.md describes it."""

from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.angles import unit_of
from invreg.io.cone import Cone
from invreg.io.errors import InputError
from invreg.io.hdf5 import in_file, label, scalar, text, vector
from invreg.io.header import Header
from invreg.io.lengths import convert, length
from invreg.io.scan import Scan

FORMAT, VERSION = "invreg scan", 2  # 2 where there is a cone, which a reader of version 1 would not see

MEASUREMENT = "invreg measurement"  # the layout of what is no scan, see measurement.py
_CONE = [key for key in Cone.__dataclass_fields__ if key != "vectors"]


def recognise(file: Any) -> bool:
    """True for a file that names our format at its root."""
    return text(file.attrs.get("format", "")) == FORMAT


def header(path: Path, file: Any) -> Header:
    """Read all but the arrays. Raises InputError for a newer version or a missing field."""
    version = int(file.attrs.get("version", 0))
    if not 1 <= version <= VERSION:
        raise InputError(f"{path}: version {version} of the layout; this program reads versions 1 to {VERSION}")
    if "projections" not in file:
        raise InputError(f"{path}: /projections is missing; found only {', '.join(file) or 'nothing'}")
    fields: dict[str, Any] = {"sources": {}}
    if "sources" in file:
        fields["sources"] = {key: text(word) for key, word in file["sources"].attrs.items()}
    for key in ("projections", "flats", "darks", "mask"):
        if key in file:
            fields[key] = in_file(path, file[key])
    if "angles" in file:
        where = f"{path}:/angles"
        fields |= {"angles": vector(file["angles"], where), "angle_unit": unit_of(label(file["angles"]))}
    lengths = {
        key: length(scalar(file[key], f"{path}:/{key}"), label(file[key]) or "pixel", f"{path}:/{key}")
        for key in ("pixel_size", "source_origin", "source_detector")
        if key in file
    }
    if "pixel_size" in lengths:
        fields |= dict(zip(("pixel_size", "unit"), lengths["pixel_size"], strict=True))
    if "source_origin" in lengths and "source_detector" in lengths:
        unit = fields.get("unit", "pixel")
        try:
            near, far = (convert(*lengths[k], unit) for k in ("source_origin", "source_detector"))
        except KeyError:
            raise InputError(f"{path}: lengths in pixels and in millimetres cannot be mixed; found both") from None
        fields["fan"] = (near, far)
    if "centre" in file:
        fields["centre"] = scalar(file["centre"], f"{path}:/centre")
    if "cone" in file:
        fields["cone"] = _cone(file["cone"], f"{path}:/cone")
    kind = text(file["projections"].attrs.get("kind", "")) or None
    notes = tuple(text(line) for line in np.atleast_1d(file.attrs.get("warnings", ())))
    name = text(file.attrs.get("name", path.stem))
    return Header(name=name, format=f"HDF5 {FORMAT}, version {version}", kind=kind, notes=notes, **fields)


def save(file: Any, scan: Scan) -> None:
    """Write a Scan into an open, empty h5py.File."""
    file.attrs.update({"format": FORMAT, "version": 1 if scan.cone is None else 2, "name": scan.name})
    if scan.warnings:
        file.attrs["warnings"] = list(scan.warnings)
    for key in ("projections", "flats", "darks", "mask"):
        value = getattr(scan, key)
        if value is not None:
            _array(file, key, value, scan)
    file["angles"] = scan.angles
    file["pixel_size"] = scan.pixel_size
    if scan.centre is not None:
        file["centre"] = scan.centre
    for key, value in zip(("source_origin", "source_detector"), scan.fan or (), strict=False):
        file[key] = value
    units = {"angles": "radians", "centre": "detector bins"}
    for key in file:
        if file[key].ndim < 3:
            file[key].attrs["units"] = units.get(key, scan.unit)
    if scan.cone is not None:
        cone = file.create_group("cone")
        cone.attrs.update({key: getattr(scan.cone, key) for key in _CONE})
        cone.attrs.update({"units": scan.unit, "units of roll and tilt": "radians"})
        if scan.cone.vectors is not None:
            cone["vectors"] = scan.cone.vectors
    file.create_group("sources").attrs.update(scan.sources)


def _cone(group: Any, where: str) -> Cone:
    """Raises InputError where a number is missing."""
    if missing := [key for key in _CONE if key not in group.attrs]:
        raise InputError(f"{where}: {', '.join(missing)} missing; expected {', '.join(_CONE)} as attributes")
    vectors = np.asarray(group["vectors"][()], dtype=np.float64) if "vectors" in group else None
    return Cone(**{key: float(group.attrs[key]) for key in _CONE}, vectors=vectors)


def _array(file: Any, key: str, value: np.ndarray, scan: Scan) -> None:
    """One (n, row, detector) array, a chunk a view; whole counts are kept as 16-bit integers without loss."""
    if key != "mask" and scan.kind == "counts" and value.min() >= 0 and value.max() < 2**16:
        whole = value.astype(np.uint16)
        value = whole if np.array_equal(whole, value) else value
    options = {"chunks": (1, *value.shape[1:]), "compression": "gzip", "shuffle": True}
    dataset = file.create_dataset(key, data=value, **options)
    dataset.attrs["axes"] = "angle:row:detector" if key in ("projections", "mask") else "frame:row:detector"
    if key == "projections":
        dataset.attrs["kind"] = scan.kind
    if key != "mask":
        dataset.attrs["units"] = "counts" if key != "projections" or scan.kind == "counts" else "1"
