"""Pictures: grey images as PNG, curves as SVG that take the colour of the text around them."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def window(image: Array, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """The range of grey values to show: percentiles of the finite values, never empty."""
    values = image[np.isfinite(image)]
    if values.size == 0:
        return 0.0, 1.0
    a, b = np.percentile(values, (low, high))
    return float(a), float(b) if b > a else float(a) + (abs(float(a)) or 1.0)


def shrunk(image: Array, most: int) -> Array:
    """The image with whole blocks averaged so that no side is above `most`."""
    step = [max(1, math.ceil(n / most)) for n in image.shape]
    h, w = (n // s * s for n, s in zip(image.shape, step, strict=True))
    blocks = image[:h, :w].reshape(h // step[0], step[0], w // step[1], step[1])
    return blocks.mean((1, 3))


def png(image: Array, low: float, high: float, *, colours: str = "gray") -> bytes:
    """The image (h, w), pixel by pixel, from `low` (black) to `high` (white)."""
    from matplotlib.image import imsave

    out = io.BytesIO()
    imsave(out, image, vmin=low, vmax=high, cmap=colours, format="png")
    return out.getvalue()


def nice(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most `length`."""
    power = 10 ** math.floor(math.log10(length))
    return power * max(k for k in (1, 2, 5) if k * power <= length * (1 + 1e-9))


def chart(
    series: list[tuple[str, Array, Array]],
    *,
    x: str,
    y: str,
    log: str = "",
    lines: dict[str, float] | None = None,
    mark: tuple[float, float] | None = None,
    points: bool = False,
) -> str:
    """Curves (name, xs, ys) as an SVG element.

    log: "x", "y" or "xy". lines: horizontal lines by name. mark: a point to stand out. points: mark all.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ink = "#010203"  # stands for the colour of the text around the chart
    style = {"svg.fonttype": "none", "svg.hashsalt": "invreg", "font.size": 9, "font.family": "sans-serif"}
    for key in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"):
        style[key] = ink
    with matplotlib.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=(5.2, 3.0))
        ax = figure.add_axes((0.15, 0.16, 0.82, 0.8))
        ax.patch.set_alpha(0)
        for (name, xs, ys), colour in zip(series, COLOURS * len(series), strict=False):
            ax.plot(xs, ys, color=colour, lw=1.8, marker="o" if points else None, ms=4, label=name)
        for name, value in (lines or {}).items():
            ax.axhline(value, color=ink, lw=1, ls=(0, (4, 3)), label=name, alpha=0.7)
        if mark is not None:
            ax.plot(*mark, "o", ms=9, mfc="none", mec=COLOURS[1], mew=2, label="chosen")
        for k, axis in enumerate("xy", 1):
            if axis in log:
                values = np.concatenate([part[k] for part in series])
                span = values.max() / values.min()
                subs = (1,) if span > 100 else (1, 2, 5) if span > 5 else (1, 1.5, 2, 3, 5, 7)
                getattr(ax, f"set_{axis}scale")("log")
                side = getattr(ax, f"{axis}axis")
                # plain numbers: matplotlib's powers of ten take it longer than all the rest
                side.set_major_locator(LogLocator(subs=subs))
                side.set_minor_locator(NullLocator())
                side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.15, color=ink)
        if len(ax.get_lines()) > 1:
            ax.legend(frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :].replace(ink, "currentColor")


COLOURS = ["#3b82d0", "#d9822b", "#3aa76d", "#b5536f", "#8a6fc9"]


def preview(path: Path, images: list[tuple[str, Array, float]], extent: float, unit: str, title: str) -> None:
    """Images (name, values, height) side by side in one grey window, with bars of values and length, as a PNG file.

    Height and their common width `extent` are lengths in `unit`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    low, high = window(np.concatenate([image.ravel() for _, image, _ in images]))
    figure = Figure(figsize=(5.2 * len(images) + 0.8, 5.6), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(1, len(images)))
    for ax, (name, image, height) in zip(axes, images, strict=True):
        shown = ax.imshow(image, cmap="gray", vmin=low, vmax=high, extent=(0, extent, 0, height))
        bar = nice(extent / 4)
        ax.plot([0.04 * extent, 0.04 * extent + bar], [0.04 * extent] * 2, color="w", lw=3, solid_capstyle="butt")
        ax.text(0.04 * extent, 0.06 * extent, f"{bar:g} {unit}", color="w", fontsize=10)
        ax.set_title(name, fontsize=11)
        ax.set_axis_off()
    figure.colorbar(shown, ax=list(axes), fraction=0.04, pad=0.02, label=f"attenuation, 1/{unit}")
    figure.suptitle(title, fontsize=12)
    figure.savefig(path, format="png")


def look(path: Path, panels: list[tuple[str, Array]], geometry: Any, side: float, title: str) -> None:
    """Sinograms (title, (angle, detector)) and their geometry with an image of this side, as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * (len(panels) + 1), 5.0), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels) + 1)
    for ax, (name, image) in zip(axes, panels, strict=False):
        low, high = window(image)
        shown = ax.imshow(image, cmap="gray", vmin=low, vmax=high, aspect="auto")
        ax.axvline(geometry.centre, color=COLOURS[1], lw=1, ls="--")
        figure.colorbar(shown, ax=ax, location="bottom", fraction=0.05, pad=0.02)
        ax.set(title=name, xlabel="detector bin (dashed: rotation axis)", ylabel="view")
    _draw_geometry(axes[-1], geometry, side)
    figure.suptitle(title)
    figure.savefig(path, format="png")


def _draw_geometry(ax: Any, g: Any, side: float) -> None:
    """The image square, the direction of every view, and the rays of the first, from before the image to behind it."""
    views, half = g.general(), side / 2
    far = 1.25 * max(half, *np.abs(g.positions[[0, -1]] * g.bin_at_axis / g.pitch))
    along = np.stack([-np.sin(g.angles), np.cos(g.angles)], axis=1)
    for k, end in enumerate(far * along):  # towards the detector
        ax.plot(*zip(0.97 * end, 1.03 * end, strict=True), color=COLOURS[0], lw=1.2, alpha=1 if k else 0)
    bins = np.unique(np.append(np.arange(0, g.detectors, max(1, g.detectors // 12)), g.detectors - 1))
    points = views.points(bins.astype(float))[0]
    rays = np.broadcast_to(along[0], points.shape) if views.parallel else points - views.source[0]
    rays = rays / (rays @ along[0])[:, None]  # of one length along the view
    middle = points - (points @ along[0])[:, None] * rays
    for place, ray in zip(middle, rays, strict=True):
        ax.plot(*np.stack([place - far * ray, place + far * ray], axis=1), color=COLOURS[1], lw=0.6)
    ax.plot(*(middle + far * rays)[[0, -1]].T, color=COLOURS[1], lw=3, label="first view: rays and detector")
    ax.plot([], [], color=COLOURS[0], label="where the other views look")
    ax.plot(half * np.array([-1, 1, 1, -1, -1]), half * np.array([-1, -1, 1, 1, -1]), "k", lw=1, label="image")
    ax.plot(0, 0, "k+", ms=9)
    ax.set(aspect="equal", xlabel=f"x in {g.unit}", ylabel=f"y in {g.unit}", title="geometry")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=8)
