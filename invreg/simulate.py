"""From an image to a measurement file: the operator, its noise, and what a reader needs to know of both."""

import difflib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invreg import __version__
from invreg.io import Image, InputError, Measurement, Scan, native, read_image, write_measurement
from invreg.io.lengths import length
from invreg.io.measurement import describe, kernel_of, light
from invreg.io.writing import check_folder, replaced
from invreg.operators import INSTRUMENTS, FanBeam2D, Parallel2D, Satellite, XRay, psf
from invreg.operators.mask import random_mask
from invreg.plan import free_memory, words
from invreg.simulations import NOISES, OPERATORS

FRAMES, DARK = 10, 100.0  # flats and darks of a simulated scan, and the level of the darks in counts
SCAN_BYTES = 40  # held at once for each value of the scan, and again for each ray of one slice
PEAK = 3.0  # largest line integral of an image that is not in Hounsfield units

Parameters = dict[str, Any]


def simulate(
    image: str | Path,
    operator: list[str],
    noise: list[str],
    out: str | Path,
    *,
    seed: int = 0,
    rows: str | None = None,
    keep_truth: bool = False,
    force: bool = False,
) -> Measurement | Scan:
    """Measure an image and write the file `out`; what was written.

    operator, noise: a name and "key=value" words, as `simulations` lists them. rows: the slices "a:b" of a volume.
    CT becomes a scan that every command takes, the others a measurement for `io.read_measurement`. Raises InputError.
    """
    out = Path(out)
    if out.suffix.lower() not in (".h5", ".hdf5"):
        raise InputError(f"{out}: a measurement is written as HDF5; choose an --out that ends in .h5 or .hdf5")
    if out.exists() and not force:
        raise InputError(f"{out}: exists already; use --force to replace it or choose another --out")
    check_folder(out)
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed {seed}; expected a whole number from 0 to 2^63 - 1")
    name, parameters = chosen("operator", OPERATORS, operator)
    kind, levels = chosen("noise", NOISES, noise)
    if kind == "gaussian" and levels["std"] is not None and any(w.startswith("percent=") for w in noise):
        raise InputError("--noise gaussian: both std and percent are given; expected one of them")
    source = _cut(read_image(image), rows)
    values = np.asarray(light(source))
    if not np.isfinite(values).all():
        raise InputError(f"{image}: {source.warnings[-1]}; an image must be finite to be measured: mend it")
    generator = torch.Generator().manual_seed(seed)
    sources = {"image": str(image), "seed": seed, "program": f"invreg {__version__}"}
    make = _scan if name in ("parallel", "fan") else _measurement
    try:
        made, scan = make(source, values, name, parameters, (kind, levels), generator)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"--operator {name}: {' '.join(str(error).split())}") from None
    made = replace(made, sources=sources | made.sources, truth=made.truth if keep_truth else None)
    if scan is None:
        write_measurement(out, made)
        return made
    _write_scan(out, scan, made)
    return scan


def chosen(word: str, table: dict[str, tuple[str, dict[str, tuple[object, str]]]], told: list[str]) -> tuple[str, Any]:
    """The name and all its parameters from words of the command line. Raises InputError."""
    name, *pairs = told
    if name not in table:
        near = difflib.get_close_matches(name, table, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(table)}"
        raise InputError(f"--{word} {name}: no such {word}; {hint}")
    known = table[name][1]
    found = {key: default for key, (default, _) in known.items()}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known) or 'none'}"
            raise InputError(f"--{word} {name}: no parameter {key}; {hint}")
        found[key] = _value(f"--{word} {name} {key}", known[key][0], value)
    return name, found


def _value(where: str, default: object, value: str) -> Any:
    """A word as the type of the default, a number where that is None. Raises InputError."""
    if isinstance(default, str):
        return value
    try:
        number = float(value)
    except ValueError:
        raise InputError(f"{where}: takes a number; got {value!r}") from None
    if not np.isfinite(number) or (isinstance(default, int) and number != int(number)):
        raise InputError(f"{where}: takes a {'whole' if isinstance(default, int) else 'finite'} number; got {value!r}")
    return int(number) if isinstance(default, int) else number


def _cut(image: Image, rows: str | None) -> Image:
    """Some slices of a volume."""
    if rows is None:
        return image
    count = image.values.shape[0] if image.axes.startswith("depth:") else 1
    begin, colon, end = rows.partition(":")
    numbers = [int(w) if w.isdigit() else None if not w else -1 for w in (begin, end)]
    first, last = numbers[0] or 0, count if numbers[1] is None else numbers[1]
    if not colon or -1 in numbers or not 0 <= first < last <= count:
        raise InputError(f"{image.name}: --rows {rows}; expected A:B within 0:{count}")
    return image if count == 1 else replace(image, values=image.values[first:last])


# CT


def _scan(
    image: Image,
    values: np.ndarray,
    name: str,
    p: Parameters,
    noise: tuple[str, Parameters],
    generator: torch.Generator,
) -> tuple[Measurement, Scan]:
    """Line integrals of each slice with their noise, as a scan."""
    if p["values"] not in ("", "HU"):
        raise InputError(f"--operator {name} values: {p['values']!r}; expected HU, or nothing")
    x, pixel, unit, notes = _attenuation(image, values, p)
    if p["views"] < 2:
        raise InputError(f"--operator {name} views: {p['views']}; a scan takes two or more")
    if p["arc"] == 0:
        raise InputError(f"--operator {name} arc: 0 degrees; the views of a scan are spread over more")
    if abs(p["arc"]) < 7:
        notes.append(f"the views span {p['arc']:g} degrees, which is little; arc and start are degrees, not radians")
    A = _rays(name, p, x.shape, pixel, unit)
    exact = A(torch.from_numpy(x))
    if "HU" not in (image.quantity, p["values"]):
        peak = PEAK if p["peak"] is None else float(p["peak"])
        top = float(exact.max())
        if not (top > 0 and peak > 0):
            raise InputError(f"{image.name}: the largest line integral is {top:g}, peak is {peak:g}; expected above 0")
        exact, x = exact * (peak / top), x * np.float32(peak / top)
        notes.append(f"the image was multiplied by {peak / top:.4g}, so that the largest line integral is {peak:g}")
    g = A.geometry
    assert isinstance(g, Parallel2D | FanBeam2D)
    parts, told = _noisy_scan(exact.transpose(0, 1), *noise, generator)
    dark = float((parts["projections"] == 0).mean()) if parts["kind"] == "counts" else 0.0
    if dark > 0.01:
        notes.append(f"{dark:.0%} of the bins counted nothing, so that little can be said of them: take more photons")
    scan = Scan(
        angles=g.angles,
        pixel_size=g.pitch,
        unit=unit,
        centre=g.centre,
        fan=None if isinstance(g, Parallel2D) else (g.source_origin, g.source_detector),
        sources={key: "simulated" for key in ("projections", "angles", "centre", "pixel_size")},
        warnings=tuple(notes),
        name=image.name,
        **parts,
    )
    made = Measurement(
        np.empty(0), name, x.shape[-2:], p, noise=told, truth=x, sources={"pixel_size": pixel, "unit": unit}, made=A
    )
    return made, scan


def _attenuation(image: Image, values: np.ndarray, p: Parameters) -> tuple[np.ndarray, float, str, list[str]]:
    """(row, h, w) per unit of length, pixel, unit, notes. Raises InputError for oblong pixels and negative values."""
    notes = []
    if "channel" in image.axes and values.ndim == 3:
        values, notes = values.mean(0), ["the channels were averaged"]
    x = values.reshape(-1, *values.shape[-2:])
    pixel, unit = 1.0, "pixel"
    if image.spacing is not None and image.unit != "degree":
        height, width = image.spacing[-2:]
        if abs(height - width) > 1e-3 * width:
            raise InputError(
                f"{image.name}: pixels of {height:g} x {width:g} {image.unit}; expected square ones: resample"
            )
        pixel, unit = length(width, image.unit, image.name)
    if "HU" in (image.quantity, p["values"]):
        if unit != "mm":
            raise InputError(f"{image.name}: Hounsfield units with pixels in {unit}; expected mm")
        x = np.maximum(p["water"] * (1 + x / 1000), 0)
    elif x.min() < 0:
        hint = "expected an attenuation, 0 or more; say values=HU for Hounsfield units"
        raise InputError(f"{image.name}: values down to {x.min():g}; {hint}")
    return np.ascontiguousarray(x, np.float32), pixel, unit, notes


def _rays(name: str, p: Parameters, shape: tuple[int, ...], pixel: float, unit: str) -> XRay:
    """The ray transform, wide enough for the whole image unless told otherwise. Raises InputError."""
    for key in ("pitch", "detectors", "source_origin", "source_detector"):
        if p.get(key) is not None and not p[key] > 0:
            raise InputError(f"--operator {name} {key}: {p[key]:g}; expected more than 0")
    if p["detectors"] is not None and p["detectors"] != int(p["detectors"]):
        raise InputError(f"--operator {name} detectors: {p['detectors']:g}; expected a whole number")
    rows, *plane = shape
    diagonal = float(np.hypot(*plane)) * pixel
    if name == "parallel":
        pitch = float(p["pitch"] or pixel)
        detectors = int(p["detectors"] or np.ceil(diagonal / pitch) + 2)
        angles = _angles(name, p, rows, detectors)
        return XRay(Parallel2D(angles, detectors, pitch, p["centre"], unit), tuple(plane), pixel)
    near, far = float(p["source_origin"] or 2 * diagonal), float(p["source_detector"] or 3 * diagonal)
    pitch = float(p["pitch"] or pixel * far / near)
    if p["detectors"] is None and near <= diagonal / 2:
        raise InputError(f"--operator fan source_origin: {near:g} {unit}; the source is inside the image's circle")
    reach = far * np.tan(np.arcsin(min(diagonal / 2 / near, 0.99)))
    detectors = int(p["detectors"] or 2 * np.ceil(reach / pitch) + 2)
    angles = _angles(name, p, rows, detectors)
    return XRay(FanBeam2D(angles, detectors, pitch, p["centre"], unit, near, far), tuple(plane), pixel)


def _angles(name: str, p: Parameters, rows: int, detectors: int) -> np.ndarray:
    """Radians of each view. Raises InputError where the scan would not fit into the memory."""
    needed, free = SCAN_BYTES * p["views"] * detectors * (rows + 1), free_memory("cpu")
    if needed > free:
        raise InputError(
            f"--operator {name}: {p['views']} views of {rows} x {detectors} bins take {words(needed)} and "
            f"{words(free)} are free; take fewer views, detectors or --rows"
        )
    return np.asarray(np.deg2rad(p["start"] + p["arc"] * np.arange(p["views"]) / p["views"]))


def _noisy_scan(
    exact: Tensor, kind: str, levels: Parameters, generator: torch.Generator
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of a Scan from line integrals (angle, row, detector), and the noise as a measurement describes it."""
    if kind not in ("poisson", "poisson-gaussian"):
        noisy, told = add_noise(exact, kind, levels, generator)
        return {"projections": noisy.numpy(), "kind": "line integrals"}, told
    photons, read = _photons(levels)
    dark = max(DARK, 10 * read) if read else 0.0

    def counted(mean: Tensor) -> Any:
        counts = torch.poisson(mean.double(), generator)
        if read:
            counts = counts + dark + read * torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        return counts.round().clamp(min=0).numpy()

    frame = torch.full((FRAMES, *exact.shape[1:]), photons)
    parts = {"projections": counted(photons * torch.exp(-exact.double())), "kind": "counts", "flats": counted(frame)}
    if read:
        parts["darks"] = counted(0 * frame)
    return parts, {"name": kind, "value": 1.0, "photons": photons, "std": read}


def _write_scan(out: Path, scan: Scan, made: Measurement) -> None:
    """The scan in its own layout with the groups of a measurement, and the truth."""
    import h5py

    with replaced(out) as part, h5py.File(part, "w") as file:
        native.save(file, scan)
        describe(file, made)
        if made.truth is not None:
            truth = file.create_dataset("truth", data=made.truth, compression="gzip", shuffle=True)
            pixel, unit = made.sources["pixel_size"], made.sources["unit"]
            truth.attrs.update({"units": f"1/{unit}", "pixel_size": pixel, "pixel_size_units": unit})


# everything else


def _measurement(
    image: Image,
    values: np.ndarray,
    name: str,
    p: Parameters,
    noise: tuple[str, Parameters],
    generator: torch.Generator,
) -> tuple[Measurement, None]:
    """Values through an operator of `io.models`, with their noise."""
    if name == "satellite":
        return _satellite(image, values, p, noise, generator), None
    arrays: dict[str, np.ndarray] = {}
    if name == "blur":
        arrays["kernel"] = _kernel(p, values.shape[-2:])
    elif name == "inpainting":
        arrays["mask"] = _mask(p, values.shape[-2:], generator)
    made = Measurement(
        np.empty(0), name, values.shape[-2:], json.loads(json.dumps(p)), arrays, truth=values, name=image.name
    )
    exact = made.A(torch.from_numpy(np.ascontiguousarray(values)))
    noisy, told = add_noise(exact, *noise, generator)
    if name == "inpainting":
        noisy = made.A(noisy)  # what is lost has no noise
    return replace(made, values=noisy.numpy(), noise=told), None


def _satellite(
    image: Image, values: np.ndarray, p: Parameters, noise: tuple[str, Parameters], generator: torch.Generator
) -> Measurement:
    """The measured radiance of a scene whose bands are the channels, or all the grey image."""
    satellite = Satellite(p["instrument"], values.shape[-2:], p["product"], factor=p["factor"])
    bands = satellite.A.domain.shape[0] if len(satellite.A.domain.shape) == 3 else 1
    flat = values.reshape(-1, *values.shape[-2:])
    if bands == 1:
        flat = flat.mean(0, keepdims=True)
    if len(flat) not in (1, bands):
        raise InputError(f"{image.name}: {len(flat)} channels; {p['instrument']} takes {bands}, or one for all (grey)")
    one = INSTRUMENTS[p["instrument"]]
    seen = [band.saturation for band in (one.bands if p["product"] != "panchromatic" else [one.panchromatic])]
    measured = [one.panchromatic.saturation] * one.ratio**2 + seen if p["product"] == "pair" else seen
    top = flat.max((1, 2), keepdims=True)
    if not p["peak"] > 0:
        raise InputError(f"--operator satellite peak: {p['peak']:g}; expected more than 0")
    if flat.min() < 0 or not (top > 0).all():
        raise InputError(
            f"{image.name}: values from {flat.min():g} to {flat.max():g}; expected light, 0 or more, not all 0"
        )
    scene = (flat / top * p["peak"] * np.reshape(seen, (-1, 1, 1))).astype(np.float32)
    scene = scene if len(satellite.A.domain.shape) == 3 else scene[0]
    exact = satellite.A(torch.from_numpy(scene))
    kind, levels = noise
    if kind == "instrument":
        noisy = satellite.radiometry.radiance(satellite.radiometry.simulate(exact, generator))
        a, b = (t.flatten().tolist() for t in satellite.radiometry.noise())
        told: dict[str, Any] = {"name": kind, "a": a, "b": b, "saturation": measured}
    else:
        noisy, told = add_noise(exact, kind, levels, generator)
    return Measurement(
        noisy.numpy(), "satellite", scene.shape[-2:], p, noise=told, truth=scene, name=image.name,
        sources={"spacing of the truth, m": satellite.spacing},
    )  # fmt: skip


def _kernel(p: Parameters, shape: tuple[int, ...]) -> np.ndarray:
    """The point spread function. Raises InputError where it reaches farther than the image is large."""
    for kind, key, times in (("gaussian", "sigma", 4.0), ("disk", "radius", 1.0), ("motion", "length", 0.5)):
        if p["psf"] == kind and times * p[key] > max(shape):
            told = f"{p[key]:g} pixels; the kernel would reach {times * p[key]:g} pixels from its middle"
            raise InputError(f"--operator blur {key}: {told}, in an image of {shape[0]} x {shape[1]}; take less")
    shapes = {
        "gaussian": lambda: psf.gaussian(p["sigma"]),
        "disk": lambda: psf.disk(p["radius"]),
        "motion": lambda: psf.motion(p["length"], float(np.deg2rad(p["angle"]))),
    }
    if p["psf"] in shapes:
        return np.asarray(shapes[p["psf"]]())
    if not Path(p["psf"]).exists():
        raise InputError(f"--operator blur psf: {p['psf']!r} is neither {', '.join(shapes)} nor a file")
    return kernel_of(Path(p["psf"]))


def _mask(p: Parameters, shape: tuple[int, ...], generator: torch.Generator) -> np.ndarray:
    if not p["mask"]:
        return random_mask(tuple(shape), p["keep"], generator).numpy()
    mask = read_image(str(p["mask"])).values
    mask = mask[0] if mask.ndim == 3 else mask
    if mask.shape != tuple(shape):
        raise InputError(f"{p['mask']}: a mask of shape {mask.shape} for an image of {tuple(shape)}; they must agree")
    return np.asarray(mask > 0)


def add_noise(
    exact: Tensor, kind: str, levels: Parameters, generator: torch.Generator
) -> tuple[Tensor, dict[str, float | str]]:
    """The measurement with noise, and the noise: `std`, and `value`, that of one photon. Raises InputError."""
    if kind == "none":
        return exact, {"name": kind}
    if kind == "instrument":
        raise InputError("--noise instrument: only --operator satellite has an instrument; take another noise")
    if kind == "gaussian":
        std = levels["std"]
        if std is None:
            if not levels["percent"] >= 0:
                raise InputError(f"--noise gaussian percent: {levels['percent']:g}; expected 0 or more")
            std = levels["percent"] / 100 * float(exact.double().square().mean().sqrt())
        if not std >= 0:
            raise InputError(f"--noise gaussian std: {std:g}; expected 0 or more")
        normal = torch.randn(exact.shape, generator=generator, dtype=torch.float64)
        return (exact + std * normal).to(exact.dtype), {"name": kind, "std": float(std)}
    photons, read = _photons(levels)
    top = float(exact.max())
    if top <= 0 or float(exact.min()) < -1e-6 * top:
        raise InputError(f"--noise {kind}: values from {float(exact.min()):g} to {top:g}; photons need an image >= 0")
    value = top / photons
    counts = torch.poisson((exact.double() / value).clamp(min=0), generator)
    counts = counts + read * torch.randn(exact.shape, generator=generator, dtype=torch.float64)
    return (counts * value).to(exact.dtype), {"name": kind, "value": value, "std": read * value, "photons": photons}


def _photons(levels: Parameters) -> tuple[float, float]:
    photons, read = float(levels["photons"]), float(levels.get("read", 0.0))
    if not (0 < photons <= 1e9 and 0 <= read):
        raise InputError(f"--noise: photons={photons:g}, read={read:g}; expected 0 < photons <= 1e9 and read >= 0")
    return photons, read
