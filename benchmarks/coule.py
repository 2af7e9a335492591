"""Space-variant TV on COULE: where the weights come from, and what that is worth.

    python benchmarks/coule.py run COULE_FOLDER RESULTS [--views 180 60 45 30] [--noise 0.005 0.01 0.03] [--nets FOLDER]
    python benchmarks/coule.py table RESULTS

256 x 256 phantoms; fan beam of 512 bins, source 1800 and detector 500 pixels from the axis, views over 180 degrees;
|noise| a fraction of |y|. The sinograms come from ASTRA's strip projector, so that data and reconstruction are of
different models. Every method's lambda (iterations, filter) is tuned for each setting on TUNE images of the training
part by mean SSIM, eta of the weights once for each source of them at 60 views and 1 %. Figures are means and standard
deviations over all 30 images of the test part. NETS holds `alpha_1`, `alpha_0.5` and `alpha_0`, folders that
`invreg train svtv-weights` wrote. A setting whose figures RESULTS (JSON, one line a method) holds is not run again.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import astra
import numpy as np
import torch
from skimage.io import imread
from torch import Tensor

from invreg.core import Functional, solve
from invreg.metrics import psnr, relative_error, ssim
from invreg.operators import LeastSquares, XRay, fbp, from_astra
from invreg.priors import TGV, TV, NonNegative, SpaceVariantTV, Through
from invreg.solvers import CGLS, PDHG
from invreg.train.checkpoints import load_model

N, BINS, SOURCE, DETECTOR, TUNE = 256, 512, 1800.0, 500.0, 3
MIDDLE = (60, 0.01)
ETAS, P = (2e-3, 2e-2, 1e-1), 0.0
# gap and iterations of a solve for tuning and for the figures; PSNR moves by less than 0.1 dB after 150
COARSE, FINE = (3e-2, 150), (1e-2, 150)
REWEIGHTINGS = 3
PRE_ESTIMATES = ("FBP", "CGLS", "TV")
SOURCES = (*PRE_ESTIMATES, "truth")
NETWORKS = {"network (image)": "alpha_1", "network (both)": "alpha_0.5", "network (gradient)": "alpha_0"}


Limits = tuple[float, int]


@dataclass
class Scans:
    """Images (n, h, w), their measurement, and the images made on the way that others start from."""

    A: XRay
    truth: Tensor
    y: Tensor
    made: dict[str, Tensor] = field(default_factory=dict)


def load(folder: Path, count: int | None) -> Tensor:
    paths = sorted(folder.glob("*.png"), key=lambda p: int(p.stem))[:count]
    images = [imread(p) for p in paths]
    return torch.from_numpy(np.stack([im[..., 0] if im.ndim == 3 else im for im in images]).astype(np.float32) / 255)


def rays(views: int) -> dict[str, Any]:
    return astra.create_proj_geom("fanflat", 1.0, BINS, np.arange(views) * math.pi / views, SOURCE, DETECTOR)


def measure(images: Tensor, views: int, noise: float, seed: int) -> Scans:
    projector = astra.create_projector("strip_fanflat", rays(views), astra.create_vol_geom(N, N))
    sinograms = []
    for image in images.numpy():
        number, sinogram = astra.create_sino(image, projector)
        astra.data2d.delete(number)
        sinograms.append(sinogram)
    astra.projector.delete(projector)
    y = torch.from_numpy(np.stack(sinograms).astype(np.float32))
    e = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
    size = torch.linalg.vector_norm(y, dim=(1, 2), keepdim=True) / torch.linalg.vector_norm(e, dim=(1, 2), keepdim=True)
    return Scans(XRay(from_astra(rays(views)), (N, N), 1.0), images, y + noise * size * e)


Method = Callable[[Scans, Any, Limits], Tensor]


# Methods: scans and one setting to images; `limits` are gap and iterations


def filtered(s: Scans, setting: str, limits: Limits) -> Tensor:
    return fbp(s.y, s.A.geometry, (N, N), 1.0, filter=setting, A=s.A)


def least_squares(s: Scans, setting: int, limits: Limits) -> Tensor:
    return solve(CGLS(s.A, s.y), torch.zeros_like(s.truth), max_iter=setting, tol=0).x.clamp(min=0)


def network(folder: Path) -> Method:
    model, about = load_model(folder / "model.safetensors", "svtv-weights")

    def method(s: Scans, setting: None, limits: Limits) -> Tensor:
        first = filtered(s, about["settings"]["scan"]["filter"], limits)
        return torch.cat([model(x[None, None])[0] for x in first])

    return method


def convex(prior: Callable[[Scans], Functional], start: str) -> Method:
    """min |A x - y|^2 / 2 + setting * prior over x >= 0, from the images called `start`."""

    def method(s: Scans, setting: float, limits: Limits) -> Tensor:
        solver = PDHG([LeastSquares(s.y) @ s.A, setting * prior(s), NonNegative()])
        return solve(solver, s.made[start], tol=limits[0], max_iter=limits[1]).x

    return method


def total_variation(s: Scans) -> Functional:
    return TV((N, N))


def generalised(s: Scans, setting: float, limits: Limits) -> Tensor:
    """TGV of second order with its usual ratio of 2."""
    tgv = TGV((N, N))
    solver = PDHG([LeastSquares(s.y) @ s.A @ tgv.image, setting * tgv, Through(NonNegative(), tgv.image)])
    start = torch.cat([s.made["FBP"][:, None], s.truth.new_zeros(len(s.truth), 2, N, N)], 1)
    return tgv.image(solve(solver, start, tol=limits[0], max_iter=limits[1]).x)


def weighted(source: str, eta: float) -> Callable[[Scans], Functional]:
    def prior(s: Scans) -> Functional:
        return SpaceVariantTV.from_image(s.truth if source == "truth" else s.made[source], eta, P)

    return prior


def reweighted(eta: float) -> Method:
    """TpV: the weights once more from each solution, which is no convex problem any longer."""

    def method(s: Scans, setting: float, limits: Limits) -> Tensor:
        state = None
        x = s.made["TV"]
        for _ in range(REWEIGHTINGS):
            prior = setting * SpaceVariantTV.from_image(x, eta, P)
            solver = PDHG([LeastSquares(s.y) @ s.A, prior, NonNegative()])
            start = x if state is None else solver.warm(state)
            state = solve(solver, start, tol=limits[0], max_iter=limits[1] // 2).state
            x = state.x
        return x

    return method


def scores(x: Tensor, truth: Tensor) -> np.ndarray:
    """(n, 3): relative error, PSNR and SSIM for the range 1."""
    pairs = list(zip(x.numpy(), truth.numpy(), strict=True))
    return np.array([[relative_error(a, b), psnr(a, b, data_range=1), ssim(a, b, data_range=1)] for a, b in pairs])


def similarity(method: Method, s: Scans, setting: Any) -> float:
    return float(scores(method(s, setting, COARSE), s.truth)[:, 2].mean())


def best_of(method: Method, s: Scans, settings: list[Any]) -> tuple[float, Any]:
    return max((similarity(method, s, setting), setting) for setting in settings)


def climb(method: Method, s: Scans, start: float) -> tuple[float, float]:
    """The best SSIM and its lambda, on the grid start * 2^k, going uphill from `start`."""
    found = {0: similarity(method, s, start)}
    top = 0
    while True:
        for k in (top - 1, top + 1):
            if k not in found:
                found[k] = similarity(method, s, start * 2.0**k)
        best = max(found, key=lambda k: found[k])
        if best == top:
            return found[top], start * 2.0**top
        top = best


class Results:
    """Lines of JSON, one a method and setting."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def find(self, views: int, noise: float, method: str) -> dict[str, Any] | None:
        keys = (views, noise, method)
        return next((r for r in self.rows if (r["views"], r["noise"], r["method"]) == keys), None)

    def add(self, **row: Any) -> None:
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def run(folder: Path, results: Results, views: list[int], noises: list[float], nets: Path | None) -> None:
    train, test = load(folder / "train" / "gt", TUNE), load(folder / "test" / "gt", None)
    settings = sorted(((v, e) for v in views for e in noises), key=lambda pair: (pair != MIDDLE, pair))
    for setting in settings:
        pair = measure(train, *setting, 0), measure(test, *setting, 1)
        one(Runner(results, *setting, *pair), nets)


@dataclass
class Runner:
    results: Results
    views: int
    noise: float
    tune: Scans
    test: Scans

    def run(self, name: str, method: Method, choose: Callable[[], tuple[float, Any]], **said: Any) -> Any:
        """Tune and run a method unless its figures are there; its image is kept for others. Returns the setting."""
        row = self.results.find(self.views, self.noise, name)
        setting = choose()[1] if row is None else row["setting"]
        if row is None or name in (*PRE_ESTIMATES, *NETWORKS):
            start = time.perf_counter()
            self.test.made[name] = method(self.test, setting, FINE)
            seconds = time.perf_counter() - start
            if name in (*PRE_ESTIMATES, *NETWORKS):
                self.tune.made[name] = method(self.tune, setting, FINE)
        if row is None:
            figures = scores(self.test.made[name], self.test.truth).tolist()
            row = {"views": self.views, "noise": self.noise, "method": name, "setting": setting, **said}
            self.results.add(**row, seconds=seconds / len(figures), scores=figures)
            mean = np.mean(figures, 0)
            print(f"{self.views} {self.noise:g} {name}: {setting} {said} RE {mean[0]:.4f} PSNR {mean[1]:.2f} "
                  f"SSIM {mean[2]:.4f} {seconds:.0f} s", flush=True)  # fmt: skip
        return setting


def one(r: Runner, nets: Path | None) -> None:
    """All methods at one number of views and noise level."""
    r.run("FBP", filtered, lambda: best_of(filtered, r.tune, ["ramp", "hann"]))
    r.run("CGLS", least_squares, lambda: best_of(least_squares, r.tune, [4, 6, 9, 13, 19, 28, 40]))
    plain = convex(total_variation, "FBP")
    guess = 4.0 * r.noise / 0.01
    weight = r.run("TV", plain, lambda: climb(plain, r.tune, guess))
    r.run("TGV", generalised, lambda: climb(generalised, r.tune, weight))
    for name in SOURCES:
        run_weighted(r, f"SV-TV, weights from {name}", lambda eta, name=name: convex(weighted(name, eta), "TV"), weight)
    run_weighted(r, "TpV", reweighted, weight)
    for name, folder in NETWORKS.items() if nets else ():
        r.run(name, network(nets / folder), lambda: (0.0, None))
        run_weighted(r, f"SV-TV, weights from {name}", lambda eta, name=name: convex(weighted(name, eta), "TV"), weight)


def run_weighted(r: Runner, name: str, make: Callable[[float], Method], weight: float) -> None:
    """A method with an eta, which is chosen at the setting MIDDLE, which runs first, and used at all others."""
    row = r.results.find(*MIDDLE, name)
    if row is not None:
        eta = row["eta"]
    elif (r.views, r.noise) == MIDDLE:
        eta = max((climb(make(eta), r.tune, weight)[0], eta) for eta in ETAS)[1]
    else:
        raise SystemExit(f"run {MIDDLE[0]} views and noise {MIDDLE[1]} first: eta is chosen there")
    r.run(name, make(eta), lambda: climb(make(eta), r.tune, weight), eta=eta)


def table(results: Results) -> None:
    print("| views | noise | method | lambda | RE | PSNR dB | SSIM |\n|---|---|---|---|---|---|---|")
    for row in sorted(results.rows, key=lambda r: (-r["views"], r["noise"])):
        s = np.array(row["scores"])
        cells = " | ".join(f"{m:.{k}f} ± {d:.{k}f}" for m, d, k in zip(s.mean(0), s.std(0), (4, 2, 4), strict=True))
        print(f"| {row['views']} | {row['noise']:.1%} | {row['method']} | {row['setting']} | {cells} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run")
    runs.add_argument("folder", type=Path)
    runs.add_argument("--views", type=int, nargs="+", default=[180, 60, 45, 30])
    runs.add_argument("--noise", type=float, nargs="+", default=[0.005, 0.01, 0.03])
    runs.add_argument("--nets", type=Path)
    for verb in (runs, verbs.add_parser("table")):
        verb.add_argument("results", type=Path)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    if args.verb == "table":
        table(Results(args.results))
    else:
        run(args.folder, Results(args.results), args.views, args.noise, args.nets)


if __name__ == "__main__":
    main()
