"""What the order of a Sobolev misfit does to deblurring, to denoising and to the misfit of shifted waves.

    python benchmarks/sobolev.py [deblur] [denoise] [waves] [scan]

Prints Markdown, all tables by default. scikit-image's camera of 128 x 128 pixels in [0, 1], side 1, periodic;
noise in per cent of the norm of the data. Deblurring: Gaussian of 2 pixels, Landweber with the step 1 / L of each
order, the best PSNR over 3000 iterations @ where (the first within 0.01 dB), and that after 100. Denoising: total
variation with weights of mean 1, its weight chosen for each cell from a grid of 1.26 by the truth, so that orders are
compared each at its best. Waves: half the width, in periods, of the basin around no shift. Scan: the best PSNR
over weights of total variation (a grid of 2) from 40 views of 64 bins, with noise of 1.5 % and 4 % of the largest line
integral and spectrum (1 + xi^2)^-s along the detector, xi in radians a bin, by least squares and by the matched misfit.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from skimage.data import camera
from skimage.transform import resize
from torch import Tensor

from invreg.core import solve
from invreg.operators import BesselPotential, Blur, Parallel2D, Sobolev, XRay, psf
from invreg.priors import TV, NonNegative
from invreg.solvers import PDHG, Landweber

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from phantoms import ellipse_image, ellipse_sinogram, random_ellipses, scaled

ORDERS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
COLOURS, MISFITS = (-0.5, 0.0, 0.5), (-0.5, -0.25, 0.0, 0.25, 0.5)
GRID = 1.26  # between weights of the prior


def image(n: int) -> Tensor:
    return torch.from_numpy(resize(camera(), (n, n), anti_aliasing=True)).double()


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    return -10 * (x - truth).square().mean((-1, -2)).log10()


def sized(noise: Tensor, relative: float, data: Tensor) -> Tensor:
    return noise * (relative * data.norm() / noise.norm())


def landweber(s: float, y: Tensor, A: Blur, truth: Tensor, max_iter: int, every: int) -> Tensor:
    """PSNR (check, item) of Landweber from 0 on the misfit of order s, every so many iterations."""
    found: list[Tensor] = []
    n = y.shape[-1]
    # L of the product: that of the misfit times |A|^2, the default, is larger for s > 0, where A undoes the weights
    steepest = (BesselPotential((n, n), -s / 2) @ A).norm() ** 2
    solver = Landweber(Sobolev(y, s) @ A, tau=1 / steepest)
    solve(solver, torch.zeros_like(y), max_iter=max_iter, tol=0.0, every=every,
          record={"psnr": lambda state: found.append(psnr(state.x, truth)) or 0.0})  # fmt: skip
    return torch.stack(found)


def deblur(n: int = 128, max_iter: int = 3000) -> None:
    truth = image(n).float()
    A = Blur(psf.gaussian(2.0).float(), (n, n))
    clean, generator = A(truth), torch.Generator().manual_seed(0)
    white = torch.randn(n, n, generator=generator)
    levels = (0.0, 0.01, 0.05)
    y = torch.stack([clean + sized(white, level, clean) for level in levels])
    print("\n| noise | " + " | ".join(f"s = {s:g}" for s in ORDERS) + " |\n|" + "---|" * (1 + len(ORDERS)))
    curves = [landweber(s, y, A, truth, max_iter, 10) for s in ORDERS]
    for i, level in enumerate(levels):
        cells = []
        for curve in curves:
            best = curve[:, i].max()
            at = int((curve[:, i] > best - 0.01).nonzero()[0])
            cells.append(f"{float(best):.2f} @ {10 * (at + 1)} / {float(curve[9, i]):.2f}")
        print(f"| {level:.0%} | " + " | ".join(cells) + " |")


def denoised(y: Tensor, s: float, weights: Tensor, max_iter: int = 400) -> tuple[Tensor, float]:
    """Images (weight, h, w) of total variation beside the misfit of order s, and the worst relative gap."""
    n = y.shape[-1]
    terms = [Sobolev(y, s, normalise=True), weights * TV((n, n))]
    result = solve(PDHG(terms), y.expand(len(weights), n, n).clone(), max_iter=max_iter, tol=1e-3)
    return result.x, result.history[-1]["gap"]


def best_denoised(y: Tensor, s: float, truth: Tensor) -> tuple[float, float, float]:
    """The best PSNR over weights, that weight and the gap there; the grid grows until the best is inside."""
    weights = 0.05 * GRID ** torch.arange(-4.0, 5.0, dtype=torch.float64)
    for _ in range(8):
        x, gap = denoised(y, s, weights)
        values = psnr(x, truth)
        best = int(values.argmax())
        if 0 < best < len(weights) - 1:
            break
        weights = weights * GRID ** (6 if best else -6)
    return float(values[best]), float(weights[best]), gap


def denoise(n: int = 128) -> None:
    truth, generator = image(n).float(), torch.Generator().manual_seed(0)
    white = torch.randn(n, n, generator=generator)
    print(
        "\n| noise's s | noisy | " + " | ".join(f"s = {s:g}" for s in MISFITS) + " |\n|" + "---|" * (2 + len(MISFITS))
    )
    worst = 0.0
    for colour in COLOURS:
        law = Sobolev(torch.zeros(n, n), colour, std=1.0)
        noise = law.sample(torch.zeros(n, n), generator) if colour else white
        y = truth + sized(noise, 0.12, truth)
        cells = []
        for s in MISFITS:
            value, weight, gap = best_denoised(y, s, truth)
            worst = max(worst, gap)
            cells.append(f"{value:.2f} ({weight:.3g})")
        print(f"| {colour:g} | {float(psnr(y, truth)):.2f} | " + " | ".join(cells) + " |", flush=True)
    print(f"\nPSNR (weight of the prior); relative gap at most {worst:.1e}")


def basin(s: float, alpha: float = 1.0, frequency: float = 5.0, side: float = 4.0, samples: int = 2048) -> float:
    """Half the width in periods of the basin of |f(. - tau) - f|^2 in H^s for a Ricker wave f."""
    t = side * (torch.arange(samples, dtype=torch.float64) / samples - 0.5)
    shifts = torch.linspace(0, side / 4, 2001, dtype=torch.float64)

    def ricker(t: Tensor) -> Tensor:
        a = (torch.pi * frequency * t).square()
        return (1 - 2 * a) * (-a).exp()

    value = Sobolev(ricker(t), s, length=side, alpha=alpha, ndim=1)(ricker(t - shifts[:, None]))
    value = value / value.max()
    falls = (value.diff() < -1e-8).nonzero()
    return float(shifts[falls[0] if len(falls) else -1]) * frequency


def waves() -> None:
    orders = (1.0, 0.0, -0.5, -1.0, -2.0, -3.0)
    print("\n| norm | " + " | ".join(f"s = {s:g}" for s in orders) + " |\n|" + "---|" * (1 + len(orders)))
    for name, alpha in (("alpha = 1", 1.0), ("homogeneous", 0.0)):
        print(
            f"| {name} | "
            + " | ".join("> 4.99" if (b := basin(s, alpha)) > 4.99 else f"{b:.2f}" for s in orders)
            + " |"
        )


def scan(bins: int = 64, views: int = 40) -> None:
    g = Parallel2D(np.arange(views) * np.pi / views, bins)
    phantom = scaled(random_ellipses(0, 12), 0.45 * bins)
    truth = torch.from_numpy(ellipse_image(phantom, (bins, bins))).float()
    clean = torch.from_numpy(ellipse_sinogram(phantom, g, average_bins=True))
    A, weights = XRay(g, (bins, bins)), 2.0 ** torch.arange(-3, 5, dtype=torch.float64)
    print("\n| noise's s | noise | least squares | s = the noise's |\n|---|---|---|---|")
    law = {"length": float(bins), "boundary": "cosine", "axes": -1}
    for colour in (-0.7, 0.5, 1.0):
        for level in (0.015, 0.04):
            std = level * float(clean.max())
            y = Sobolev(clean, colour, std=std, **law).sample(clean, torch.Generator().manual_seed(1)).float()
            cells = []
            for s in (0.0, colour):
                terms = [Sobolev(y, s, normalise=True, **law) @ A, weights * std * TV((bins, bins)), NonNegative()]
                x = solve(PDHG(terms), torch.zeros(len(weights), bins, bins), max_iter=200, tol=1e-2).x
                error = (x - truth).square().mean((-1, -2)) / float(truth.max()) ** 2
                cells.append(f"{-10 * float(error.min().log10()):.2f}")
            print(f"| {colour:g} | {level:.1%} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parts = {"deblur": deblur, "denoise": denoise, "waves": waves, "scan": scan}
    for name in sys.argv[1:] or parts:
        start = time.process_time()
        parts[name]()
        print(f"\n{name}: {time.process_time() - start:.0f} s of CPU time")


if __name__ == "__main__":
    main()
