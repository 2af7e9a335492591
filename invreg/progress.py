"""How a job is going: a live line on a terminal, plain lines elsewhere, and a clock of its parts."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PLAIN = 5.0  # seconds between plain lines within a stage
PARTS = ("import", "read", "correct", "compile", "solve", "write")


class Clock:
    """Wall seconds by part of the work."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.running: tuple[str, float] | None = None

    def add(self, seconds: dict[str, float]) -> None:
        """Count in what an earlier process spent on the same run."""
        for part, s in seconds.items():
            self.seconds[part] += s

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        self.running = part, time.perf_counter()
        try:
            yield
        finally:
            self.seconds = self.so_far()
            self.running = None

    def so_far(self) -> dict[str, float]:
        """The seconds with those of the part that is running."""
        if self.running is None:
            return self.seconds
        part, start = self.running
        return self.seconds | {part: self.seconds[part] + time.perf_counter() - start}

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {s:.1f}" for name, s in self.seconds.items())
        return f"{sum(self.seconds.values()):.1f} s: {parts}"


class Progress:
    """Says stage, iteration, gap or change of the image, and time left of the rows at work, on the error stream.

    rows: first and end of all. tol: the gap at which a solve ends, unless a row of the history says its own `tol`,
    as that of a short trial. quiet: say nothing.
    """

    def __init__(self, rows: tuple[int, int], tol: float, quiet: bool = False) -> None:
        self.rows, self.tol, self.quiet = rows, tol, quiet
        self.live: Any = None
        self.stage, self.start, self.said, self.first_gap = "", time.monotonic(), 0.0, math.nan
        self.batch = rows
        self.spent: list[tuple[int, float]] = []  # rows and seconds of the batches done here

    def __enter__(self) -> "Progress":
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[told]}")
            self.live = Bar(*columns, console=Console(stderr=True), transient=True)
            self.live.start()
            self.task = self.live.add_task("", total=1.0, told="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def rows_from(self, first: int, end: int) -> None:
        """A new batch begins."""
        self.batch, self.stage, self.begun = (first, end), "", time.monotonic()

    def rows_done(self) -> None:
        self.spent.append((self.batch[1] - self.batch[0], time.monotonic() - self.begun))

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.live is not None:
            self.live.console.print(text, highlight=False, markup=False)
        elif not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def __call__(self, row: Mapping[str, Any]) -> None:
        """A row of the history with its `stage`."""
        if self.quiet:
            return
        now, tol = time.monotonic(), float(row.get("tol", self.tol))
        name = "change" if "change" in row else "gap"
        gap = float(row.get(name, math.nan))
        if row.get("stage", "") != self.stage:
            self.stage, self.start, self.first_gap, self.said = row.get("stage", ""), now, gap, 0.0
        share = float(row.get("share", self._share(gap, tol)))
        told = f"iter {row['iter']:.0f}" if "iter" in row else ""
        if math.isfinite(gap):
            told += f"  {name} {gap:.1e} of {tol:.0e}"
        elif "share" in row:
            told = f"{share:.0%}"
        elif "residual" in row:
            told += f"  residual {row['residual']:.2f} times the noise"
        left = self._left(share, now)
        told += f"  {left}" if left else ""
        where = f"rows {self.batch[0]}:{self.batch[1]} of {self.rows[0]}:{self.rows[1]}  {self.stage}"
        if self.live is not None:
            self.live.update(self.task, description=where, completed=share, told=told)
        elif now - self.said > PLAIN:
            self.said = now
            self.say(f"{where}  {told}")

    def _share(self, gap: float, tol: float) -> float:
        """The part of this stage that is done: gaps fall by a factor in a time, so their logarithm counts."""
        if not (gap > 0 and self.first_gap > tol):
            return 0.0
        return min(1.0, max(0.0, math.log(self.first_gap / gap) / math.log(self.first_gap / tol)))

    def _left(self, share: float, now: float) -> str:
        rest = math.nan
        if share > 0.05:
            rest = (now - self.start) * (1 / share - 1)
        later = self.rows[1] - self.batch[1]
        if later and self.spent:
            # the first batch also chose the weight: the last one is nearer to those to come
            rows, seconds = self.spent[-1]
            rest = (0 if math.isnan(rest) else rest) + later * seconds / rows
        if math.isnan(rest):
            return ""
        return f"{rest / 60:.0f} min left" if rest > 100 else f"{rest:.0f} s left"
