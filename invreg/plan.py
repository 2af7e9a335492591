"""What a job will need: memory, batches of rows, time and disk, told before any array is read."""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invreg.io import Header, InputError, header
from invreg.memory import budget, free_memory
from invreg.prepare import span, spanned
from invreg.recipes import RECIPES

if TYPE_CHECKING:  # pydantic comes with it
    from invreg.recipes.config import Config

# Images and sinograms of float32 alive at once for each row of a batch: the growth of the peak resident memory
# from 2 to 10 rows of 512 x 512 pixels, and at 300 views. An unknown recipe counts as the hungriest.
ALIVE = {"fbp": (2, 5), "fdk": (5, 2), "cgls": (12, 6), "tv": (34, 16), "svtv": (45, 16), "lpn": (400, 8)}
FIXED = 750e6  # bytes of Python, torch and the compiled kernels
START = 6.0  # seconds of importing, compiling and writing
# Iterations of a whole solve, the choice of the weight included, as typical scans need them; an iteration is a
# projection forth and back, and for the priors as many passes over the image.
ITERATIONS = {"fbp": 1, "fdk": 1, "cgls": 15, "tv": 900, "svtv": 2000, "lpn": 300}
PASSES = {"fbp": 2, "fdk": 2, "cgls": 6, "tv": 40, "svtv": 40, "lpn": 1000}
MOST = {"cpu": 16, "cuda": 64}  # rows in a batch: more gain no speed, and a killed run loses them


@dataclass(frozen=True)
class Plan:
    """Bytes and seconds of a job. A row is one slice of the volume."""

    rows: int
    views: int
    detectors: int
    size: int
    batch: int
    bytes_batch: int
    bytes_free: int
    bytes_volume: int
    bytes_disk: int
    seconds: float
    assumes: str


def row_bytes(recipe: str, views: int, detectors: int, size: int) -> int:
    """Memory that one row of a batch takes while it is solved, reading and correcting included."""
    images, sinograms = ALIVE.get(recipe, max(ALIVE.values()))
    return 4 * (images * size * size + (sinograms + 6) * views * detectors)


def batch_rows(recipe: str, views: int, detectors: int, size: int, device: str, memory: float | None, rows: int) -> int:
    """Rows to solve together: what fits into `memory` GiB or half of what is free, but not too many.

    Those of a volume share their measurement: the more the better.
    """
    fit = int(budget(device, memory) // row_bytes(recipe, views, detectors, size))
    most = rows if RECIPES[recipe].volume else MOST["cuda" if device.startswith("cuda") else "cpu"]
    return max(1, min(fit, most, rows))


def disk_bytes(rows: int, shape: tuple[int, ...]) -> int:
    """TIFF, HDF5, and the rows kept for --resume until both are written; some for pictures."""
    return 3 * 4 * rows * math.prod(shape) + 20_000_000


def check_disk(out: Path, need: int) -> None:
    """Raise InputError where the disk of `out` has less than `need` bytes free."""
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if free < need:
        raise InputError(
            f"{out}: the results need {need / 1e9:.2g} GB while writing, the disk has {free / 1e9:.2g} GB free; "
            "choose another --out or fewer --rows"
        )


def iteration_seconds(views: int, detectors: int, size: int, passes: int, device: str, fan: bool = False) -> float:
    """Seconds of one forward and adjoint of a row and of `passes` over its image, from a short timing here."""
    import numpy as np
    import torch

    from invreg.operators.tomography import FanBeam2D, Parallel2D, XRay

    n, v = min(size, 256), min(views, 45)
    angles = np.linspace(0, math.pi, v, endpoint=False)
    g = FanBeam2D(angles, n, source_origin=3.0 * n, source_detector=3.0 * n) if fan else Parallel2D(angles, n)
    A = XRay(g, (n, n))
    x = torch.rand(2 * torch.get_num_threads(), n, n, device=device)
    A.adjoint(A(x[:1]))  # compile
    pair = _quickest(lambda: A.adjoint(A(x))) / len(x)
    # work of the projector: a pass over the image a view, and a resampling a view and bin
    pair *= (views * size * max(size, detectors)) / (v * n * n)
    return pair + passes * _quickest(lambda: x + x) / x.numel() * size**2


def _quickest(f: Callable[[], object]) -> float:
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        f()
        best = min(best, time.perf_counter() - start)
    return best


def plan(config: "Config") -> Plan:
    """The needs of the job that `config` describes, from the header of its file alone."""
    assert config.data.file is not None
    stored = header(config.data.file)
    count, _, bins = stored.projections.shape
    first, end = span(config, stored)
    rows, views, detectors = end - first, min(config.data.views or count, count), bins // config.correct.bin
    c, fan = config.compute, stored.fan is not None or stored.cone is not None
    size = config.image.size or spanned(detectors, _axis(config, stored) if fan else None)
    batch = c.batch or batch_rows(config.recipe, views, detectors, size, c.device, c.memory, rows)
    iterations, passes = (table.get(config.recipe, max(table.values())) for table in (ITERATIONS, PASSES))
    return Plan(
        rows=rows,
        views=views,
        detectors=detectors,
        size=size,
        batch=batch,
        bytes_batch=int(FIXED + batch * row_bytes(config.recipe, views, detectors, size)),
        bytes_free=free_memory(c.device),
        bytes_volume=4 * rows * size * size,
        bytes_disk=disk_bytes(rows, (size, size)),
        seconds=START + rows * iterations * iteration_seconds(views, detectors, size, passes, c.device, fan),
        assumes=f"{iterations} iterations a row, timed just now on a small image; twice or half of it is likely",
    )


def _axis(config: "Config", stored: Header) -> float:
    """The axis of a fan or cone beam, a bin after binning: as the settings or the file tell it, else the middle."""
    c, bins = config.correct, stored.projections.shape[2]
    axis = (bins - 1) / 2 if stored.centre is None else stored.centre
    if c.centre != "auto":
        axis = c.centre
    elif stored.centre is None and stored.cone is not None:
        axis = stored.cone.centre(bins, stored.pixel_size or 1.0)
    return (axis + 0.5) / c.bin - 0.5


def told(config: "Config", p: Plan) -> str:
    """A plan for people to read."""
    fits = "fits" if p.bytes_batch < p.bytes_free else "does not fit: take a smaller --size or fewer --views"
    lines = [
        ("job", f"{p.rows} rows of {p.size} x {p.size} pixels from {p.views} views of {p.detectors} bins"),
        ("recipe", config.recipe),
        ("memory", f"{words(p.bytes_batch)} with {p.batch} rows at once, {words(p.bytes_free)} are free: {fits}"),
        ("disk", f"{words(p.bytes_disk)} while writing; the volume is {words(p.bytes_volume)}, in TIFF and in HDF5"),
        ("time", f"about {duration(p.seconds)}"),
        ("assumes", p.assumes),
    ]
    return "\n".join(f"{name:8} {text}" for name, text in lines)


def words(count: float) -> str:
    """Bytes in words."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    k = min(len(units) - 1, int(math.log10(max(count, 1)) // 3))
    return f"{count / 1000**k:.3g} {units[k]}"


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
