"""What is in a measurement file: for people to read, as data, and as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import prepare
from invreg.io import Header, InputError, header, images, measurement, tiff_folder, tiff_image
from invreg.plan import words
from invreg.progress import Clock
from invreg.report.figures import look

if TYPE_CHECKING:  # pydantic comes with it
    from invreg.recipes.config import Config


def image_info(path: Path) -> dict[str, Any] | None:
    """What is in an image file or a measurement that is no scan, None for a scan. Raises InputError."""
    if measurement.recognise(path):
        return _measured(measurement.read_measurement(path))
    read = images.reader(path)
    if read is None and path.is_file() and tiff_folder.is_tiff(path) and tiff_image.single(path):
        read = tiff_image.read
    if read is None:
        return None
    image = read(path)
    good = image.values[np.isfinite(image.values)]
    return {
        "file": str(path),
        "format": image.format,
        "shape": list(image.values.shape),
        "axes": image.axes,
        "quantity": image.quantity,
        "values": [float(good.min()), float(good.max())] if good.size else None,
        "spacing": image.spacing,
        "unit": image.unit,
        "kept": sorted(image.metadata),
        "notes": list(image.warnings),
    }


def _measured(found: measurement.Measurement) -> dict[str, Any]:
    operator = f"{found.operator} of {' x '.join(map(str, found.shape))} pixels"
    parts = (*found.arrays, *(["truth"] if found.truth is not None else []))
    return {
        "file": found.name,
        "format": "HDF5 invreg measurement",
        "shape": list(found.values.shape),
        "axes": f"through {operator}",
        "quantity": "",
        "values": [float(found.values.min()), float(found.values.max())],
        "spacing": None,
        "unit": "",
        "kept": [*parts, *_pairs(found.parameters)],
        "notes": [f"noise: {', '.join([str(found.noise['name']), *_pairs(found.noise)])}"],
    }


def _pairs(parameters: dict[str, Any]) -> list[str]:
    """All but the name and what is not there."""
    words = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in parameters.items()}
    return [f"{key}={value}" for key, value in words.items() if key != "name" and value not in (None, "")]


def image_told(found: dict[str, Any]) -> str:
    """The same for people to read."""
    low, high = found["values"] or (np.nan, np.nan)
    spacing = " x ".join(f"{x:g}" for x in found["spacing"] or ()) or "not told"
    lines = [
        ("file", f"{found['file']}, {found['format']}"),
        ("shape", f"{' x '.join(map(str, found['shape']))} ({found['axes']})"),
        ("values", f"{low:.4g} to {high:.4g} {found['quantity']}"),
        ("pixel size", f"{spacing} {found['unit']}" if found["spacing"] else spacing),
        ("kept", ", ".join(found["kept"]) or "nothing else"),
    ]
    lines += [("note", note) for note in found["notes"]]
    return "\n".join(f"{name:11} {text}" for name, text in lines)


def info(config: "Config") -> dict[str, Any]:
    """All that is known of a measurement from its header and a few rows.

    `problem` is the sentence a reconstruction with these settings would be refused with, or None. Raises
    InputError where not even the header can be read.
    """
    assert config.data.file is not None
    told = header(config.data.file)
    shape = told.projections.shape
    found: dict[str, Any] = {
        "file": config.data.file,
        "format": told.format,
        "shape": list(shape),
        "axes": ["angle", "row", "detector"],
        "stored as": str(told.projections.dtype),
        "bytes": int(np.prod(shape)) * told.projections.dtype.itemsize,
        "kind": told.kind,
        "flats": None if told.flats is None else told.flats.shape[0],
        "darks": None if told.darks is None else told.darks.shape[0],
        "pixel size": told.pixel_size,
        "unit": told.unit,
        "beam": _beam(told),
        "missing": list(told.missing),
        "problem": None,
    }
    try:
        seen = prepare.survey(config, Clock())
    except InputError as error:
        return found | {"problem": str(error)}
    raw, degrees = seen.raw, np.degrees(seen.geometry.angles)
    return found | {
        "kind": raw.kind,
        "rows looked at": seen.looked.tolist(),
        "values": [float(np.nanmin(raw.projections)), float(np.nanmax(raw.projections))],
        "line integrals": [float(seen.scan.projections.min()), float(seen.scan.projections.max())],
        "angles": [float(degrees.min()), float(degrees.max())],
        "angles from": raw.sources["angles"],
        "rotation centre": seen.axis,
        "centre from": seen.scan.sources["centre"],
        "noise": seen.noise,
        "notes": list(seen.warnings),
    }


def told(found: dict[str, Any]) -> str:
    """The same for people to read."""
    n, rows, bins = found["shape"]
    frames = [f"{found[key] or 'no'} {key}" for key in ("flats", "darks")]
    lines = [
        ("file", f"{found['file']}, {found['format']}"),
        ("shape", f"{n} angles x {rows} rows x {bins} detector bins, {found['stored as']}, {words(found['bytes'])}"),
        ("values", found["kind"] or "of a kind the file does not tell"),
        ("frames", ", ".join(frames)),
        ("pixel size", "not told" if found["pixel size"] is None else f"{found['pixel size']:g} {found['unit']}"),
        ("beam", found["beam"]),
    ]
    if found["problem"] is None:
        low, high = found["values"]
        lines[2] = "values", f"{found['kind']}, {low:.4g} to {high:.4g}"
        low, high = found["line integrals"]
        lines += [
            ("corrected", f"line integrals, {low:.4g} to {high:.4g}"),
            ("angles", f"{found['angles'][0]:.4g} to {found['angles'][1]:.4g} degrees ({found['angles from']})"),
            ("centre", f"bin {found['rotation centre']:.2f} of 0 to {bins - 1} ({found['centre from']})"),
            ("noise", found["noise"]),
        ]
    lines += [("missing", ", ".join(found["missing"]) or "nothing")]
    lines += [("note", note) for note in found.get("notes", [])]
    return "\n".join(f"{name:11} {text}" for name, text in lines)


def _beam(told: Header) -> str:
    """parallel, fan or cone, and from where."""
    if told.cone is None and told.fan is None:
        return "parallel"
    name, (near, far) = (
        ("fan", told.fan) if told.fan else ("cone", (told.cone.source_origin, told.cone.source_detector))
    )
    return f"{name}, source {near:g} from the axis and {far:g} {told.unit or 'pixel'} from the detector"


def plot(config: "Config", path: Path) -> None:
    """Draw one row's measurement as stored and corrected, a projection, and the angles, as a PNG file."""
    from invreg.io.writing import replaced

    seen = prepare.survey(config, Clock())
    k = seen.shown
    row = seen.looked[k]
    panels = [
        (f"row {row}, {seen.raw.kind}", seen.raw.projections[:, k]),
        (f"row {row}, line integrals", seen.scan.projections[:, k]),
    ]
    with replaced(path) as part:
        side = seen.A.pixel_size * seen.A.domain.shape[0]
        look(part, panels, seen.geometry, side, f"{seen.path.name}: {seen.raw.projections.shape[0]} views")
