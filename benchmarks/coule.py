"""Space-variant TV on COULE: where the weights come from, and what that is worth.

    python benchmarks/coule.py COULE_FOLDER

256 x 256 phantoms, 45 parallel views over 180 degrees, 365 bins, |noise| = 1 % of |y|. lambda, eta and p of every
method are tuned (mean SSIM) on TUNE images of the training part; figures are means and standard deviations over
all 30 images of the test part. The sinograms come from ASTRA's strip projector where astra is installed, so that
data and reconstruction use different models; without it from our own, and the output says so.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from skimage.io import imread

from invreg.core import Functional, solve
from invreg.metrics import psnr, relative_error, ssim
from invreg.operators import LeastSquares, Parallel2D, XRay, fbp
from invreg.priors import TV, NonNegative, SpaceVariantTV
from invreg.solvers import PDHG

N, VIEWS, BINS, TUNE, BATCH = 256, 45, 365, 3, 10
LAMBDAS = [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]
ETAS = [2e-3, 2e-2, 1e-1]
ITERATIONS = 600


def load(folder: Path, count: int | None) -> torch.Tensor:
    paths = sorted(folder.glob("*.png"), key=lambda p: int(p.stem))[:count]
    images = [imread(p) for p in paths]
    return torch.from_numpy(np.stack([im[..., 0] if im.ndim == 3 else im for im in images]).astype(np.float32) / 255)


def measure(images: torch.Tensor, A: XRay, seed: int) -> torch.Tensor:
    try:
        import astra
    except ImportError:
        print("(without astra: the data come from the projector that reconstructs)")
        y = A(images)
    else:
        g = A.geometry
        volume = astra.create_vol_geom(N, N)
        projector = astra.create_projector("strip", astra.create_proj_geom("parallel", 1.0, BINS, g.angles), volume)
        sinograms = []
        for image in images.numpy():
            number, sinogram = astra.create_sino(image, projector)
            astra.data2d.delete(number)
            sinograms.append(sinogram)
        y = torch.from_numpy(np.stack(sinograms).astype(np.float32))
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
    return y + 0.01 * noise * torch.linalg.vector_norm(y, dim=(1, 2), keepdim=True) / torch.linalg.vector_norm(
        noise, dim=(1, 2), keepdim=True
    )


def run(A: XRay, y: torch.Tensor, prior: Functional, weight: float, start: torch.Tensor) -> torch.Tensor:
    solver = PDHG([LeastSquares(y) @ A, weight * prior, NonNegative()])
    return solve(solver, start, max_iter=ITERATIONS, tol=1e-3, every=50).x


def scores(x: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    pairs = list(zip(x.numpy(), truth.numpy(), strict=True))
    return np.array([[relative_error(a, b), psnr(a, b, data_range=1), ssim(a, b, data_range=1)] for a, b in pairs])


def tuned(A: XRay, y: torch.Tensor, truth: torch.Tensor, prior: Functional, start: torch.Tensor) -> tuple[float, float]:
    """The best lambda by mean SSIM, and that SSIM."""
    found = {w: float(scores(run(A, y, prior, w, start), truth)[:, 2].mean()) for w in LAMBDAS}
    best = max(found, key=lambda w: found[w])
    return best, found[best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    A = XRay(Parallel2D(np.arange(VIEWS) * math.pi / VIEWS, BINS), (N, N))
    train, test = load(args.folder / "train" / "gt", TUNE), load(args.folder / "test" / "gt", None)
    y0, y1 = measure(train, A, 0), measure(test, A, 1)
    f0, f1 = (fbp(y, A.geometry, (N, N), A=A) for y in (y0, y1))
    print("| method | eta | p | lambda | RE | PSNR dB | SSIM |\n|---|---|---|---|---|---|---|", flush=True)

    def row(name: str, settings: str, x: torch.Tensor) -> None:
        s = scores(x, test)
        cells = " | ".join(f"{m:.4f} ± {d:.4f}" for m, d in zip(s.mean(0), s.std(0), strict=True))
        print(f"| {name} | {settings} | {cells} |", flush=True)

    row("FBP", " | | ", f1)
    tv = TV((N, N))
    weight, _ = tuned(A, y0, train, tv, f0)
    t0 = run(A, y0, tv, weight, f0)
    t1 = torch.cat([run(A, y, tv, weight, f) for y, f in zip(y1.split(BATCH), f1.split(BATCH), strict=True)])
    row("TV", f" | 1 | {weight:g}", t1)
    for name, (pre0, pre1) in {
        "weights from FBP": (f0, f1),
        "from TV": (t0, t1),
        "from the truth": (train, test),
    }.items():
        best = max(
            (*reversed(tuned(A, y0, train, SpaceVariantTV.from_image(pre0, eta, p), t0)), eta, p)
            for eta in ETAS
            for p in (0.0, 0.5)
        )
        _, weight, eta, p = best
        x = [
            run(A, y, SpaceVariantTV.from_image(pre, eta, p), weight, t)
            for y, pre, t in zip(y1.split(BATCH), pre1.split(BATCH), t1.split(BATCH), strict=True)
        ]
        row(f"SV-TV, {name}", f"{eta:g} | {p:g} | {weight:g}", torch.cat(x))


if __name__ == "__main__":
    main()
