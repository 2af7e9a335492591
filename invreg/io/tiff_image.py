"""TIFF images, with the georeferencing of GeoTIFF where there is one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.errors import InputError, words
from invreg.io.image import Image
from invreg.io.lengths import length

# codes and types of GeoTIFF 1.1 (OGC 19-008), pixel scale, tie points, transformation and keys, and of GDAL's two tags
_SCALE, _TIES, _MATRIX, _KEYS = 33550, 33922, 34264, 34735
_TAGS = {_SCALE: 12, _TIES: 12, _MATRIX: 12, _KEYS: 3, 34736: 12, 34737: 2, 42112: 2, (_NODATA := 42113): 2}
_MODEL, _RASTER, _GEOGRAPHIC, _PROJECTED, _UNITS = 1024, 1025, 2048, 3072, 3076  # keys
_LINEAR = {9001: "m", 9002: "foot", 9003: "US survey foot"}
_AXES = {"S": "channel", "C": "channel", "Z": "depth", "T": "time", "Y": "height", "X": "width"}


def georeferenced(path: Path) -> bool:
    """True for a TIFF with the keys of GeoTIFF. Raises InputError where it is damaged."""
    return _asked(path, lambda tiff: _KEYS in tiff.pages[0].tags)


def single(path: Path) -> bool:
    """True for a TIFF of one page, which is no scan. Raises InputError where it is damaged."""
    return _asked(path, lambda tiff: len(tiff.pages) == 1)


def _asked(path: Path, question: Callable[[Any], bool]) -> bool:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return question(tiff)
    except Exception as error:  # tifffile raises whatever the damaged bytes lead it to
        raise InputError(f"{path}: this TIFF file cannot be read ({words(error)}); write it again") from None


def read(path: Path) -> Image:
    """(height, width), with channels, pages, slices or times before them.

    metadata: bits; for GeoTIFF also geotiff, the tags by their codes, shape, the pixels they were given for, and epsg,
    the code of the coordinates. What GDAL marks as no data is NaN. Raises InputError for damaged files.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            series, page = tiff.series[0], tiff.pages[0]
            axes, values = series.axes, series.asarray()
            tags = {code: page.tags.valueof(code) for code in _TAGS if code in page.tags}
            bits, resolution, told = page.bitspersample, page.tags.valueof(282), tiff.imagej_metadata or {}
            several = len(tiff.series)
    except Exception as error:  # as above; a codec may be missing
        hint = "pip install 'invreg[files]'" if "imagecodecs" in str(error) else "write it again"
        raise InputError(f"{path}: this TIFF file cannot be read ({words(error)}); {hint}") from None
    if "S" in axes:
        values = np.moveaxis(values, axes.index("S"), 0)
        axes = "S" + axes.replace("S", "")
    single = tuple(k for k, size in enumerate(values.shape) if size == 1 and axes[k] not in "YX")
    values, axes = values.squeeze(single), "".join(a for k, a in enumerate(axes) if k not in single)
    if axes[-2:] != "YX":
        raise InputError(f"{path}: a TIFF with axes {axes} of shape {values.shape}; expected images")
    meta: dict[str, Any] = {"bits": int(bits)} if values.dtype.kind == "u" else {}
    notes = [f"the first of {several} series in the file is read"] if several > 1 else []
    spacing, unit = None, "pixel"
    if _KEYS in tags:
        keys = _keys(tags[_KEYS])
        meta |= {"geotiff": tags, "shape": values.shape[-2:]}
        if (epsg := keys.get(_PROJECTED, keys.get(_GEOGRAPHIC))) is not None:
            meta["epsg"] = epsg
        unit = "degree" if keys.get(_MODEL) == 2 else _LINEAR.get(keys.get(_UNITS, 9001), "unknown unit")
        spacing = _pixel(tags)
        values, lost = _without_nodata(values, tags)
        notes += lost
    elif told.get("unit") not in (None, "", "pixel") and resolution and resolution[0]:
        pixel, unit = length(resolution[1] / resolution[0], str(told["unit"]).replace("\\u00B5", "u"), str(path))
        between = length(float(told.get("spacing", pixel)), str(told["unit"]).replace("\\u00B5", "u"), str(path))[0]
        axes = axes.replace("I", "Z")
        spacing = (between, pixel, pixel) if "Z" in axes else (pixel, pixel)
    names = [_AXES.get(a, "page") for a in axes]
    if spacing is not None and ("depth" in names) != (len(spacing) == 3):
        names = ["page" if name == "depth" else name for name in names]
    kind = "GeoTIFF" if _KEYS in tags else "TIFF"
    return Image(values, ":".join(names), "", spacing, unit, meta, tuple(notes), path.stem, kind)


def write(path: Path, image: Image) -> None:
    """The values, with the georeferencing if there is one, made to fit where the same ground has other pixels."""
    import tifffile

    values, tags = image.values, dict(image.metadata.get("geotiff", {}))
    extra = []
    if tags:
        tags = _fitted(tags, image.metadata["shape"], values.shape[-2:])
        if _NODATA in tags:
            values = np.where(np.isnan(values), values.dtype.type(float(tags[_NODATA])), values)
        for code, value in tags.items():
            size = len(value) if _TAGS[code] != 2 else 0
            extra.append((code, _TAGS[code], size, value if _TAGS[code] != 2 else str(value), True))
    planes = values.reshape(-1, *values.shape[-2:])
    channels = len(planes) > 1 and image.axes.startswith("channel") and values.ndim == 3
    options: dict[str, Any] = {"planarconfig": "separate"} if channels else {}
    if not tags and image.spacing is not None:
        told = (
            f"ImageJ=1.54\nimages={len(planes)}\nslices={len(planes)}\nunit={image.unit}\nspacing={image.spacing[0]}\n"
        )
        y, x = image.spacing[-2:]
        options |= {"description": told, "resolution": (1 / x, 1 / y), "resolutionunit": "NONE"}
    with tifffile.TiffWriter(path, bigtiff=values.nbytes > 2**32 - 2**25) as tiff:
        # single pages as they are, many with one set of tags for all channels
        data = planes if channels or len(planes) > 1 else planes[0]
        tiff.write(data, photometric="minisblack", metadata=None, extratags=extra, **options)


def _keys(directory: Any) -> dict[int, int]:
    """The keys whose values stand in the directory itself."""
    rows = np.reshape(directory[4:], (-1, 4))
    return {int(key): int(value) for key, place, _, value in rows if place == 0}


def _pixel(tags: dict[int, Any]) -> tuple[float, float] | None:
    """Height and width of a pixel."""
    if _SCALE in tags:
        return float(tags[_SCALE][1]), float(tags[_SCALE][0])
    if _MATRIX in tags:
        m = np.reshape(tags[_MATRIX], (4, 4))
        return float(np.hypot(*m[:2, 1])), float(np.hypot(*m[:2, 0]))
    return None


def _without_nodata(values: np.ndarray, tags: dict[int, Any]) -> tuple[np.ndarray, list[str]]:
    """Floats with NaN where the file has no data, and a note."""
    try:
        mark = float(tags[_NODATA])
    except (KeyError, ValueError):
        return values, []
    lost = np.isnan(values) if np.isnan(mark) else values == mark
    if not lost.any():
        return values, []
    exact = np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64
    return np.where(lost, np.nan, values).astype(exact), [f"{int(lost.sum())} values are marked as no data ({mark:g})"]


def _fitted(tags: dict[int, Any], old: tuple[int, ...], new: tuple[int, ...]) -> dict[int, Any]:
    """The tags for the same ground with other pixels."""
    if old == new:
        return tags
    fine = np.array([new[1] / old[1], new[0] / old[0], 1.0])  # pixels a pixel, along x, y, z
    half = 0.5 if _keys(tags[_KEYS]).get(_RASTER) == 2 else 0.0  # places are of the middles of pixels
    out = dict(tags)
    if _SCALE in tags:
        out[_SCALE] = tuple(np.asarray(tags[_SCALE]) / fine)
    if _TIES in tags:
        ties = np.array(tags[_TIES]).reshape(-1, 6)
        ties[:, :2] = (ties[:, :2] + half) * fine[:2] - half
        out[_TIES] = tuple(ties.ravel())
    if _MATRIX in tags:
        before = np.reshape(tags[_MATRIX], (4, 4))
        after = before.copy()
        after[:, :3] /= fine
        after[:3, 3] += half * (after - before)[:3, :2].sum(1)
        out[_MATRIX] = tuple(after.ravel())
    return out
