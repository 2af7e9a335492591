"""Gauss-Newton, Newton-CG and L-BFGS against scipy, closed forms and their rates."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from members import Cube, uniform
from torch import Tensor

from invreg.core import Functional, Operator, Space, solve
from invreg.operators import Blur, LeastSquares, Parallel2D, XRay
from invreg.priors import TV
from invreg.solvers import CGLS, LBFGS, GaussNewton, NewtonCG


class Rosenbrock(Operator):
    """(a, b) -> (10 (b - a^2), 1 - a): half the square has its minimum 0 at (1, 1), along a bent valley."""

    def __init__(self) -> None:
        super().__init__(Space((2, 1)), Space((2, 1)))

    def _forward(self, x: Tensor) -> Tensor:
        a, b = x[..., 0, :], x[..., 1, :]
        return torch.stack([10 * (b - a * a), 1 - a], -2)


class Quartic(Functional):
    """sum x^4 / 4 - x^2 / 2 + x / 10: concave around 0."""

    def forward(self, x: Tensor) -> Tensor:
        return (x**4 / 4 - x**2 / 2 + x / 10).sum((-2, -1)).double()

    def grad(self, x: Tensor) -> Tensor:
        return x**3 - x + 0.1


def valley() -> Functional:
    return LeastSquares(torch.zeros(2, 1, dtype=torch.float64)) @ Rosenbrock()


SHARP = Blur(torch.tensor([[0.0, 0.1, 0.05], [0.1, 0.6, 0.1], [0.0, 0.1, 0.0]], dtype=torch.float64), (4, 5))
START = torch.tensor([[-1.2], [1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    "solver",
    [GaussNewton([valley()]), NewtonCG([valley()]), LBFGS([valley()])],
    ids=["GaussNewton", "NewtonCG", "LBFGS"],
)
def test_the_bent_valley_is_followed_to_its_end(solver):
    result = solve(solver, START, max_iter=100, tol=1e-10, every=1)
    assert result.status == "converged"
    torch.testing.assert_close(result.x, torch.ones(2, 1, dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.parametrize("low", [-math.inf, -0.4])
def test_the_minimum_of_a_nonlinear_fit_is_that_of_scipy(low):
    from scipy.optimize import minimize

    A = Cube((4, 5)) @ SHARP
    y = A(uniform(4, 5, low=-1.5, high=1.5, seed=3)) + 0.1 * uniform(4, 5, low=-1, seed=4)
    objective = [LeastSquares(y) @ A, 0.1 * LeastSquares(torch.zeros(4, 5, dtype=torch.float64))]

    def value_and_grad(x: np.ndarray) -> tuple[float, np.ndarray]:
        t = torch.from_numpy(x.reshape(4, 5)).requires_grad_()
        value = 0.5 * (A(t) - y).square().sum() + 0.05 * t.square().sum()
        return float(value.detach()), torch.autograd.grad(value, t)[0].numpy().ravel()

    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    bounds = [(low, 0.5 if low > -math.inf else math.inf)] * 20
    best = minimize(value_and_grad, np.zeros(20), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    start = torch.zeros(4, 5, dtype=torch.float64)
    bounded = LBFGS(objective, low=low, high=bounds[0][1])
    for solver in [bounded] if low > -math.inf else [bounded, GaussNewton(objective), NewtonCG(objective)]:
        result = solve(solver, start, max_iter=300, tol=1e-9, every=1)
        assert result.status == "converged", str(result)
        np.testing.assert_allclose(result.x.numpy().ravel(), best.x, atol=1e-6)
    if low > -math.inf:  # the bounds hold some of the values, both ways
        assert bool((result.x == low).any()) and bool((result.x == 0.5).any())


def test_a_linear_least_squares_problem_is_one_step_of_gauss_newton_and_the_solution_of_cgls():
    y, start = uniform(4, 5), torch.zeros(4, 5, dtype=torch.float64)
    step = GaussNewton([LeastSquares(y) @ SHARP], inner_steps=200, forcing=1e-12)
    one = step.step(step.init(start)).x
    torch.testing.assert_close(one, solve(CGLS(SHARP, y), start, tol=1e-12).x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", [GaussNewton, NewtonCG])
def test_ray_transforms_of_numpy_are_differentiated_where_gradients_are_off(method):
    A = XRay(Parallel2D(np.linspace(0.1, 3.0, 14), 12), (6, 6)).double()
    y = A(uniform(6, 6, seed=1)) + 0.1 * uniform(14, 12, seed=2)
    with torch.no_grad():
        found = solve(method([LeastSquares(y) @ A]), torch.zeros(6, 6, dtype=torch.float64), tol=1e-9, every=1)
    dense = A(torch.eye(36, dtype=torch.float64).reshape(36, 6, 6)).reshape(36, -1).T
    expected = torch.linalg.lstsq(dense, y.reshape(-1, 1)).solution.reshape(6, 6)
    torch.testing.assert_close(found.check().x, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", [GaussNewton, NewtonCG])
def test_the_last_steps_converge_quadratically(method):
    """The data fit exactly, so that Gauss-Newton is Newton's method at the solution."""
    truth = uniform(4, 5, low=-1)
    A = Cube((4, 5)) @ SHARP
    result = solve(method([LeastSquares(A(truth)) @ A]), torch.zeros_like(truth), max_iter=12, tol=1e-13, every=1)
    norms = [row["gradient"] for row in result.history]
    last = [b for a, b in pairwise(norms) if 1e-6 < a < 1e-2]
    before = [a for a in norms[:-1] if 1e-6 < a < 1e-2]
    assert before and all(b < 100 * a * a for a, b in zip(before, last, strict=True))
    torch.testing.assert_close(result.x, truth, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", [NewtonCG, LBFGS])
def test_a_concave_start_is_left_downhill(method):
    x0 = torch.full((2, 1, 3), -0.01, dtype=torch.float64)
    solver = method([Quartic()], radius=1.0) if method is NewtonCG else method([Quartic()])
    result = solve(solver, x0, max_iter=100, tol=1e-11, every=1)
    lowest = min(np.roots([1, 0, -1, 0.1]).real)
    torch.testing.assert_close(result.x, torch.full_like(x0, lowest), rtol=0, atol=1e-9)


def test_items_at_their_minimum_and_items_far_from_it_share_a_batch():
    x0 = torch.stack([torch.ones(2, 1, dtype=torch.float64), START])
    for method in (GaussNewton, NewtonCG, LBFGS):
        result = solve(method([valley()]), x0, max_iter=100, tol=1e-10, every=1)
        assert result.status == "converged"
        torch.testing.assert_close(result.x, torch.ones_like(x0), rtol=0, atol=1e-8)


def test_small_gradients_of_large_unknowns_reach_the_criterion():
    """Velocities near 2000 in float32, where x - gradient would round to x: the criterion is that of the gradient."""
    x0, weight = torch.linspace(1990, 2010, 20).reshape(4, 5), 1e-6
    solver = LBFGS([weight * LeastSquares(torch.full((4, 5), 2000.0))], low=1500.0, high=4500.0, first=5.0)
    start = solver.init(x0)
    norm = weight * float((x0 - 2000).double().norm())
    assert float(start.norm_start) == pytest.approx(norm, rel=1e-6)
    closer = solver.init(2000 + 0.25 * (x0 - 2000))._replace(norm_start=start.norm_start)
    assert float(solver.certificate(closer)["gradient"]) == pytest.approx(0.25, rel=1e-3)
    result = solve(solver, x0, max_iter=20, tol=1e-3, every=1)
    assert result.status == "converged"
    torch.testing.assert_close(result.x, torch.full_like(x0, 2000.0), rtol=0, atol=0.02)


@pytest.mark.parametrize("method", [GaussNewton, NewtonCG, LBFGS])
def test_terms_without_a_gradient_are_refused_in_words(method):
    x0 = torch.zeros(4, 5, dtype=torch.float64)
    solver = method([LeastSquares(x0), TV((4, 5))])
    with pytest.raises(TypeError, match="has no gradient; use a solver that takes its prox, such as PDHG"):
        solve(solver, x0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 2.0, "high": 1.0}, r"bounds low < high; got low 2\.0, high 1\.0"),
        ({"low": math.nan}, "bounds low < high; got low nan"),
        ({"memory": 0}, "memory >= 1 and first > 0; got memory 0"),
        ({"first": -1.0}, r"got memory 10, first -1\.0"),
    ],
)
def test_senseless_options_of_lbfgs_get_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        LBFGS([valley()], **options)
