"""Full waveform inversion from ever worse starts, by the Sobolev order of the misfit: which of them converge.

    python benchmarks/fwi.py wells|surface [--orders 1 0 -0.5 -1] [--iterations 60] [--figure docs/fwi.png]

`AcousticWave2D`, Ricker wavelet, nodes of 25 m, velocities by `LBFGS` between bounds. The traces are made on a grid
twice as fine in space and time, with white noise of 2 % of their norm, and inverted on the coarse one.

wells: shots in one borehole, receivers in the other, two smooth lenses between them; along the boreholes the velocity
is known. Starts: the ground without lenses, too slow by some per cent. surface: layers with a salt lens under water,
which is known, shots and receivers near the surface. Starts: the true model smoothed by a Gaussian of that standard
deviation, and velocities linear in depth, right and too slow.

The misfit is that of H^s along time, with the cosine basis. Frequencies count in units of that of the wavelet and
alpha = 0.1^2: the band of the wavelet is above the cross-over, so that the weights are those of the homogeneous norm.
Data misfit: |traces - measured| / |measured|, whatever s. Model error: root mean square (m/s) of the difference to
the true model, smoothed by a Gaussian of a quarter of the wavelength at 2000 m/s, since no finer detail is in the
traces. The unknown is averaged by a Gaussian of a sixth of that wavelength. A run is said to have converged where the
data misfit is below 1.5 times that of the true model, whose waves differ from the measured ones by the noise and by the
coarser grid, and the model error is less than half of that of its start.
"""

import argparse
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

# isort: split

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from invreg.core import Operator, Space, solve
from invreg.operators import AcousticWave2D, Sobolev, ricker
from invreg.solvers import LBFGS

SPACING, NOISE = 25.0, 0.02
Nodes = tuple[tuple[int, int], ...]


class Ground(Operator):
    """Averages of the unknown by a Gaussian of `width` nodes, but velocities that are `known` (h, w) as in `model`."""

    def __init__(self, model: Tensor, known: Tensor, width: float) -> None:
        super().__init__(Space(tuple(model.shape)), Space(tuple(model.shape)))
        self.register_buffer("known", known)
        self.register_buffer("model", model)
        for name, n in zip(("along_columns", "along_rows"), model.shape, strict=True):
            k = torch.arange(n)
            weights = torch.exp(-((k[:, None] - k).square()) / (2 * width**2))
            self.register_buffer(name, weights / weights.sum(1, keepdim=True))

    def _forward(self, x: Tensor) -> Tensor:
        return torch.where(self.known, self.model, self.along_columns @ x @ self.along_rows.T)


@dataclass(frozen=True)
class Survey:
    """Nodes, dt (s), steps, frequency of the wavelet (Hz), velocity at (depth, across), positions, known, bounds."""

    shape: tuple[int, int]
    dt: float
    steps: int
    frequency: float
    ground: Callable[[Tensor, Tensor], Tensor]
    sources: Nodes
    receivers: Nodes
    known: Callable[[Tensor, Tensor], Tensor]
    bounds: tuple[float, float]

    def grid(self, refine: int = 1) -> tuple[Tensor, Tensor]:
        """Depth and distance in nodes, (h, 1) and (1, w), at nodes `refine` times as dense."""
        h, w = (torch.arange((n - 1) * refine + 1, dtype=torch.float64) / refine for n in self.shape)
        return h[:, None], w[None]

    def model(self, refine: int = 1) -> Tensor:
        return self.ground(*self.grid(refine)).float()

    def waves(self, refine: int = 1) -> AcousticWave2D:
        shape = tuple((n - 1) * refine + 1 for n in self.shape)
        dt = self.dt / refine
        wavelet = ricker(self.frequency, dt, self.steps * refine).float()
        positions = ([(i * refine, j * refine) for i, j in nodes] for nodes in (self.sources, self.receivers))
        return AcousticWave2D(shape, SPACING / refine, dt, wavelet, *positions)

    def measured(self) -> Tensor:
        traces = self.waves(2)(self.model(2))[..., ::2]
        noise = torch.randn(traces.shape, generator=torch.Generator().manual_seed(0))
        return traces + NOISE * traces.norm() / noise.norm() * noise

    def smooth(self, c: Tensor, length: float) -> Tensor:
        return torch.from_numpy(gaussian_filter(c.numpy(), length / SPACING))


def lenses(depth: Tensor, across: Tensor) -> Tensor:
    """A slow and a fast lens in ground of 2000 to 2300 m/s."""
    slow = torch.exp(-(((depth - 9) / 5) ** 2) - ((across - 28) / 9) ** 2)
    fast = torch.exp(-(((depth - 21) / 5) ** 2) - ((across - 50) / 9) ** 2)
    return 2000 + 10 * depth - 200 * slow + 250 * fast


def layers(depth: Tensor, across: Tensor) -> Tensor:
    """Gently bent layers of 1800 to 3400 m/s under water, and a salt lens of 4300 m/s."""
    below, along = depth / 40, across / 80
    bent = below - 0.04 * torch.sin(2 * math.pi * along + 0.7) - 0.05 * along
    c = torch.full(bent.shape, 1800.0, dtype=torch.float64)
    for top, velocity in ((0.25, 2100.0), (0.4, 2350.0), (0.55, 2700.0), (0.72, 3050.0), (0.86, 3400.0)):
        c[bent > top] = velocity
    c[((below - 0.48) / 0.11) ** 2 + ((along - 0.52) / 0.17) ** 2 < 1] = 4300.0
    return torch.where(depth < 6, 1500.0, c)


WELLS = Survey(
    shape=(30, 80),
    dt=4e-3,
    steps=410,
    frequency=6.0,
    ground=lenses,
    sources=tuple((i, 1) for i in (4, 15, 25)),
    receivers=tuple((i, 78) for i in range(1, 30, 2)),
    known=lambda depth, across: (depth >= 0) & ((across < 4) | (across > 75)),
    bounds=(1600.0, 2700.0),
)
SURFACE = Survey(
    shape=(40, 80),
    dt=3e-3,
    steps=450,
    frequency=5.0,
    ground=layers,
    sources=tuple((1, j) for j in (4, 22, 40, 57, 75)),
    receivers=tuple((2, j) for j in range(0, 80, 2)),
    known=lambda depth, across: (depth < 6) & (across >= 0),
    bounds=(1400.0, 4600.0),
)


def starts(survey: Survey) -> dict[str, Tensor]:
    depth, across = survey.grid()
    if survey is WELLS:
        ground = (2000 + 10 * depth + 0 * across).float()
        return {f"{percent} % slow": (1 - percent / 100) * ground for percent in (5, 7, 8, 9, 10, 12)}
    true = survey.model()
    smoothed = {f"smoothed {length} m": survey.smooth(true, length) for length in (100, 200, 300)}
    linear = (1700 + 50 * (depth - 6) + 0 * across).float()
    return smoothed | {"linear": linear, "linear, 10 % slow": 0.9 * linear}


@dataclass(frozen=True)
class Run:
    """Velocities, model error (m/s), data misfit, iterations and whether it converged."""

    c: Tensor
    error: float
    misfit: float
    iterations: int
    converged: bool = False

    def __str__(self) -> str:
        return f"{self.error:.0f} / {100 * self.misfit:.1f} / {self.iterations}{' **yes**' if self.converged else ''}"


class Inversion:
    """The survey with its measured traces."""

    def __init__(self, survey: Survey) -> None:
        self.survey, self.true, self.measured = survey, survey.model(), survey.measured()
        self.wavelength = 2000 / survey.frequency
        self.ground = Ground(self.true, survey.known(*survey.grid()), self.wavelength / 6 / SPACING)
        self.waves = survey.waves()
        self.enough = 1.5 * self.judge(self.true).misfit

    def judge(self, c: Tensor, iterations: int = 0) -> Run:
        error = self.survey.smooth(c - self.true, self.wavelength / 4).square().mean().sqrt()
        return Run(c, float(error), float((self.waves(c) - self.measured).norm() / self.measured.norm()), iterations)

    def run(self, start: Tensor, s: float, iterations: int) -> Run:
        length = self.survey.steps * self.survey.dt * 2 * math.pi * self.survey.frequency
        misfit = Sobolev(self.measured, s, length=length, alpha=0.01, boundary="cosine", axes=-1, ndim=3)
        A = self.waves @ self.ground
        misfit = (1 / misfit(A(start))) * misfit
        low, high = self.survey.bounds
        solver = LBFGS([misfit @ A], low=low, high=high, first=50.0)
        result = solve(solver, start, max_iter=iterations, tol=1e-3, every=5)
        begun, ended = self.judge(self.ground(start)), self.judge(self.ground(result.x), result.iters)
        return replace(ended, converged=ended.misfit < self.enough and ended.error < begun.error / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("survey", choices=("wells", "surface"))
    parser.add_argument("--orders", type=float, nargs="+", default=[1, 0, -0.5, -1])
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--figure", type=Path, help="write a figure of the models here")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    begin = time.process_time()
    survey = WELLS if options.survey == "wells" else SURFACE
    inversion = Inversion(survey)
    print(f"{options.survey}: {survey.shape} nodes, {len(survey.sources)} shots of {survey.steps} steps, float32")
    print(f"the true model: {inversion.judge(inversion.true)}; converged: below {100 * inversion.enough:.1f} %")
    print("\nmodel error (m/s) / data misfit (%) / iterations\n")
    titles = " | ".join(f"s = {s:g}" for s in options.orders)
    print(f"| start | at the start | {titles} |\n|---|---|{'---|' * len(options.orders)}")
    found: dict[str, list[tuple[str, Tensor]]] = {}
    for name, start in starts(survey).items():
        begun = inversion.judge(inversion.ground(start))
        print(f"| {name} | {begun} |", end="", flush=True)
        found[name] = [("true", inversion.true), (name, begun.c)]
        for s in options.orders:
            ended = inversion.run(start, s, options.iterations)
            found[name].append((f"s = {s:g}" + ", converged" * ended.converged, ended.c))
            print(f" {ended} |", end="", flush=True)
        print()
    print(f"\nCPU time {time.process_time() - begin:.0f} s")
    if options.figure:
        draw(options.figure, survey, found)


def draw(path: Path, survey: Survey, found: dict[str, list[tuple[str, Tensor]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = [0, survey.shape[1] * SPACING / 1e3, survey.shape[0] * SPACING / 1e3, 0]
    low, high = (1700, 2500) if survey is WELLS else (1500, 4400)
    panels = list(found.values())
    figure, axes = pyplot.subplots(
        len(panels), len(panels[0]), figsize=(15, 1.4 * len(panels)), layout="constrained", squeeze=False
    )
    for row, models in zip(axes, panels, strict=True):
        for axis, (title, c) in zip(row, models, strict=True):
            shown = axis.imshow(c.numpy(), vmin=low, vmax=high, extent=size, cmap="viridis")
            axis.set_title(title, fontsize=9)
            axis.tick_params(labelsize=7)
    figure.colorbar(shown, ax=axes, label="velocity (m/s)", shrink=0.6)
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, dpi=80, format="png")
    partial.replace(path)


if __name__ == "__main__":
    main()
