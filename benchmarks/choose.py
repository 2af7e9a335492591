"""Rules for the weight of total variation against the best weight, on 20 problems.

    OMP_NUM_THREADS=1 python benchmarks/choose.py [learn] [PROBLEM ...]

Few-view CT (parallel beams from an image twice as fine, fan beams from the same grid), deblurring and denoising of
pictures and of random ellipses, 64 x 64 pixels, 0.5 to 5 % noise. Regret: the PSNR of the best weight of a grid (and
of all chosen ones) minus that of the chosen one, all solved to a gap of 1e-3. Cost: lower solves of one image (of 150
steps at most; for learning, lower and CG steps over 150). learn: the rules that learn the weight from two pairs of
other images through the same operator with the same noise, whose cost is that of both, once for all later images.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from skimage import data
from skimage.transform import resize
from torch import Tensor

from invreg.core import Linear, Result, solve
from invreg.metrics import psnr
from invreg.operators import Blur, FanBeam2D, LeastSquares, Mask, Parallel2D, XRay
from invreg.priors import TV, NonNegative, SmoothTV
from invreg.solvers import HOAG, MAID, PDHG, Variational, discrepancy, gcv, lcurve, search, sure
from invreg.solvers.bilevel import descend

SIZE, STEPS = 64, 150
KINDS = ("parallel", "fan", "blur", "denoise")
NOISE = (0.005, 0.01, 0.02, 0.03, 0.05)
VIEWS = (20, 24, 30, 36, 45)
PICTURES = ("ellipses", "camera", "astronaut", "ellipses", "cat")


def picture(name: str, size: int, seed: int) -> Tensor:
    """(size, size), values from 0 to 1; for CT only inside the disc that every view sees."""
    rng = np.random.default_rng(seed)
    if name == "ellipses":
        t = np.linspace(-1, 1, size)
        x = np.zeros((size, size))
        for _ in range(8):
            a, b, angle = rng.uniform(0.08, 0.5), rng.uniform(0.08, 0.5), rng.uniform(0, np.pi)
            cx, cy = rng.uniform(-0.45, 0.45, 2)
            u = (t[None] - cx) * np.cos(angle) + (t[:, None] - cy) * np.sin(angle)
            v = -(t[None] - cx) * np.sin(angle) + (t[:, None] - cy) * np.cos(angle)
            x[(u / a) ** 2 + (v / b) ** 2 < 1] += rng.uniform(0.1, 0.5)
        x /= x.max()
    else:
        full = getattr(data, name)().astype(float)
        full = full.mean(-1) if full.ndim == 3 else full
        side = min(full.shape)
        x = resize(full[:side, :side], (size, size), anti_aliasing=True) / 255
    return torch.from_numpy(x).float()


@dataclass
class Problem:
    name: str
    A: Linear
    truth: Tensor  # (1, h, w)
    y: Tensor
    std: float
    pairs: tuple[Tensor, Tensor]  # truths (2, h, w) of other images and their measurements

    def solve(self, weight: float, state: object, y: Tensor, steps: int = STEPS, tol: float = 1e-3) -> Result:
        solver = PDHG([LeastSquares(y) @ self.A, weight * TV((SIZE, SIZE)), NonNegative()])
        start = torch.zeros(len(y), SIZE, SIZE) if state is None else solver.warm(state)
        return solve(solver, start, max_iter=steps, tol=tol)

    def start(self) -> float:
        return 2 * self.std * self.A.norm() / SIZE


def operator(kind: str, views: int, size: int = SIZE) -> Linear:
    angles = np.linspace(0, np.pi if kind == "parallel" else 2 * np.pi, views, endpoint=False)
    pixel = SIZE / size
    if kind == "parallel":
        return XRay(Parallel2D(angles, 92), (size, size), pixel)
    if kind == "fan":
        geometry = FanBeam2D(angles, 110, 1.5, source_origin=4.0 * SIZE, source_detector=6.0 * SIZE)
        return XRay(geometry, (size, size), pixel)
    if kind == "blur":
        t = torch.arange(-6, 7).float()
        kernel = torch.exp(-(t[:, None] ** 2 + t[None] ** 2) / (2 * 1.5**2))
        return Blur(kernel / kernel.sum(), (SIZE, SIZE))
    return Mask(torch.ones(SIZE, SIZE, dtype=torch.bool))


def problem(number: int) -> Problem:
    kind, k = KINDS[number // 5], number % 5
    name, noise = PICTURES[k], NOISE[(k + number // 5) % 5]
    A = operator(kind, VIEWS[k])
    fine = 2 if kind == "parallel" else 1
    measure = operator(kind, VIEWS[k], fine * SIZE)
    generator = torch.Generator().manual_seed(number)
    others = [("ellipses", 100 + number), ("ellipses", 200 + number)]
    if name != "ellipses":
        others = [(other, 0) for other in ("camera", "astronaut", "cat") if other != name]
    images = torch.stack([picture(n, fine * SIZE, s) for n, s in [(name, number), *others]])
    exact = measure(images)
    std = noise * float(exact[0].square().mean().sqrt())
    y = exact + std * torch.randn(exact.shape, generator=generator)
    truths = images.reshape(3, SIZE, fine, SIZE, fine).mean((2, 4))
    words = f"{kind} {name} {100 * noise:g} %"
    return Problem(words, A, truths[:1], y[:1], std, (truths[1:], y[1:]))


class Counted:
    """solve_at of a problem, which counts the estimates it solves for."""

    def __init__(self, p: Problem) -> None:
        self.p, self.count = p, 0

    def __call__(self, weight: float, state: object, y: Tensor | None = None) -> Result:
        y = self.p.y if y is None else y.reshape(-1, *self.p.y.shape[1:])
        self.count += len(y)
        found = self.p.solve(weight, state, y)
        return found if len(y) == 1 else replace(found, x=found.x[:, None])


def rms(p: Problem, x: Tensor) -> float:
    return float((p.A(x) - p.y).square().mean().sqrt())


def by_discrepancy(p: Problem) -> tuple[float, float]:
    at = Counted(p)
    return discrepancy(at, lambda x: rms(p, x), p.std, p.start()).value, at.count


def by_lcurve(p: Problem) -> tuple[float, float]:
    at, prior = Counted(p), TV((SIZE, SIZE))
    low, high = p.start() / 100, p.start() * 100

    def norms(x: Tensor) -> tuple[float, float]:
        return float((p.A(x) - p.y).square().sum()), float(prior(x).sum())

    return lcurve(at, norms, low, high).value, at.count


def by_gcv(p: Problem) -> tuple[float, float]:
    at = Counted(p)
    return gcv(at, p.A, p.y, p.start()).value, at.count


def by_sure(p: Problem) -> tuple[float, float]:
    at = Counted(p)
    return sure(at, p.A, p.y, p.std, p.start()).value, at.count


def smooth(p: Problem) -> Variational:
    """The smoothed lower problem of the two pairs: nu a hundredth of the range, a ridge of a thousandth of |A|^2."""
    y = p.pairs[1].double()
    denoises = p.name.startswith("denoise")  # strongly convex by itself
    ridge = 0.0 if denoises else 1e-3 * p.A.norm() ** 2

    def prior(theta: Tensor) -> SmoothTV:
        return SmoothTV((SIZE, SIZE), theta[0].exp(), 1e-2)

    return Variational(LeastSquares(y) @ p.A, prior, ridge=ridge, strength=float(denoises))


def by_maid(p: Problem) -> tuple[float, float]:
    lower, truth = smooth(p), p.pairs[0].double()
    theta = torch.tensor([np.log(p.start())], dtype=torch.float64)
    zero = torch.zeros_like(truth)
    rough = descend(lower, zero, theta, 1e-3 * float(lower.grad_x(zero, theta).norm()), 1000)
    unit = float((rough.x - truth).square().sum((1, 2)).mean())  # so that f starts at 1
    eps, delta = 0.03 * float(truth.norm()), 0.03 / unit**0.5
    learner = MAID(lower, (2 / unit) * LeastSquares(truth), eps=eps, delta=delta, beta=10.0, reach=2.0)
    found = learner.run(theta, rough.x, max_iter=20, relative=2e-2, max_lower_steps=3000)
    found.lower_steps += rough.steps
    return float(found.theta.exp()), 2 * (found.lower_steps + found.cg_steps) / STEPS


def by_hoag(p: Problem) -> tuple[float, float]:
    lower, truth = smooth(p), p.pairs[0].double()
    middle = float(np.log(p.start()))
    learner = HOAG(lower, LeastSquares(truth), tol=1e-2, bounds=(middle - 7, middle + 7))
    theta = torch.tensor([middle], dtype=torch.float64)
    found = learner.run(theta, torch.zeros_like(truth), max_iter=12, tol=0.05)
    return float(found.theta.exp()), 2 * (found.lower_steps + found.cg_steps) / STEPS


def by_search(p: Problem, method: Literal["random", "tpe"], cost: float) -> tuple[float, float]:
    """At the cost of MAID, cold solves of both pairs by PDHG."""
    middle = torch.tensor([np.log(p.start())])

    def score(theta: Tensor) -> float:
        return float((p.solve(float(theta.exp()), None, p.pairs[1]).x - p.pairs[0]).square().mean())

    budget = max(3, round(cost / 2))
    best, _ = search(score, middle - 7, middle + 7, budget=budget, method=method)
    return float(best.exp()), 2.0 * budget


def quality(p: Problem, weight: float, state: object) -> tuple[float, Result]:
    found = p.solve(weight, state, p.y, 600)
    return psnr(found.x, p.truth, data_range=1.0), found


def measured(number: int, learn: bool) -> tuple[str, dict[str, tuple[float, float, float]], float]:
    """Name, {rule: (regret in dB, cost, seconds)} and the best PSNR of a problem."""
    p = problem(number)
    rules: dict[str, Callable[[], tuple[float, float]]] = {"start": lambda: (p.start(), 0.0)}
    if learn:
        rules["maid"], rules["hoag"] = lambda: by_maid(p), lambda: by_hoag(p)
        rules["random"] = lambda: by_search(p, "random", chosen["maid"][1])
        rules["tpe"] = lambda: by_search(p, "tpe", chosen["maid"][1])
    else:
        rules["discrepancy"], rules["lcurve"] = lambda: by_discrepancy(p), lambda: by_lcurve(p)
        rules["gcv"], rules["sure"] = lambda: by_gcv(p), lambda: by_sure(p)
    chosen: dict[str, tuple[float, float, float]] = {}
    for name, rule in rules.items():
        begun = time.process_time()
        weight, cost = rule()
        chosen[name] = weight, cost, time.process_time() - begun
    grid = p.start() * 1.6 ** np.arange(-9, 6.0)
    state, levels = None, {}
    for weight in sorted([*grid, *(c[0] for c in chosen.values())], reverse=True):
        levels[weight], found = quality(p, weight, state)
        state = found.state
    best = max(levels.values())
    print(
        f"{p.name:24} best {best:5.2f} dB at {max(levels, key=lambda w: levels[w]) / p.start():7.3f} x start; regret "
        + "  ".join(f"{n} {best - levels[c[0]]:.2f} ({c[1]:.0f})" for n, c in chosen.items()),
        flush=True,
    )
    return p.name, {n: (best - levels[c[0]], c[1], c[2]) for n, c in chosen.items()}, best


def main() -> None:
    learn = "learn" in sys.argv
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()] or range(20)
    with torch.no_grad():
        rows = [measured(k, learn) for k in numbers]
    print(f"\n{'rule':12} {'mean regret':>11} {'worst':>6} {'solves':>7} {'CPU s':>6}   by kind " + " ".join(KINDS))
    for rule in rows[0][1]:
        regret, cost, seconds = (np.array([row[1][rule][i] for row in rows]) for i in range(3))
        kinds = [
            f"{np.mean([v for v, row in zip(regret, rows, strict=True) if row[0].startswith(kind)]):.2f}"
            for kind in KINDS
            if any(row[0].startswith(kind) for row in rows)
        ]
        print(
            f"{rule:12} {regret.mean():11.2f} {regret.max():6.2f} {cost.mean():7.1f} {seconds.mean():6.1f}   "
            + "  ".join(kinds)
        )


if __name__ == "__main__":
    main()
