"""Our solvers against one another on small problems, and Krylov methods of deepinv and scipy on a ray transform.

    python benchmarks/solver_family.py tv|deblurring|tikhonov|subsets|krylov

CPU time of one thread without checks and setting up. tv, deblurring, tikhonov: 64 x 64, float64, until the objective
is within 1e-5 (tikhonov: 1e-8) of the reference, a far longer run of PDHG (tikhonov: of LSQR), or 2000 products with A
(and as many with A^T) are spent. A check comes after each tenth more of steps. Prints Markdown.
"""

import os

for pool in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before numpy and torch start theirs
    os.environ[f"{pool}_NUM_THREADS"] = "1"

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from phantoms import SHEPP_LOGAN, ellipse_image, scaled

from invreg.core import Functional, Linear, Solver, inner, solve
from invreg.operators import Blur, Gradient, LeastSquares, Parallel2D, XRay
from invreg.priors import TV, GroupL1, NonNegative, SquaredL2
from invreg.solvers import (
    ADMM,
    CG,
    CGLS,
    FISTA,
    LBFGS,
    LSQR,
    PDHG,
    SPDHG,
    CondatVu,
    GaussNewton,
    Landweber,
    NewtonCG,
)

CAP = 2000


class Counted(Linear):
    """A that counts its products, each as a share of one with all the data."""

    products = 0.0

    def __init__(self, A: Linear, share: float = 1.0) -> None:
        super().__init__(A.domain, A.codomain)
        self.A, self.share = A, share

    def norm(self, *_: object) -> float:
        return self.A.norm()

    def _forward(self, x: Tensor) -> Tensor:
        Counted.products += self.share
        return self.A(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.A.adjoint(y)


class Normal(Linear):
    """A^T A + damping."""

    def __init__(self, A: Linear, damping: float) -> None:
        super().__init__(A.domain, A.domain)
        self.A, self.damping = A, damping

    def _forward(self, x: Tensor) -> Tensor:
        return self.A.adjoint(self.A(x)) + self.damping * x

    _adjoint = _forward


def race(name: str, solver: Solver, value: Callable[[Tensor], float], best: float, tol: float) -> None:
    Counted.products = 0.0
    spent, since, steps, check, off, state = 0.0, time.process_time(), 0, 1.0, math.inf, None
    while state is None or (off > tol and Counted.products < CAP):
        state = solver.init(torch.zeros(64, 64, dtype=torch.float64)) if state is None else solver.step(state)
        steps += 1
        off = math.inf
        if steps >= check:  # not counted: products of checks
            spent += time.process_time() - since
            counted = Counted.products
            off = value(state.x) / best - 1
            Counted.products, check, since = counted, 1.1 * steps, time.process_time()
        if steps > 4 * CAP:  # of steps without A
            break
    off = value(state.x) / best - 1
    print(f"| {name} | {off:.0e} | {steps - 1} | {Counted.products:.0f} | {spent:.2f} s |", flush=True)


def scan(n: int, views: int) -> tuple[XRay, Tensor]:
    A = XRay(Parallel2D(np.arange(views) * math.pi / views, math.ceil(1.42 * n)), (n, n))
    return A, noisy(A(phantom(n)), 0.02)


def phantom(n: int) -> Tensor:
    return torch.from_numpy(ellipse_image(scaled(SHEPP_LOGAN, n / 2), (n, n))).double()


def noisy(y: Tensor, level: float) -> Tensor:
    e = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype)
    return y + level * y.norm() / e.norm() * e


def fit(A: Linear, y: Tensor, subsets: int) -> list[Functional]:
    parts = [slice(i, None, subsets) for i in range(subsets)]
    return [LeastSquares(y[p]) @ Counted(A.subset(p), 1 / subsets) for p in parts]


HEAD = "| solver | objective above the best | steps | products with A | CPU |\n|---|---|---|---|---|"


def variation(kind: str) -> None:
    if kind == "tv":
        A, y = scan(64, 30)
        prior: Functional = 0.5 * TV((64, 64))
    else:
        A = Blur(torch.full((7, 7), 1 / 49, dtype=torch.float64), (64, 64), "periodic")
        y = noisy(A(phantom(64)), 0.02)
        prior = 0.002 * GroupL1() @ Gradient((64, 64), boundary="periodic")
    rest = [prior, NonNegative()]
    whole = [LeastSquares(y) @ Counted(A), *rest]
    long = solve(PDHG(whole), torch.zeros(64, 64, dtype=torch.float64), tol=1e-7, max_iter=6000)
    print(f"reference: {long}\n\n{HEAD}", flush=True)

    def value(x: Tensor) -> float:
        return float(sum(t(x) for t in whole))

    best = value(long.x)
    for method in (PDHG, ADMM, CondatVu):
        race(method.__name__, method(whole), value, best, 1e-5)
    for subsets in (1, 6) if kind == "tv" else (1,):
        data = fit(A, y, subsets) if subsets > 1 else whole[:1]
        solver = SPDHG([*data, *rest], torch.Generator().manual_seed(0))
        race(f"SPDHG, {subsets} subset{'s' * (subsets > 1)}", solver, value, best, 1e-5)


def tikhonov() -> None:
    plain, y = scan(64, 30)
    A, damping = Counted(plain), 1.0
    terms = [LeastSquares(y) @ A, damping * SquaredL2()]
    total = terms[0] + terms[1]
    long = solve(LSQR(A, y, damping), torch.zeros(64, 64, dtype=torch.float64), tol=1e-13, max_iter=2000)
    print(f"reference: {long}\n\n{HEAD}", flush=True)

    def value(x: Tensor) -> float:
        return float(total(x))

    solvers = {
        "CG": CG(Normal(A, damping), A.adjoint(y)),
        "CGLS": CGLS(A, y, damping),
        "LSQR": LSQR(A, y, damping),
        "ADMM": ADMM(terms),
        "FISTA": FISTA(terms),
        "CondatVu": CondatVu(terms),
        "Landweber": Landweber(total),
        "GaussNewton": GaussNewton(terms),
        "NewtonCG": NewtonCG(terms),
        "LBFGS": LBFGS(terms),
    }
    for name, solver in solvers.items():
        race(name, solver, value, value(long.x), 1e-8)


def subsets() -> None:
    """One loose gap on 256 x 256 from 180 views, float32: passes over the data."""
    A, y = scan(256, 180)
    y, rest = y.float(), [2.0 * TV((256, 256)), NonNegative()]
    print("| solver | gap 0.1 after | CPU with checks | gap then |\n|---|---|---|---|", flush=True)
    cases = {
        "PDHG": PDHG([LeastSquares(y) @ Counted(A), *rest]),
        "SPDHG, 6 subsets": SPDHG([*fit(A, y, 6), *rest], torch.Generator().manual_seed(0)),
    }
    for name, solver in cases.items():
        state = solver.init(torch.zeros(256, 256))
        Counted.products, passes, gap, since = 0.0, 0.0, math.inf, time.process_time()
        while gap > 0.1 and passes < 200:
            while Counted.products < passes + 5:
                state = solver.step(state)
            passes = Counted.products
            gap = float(solver.certificate(state)["gap"])
            Counted.products = passes
        print(f"| {name} | {passes:.0f} passes | {time.process_time() - since:.1f} s | {gap:.2g} |", flush=True)


def krylov(steps: int = 20) -> None:
    from deepinv.optim import linear as theirs
    from scipy.sparse import linalg as sparse

    A, y = scan(256, 60)
    y, n = y.float(), 256
    b, pair = A.adjoint(y), A.normal()
    N = sparse.LinearOperator(
        (n * n,) * 2, lambda v: pair(torch.from_numpy(v).view(n, n)).numpy().ravel(), dtype=np.float32
    )
    M = sparse.LinearOperator(
        (y.numel(), n * n),
        matvec=lambda v: A(torch.from_numpy(v).float().view(n, n)).numpy().ravel(),
        rmatvec=lambda v: A.adjoint(torch.from_numpy(v).float().view(y.shape)).numpy().ravel(),
        dtype=np.float32,
    )

    def ours(solver: Solver) -> Tensor:
        state = solver.init(torch.zeros(n, n))
        for _ in range(steps):
            state = solver.step(state)
        return state.x

    def scipys(method: Callable[..., Sequence[np.ndarray]], *args: object, **options: float) -> Tensor:
        return torch.from_numpy(np.asarray(method(*args, **options)[0], dtype=np.float32)).view(n, n)

    never = {"tol": 0.0, "max_iter": steps}
    right, flat = b.numpy().ravel(), y.numpy().ravel()
    runs: dict[str, Callable[[], Tensor]] = {
        "invreg CG": lambda: ours(CG(pair, b)),
        "deepinv conjugate_gradient": lambda: theirs.conjugate_gradient(pair, b[None], **never)[0],
        "scipy cg": lambda: scipys(sparse.cg, N, right, rtol=0.0, maxiter=steps),
        "deepinv bicgstab (two products a step)": lambda: theirs.bicgstab(pair, b[None], **never)[0],
        "deepinv minres": lambda: theirs.minres(pair, b[None], **never)[0],
        "scipy minres": lambda: scipys(sparse.minres, N, right, rtol=0.0, maxiter=steps),
        "invreg CGLS": lambda: ours(CGLS(A, y)),
        "invreg LSQR": lambda: ours(LSQR(A, y)),
        "deepinv lsqr": lambda: theirs.lsqr(A, A.adjoint, y[None], **never)[0][0],
        "scipy lsqr": lambda: scipys(sparse.lsqr, M, flat, atol=0.0, btol=0.0, conlim=0.0, iter_lim=steps),
    }

    def seconds(run: Callable[[], object]) -> float:
        def once() -> float:
            since = time.process_time()
            run()
            return time.process_time() - since

        once()
        return min(once() for _ in range(5))

    bare = seconds(lambda: [pair(b) for _ in range(steps)]) / steps
    print(f"one A^T A: {1e3 * bare:.2f} ms; load {os.getloadavg()[0]:.1f}\n")
    print(f"| method | a step | over A^T A | residual after {steps} | misfit |\n|---|---|---|---|---|")
    for name, run in runs.items():
        each, x = seconds(run) / steps, run().double()
        residual = b - pair(x)
        misfit = float((A(x) - y).norm() / y.norm())
        print(f"| {name} | {1e3 * each:.2f} ms | {each / bare:.2f} | {relative(residual, b):.5f} | {misfit:.6f} |")
    batch = torch.stack([y, torch.zeros_like(y)])
    lone = theirs.lsqr(A, A.adjoint, batch, **never)[0]
    mine = solve(LSQR(A, batch), torch.zeros(2, n, n), tol=0.0, max_iter=steps).x
    small = 1e-9 * b
    scaled = theirs.conjugate_gradient(pair, small[None], **never)[0]
    print(f"\nbatch of y and 0, |x| of y: deepinv lsqr {float(lone[0].norm()):.3g}, ours {float(mine[0].norm()):.3g}")
    print(
        f"data times 1e-9, residual: deepinv conjugate_gradient {relative(small - pair(scaled), small):.3g}, "
        f"ours {relative(small - pair(ours(CG(pair, small))), small):.3g}"
    )


def relative(a: Tensor, b: Tensor) -> float:
    return float((inner(a, a, 2) / inner(b, b, 2)).sqrt())


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["tv", "deblurring", "tikhonov", "subsets", "krylov"])
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if args.what in ("tv", "deblurring"):
        variation(args.what)
    else:
        {"tikhonov": tikhonov, "subsets": subsets, "krylov": krylov}[args.what]()


if __name__ == "__main__":
    main()
