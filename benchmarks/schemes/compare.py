"""The default solver and other schemes on the problems to report on (held out), to certified gaps.

    python benchmarks/schemes/compare.py --size 128 --pairs 400 [--only ramp]
    python benchmarks/schemes/compare.py --first --pairs 1500

Problems of larger images are taken at `--size`. A pair is two uses of A or its adjoint, counted at the operator, so
that a scheme's inner conjugate gradients, line search and first steps are in it (the norms of A and D are not, nor is
that of A in a metric). Every scheme's gap is that of `PDHG.certificate` on its iterates, looked at after every 20
pairs; these looks count neither as pairs nor as time. A scheme that breaks down counts as one that does not arrive.
`--first` takes the first problem alone, at its full 512 x 512 and in float64, down to 1e-6. Prints Markdown.
"""

import os

for pool in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before numpy and torch start theirs
    os.environ[f"{pool}_NUM_THREADS"] = "1"

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from schemes.methods import (
    Iterates,
    accelerated,
    admm,
    balanced,
    chambolle_pock,
    default,
    diagonal,
    fista,
    former,
    halpern,
    line_search,
    ramped,
    restarted,
)
from schemes.problems import CHOOSE, REPORT, Problem
from torch import Tensor

from invreg.core import Linear
from invreg.solvers import PDHG

GOALS = (1e-2, 1e-3, 1e-4)
STRICT = (1e-3, 1e-4, 1e-6)


SCHEMES: dict[str, Callable[[Problem], Iterates]] = {
    "PDHG with inner steps (default)": default,
    "over-relaxed PDHG (former default)": former,
    "Chambolle-Pock, equal steps": chambolle_pock,
    "Chambolle-Pock, balanced": balanced,
    "diagonal preconditioning": diagonal,
    "Malitsky-Pock line search": line_search,
    "restarts, adaptive weight (PDLP)": restarted,
    "restarted reflected Halpern": halpern,
    "restarted reflected Halpern, ramp metric": ramped(partial(halpern, first_ratio=1.0)),
    "the default in the ramp metric": ramped(default),
    "ADMM": admm,
    "FISTA, 30 warm inner steps": fista,
    "accelerated dual, 10 inner steps": accelerated,
}


class Uses:
    """Counts those of A and of its adjoint from now on."""

    def __init__(self, A: Linear) -> None:
        self.count = 0
        for name in ("_forward", "_adjoint"):
            setattr(A, name, self._counted(getattr(A, name)))

    def _counted(self, product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def counted(x: Tensor) -> Tensor:
            self.count += 1
            return product(x)

        return counted


class Run(NamedTuple):
    pairs: list[float]  # to each of the goals, infinite where not reached
    times: list[float]  # likewise
    seconds: float
    gap: float


def run(problem: Problem, scheme: Callable[[Problem], Iterates], limit: int, goals: tuple[float, ...] = GOALS) -> Run:
    solver = PDHG(problem.objective)
    state, spent, looks, gap = solver.init(torch.zeros(problem.truth.shape)), 0.0, 20, math.inf
    reached, times = [math.inf] * len(goals), [math.inf] * len(goals)
    method, uses = scheme(problem), Uses(problem.A)
    while looks <= limit and gap > goals[-1]:
        start = time.process_time()
        while uses.count < 2 * looks:
            x, duals = next(method)
        spent += time.process_time() - start
        count = uses.count
        gap = float(solver.certificate(state._replace(x=x, duals=duals))["gap"])
        uses.count = count
        reached = [min(n, count / 2) if gap <= goal else n for n, goal in zip(reached, goals, strict=True)]
        times = [min(t, spent) if gap <= goal else t for t, goal in zip(times, goals, strict=True)]
        looks = 20 * (count // 40 + 1)
    return Run(reached, times, spent, gap)


def number(pairs: float) -> str:
    return f"{pairs:.0f}" if math.isfinite(pairs) else "-"


def first(schemes: dict[str, Callable[[Problem], Iterates]], limit: int) -> None:
    """The first problem in float64, to the STRICT goals."""
    torch.set_default_dtype(torch.float64)
    print("| scheme | " + " | ".join(f"{g:g}: pairs, CPU s" for g in STRICT) + " | at the end: gap, CPU s |")
    print("|---|" + "---|" * (len(STRICT) + 1))
    for name, scheme in schemes.items():
        r = run(replace(REPORT[0]), scheme, limit, STRICT)
        cells = [f"{n:.0f}, {t:.1f}" if math.isfinite(n) else "-" for n, t in zip(r.pairs, r.times, strict=True)]
        print(f"| {name} | {' | '.join(cells)} | {r.gap:.1e}, {r.seconds:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="of larger images")
    parser.add_argument("--pairs", type=int, default=700, help="the limit")
    parser.add_argument("--only", default="", help="schemes with this in their name, beside the default")
    parser.add_argument("--first", action="store_true", help="the first problem alone, in float64")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    schemes = {name: s for name, s in SCHEMES.items() if s is default or args.only in name}
    if args.first:
        return first(schemes, args.pairs)
    results: dict[str, list[Run]] = {name: [] for name in schemes}
    print(f"load {os.getloadavg()[0]:.1f}\n\n| problem | scheme: pairs to " + ", ".join(f"{g:g}" for g in GOALS) + " |")
    print("|---|---|")
    for problem in (*REPORT, *CHOOSE):
        for name, scheme in schemes.items():
            if problem in REPORT or scheme is default:
                small = replace(problem, size=min(problem.size, args.size))
                result = run(small, scheme, args.pairs)
                results[name].append(result)
                cells = ", ".join(number(n) for n in result.pairs)
                print(f"| {small} | {name}: {cells}; {result.gap:.1e}, {result.seconds:.1f} s |", flush=True)
    held = len(REPORT)
    results["the default, problems to choose by"] = results[next(iter(SCHEMES))][held:]
    ours = sum(r.seconds for r in results[next(iter(SCHEMES))][:held])
    print("\n| scheme | " + " | ".join(f"{g:g}: reached, median, worst" for g in GOALS) + " | CPU time |")
    print("|---|" + "---|" * (len(GOALS) + 1))
    for name, runs in results.items():
        cells = []
        for i in range(len(GOALS)):
            pairs = [r.pairs[i] for r in runs[:held]]
            arrived = sum(map(math.isfinite, pairs))
            cells.append(f"{arrived}/{len(pairs)}, {number(statistics.median(pairs))}, {number(max(pairs))}")
        print(f"| {name} | {' | '.join(cells)} | {sum(r.seconds for r in runs[:held]) / ours:.1f} |")
    return None


if __name__ == "__main__":
    main()
