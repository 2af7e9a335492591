"""Learned proximal networks against other priors: deblurring, sparse-view CT and compressed sensing.

    python benchmarks/lpn.py run RESULTS --photos BSDS500 --slices SLICES [--only "blur 1" ...] [--networks NAME ...]
    python benchmarks/lpn.py table RESULTS

photos/{val,test}: photographs, 128 x 128 in the middle as grey images; slices/{train,test}/gt: CT slices, as
benchmarks/ct_slices.py CT SLICES 20 makes them. Parameters are chosen by the mean PSNR over TUNE images of val or
train, and the figures are means over the COUNT first images of test. But total variation has the best weight for the
test images themselves, to within a factor of two: its figures are the best that it can do. NAME is a network, a file or
one that is shipped: `lpn` ones are priors for PnPADMM, `denoiser` ones its proximal map by plug and play, without a
proof. BM3D is the package of that name (https://pypi.org/project/bm3d). A line of RESULTS is not run again.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.color import rgb2gray
from skimage.io import imread
from skimage.transform import resize
from torch import Tensor

from invreg.core import Functional, Linear, Precomposed, solve
from invreg.metrics import psnr, ssim
from invreg.operators import Blur, LeastSquares, Parallel2D, RandomConvolution, XRay, fbp, psf
from invreg.priors import LPN, TV, NonNegative
from invreg.solvers import CGLS, PDHG, PnPADMM
from invreg.train.checkpoints import load_model
from invreg.weights import path as shipped

TUNE, COUNT = 3, 20
STEPS = 60  # of PnPADMM; PSNR has settled before
Limits = tuple[float, int]
TRIAL, FINAL = (3e-3, 150), (1e-3, 300)


@dataclass
class Problem:
    """Images (n, h, w) in [0, 1] and y = A x + noise of standard deviation std."""

    A: Linear
    truth: Tensor
    y: Tensor
    std: float
    kernel: Tensor | None = None

    def data(self, weight: float = 1.0) -> Precomposed:
        fit = LeastSquares(self.y, ndim=len(self.A.codomain.shape), std=self.std) @ self.A
        return weight * fit

    def start(self) -> Tensor:
        """An image to start from that costs little."""
        if isinstance(self.A, XRay):
            return fbp(self.y, self.A.geometry, self.A.domain.shape, 1.0, filter="hann", A=self.A)
        return self.A.adjoint(self.y) / self.A.norm() ** 2


def measured(A: Linear, truth: Tensor, std: float, seed: int, kernel: Tensor | None = None) -> Problem:
    clean = A(truth)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return Problem(A, truth, clean + std * noise, std, kernel)


def blurred(truth: Tensor, seed: int, width: float, std: float) -> Problem:
    """Gaussian blur, periodic, with the kernel sizes of Fang et al.: 5 pixels on a side, or 7 for a width of 2."""
    kernel = psf.gaussian(width, size=5 if width < 2 else 7)
    return measured(Blur(kernel, (128, 128)), truth, std, seed, kernel)


def scanned(truth: Tensor, seed: int, views: int) -> Problem:
    """Parallel rays over 180 degrees, noise of 1 % of the root mean square of the sinograms."""
    n = truth.shape[-1]
    A = XRay(Parallel2D(np.arange(views) * np.pi / views, int(1.5 * n)), (n, n))
    return measured(A, truth, 0.01 * float(A(truth).square().mean().sqrt()), seed)


def sensed(truth: Tensor, seed: int, part: int) -> Problem:
    """Random convolution, one datum for `part` pixels, noise of 1e-3."""
    h, w = truth.shape[-2:]
    A = RandomConvolution((h, w), h * w // part, torch.Generator().manual_seed(0)).float()
    return measured(A, truth, 1e-3, seed)


PROBLEMS: dict[str, tuple[str, int, Callable[[Tensor, int], Problem]]] = {
    **{
        f"blur {width}, noise {std}": ("photos", 128, lambda x, seed, w=width, s=std: blurred(x, seed, w, s))
        for width in (1, 2)
        for std in (0.02, 0.04)
    },
    "CT, 200 views, 512 x 512": ("slices", 512, lambda x, seed: scanned(x, seed, 200)),
    "CT, 60 views, 256 x 256": ("slices", 256, lambda x, seed: scanned(x, seed, 60)),
    "sensing 1/16, 512 x 512": ("slices", 512, lambda x, seed: sensed(x, seed, 16)),
    "sensing 1/4, 512 x 512": ("slices", 512, lambda x, seed: sensed(x, seed, 4)),
}


def photographs(folder: Path, side: int, count: int) -> Tensor:
    images = []
    for path in sorted(folder.glob("*.jpg"))[:count]:
        image = rgb2gray(imread(path))
        top, left = ((n - side) // 2 for n in image.shape)
        images.append(image[top : top + side, left : left + side])
    return torch.from_numpy(np.stack(images)).float()


def slices(folder: Path, side: int, count: int) -> Tensor:
    paths = sorted(folder.glob("*.png"), key=lambda p: int(p.stem))
    images = [imread(paths[k * len(paths) // count]) / 255 for k in range(min(count, len(paths)))]
    return torch.from_numpy(np.stack([np.clip(resize(x, (side, side), order=3), 0, 1) for x in images])).float()


class Denoiser(Functional):
    """A network (item, 1, h, w) -> (item, 1, h, w) in place of a proximal map."""

    convex = False

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        denoised: Tensor = self.network(x[:, None])
        return denoised[:, 0]


# Methods: a problem, a setting and limits to images


def least_squares(p: Problem, setting: int, limits: Limits) -> Tensor:
    """A few iterations of CGLS, with no prior."""
    A, y = p.A, p.y
    return solve(CGLS(A, y), torch.zeros_like(p.truth), max_iter=setting, tol=0).x


def total_variation(p: Problem, setting: float, limits: Limits) -> Tensor:
    shape = (p.truth.shape[-2], p.truth.shape[-1])
    terms = [p.data(), setting * TV(shape), NonNegative()]
    return solve(PDHG(terms), p.start(), tol=limits[0], max_iter=limits[1]).x


def by_prior(prior: Functional) -> Callable[[Problem, float, Limits], Tensor]:
    def method(p: Problem, setting: float, limits: Limits) -> Tensor:
        """`setting` is the weight of the data against the prior's own scale."""
        images = []
        for k in range(len(p.truth)):  # one at a time, which is no slower on a CPU
            one = Problem(p.A, p.truth[k : k + 1], p.y[k : k + 1], p.std)
            solver = PnPADMM([one.data(setting), prior], rho=1.0, strict=setting * p.A.norm() ** 2 < 1)
            images.append(solve(solver, one.start(), max_iter=STEPS, tol=1e-4).x)
        return torch.cat(images)

    return method


def bm3d(p: Problem, setting: float, limits: Limits) -> Tensor:
    np.trapz = np.trapezoid  # noqa: NPY201  # which bm3d 4.0 still calls by its old name
    from bm3d import bm3d_deblurring

    assert p.kernel is not None
    kernel = p.kernel.double().numpy()
    made = [bm3d_deblurring(y[..., None], setting * p.std, kernel) for y in p.y.double().numpy()]  # with an axis of 1
    return torch.from_numpy(np.stack(made)).float()


def scores(x: Tensor, truth: Tensor) -> np.ndarray:
    """(n, 2): PSNR and SSIM for the range 1."""
    pairs = zip(x.numpy(), truth.numpy(), strict=True)
    return np.array([[psnr(a, b, data_range=1), ssim(a, b, data_range=1)] for a, b in pairs])


Run = Callable[[Problem, Any, Limits], Tensor]


def best_of(run: Run, p: Problem, settings: list[Any]) -> Any:
    return max(settings, key=lambda setting: scores(run(p, setting, TRIAL), p.truth)[:, 0].mean())


def climb(run: Run, p: Problem, start: float) -> float:
    """The best mean PSNR on the grid start * 2^k, going uphill from `start`."""
    found: dict[int, float] = {}
    top = 0
    while True:
        for k in (top, top - 1, top + 1):
            if k not in found:
                found[k] = scores(run(p, start * 2.0**k, TRIAL), p.truth)[:, 0].mean()
        best = max(found, key=lambda k: found[k])
        if best == top:
            return start * 2.0**top
        top = best


@dataclass
class Results:
    """Lines of JSON, one a problem and method."""

    path: Path

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def run(self, problem: str, method: str, run: Run, test: Problem, choose: Callable[[], Any]) -> None:
        if any((row["problem"], row["method"]) == (problem, method) for row in self.rows()):
            return
        setting = choose()
        start = time.process_time()
        figures = scores(run(test, setting, FINAL), test.truth)
        seconds = (time.process_time() - start) / len(figures)
        row = {"problem": problem, "method": method, "setting": setting, "seconds": seconds, "scores": figures.tolist()}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{problem} {method}: {setting} {figures.mean(0)} {seconds:.2f} s", flush=True)


def everything(name: str, folders: dict[str, Path], networks: list[str], results: Results) -> None:
    """All methods on one problem."""
    kind, side, make = PROBLEMS[name]
    folder = folders[kind]
    if kind == "photos":
        tune, test = photographs(folder / "val", side, TUNE), photographs(folder / "test", side, COUNT)
    else:
        tune, test = slices(folder / "train" / "gt", side, TUNE), slices(folder / "test" / "gt", side, COUNT)
    p, q = make(tune, 0), make(test, 1)
    counts = [1, 2, 3, 5, 8, 12, 18, 27, 40]
    results.run(name, "CGLS", least_squares, q, lambda: best_of(least_squares, p, counts))
    guess = 2 * p.std * p.A.norm() / side
    results.run(
        name, "TV, best weight", total_variation, q, lambda: climb(total_variation, q, climb(total_variation, p, guess))
    )
    if p.kernel is not None:
        results.run(name, "BM3D", bm3d, q, lambda: best_of(bm3d, p, [0.7, 1.0, 1.4]))
    for network in networks:
        model, about = load_model(shipped(network), "lpn" if "lpn" in network else "denoiser")
        sigma = about["settings"]["noise"]["sigma"]
        prior = LPN(model, sigma) if about["task"] == "lpn" else Denoiser(model)
        run, scale = by_prior(prior), (sigma / p.std) ** 2
        results.run(name, network, run, q, lambda run=run, scale=scale: climb(run, p, scale))


def table(results: Results) -> None:
    print("| problem | method | setting | PSNR dB | SSIM | CPU s an image |\n|---|---|---|---|---|---|")
    order = list(PROBLEMS)
    for row in sorted(results.rows(), key=lambda r: order.index(r["problem"])):
        s = np.array(row["scores"])
        cells = " | ".join(f"{m:.{k}f} ± {d:.{k}f}" for m, d, k in zip(s.mean(0), s.std(0), (2, 3), strict=True))
        print(f"| {row['problem']} | {row['method']} | {row['setting']:.3g} | {cells} | {row['seconds']:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run")
    for verb in (runs, verbs.add_parser("table")):
        verb.add_argument("results", type=Path)
    runs.add_argument("--photos", type=Path)
    runs.add_argument("--slices", type=Path)
    runs.add_argument("--only", nargs="+", default=list(PROBLEMS))
    runs.add_argument("--networks", nargs="*", default=[])
    args = parser.parse_args()
    results = Results(args.results)
    if args.verb == "table":
        return table(results)
    torch.set_grad_enabled(False)
    folders = {"photos": args.photos, "slices": args.slices}
    for name in [name for name in PROBLEMS if any(name.startswith(part) for part in args.only)]:
        if folders[PROBLEMS[name][0]] is not None:
            everything(name, folders, args.networks, results)
    return None


if __name__ == "__main__":
    main()
