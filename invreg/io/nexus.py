"""NeXus NXtomo files (definition 2.0; also as nxtomo and nabu write them)."""

from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.angles import unit_of
from invreg.io.errors import InputError
from invreg.io.hdf5 import in_file, label, scalar, text, vector
from invreg.io.header import Header
from invreg.io.lengths import length


def recognise(file: Any) -> bool:
    """True for a file with an entry that holds a detector."""
    return bool(_entries(file))


def header(path: Path, file: Any) -> Header:
    """Read all but the arrays. Raises InputError for several entries or missing data, key or angles."""
    entries = _entries(file)
    if len(entries) > 1:
        names = ", ".join(e.name for e in entries)
        raise InputError(f"{path}: holds several scans ({names}); write the one you want to a file of its own")
    entry, detector = entries[0], _detector(entries[0])
    if "data" not in detector:
        raise InputError(f"{path}: {detector.name}/data is missing; expected the projections there")
    key = _first(entry, detector, "image_key", "image_key_control")
    frames = detector["data"].shape[0] if detector["data"].ndim else 0
    kinds = np.zeros(frames) if key is None else vector(key, f"{path}:{key.name}")
    if kinds.size != frames:
        raise InputError(f"{path}: image_key has {kinds.size} entries for {frames} frames; expected one a frame")
    index = {word: np.flatnonzero(kinds == code) for word, code in (("projections", 0), ("flats", 1), ("darks", 2))}
    if index["projections"].size == 0:
        raise InputError(f"{path}: image_key marks no frame as a projection (0); found {np.unique(kinds)}")
    fields: dict[str, Any] = {
        word: in_file(path, detector["data"], frames=which) for word, which in index.items() if which.size
    }
    angle = _first(entry, detector, "sample/rotation_angle", "rotation_angle", "data/rotation_angle")
    if angle is not None:
        where = f"{path}:{angle.name}"
        values = vector(angle, where)
        fields["angles"] = values[index["projections"]] if values.size == frames else values
        fields |= {"angle_unit": unit_of(label(angle)), "sources": {"angles": angle.name}}
    size = _first(entry, detector, "x_pixel_size")
    if size is not None:
        where = f"{path}:{size.name}"
        value, unit = length(scalar(size, where), label(size) or "m", where)
        fields |= {"pixel_size": value, "unit": unit}
    axis = _first(entry, detector, "x_rotation_axis_pixel_position")
    if axis is not None:  # counted from the middle of the detector
        middle = (detector["data"].shape[2] - 1) / 2
        fields["centre"] = middle + scalar(axis, f"{path}:{axis.name}")
    title = text(entry["title"]) if "title" in entry else path.stem
    kind = "counts" if index["flats"].size or detector["data"].dtype.kind in "ui" else None
    return Header(name=title, format="HDF5 NeXus NXtomo", kind=kind, **fields)


def _entries(file: Any) -> list[Any]:
    """Groups of the file that say NXentry and hold a detector with data or a key."""
    groups = [g for g in file.values() if text(g.attrs.get("NX_class", "")) == "NXentry"]
    tomo = [g for g in groups if "definition" in g and text(g["definition"]) == "NXtomo"]
    return [g for g in tomo or groups if _detector(g) is not None]


def _detector(entry: Any) -> Any:
    """The group with the frames, under its usual name or by its class."""
    instrument = entry["instrument"] if "instrument" in entry else None
    if instrument is None:
        return None
    if "detector" in instrument:
        return instrument["detector"]
    found = [g for g in instrument.values() if text(g.attrs.get("NX_class", "")) == "NXdetector"]
    return found[0] if found else None


def _first(entry: Any, detector: Any, *names: str) -> Any:
    """The first dataset of these names in the detector or the entry, or None."""
    return next((group[name] for name in names for group in (detector, entry) if name in group), None)
