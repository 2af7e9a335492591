"""Space-variant total variation, 512 x 512 from 60 views: our PDHG against ODL's and deepinv's to a certified gap.

    python benchmarks/solvers.py

CPU time of one thread, from x = 0, every method with its default steps (of deepinv, whose defaults of 1 diverge, equal
steps of product 0.98 / |K|^2). The gap is that of `PDHG.certificate` on each method's own primal and dual iterate, in
its own problem: ODL's ray transform is its own pair. Peers' checks are not counted, ours are; setting up is not,
but for ODL's and our own choice of steps. A peer that has not reached 1e-3 in 6 times our time (ODL with our operator)
or 16 times (the others) is stopped there, and its row is then a lower bound. Prints Markdown.
"""

import os

for pool in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before numpy and torch start theirs
    os.environ[f"{pool}_NUM_THREADS"] = "1"

import argparse
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from schemes.problems import REPORT, Problem
from torch import Tensor

from invreg.core import Linear, inner, solve
from invreg.operators import LeastSquares
from invreg.priors import NonNegative, SpaceVariantTV
from invreg.solvers import PDHG

TOL = 1e-3
Iterate = tuple[Tensor, Tensor, Tensor]  # x, dual of the data, dual of the gradient


class Stop(Exception):
    pass


class Race:
    """Looks at iterates at times that grow by a tenth; raises Stop at the gap or the cap."""

    def __init__(self, solver: PDHG, x: Tensor, cap: float) -> None:
        self.solver, self.state, self.cap = solver, solver.init(x), cap
        self.steps, self.spent, self.next, self.gap = 0, 0.0, 1.0, math.inf
        self.since = time.process_time()

    def __call__(self, iterate: Callable[[], Iterate]) -> None:
        self.steps += 1
        spent = self.spent + time.process_time() - self.since
        if spent < self.next:
            return
        x, *duals = iterate()
        self.gap = float(self.solver.certificate(self.state._replace(x=x, duals=tuple(duals)))["gap"])
        self.spent, self.next = spent, 1.1 * spent
        if self.gap <= TOL or spent >= self.cap:
            raise Stop
        self.since = time.process_time()

    def row(self, name: str, ours: float) -> str:
        more = "" if self.gap <= TOL else "> "
        return f"| {name} | {self.steps} | {more}{self.spent:.1f} s | {self.gap:.1e} | {more}{self.spent / ours:.1f} |"


def odl_race(problem: Problem, own: bool, cap: float) -> Race:
    """ODL's pdhg with its ASTRA operator (`own`; images turned as ODL's axes are) or with ours."""
    import odl
    from odl.solvers.nonsmooth.primal_dual_hybrid_gradient import pdhg_stepsize

    from invreg.adapters.odl import from_operator, to_geometry, to_operator

    n, y, weights = problem.size, problem.y, problem.objective[1].f.weights
    space = odl.uniform_discr([-n / 2] * 2, [n / 2] * 2, (n, n), dtype="float32")
    A: Linear = problem.A
    if own:
        R = odl.applications.tomo.RayTransform(space, to_geometry(A.geometry), impl="astra_cpu")
        norm, A, weights = A.norm(), from_operator(R), torch.rot90(weights, -1, (-2, -1)).contiguous()
        A.norm = lambda *_: norm  # of no consequence for the certificate, and 7 s of products
        ratio = R.range.weighting.const
    else:
        R, ratio = to_operator(A, space, odl.rn(y.shape, dtype="float32")), 1.0
    largest = float(weights.max())
    radius = space.element((weights.reshape(n, n) / largest).numpy())
    scale = odl.DiagonalOperator(odl.MultiplyOperator(radius, space, space), 2)
    D = scale * odl.Gradient(space, method="forward", pad_mode="symmetric")
    K = odl.BroadcastOperator(R, D)
    misfit = 0.5 / ratio * odl.functionals.L2NormSquared(R.range).translated(R.range.element(y.numpy()))
    f = odl.functionals.SeparableSum(misfit, largest * odl.functionals.GroupL1Norm(D.range))
    solver = PDHG([LeastSquares(y) @ A, largest * SpaceVariantTV(weights / largest), NonNegative()])
    race = Race(solver, torch.zeros(n, n), cap)
    x, u = space.zero(), K.range.zero()

    def iterate() -> Iterate:
        field = np.stack([u[1][i].asarray() * radius.asarray() for i in range(2)])
        data = ratio * u[0].asarray()
        return (
            torch.from_numpy(x.asarray().copy()).clamp_(min=0),
            torch.from_numpy(data.copy()),
            torch.from_numpy(field),
        )

    race.since = time.process_time()
    # its defaults, as Python's numbers: with the numpy ones that it finds for itself ODL 1.0.0 raises RuntimeError
    tau, sigma = (float(step) for step in pdhg_stepsize(K))
    g, options = odl.functionals.IndicatorNonnegativity(space), {"y": u, "callback": lambda _: race(iterate)}
    try:
        odl.solvers.pdhg(x, g, f, K, 10**6, tau, sigma, **options)
    except Stop:
        pass
    return race


class Stacked:
    """F of deepinv's F(K x): half the squared misfit and the prior, on [A x; D x] as one vector."""

    def __init__(self, problem: Problem) -> None:
        self.data, self.prior, _ = problem.objective

    def split(self, u: Tensor) -> list[Tensor]:
        A, D = self.data.K.codomain, self.prior.K.codomain
        return [v.reshape(s.shape) for v, s in zip(u.split([A.size, D.size]), (A, D), strict=True)]

    def K(self, x: Tensor) -> Tensor:
        return torch.cat([self.data.K(x).flatten(), self.prior.K(x).flatten()])

    def K_adjoint(self, u: Tensor) -> Tensor:
        a, d = self.split(u)
        return self.data.K.adjoint(a) + self.prior.K.adjoint(d)

    def prox_conjugate(self, u: Tensor, y: Tensor, physics: object, gamma: float) -> Tensor:
        a, d = self.split(u)
        return torch.cat([self.data.f.conj_prox(a, gamma).flatten(), self.prior.f.conj_prox(d, gamma).flatten()])


class Positive:
    """Its G."""

    def prox(self, x: Tensor, *_: object, gamma: float) -> Tensor:
        return x.clamp(min=0)


def deepinv_race(problem: Problem, cap: float) -> Race:
    """deepinv's CPIteration on [A; D] with our operators, equal steps."""
    from deepinv.optim.optim_iterators import CPIteration

    f = Stacked(problem)
    step = 0.99 / math.hypot(problem.A.norm(), 8**0.5)
    settings = {"K": f.K, "K_adjoint": f.K_adjoint, "beta": 1.0, "lambda": 1.0, "g_param": None}
    settings |= {"stepsize": step, "stepsize_dual": step}
    x = torch.zeros(problem.truth.shape)
    method, race = CPIteration(has_cost=False), Race(PDHG(problem.objective), x, cap)
    state = {"est": (x, x, torch.zeros_like(f.K(x)))}

    def iterate() -> Iterate:
        x, _, u = state["est"]
        return x, *f.split(u)

    race.since = time.process_time()
    try:
        while True:
            state = method(state, f, Positive(), settings, problem.y, None)
            race(iterate)
    except Stop:
        return race


def rows(problem: Problem, tol: float) -> Iterator[str]:
    zero = torch.zeros(problem.truth.shape)
    solver = PDHG(problem.objective)
    solve(solver, zero, max_iter=2, every=2)  # compiled
    spent: list[float] = []
    start = time.process_time()
    result = solve(
        solver, zero, tol=tol, max_iter=2000, callback=lambda _: spent.append(time.process_time() - start)
    )  # fmt: skip
    ours = 0.0
    for goal in (1e-2, 1e-3, 1e-4):
        for i, row in enumerate(result.history):
            if row["gap"] <= goal:
                pairs = int(row["iter"]) + i + 1  # a check is one pair more
                yield f"| invreg PDHG, to {goal:g} | {pairs} | {spent[i]:.1f} s | {row['gap']:.1e} | 1 |"
                ours = spent[i] if goal == TOL else ours
                break
    truth, error = problem.truth, result.x - problem.truth
    psnr = 20 * math.log10(float(truth.max())) - 10 * math.log10(float(inner(error, error, 2)) / truth.numel())
    yield f"| (its image: {psnr:.1f} dB) | | | | |"
    yield odl_race(problem, False, 6 * ours).row("ODL pdhg, our operator", ours)
    yield odl_race(problem, True, 16 * ours).row("ODL pdhg, its ASTRA operator", ours)
    yield deepinv_race(problem, 16 * ours).row("deepinv CPIteration, our operator", ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tol", type=float, default=1e-4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    print(f"{REPORT[0]}; load {os.getloadavg()[0]:.1f}\n")
    print("| method | pairs | CPU time | gap | times ours to 1e-3 |\n|---|---|---|---|---|", flush=True)
    for row in rows(REPORT[0], args.tol):
        print(row, flush=True)


if __name__ == "__main__":
    main()
