"""The default solver and other schemes on the problems to report on (held out), to certified gaps.

    python benchmarks/schemes/compare.py --largest 256 --pairs 700

Every scheme's gap is that of `PDHG.certificate` on its iterates, looked at after every 20 steps; these looks are
not counted. Prints Markdown.
"""

import os

for pool in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before numpy and torch start theirs
    os.environ[f"{pool}_NUM_THREADS"] = "1"

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from schemes.methods import Iterates, accelerated, chambolle_pock, diagonal, fista
from schemes.problems import REPORT, Problem

from invreg.solvers import PDHG

GOALS = (1e-2, 1e-3, 1e-4)


def default(problem: Problem) -> Iterates:
    solver = PDHG(problem.objective)
    state = solver.init(torch.zeros(problem.truth.shape))
    while True:
        state = solver.step(state)
        yield state.x, state.duals


SCHEMES: dict[str, Callable[[Problem], Iterates]] = {
    "PDHG, the default": default,
    "accelerated, 10 inner steps": accelerated,
    "FISTA, 30 inner steps": fista,
    "Chambolle-Pock, over-relaxed, ratio 0.1": lambda p: chambolle_pock(p, 0.1, 1.9),
    "Chambolle-Pock, equal steps": chambolle_pock,
    "diagonal preconditioning": diagonal,
}


def pairs(problem: Problem, scheme: Callable[[Problem], Iterates], limit: int) -> tuple[list[int | None], float]:
    """Steps to each of the GOALS, and the CPU time."""
    solver = PDHG(problem.objective)
    state, reached, spent = solver.init(torch.zeros(problem.truth.shape)), [None] * len(GOALS), 0.0
    start = time.process_time()
    for k, (x, duals) in enumerate(scheme(problem), 1):
        if k % 20 == 0:
            spent += time.process_time() - start
            gap = float(solver.certificate(state._replace(x=x, duals=duals))["gap"])
            reached = [k if n is None and gap <= goal else n for n, goal in zip(reached, GOALS, strict=True)]
            if k >= limit or reached[-1]:
                break
            start = time.process_time()
    return reached, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=512, help="leave out problems of larger images")
    parser.add_argument("--pairs", type=int, default=700, help="the limit")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    problems = [p for p in REPORT if p.size <= args.largest]
    print("| scheme | " + " | ".join(f"{g:g}: reached, median, worst" for g in GOALS) + " | CPU time |")
    print("|---|" + "---|" * (len(GOALS) + 1), flush=True)
    for name, scheme in SCHEMES.items():
        results = [pairs(p, scheme, args.pairs) for p in problems]
        cells = []
        for i in range(len(GOALS)):
            took = [r[i] for r, _ in results if r[i] is not None]
            every = [n if (n := r[i]) is not None else float("inf") for r, _ in results]
            cells.append(f"{len(took)}/{len(problems)}, {statistics.median(every):.0f}, {max(every):.0f}")
        print(f"| {name} | {' | '.join(cells)} | {sum(t for _, t in results):.1f} s |", flush=True)


if __name__ == "__main__":
    main()
