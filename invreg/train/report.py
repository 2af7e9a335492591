"""What a training shows: a live line, curves as CSV, PNG and for TensorBoard, and examples."""

import csv
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from invreg.io import InputError
from invreg.io.writing import replaced
from invreg.report.figures import COLOURS, window

Row = dict[str, Any]  # step, rate, loss, norm, and at some steps the figures of a validation
PLAIN = 5.0  # seconds between lines where there is no terminal


class Progress:
    """Step, loss and time left, on the error stream: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, steps: int, quiet: bool) -> None:
        self.steps, self.quiet = steps, quiet
        self.live: Any = None
        self.said = self.start = time.monotonic()
        self.first: float | None = None
        self.smooth: float | None = None

    def __enter__(self) -> "Progress":
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = BarColumn(24), TextColumn("{task.fields[told]}")
            self.live = Bar(*columns, console=Console(stderr=True), transient=True)
            self.live.start()
            self.task = self.live.add_task("", total=self.steps, told="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.live is not None:
            self.live.console.print(text, highlight=False, markup=False)
        elif not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def __call__(self, row: Row) -> None:
        """The newest row of the history; one with figures of a validation stays on the screen."""
        now, step = time.monotonic(), row["step"]
        if self.first is None:
            self.first, self.start = step, now
        self.smooth = row["loss"] if self.smooth is None else 0.95 * self.smooth + 0.05 * row["loss"]
        told = f"step {step} of {self.steps}  loss {self.smooth:.4g}"
        done = step - self.first
        if done:
            left = (now - self.start) * (self.steps - step) / done
            told += f"  {left / 60:.0f} min left" if left > 100 else f"  {left:.0f} s left"
        figures = "  ".join(f"{key} {row[key]:.4g}" for key in row if key not in ("step", "rate", "loss", "norm"))
        if self.live is not None:
            self.live.update(self.task, completed=step, told=told)
        if figures or (self.live is None and now - self.said > PLAIN):
            self.said = now
            self.say(f"{told}  {figures}".rstrip())


class Report:
    """Writes history.csv, curves.png and, where tensorboard is installed, its events; with `on` False nothing.

    shown: how many rows of the history an earlier process has shown.
    """

    def __init__(self, out: Path, on: bool, shown: int) -> None:
        self.out, self.on, self.shown = out, on, shown
        self.board: Any = None
        if on:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:  # an extra
                return
            self.board = SummaryWriter(str(out / "tensorboard"))

    def write(self, rows: list[Row]) -> None:
        """All rows so far."""
        if not self.on:
            return
        names = list(dict.fromkeys(name for row in rows for name in row))
        with replaced(self.out / "history.csv") as part, part.open("w", newline="") as file:
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(rows)
        with replaced(self.out / "curves.png") as part:
            _curves(part, rows)
        if self.board is not None:
            for row in rows[self.shown :]:
                for name, value in row.items():
                    if name != "step":
                        self.board.add_scalar(name.replace(" ", "_"), value, row["step"])
            self.board.flush()
        self.shown = len(rows)

    def examples(self, rows: list[dict[str, Tensor]]) -> None:
        """Rows of named images side by side, all of a row in the grey window of its last image."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        if not self.on:
            return
        figure = Figure(figsize=(3.2 * len(rows[0]), 3.3 * len(rows)), layout="constrained", dpi=110)
        FigureCanvasAgg(figure)
        for axes, images in zip(figure.subplots(len(rows), len(rows[0]), squeeze=False), rows, strict=True):
            low, high = window(list(images.values())[-1].cpu().numpy())
            for ax, (name, image) in zip(axes, images.items(), strict=True):
                ax.imshow(image.cpu().numpy(), cmap="gray", vmin=low, vmax=high)
                ax.set_title(name, fontsize=10)
                ax.set_axis_off()
        with replaced(self.out / "examples.png") as part:
            figure.savefig(part, format="png")


def read_history(path: Path, steps: int) -> list[Row]:
    """The rows of history.csv up to a step. Raises InputError where it is missing or damaged."""
    try:
        with path.open(newline="") as file:
            rows: list[Row] = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        rows = [row | {"step": int(row["step"])} for row in rows if row["step"] <= steps]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        rows = []
    if len(rows) != steps:
        raise InputError(f"{path}: missing or damaged; put it back or start anew with --force")
    return rows


def _curves(path: Path, rows: list[Row]) -> None:
    """Loss, the first figure of the validations, and the learning rate, over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.4), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    steps, losses = (np.array([row[key] for row in rows], float) for key in ("step", "loss"))
    axes[0].plot(steps, losses, color=COLOURS[0], lw=0.6, alpha=0.4)
    width = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    axes[0].plot(steps[width - 1 :], smooth, color=COLOURS[0], label=f"mean of {width} steps")
    axes[0].legend(frameon=False)
    axes[0].set(title="loss", yscale="log" if (losses > 0).all() else "linear")
    names = [key for key in dict.fromkeys(name for row in rows for name in row) if key not in _STEP]
    for name, colour in zip(names, COLOURS * len(names), strict=False):
        seen = [row for row in rows if name in row]
        axes[1].plot([row["step"] for row in seen], [row[name] for row in seen], ".-", color=colour, label=name)
    axes[1].set(title="validation")
    axes[1].legend(frameon=False, fontsize=8)
    axes[2].plot(steps, [row["rate"] for row in rows], color=COLOURS[1])
    axes[2].set(title="learning rate")
    for ax in axes:
        ax.set_xlabel("step")
        ax.grid(alpha=0.2)
    figure.savefig(path, format="png")


_STEP = ("step", "rate", "loss", "norm")  # of every row; the rest are figures of a validation
