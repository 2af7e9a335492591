"""Full waveform inversion from ever worse starts, by the Sobolev order of the misfit: which of them converge.

    python benchmarks/fwi.py [--large] [--iterations 15] [--figure docs/fwi.png]

Layers with a salt lens under water, `AcousticWave2D`, Ricker wavelet, shots and receivers near the surface, no noise;
velocities by `LBFGS` between bounds. The misfit is that of H^s along time in units of the period of the wavelet over
2 pi, so that s matters above the frequency of the wavelet, normalised to the same value at the start. Starts: the true
model smoothed by a Gaussian of that standard deviation (m), and a velocity linear in depth; the water is known. Model
error: |c - true| / |true - linear|, 1 for the linear start. Data misfit:
|traces - measured| / |measured|, whatever s. --large: 200 x 400 nodes, 20 shots of 1500 steps.
"""

import argparse
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

# isort: split

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from invreg.core import Operator, Space, solve
from invreg.operators import AcousticWave2D, Sobolev, ricker
from invreg.solvers import LBFGS

ORDERS = (1.0, 0.0, -0.5, -1.0)
SMOOTHED = (100.0, 250.0)
WATER, LOW, HIGH = 1500.0, 1400.0, 4600.0


class UnderWater(Operator):
    """Velocities below `rows` of water, (*batch, h - rows, w) -> (*batch, h, w)."""

    def __init__(self, shape: tuple[int, int], rows: int) -> None:
        super().__init__(Space((shape[0] - rows, shape[1])), Space(shape))
        self.rows = rows

    def _forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x - WATER, (0, 0, self.rows, 0)) + WATER


@dataclass(frozen=True)
class Survey:
    """Nodes, spacing (m), dt (s), steps, frequency of the wavelet (Hz), shots, nodes between receivers."""

    shape: tuple[int, int] = (40, 80)
    spacing: float = 25.0
    dt: float = 3e-3
    steps: int = 400
    frequency: float = 5.0
    shots: int = 4
    every: int = 2

    @property
    def water(self) -> int:
        """Rows of water."""
        return self.shape[0] // 6

    def operator(self) -> Operator:
        """From the velocity below the water, which is known, to the traces."""
        w = self.shape[1]
        columns = torch.linspace(0.05 * w, 0.95 * w - 1, self.shots).round().long().tolist()
        waves = AcousticWave2D(
            self.shape,
            self.spacing,
            self.dt,
            ricker(self.frequency, self.dt, self.steps).float(),
            [(1, j) for j in columns],
            [(2, j) for j in range(0, w, self.every)],
        )
        return waves @ UnderWater(self.shape, self.water)

    def model(self) -> Tensor:
        """Gently bent layers of 1800 to 3400 m/s, and a salt lens of 4300 m/s."""
        h, w = self.shape
        depth = torch.arange(h, dtype=torch.float64)[:, None] / h
        across = torch.arange(w, dtype=torch.float64)[None] / w
        bent = depth - 0.04 * torch.sin(2 * math.pi * across + 0.7) - 0.05 * across
        c = torch.full(self.shape, 1800.0, dtype=torch.float64)
        for top, velocity in ((0.25, 2100.0), (0.4, 2350.0), (0.55, 2700.0), (0.72, 3050.0), (0.86, 3400.0)):
            c[bent > top] = velocity
        c[((depth - 0.48) / 0.11) ** 2 + ((across - 0.52) / 0.17) ** 2 < 1] = 4300.0
        return c[self.water :].float()

    def smoothed(self, model: Tensor, length: float) -> Tensor:
        return torch.from_numpy(gaussian_filter(model.numpy(), length / self.spacing))

    def linear(self) -> Tensor:
        h, w = self.domain
        return (1700 + 1700 * torch.linspace(0, 1, h)[:, None]).expand(h, w).clone()

    @property
    def domain(self) -> tuple[int, int]:
        return self.shape[0] - self.water, self.shape[1]


LARGE = Survey((200, 400), 10.0, 1.25e-3, 1500, 6.0, 20)


def invert(survey: Survey, measured: Tensor, start: Tensor, s: float, iterations: int, A: Operator) -> Tensor:
    """The velocity after that many iterations of L-BFGS on the H^s misfit along time."""
    length = survey.steps * survey.dt * 2 * math.pi * survey.frequency
    misfit = Sobolev(measured, s, length=length, boundary="cosine", axes=-1, ndim=3)
    misfit = (1 / misfit(A(start))) * misfit
    solver = LBFGS([misfit @ A], low=LOW, high=HIGH, first=50.0)
    return solve(solver, start, max_iter=iterations, tol=1e-4, every=iterations).x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="200 x 400 nodes, 20 shots of 1500 steps")
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--figure", type=Path, help="write a figure of the models here")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    survey = LARGE if options.large else Survey()
    A, true = survey.operator(), survey.model()
    measured = A(true)
    linear = survey.linear()

    def error(c: Tensor) -> float:
        return float((c - true).norm() / (linear - true).norm())

    def residual(c: Tensor) -> float:
        return float((A(c) - measured).norm() / measured.norm())

    starts = {f"smoothed, {length:.0f} m": survey.smoothed(true, length) for length in SMOOTHED} | {"linear": linear}
    print(f"{survey}, {options.iterations} iterations\n")
    print("model error / data misfit\n")
    print(f"| start | at the start | {' | '.join(f's = {s:g}' for s in ORDERS)} |\n|---|---|{'---|' * len(ORDERS)}")
    found: dict[tuple[str, float], Tensor] = {}
    begin = time.process_time()
    for name, start in starts.items():
        print(f"| {name} | {error(start):.3f} / {residual(start):.3f} |", end="", flush=True)
        for s in ORDERS:
            c = found[name, s] = invert(survey, measured, start, s, options.iterations, A)
            print(f" {error(c):.3f} / {residual(c):.3f} |", end="", flush=True)
        print()
    print(f"\nCPU time {time.process_time() - begin:.0f} s")
    if options.figure:
        draw(options.figure, survey, true, starts, found)


def draw(
    path: Path, survey: Survey, true: Tensor, starts: dict[str, Tensor], found: dict[tuple[str, float], Tensor]
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    top, bottom = survey.water * survey.spacing / 1e3, survey.shape[0] * survey.spacing / 1e3
    size = [0, survey.shape[1] * survey.spacing / 1e3, bottom, top]
    figure, axes = pyplot.subplots(len(starts), 2 + len(ORDERS), figsize=(15, 1.75 * len(starts)), layout="constrained")
    for row, (name, start) in zip(axes, starts.items(), strict=True):
        panels = [("true", true), (name, start), *((f"s = {s:g}", found[name, s]) for s in ORDERS)]
        for axis, (title, c) in zip(row, panels, strict=True):
            shown = axis.imshow(c.numpy(), vmin=1500, vmax=4400, extent=size, cmap="viridis")
            axis.set_title(title, fontsize=9)
            axis.tick_params(labelsize=7)
    figure.colorbar(shown, ax=axes, label="velocity (m/s)", shrink=0.6)
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, dpi=80, format="png")
    partial.replace(path)


if __name__ == "__main__":
    main()
