"""What a learned proximal network has learned: its R of images, of noisy and blurred ones, and of mixtures of two.

The probe of Fang, Buchanan, Sulam, ICLR 2024, section 4: R should rise with noise and blur, and along the way from one
image to another be an arch, as a mixture of two images is none; an R that is an arch there is not convex.
"""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invreg.core import inner
from invreg.io import InputError
from invreg.io.writing import replaced
from invreg.priors import LPN

FILES = ("prior.png", "prior.csv", "prior.json")
NOISE = (0.0, 0.05, 0.1, 0.2, 0.3)  # standard deviations, of images in [0, 1] and clipped to that
BLUR = (0.0, 0.5, 1.0, 2.0, 4.0)  # standard deviations of a Gaussian, in pixels
MIXTURE = (0.0, 0.25, 0.5, 0.75, 1.0)  # the share of the second image
MOST = 100  # images
PIXELS = 2**15  # inverted together: more gain nothing on a CPU and hold much memory
REACH, POINTS = 4.0, 401  # of a prior of single numbers: half the interval drawn, in sigma, and its points


@dataclass(frozen=True)
class Row:
    """R at one level of one probe, over the images whose preimages were found.

    rise: the mean of R minus that of the images as they are, for mixtures minus the chord between the two ends.
    higher: per cent of the images where that is positive. failed: inversions without a preimage. residual: the largest
    root mean square of f(y) - x of the others, of images in [0, 1].
    """

    probe: str
    level: float
    rise: float
    higher: float
    failed: int
    residual: float


@dataclass(frozen=True)
class Inspection:
    """The rows, how many images of how many pixels a side, and what was skipped. each: (level, image) of the rises."""

    rows: list[Row]
    images: int
    side: int
    sigma: float | None
    notes: list[str]
    each: dict[str, np.ndarray]


def inspect(lpn: LPN, images: Tensor, notes: list[str], say: Callable[[str], object] = lambda text: None) -> Inspection:
    """The probes on images (item, h, w) or (item, channel, h, w) in [0, 1]. `say` is told how it goes."""
    from scipy.ndimage import gaussian_filter

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype).to(images.device)
    lead = images.ndim - 2

    def blurred(level: float) -> Tensor:
        return torch.from_numpy(gaussian_filter(images.cpu().numpy(), (0,) * lead + (level, level))).to(images)

    half = len(images) // 2
    first, second = images[:half], images.flip(0)[:half]  # all pairs are of different images
    probes: dict[str, tuple[tuple[float, ...], Callable[[float], Tensor]]] = {
        "noise": (NOISE, lambda level: (images + level * noise).clamp(0, 1)),
        "blur": (BLUR, blurred),
        "mixture": (MIXTURE, lambda level: torch.lerp(first, second, level)),
    }
    rows, each = [], {}
    for name, (levels, perturbed) in probes.items():
        found = []
        for level in levels:
            found.append(_values(lpn, perturbed(level)))
            say(f"{name} {level:g}: {len(found[-1][0])} inversions, {int(np.isnan(found[-1][0]).sum())} failed")
        values = np.stack([value for value, _ in found])
        base = values[:1]
        if name == "mixture":
            share = np.array(levels)[:, None]
            base = (1 - share) * values[:1] + share * values[-1:]
        each[name] = values - base
        for level, rise, value, (_, residual) in zip(levels, each[name], values, found, strict=True):
            known = rise[np.isfinite(rise)]
            rows.append(
                Row(
                    name,
                    level,
                    float(known.mean()) if known.size else np.nan,
                    float(100 * (known > 0).mean()) if known.size else np.nan,
                    int(np.isnan(value).sum()),
                    float(np.nanmax(residual)) if np.isfinite(residual).any() else np.nan,
                )
            )
    return Inspection(rows, len(images), images.shape[-1], lpn.sigma, notes, each)


def _values(lpn: LPN, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """R of images and root mean squares of their inversions' residuals, NaN where these failed."""
    values, residuals = [], []
    size = x[0].numel()
    for part in x.split(max(1, PIXELS // size)):
        y, how = lpn.inverse(part)
        gap = inner(part.double(), y, lpn.ndim) - inner(part.double(), part.double(), lpn.ndim) / 2 - lpn.potential(y)
        values.append(torch.where(how.failed, torch.nan, gap))
        residuals.append(torch.where(how.failed, torch.nan, how.residual / size**0.5))
    return torch.cat(values).cpu().numpy(), torch.cat(residuals).cpu().numpy()


def line(lpn: LPN) -> dict[str, np.ndarray]:
    """Of a prior of single numbers: y, f(y) and R(f(y)), R being 0 at its least value."""
    reach = REACH * (lpn.sigma or 1.0)
    y = torch.linspace(-reach, reach, POINTS, dtype=torch.float64)[:, None]
    value = lpn.value_after(y)
    return {"y": y[:, 0].numpy(), "f(y)": lpn.prox(y, 1.0)[:, 0].numpy(), "R(f(y))": (value - value.min()).numpy()}


def check_out(out: Path, force: bool) -> None:
    """Raise InputError where results are there already and are not to be replaced."""
    present = [name for name in FILES if (out / name).exists()]
    if present and not force:
        raise InputError(f"{out}: holds {present[0]} already; choose another --out or replace it with --force")


def inspect_file(
    weights: str, over: dict[str, tuple[str, Any]], out: Path, *, force: bool = False, quiet: bool = False
) -> Inspection | None:
    """Probe a network, a file or the name of one of invreg, on images of a folder; None where it is one of numbers.

    A picture, a table and a summary are written into `out`.

    `over`: settings of the training's that are to be others, {key: (where it was said, value)}: `data.folder` among
    them, and `data.window`, say. The images are scaled as those that the network was trained on, and the squares in
    their middles taken, as large as its patches. Raises InputError for files that will not do.
    """
    from invreg.recipes.config import overridden
    from invreg.train.checkpoints import load_model
    from invreg.train.config import Config
    from invreg.train.data import ImageFolder, middle
    from invreg.weights import path

    check_out(out, force)
    psi, about = load_model(path(weights), "lpn")
    settings = about["settings"]
    lpn = LPN(psi.double(), settings["noise"]["sigma"])  # type: ignore[arg-type]
    if lpn.ndim == 1:
        found = line(lpn)
        _write(out, list(found), np.stack(list(found.values())).T.tolist(), {"sigma": lpn.sigma})
        with replaced(out / "prior.png") as part:
            _draw_line(part, found)
        return None
    table = {"task": "lpn", "data": settings["data"] | {"folder": None}}
    config = overridden(Config, table, weights, over)
    side = psi.shape[1] or settings["noise"]["patch"]  # type: ignore[index]
    folder = ImageFolder(config.data, smallest=side)
    items = sorted([*folder.train, *folder.validation])
    count = min(MOST, len(items))
    chosen = [folder[items[k * len(items) // count]] for k in range(count)]
    images = torch.stack([middle(image.shape, side)(image) for image in chosen])
    images = (images if lpn.ndim == 3 else images[:, 0]).to(config.train.device, torch.float64)
    say = (lambda text: None) if quiet else lambda text: print(text, file=sys.stderr, flush=True)
    result = inspect(lpn.to(config.train.device), images, folder.notes, say)
    told = {"weights": weights, "images": count, "side": side, "sigma": result.sigma, "notes": result.notes}
    names = list(asdict(result.rows[0]))
    _write(out, names, [list(asdict(row).values()) for row in result.rows], told)
    with replaced(out / "prior.png") as part:
        _draw(part, result, Path(weights).name)
    return result


def _write(out: Path, names: list[str], rows: list[list[Any]], told: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with replaced(out / "prior.csv") as part, part.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        table.writerows(rows)
    listed = [{n: None if v != v else v for n, v in zip(names, row, strict=True)} for row in rows]  # JSON has no NaN
    with replaced(out / "prior.json") as part:
        part.write_text(json.dumps(told | {"rows": listed}, indent=1))


def _figure(panels: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * panels, 3.8), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels)


def _draw(path: Path, result: Inspection, name: str) -> None:
    from invreg.report.figures import COLOURS

    figure, axes = _figure(3)
    labels = {
        "noise": "standard deviation of the noise",
        "blur": "standard deviation of the blur, pixels",
        "mixture": "share of the second image",
    }
    for ax, (probe, label) in zip(axes, labels.items(), strict=True):
        rows = [row for row in result.rows if row.probe == probe]
        levels = [row.level for row in rows]
        ax.plot(levels, result.each[probe], color=COLOURS[0], lw=0.5, alpha=0.25)
        ax.plot(levels, [row.rise for row in rows], "o-", color=COLOURS[1], label="mean")
        for row in rows[1:-1] if probe == "mixture" else rows[1:]:
            told = "" if np.isnan(row.higher) else f"{row.higher:.0f} %"
            ax.annotate(told, (row.level, row.rise), (0, 7), textcoords="offset points", fontsize=8)
        ax.axhline(0, color="0.6", lw=0.8)
        above = "R above the chord" if probe == "mixture" else "R minus that of the image"
        ax.set(xlabel=label, ylabel=above)
        ax.legend(frameon=False)
        ax.grid(alpha=0.2)
    failed, inversions = sum(row.failed for row in result.rows), sum(len(v.ravel()) for v in result.each.values())
    worst = np.nanmax([row.residual for row in result.rows])
    figure.suptitle(
        f"{name}: {result.images} images of {result.side} x {result.side} pixels; per cent: where R is higher; "
        f"{failed} of {inversions} inversions failed, residual of the others at most {worst:.0e}",
        fontsize=10,
    )
    figure.savefig(path, format="png")


def _draw_line(path: Path, found: dict[str, np.ndarray]) -> None:
    from invreg.report.figures import COLOURS

    figure, axes = _figure(2)
    y, f, value = found.values()
    axes[0].plot(y, f, color=COLOURS[0])
    axes[0].plot(y, y, color="0.6", lw=0.8)
    axes[0].set(xlabel="y", ylabel="f(y), the proximal map")
    axes[1].plot(f, value, color=COLOURS[1])
    axes[1].set(xlabel="x = f(y)", ylabel="R(x), up to a constant")
    for ax in axes:
        ax.grid(alpha=0.2)
    figure.savefig(path, format="png")
