"""Learned proximal networks of one number with a Laplace density, for which everything is known.

    python benchmarks/lpn_laplace.py [--seed 0] [--figure docs/lpn_laplace.png]

x has the density exp(-|x|) / 2, y = x + noise of deviation 1. The squared loss leads to the posterior mean, the
absolute one to the posterior median, proximal matching to the most probable x, which is the soft threshold: the
proximal operator of |x|. So only the third network holds R = |x|. Experiment: Fang, Buchanan, Sulam, ICLR 2024; fewer
steps here.
"""

import argparse
import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import log_ndtr, ndtr, ndtri
from torch import Tensor

from invreg.priors import DensePotential
from invreg.priors.icnn import gradient
from invreg.train.lpn import matching

BATCH = 1000
SQUARE, ABSOLUTE = "squared", "absolute"
# (loss, or the width of the matching loss; steps; learning rate)
Stage = tuple[str | float, int, float]
FIRST: list[Stage] = [(ABSOLUTE, 800, 3e-3), (ABSOLUTE, 400, 5e-4)]
RECIPES: dict[str, list[Stage]] = {
    "squared loss": [(SQUARE, 800, 3e-3), (SQUARE, 400, 5e-4)],
    "absolute loss": FIRST,
    "proximal matching": [(1.0, 800, 1e-3), (0.6, 800, 1e-3), (0.4, 1200, 1e-3), (0.25, 1500, 7e-4),
                          (0.15, 1500, 5e-4), (0.15, 1000, 1e-4)],
}  # fmt: skip


def samples(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x and y (BATCH, 1)."""
    u = 2 * torch.rand(BATCH, 1, generator=generator) - 1
    x = -u.sign() * torch.log1p(-u.abs().clamp(max=1 - 1e-7))
    return x, x + torch.randn(BATCH, 1, generator=generator)


def fit(psi: DensePotential, stages: list[Stage], generator: torch.Generator) -> DensePotential:
    """Train a potential, in place."""
    optimiser = torch.optim.Adam(psi.parameters())
    for loss, steps, rate in stages:
        optimiser.param_groups[0]["lr"] = rate
        for _ in range(steps):
            x, y = samples(generator)
            error = gradient(psi, y, create_graph=True) - x
            if isinstance(loss, float):
                value = matching(error, loss)
            else:
                value = error.square().mean() if loss == SQUARE else error.abs().mean()
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            psi.project()
    return psi


def _tails(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The posterior is two truncated normals, about y - 1 for x > 0, y + 1 for x < 0; the weight of the first, both."""
    right, left = log_ndtr(y - 1) - y, log_ndtr(-(y + 1)) + y
    return 1 / (1 + np.exp(left - right)), y - 1, y + 1


def posterior_mean(y: np.ndarray) -> np.ndarray:
    weight, right, left = _tails(y)

    def excess(z: np.ndarray) -> np.ndarray:
        return np.exp(-(z**2) / 2 - log_ndtr(z)) / np.sqrt(2 * np.pi)

    return weight * (right + excess(right)) + (1 - weight) * (left - excess(-left))


def posterior_median(y: np.ndarray) -> np.ndarray:
    weight, right, left = _tails(y)
    above = right + ndtri(np.clip(1 - 0.5 / weight * ndtr(right), 0, 1))  # where more than half lies above 0
    below = left + ndtri(np.clip(0.5 / (1 - weight) * ndtr(-left), 0, 1))
    return np.where(weight >= 0.5, above, below)


def soft_threshold(y: np.ndarray) -> np.ndarray:
    return np.sign(y) * np.maximum(np.abs(y) - 1, 0)


REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "posterior mean": posterior_mean,
    "posterior median": posterior_median,
    "soft threshold": soft_threshold,
}


def prior(psi: DensePotential, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x = f(y) and R(x) = x y - x^2 / 2 - psi(y), 0 at x = 0, for increasing y."""
    t = torch.from_numpy(y).float()[:, None]
    x = gradient(psi, t)[:, 0].double().numpy()
    with torch.no_grad():
        R = x * y - x**2 / 2 - psi(t).double().numpy()
    return x, R - np.interp(0, x, R)


def trained(seed: int) -> dict[str, tuple[DensePotential, float]]:
    """The networks by what they were trained with, and the CPU seconds of that; the last goes on from the second."""
    made: dict[str, tuple[DensePotential, float]] = {}
    for number, (name, stages) in enumerate(RECIPES.items()):
        start = time.process_time()
        torch.manual_seed(seed)
        psi = copy.deepcopy(made["absolute loss"][0]) if name == "proximal matching" else DensePotential()
        fit(psi, stages, torch.Generator().manual_seed(seed + number))
        made[name] = psi, time.process_time() - start
    return made


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    y = np.linspace(-4, 4, 801)
    curves = {}
    print("| trained with | " + " | ".join(f"{name}: largest, rms" for name in REFERENCES) + " | R(1) | R(2) | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for name, (psi, seconds) in trained(args.seed).items():
        x, _ = prior(psi, y)
        errors = [np.abs(x - f(y)) for f in REFERENCES.values()]
        at, R = prior(psi, np.linspace(-6, 6, 2401))
        curves[name] = x, at, R
        levels = [np.mean(np.interp([-v, v], at, R)) for v in (1, 2)]
        cells = [f"{e.max():.3f}, {np.sqrt(np.mean(e**2)):.3f}" for e in errors]
        print(f"| {name} | {' | '.join(cells)} | {levels[0]:.2f} | {levels[1]:.2f} | {seconds:.0f} |", flush=True)
    if args.figure:
        figure(curves, y, args.figure)


def figure(curves: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], y: np.ndarray, path: str) -> None:
    """The three networks beside what they should be, and the functions whose proximal operators they are."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    made, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", dpi=110)
    colours = ("#0072b2", "#009e73", "#d55e00")
    for (name, (x, at, R)), (reference, f), colour in zip(curves.items(), REFERENCES.items(), colours, strict=True):
        axes[0].plot(y, x, color=colour, label=name)
        axes[0].plot(y, f(y), ":", color=colour, lw=2.5, alpha=0.6, label=reference)
        inside = np.abs(at) <= 2.5
        axes[1].plot(at[inside], R[inside], color=colour, label=name)
    axes[1].plot([-2.5, 0, 2.5], [2.5, 0, 2.5], "k:", lw=2, label="|x|")
    axes[0].set(title="f(y)", xlabel="y")
    axes[1].set(title="R(x)", xlabel="x")
    for ax in axes:
        ax.grid(alpha=0.2)
        ax.legend(frameon=False, fontsize=8)
    made.savefig(path)


if __name__ == "__main__":
    main()
