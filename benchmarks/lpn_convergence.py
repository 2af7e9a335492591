"""Plug and play with a learned proximal network and with an ordinary denoiser: what the iterates do over 200 steps.

    python benchmarks/lpn_convergence.py PHOTO LPN DENOISER [--figure FILE.png]

Deblurring, inpainting and tomography of one photograph (128 x 128 in the middle, grey), by PnPPGD under its strict rule
for the step and by PnPADMM under its own, in float64. LPN and DENOISER are networks, files or shipped ones. For each:
the largest rise of the objective from one step to the next over its size, and the change |x+ - x| / |x| at the steps
10, 50 and 200. An ordinary denoiser has no objective.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from lpn import Denoiser, Problem, blurred, measured, scores
from skimage.color import rgb2gray
from skimage.io import imread
from torch import Tensor

from invreg.core import Functional, Solver, solve
from invreg.operators import Mask, Parallel2D, XRay, random_mask
from invreg.priors import LPN
from invreg.solvers import PnPADMM, PnPPGD
from invreg.train.checkpoints import load_model
from invreg.weights import path as shipped

SIDE, STEPS, LOOK = 128, 200, (10, 50, 200)
Curve = dict[str, list[float]]


def problems(image: Tensor) -> dict[str, Problem]:
    mask = Mask(random_mask((SIDE, SIDE), 0.5, torch.Generator().manual_seed(0)))
    rays = XRay(Parallel2D(np.arange(60) * np.pi / 60, 192), (SIDE, SIDE))
    rms = float(rays(image).square().mean().sqrt())
    return {
        "deblurring, width 1, noise 0.04": blurred(image, 0, 1, 0.04),
        "inpainting, half of the pixels, noise 0.04": measured(mask, image, 0.04, 0),
        "tomography, 60 views, noise 1 %": measured(rays, image, 0.01 * rms, 0),
    }


def curve(solver: Solver, start: Tensor) -> tuple[Tensor, Curve]:
    result = solve(solver, start, max_iter=STEPS, tol=0, every=1)
    rows = result.history
    return result.x, {key: [row[key] for row in rows] for key in ("change", "objective") if key in rows[0]}


def solvers(p: Problem, prior: Functional) -> dict[str, Solver]:
    """With weights of the data that the strict rules allow: eta and 1 / rho of 0.99 / |A|^2."""
    return {"PGD": PnPPGD([p.data(), prior]), "ADMM": PnPADMM([p.data(), prior])}


def rise(objective: list[float]) -> float:
    """The largest rise from one step to the next over the size of the objective; negative where it always fell."""
    f = np.array(objective)
    return float((np.diff(f) / np.abs(f[1:])).max())


def draw(curves: dict[str, dict[str, Curve]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, len(curves), sharex=True)
    for (upper, lower), (name, runs) in zip(axes.T, curves.items(), strict=True):
        upper.set_title(name, fontsize=9)
        for label, run in runs.items():
            lower.semilogy(range(1, STEPS + 1), run["change"], label=label)
            if "objective" in run:
                f = np.array(run["objective"])
                upper.semilogy(range(1, STEPS + 1), f - f.min() + 1e-12 * abs(f.min()), label=label)
        upper.set_ylabel("objective less its minimum")
        lower.set(ylabel="|x+ - x| / |x|", xlabel="step")
        lower.legend(fontsize=7)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("lpn")
    parser.add_argument("denoiser")
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    image = rgb2gray(imread(args.photo))
    top, left = ((n - SIDE) // 2 for n in image.shape)
    truth = torch.from_numpy(image[None, top : top + SIDE, left : left + SIDE]).float()
    psi, about = load_model(shipped(args.lpn), "lpn")
    network = load_model(shipped(args.denoiser), "denoiser")[0]
    priors = {
        "LPN": LPN(psi.double(), about["settings"]["noise"]["sigma"]),
        "denoiser": Denoiser(network.double()),
    }
    curves: dict[str, dict[str, Curve]] = {}
    print("| problem | prior | solver | largest rise | change, 10 | 50 | 200 | PSNR dB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, p in problems(truth).items():
        p.A.double()
        exact = Problem(p.A, p.truth, p.y.double(), p.std)
        curves[name] = {}
        for kind, prior in priors.items():
            for label, solver in solvers(exact, prior).items():
                x, run = curve(solver, exact.start())
                curves[name][f"{kind}, {label}"] = run
                up = f"{rise(run['objective']):.1e}" if "objective" in run else ""
                changes = " | ".join(f"{run['change'][k - 1]:.1e}" for k in LOOK)
                quality = scores(x.float(), truth)[0, 0]
                print(f"| {name} | {kind} | {label} | {up} | {changes} | {quality:.2f} |", flush=True)
    if args.figure:
        draw(curves, args.figure)


if __name__ == "__main__":
    main()
