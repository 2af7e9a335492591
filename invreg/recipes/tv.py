"""Total variation: the most regular image that explains the measurement up to its noise."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invreg.core import Functional, Likelihood, Result, solve
from invreg.operators import LeastSquares, XRay, fbp
from invreg.priors import TV, NonNegative
from invreg.recipes.base import Order, Progress, Recipe, Reconstruction, Weight
from invreg.recipes.misfit import order_of, sobolev
from invreg.solvers import PDHG, Choice, discrepancy
from invreg.solvers.pdhg import PDHGState

if TYPE_CHECKING:
    from invreg.recipes.config import Config

MAX_ITER, TOL = 3000, 1e-3
TRIAL_ITER, TRIAL_TOL = 60, 2e-2  # the residual settles long before the gap closes
NEIGHBOURS = (1 / 3, 3.0)
# what an image on a grid of n x n pixels leaves of |y| however good it is, times n. The ray transform's error against
# exact bin averages of ellipses is 1.7; of 0, half and all of it, half gave the best images of one set of ellipses
GRID_ERROR = 0.85


class Problem:
    """min_{x >= 0} |A x - y|^2 / 2 + weight * prior(x) over rows (row, h, w), with prior = `prior(rows)`.

    With an `order` the misfit is that of Sobolev along the detector.
    """

    def __init__(
        self,
        A: XRay,
        y: Tensor,
        prior: Callable[[slice], Functional],
        std: Tensor,
        stage: str,
        order: Order | None = None,
    ) -> None:
        self.A, self.y, self.prior, self.stage, self.order = A, y, prior, stage, order
        self.std = std.clamp(min=1e-12)  # rows of air may have no noise at all

    def solver(self, weight: float, rows: slice = slice(None)) -> PDHG:
        return PDHG([self.misfit(self.y[rows]) @ self.A, weight * self.prior(rows), NonNegative()])

    def misfit(self, y: Tensor, std: Tensor | None = None) -> Likelihood:
        return LeastSquares(y, std=std) if self.order is None else sobolev(y, self.order.s, std)

    def solve(
        self, weight: float, x0: Tensor, state: Any, limits: tuple[int, float], report: Progress, rows: slice
    ) -> Result:
        solver = self.solver(weight, rows)
        start = x0[rows] if state is None else solver.warm(state)
        return solve(solver, start, max_iter=limits[0], tol=limits[1], callback=report)

    def choose(self, x0: Tensor, start: float, report: Progress, state: Any = None) -> tuple[Choice, slice]:
        """The weight by the discrepancy principle, from the middle one of the rows that show something.

        The residual, in the norm of the misfit, has the noise and the error of the grid together as its target.
        """
        strength = self.y.square().mean((1, 2))
        rows_seen = (~(strength < 0.01 * strength.max())).nonzero()[:, 0]
        first = int(rows_seen[(len(rows_seen) - 1) // 2])
        rows = slice(first, first + 1)

        f = self.misfit(self.y[rows], self.std[rows])
        half = 0.5 * self.y[rows].numel()

        def residual(x: Tensor) -> float:
            return math.sqrt(float(f(self.A(x))) / half)

        def at(weight: float, state: Any) -> Result:
            return self.solve(weight, x0, state, (TRIAL_ITER, TRIAL_TOL), report, rows)

        grid = GRID_ERROR / max(self.A.domain.shape) * float(self.y[rows].square().mean().sqrt())
        expected = f.expected()
        assert expected is not None  # its standard deviation is given
        target = math.hypot(math.sqrt(float(expected) / half), grid)
        return discrepancy(at, residual, target, start, state=state), rows

    def start(self, choice: Choice, x0: Tensor) -> PDHGState:
        """The trial's state for the rows that its image explains better than their own x0, which the others take.

        Slices of a volume resemble each other, but not all of them.
        """
        trial, cold = choice.result.state, self.solver(choice.value).init(x0)
        misfit = [(self.A(x) - self.y).square().sum((1, 2)) for x in (trial.x, x0)]
        near = misfit[0] < misfit[1]

        def pick(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(near.reshape(-1, *(1,) * (b.ndim - 1)), a, b)

        duals = tuple(pick(a, b) for a, b in zip(trial.duals, cold.duals, strict=True))
        return cold._replace(x=pick(trial.x, cold.x), duals=duals, tau=pick(trial.tau, cold.tau))


def staged(progress: Progress, history: list[dict[str, Any]], stage: str, tol: float) -> Progress:
    """A callback that notes the rows of a stage, with the gap it stops at, and passes them on."""

    def report(row: Mapping[str, Any]) -> None:
        history.append({**row, "stage": stage, "tol": tol})
        progress(history[-1])

    return report


def first_weight(A: XRay, std: Tensor) -> float:
    """Where the search starts: the size of noise in A^T y, next to the largest slope the data can balance."""
    return 2.0 * float(std.square().mean().sqrt()) * A.norm() / A.domain.shape[0] ** 0.5


def finish(
    problem: Problem, config: "Config", x0: Tensor, progress: Progress, history: list[dict[str, Any]], start: float
) -> Reconstruction:
    """Choose the weight unless it is given, solve to the tolerance, and look at the neighbouring weights."""
    choice = None
    if config.prior.weight == "auto":
        choice, rows = problem.choose(x0, start, staged(progress, history, f"weight of {problem.stage}", TRIAL_TOL))
    value = config.prior.weight if choice is None else choice.value
    assert isinstance(value, float)
    limits = (config.solver.max_iter or MAX_ITER, config.solver.tol or TOL)
    every = slice(None)
    state = None if choice is None else problem.start(choice, x0)
    report = staged(progress, history, problem.stage, limits[1])
    result = problem.solve(value, x0, state, limits, report, every)
    weight = None
    if choice is not None:
        images = [(value, result.x[rows][:1])]
        for factor in NEIGHBOURS if result.status != "interrupted" else ():
            one = slice(rows.start, rows.start + 1)
            near = problem.solve(value * factor, result.x, None, (TRIAL_ITER, TRIAL_TOL), progress_off, one)
            images.append((value * factor, near.x))
        images.sort(key=lambda pair: pair[0])
        weight = Weight(value, choice.reason, choice.trials, [(v, x[0]) for v, x in images])
    gap = result.history[-1]["gap"] if result.history else None
    return Reconstruction(result.x, result.status, str(result), history, weight, gap, problem.order)


def progress_off(row: Mapping[str, Any]) -> None:
    """A side solve that is not shown."""


def first_image(A: XRay, y: Tensor) -> Tensor:
    """Where the solve starts: a smoothed filtered back-projection without its negative part.

    What is not finite counts as 0: the solve itself finds it, and says so.
    """
    finite = y.nan_to_num(0.0, 0.0, 0.0)
    return fbp(finite, A.geometry, A.domain.shape, A.pixel_size, filter="hann", A=A).clamp_(min=0)


def run(A: XRay, y: Tensor, config: "Config", std: Tensor, progress: Progress) -> Reconstruction:
    history: list[dict[str, Any]] = []
    problem = Problem(A, y, lambda rows: TV(A.domain.shape), std, "total variation")
    start = first_weight(A, problem.std)
    with torch.no_grad():
        x0 = first_image(A, y)
        if config.misfit.kind == "sobolev":
            residual = None
            if config.misfit.s == "auto":  # what a least-squares solution leaves has the colour of the noise
                report = staged(progress, history, "colour of the noise", TRIAL_TOL)
                choice, rows = problem.choose(x0, start, report)
                residual, start = A(choice.result.x) - y[rows], choice.value
            problem.order = order_of(config, residual, y)
        return finish(problem, config, x0, progress, history, start)


TV_RECIPE = Recipe(
    "tv", "total variation: piecewise flat images, for few views (the default)", run, misfits=True, weighted=True
)
