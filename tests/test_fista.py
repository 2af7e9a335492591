"""Gradient methods with proximal maps, and data in blocks drawn at random, against scipy and numpy."""

import numpy as np
import pytest
import torch
from members import Dense, uniform
from scipy.optimize import minimize, nnls

from invreg.core import solve
from invreg.operators import LeastSquares, Poisson
from invreg.priors import L1, NonNegative
from invreg.solvers import FISTA, SPDHG, CondatVu

F64 = torch.float64


def test_fista_finds_its_constant_by_backtracking():
    """Emission without a background, whose gradient has no Lipschitz constant, on a positive matrix."""
    A = Dense(12, 6)
    A.matrix = np.abs(A.matrix)
    y = torch.poisson(20 * A(uniform(6, seed=2)), torch.Generator().manual_seed(0))
    solver = FISTA([Poisson(y, ndim=1) @ A, NonNegative(ndim=1)])
    result = solve(solver, torch.ones(6, dtype=F64), tol=1e-9, max_iter=5000)
    assert solver.constant is None and result.status == "converged", str(result)
    counts = y.numpy()

    def value_and_grad(x: np.ndarray) -> tuple[float, np.ndarray]:
        rate = A.matrix @ x
        return float((rate - counts * np.log(rate)).sum()), A.matrix.T @ (1 - counts / rate)

    best = minimize(value_and_grad, np.ones(6), jac=True, method="L-BFGS-B", bounds=[(1e-9, None)] * 6,
                    options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000})  # fmt: skip
    ours, _ = value_and_grad(result.x.numpy())
    assert ours == pytest.approx(best.fun, rel=1e-8)
    torch.testing.assert_close(result.x, torch.from_numpy(best.x), rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", ["FISTA", "SPDHG", "CondatVu"])
def test_non_negative_least_squares_are_scipys(method):
    A, y = Dense(12, 6), uniform(12, seed=2)
    terms = [LeastSquares(y, ndim=1) @ A, NonNegative(ndim=1)]
    if method == "SPDHG":
        rows = [Dense(4, 6) for _ in range(3)]
        for i, part in enumerate(rows):
            part.matrix = A.matrix[i::3]
        parts = [LeastSquares(y[i::3], ndim=1) @ part for i, part in enumerate(rows)]
        solver = SPDHG([*parts, terms[1]], torch.Generator().manual_seed(1))
    else:
        solver = {"FISTA": FISTA, "CondatVu": CondatVu}[method](terms)
    result = solve(solver, torch.zeros(6, dtype=F64), tol=1e-10, max_iter=20000)
    assert result.status == "converged", str(result)
    torch.testing.assert_close(result.x, torch.from_numpy(nnls(A.matrix, y.numpy())[0]), rtol=0, atol=1e-5)


def test_condat_vu_of_three_terms_solves_the_quadratic_programme_it_is():
    """Least squares + |K x|_1 + bounds as a quadratic programme, by scipy's SLSQP in x and t >= |K x|."""
    A, K, y = Dense(12, 6), Dense(5, 6), uniform(12, seed=2)
    K.matrix = np.random.default_rng(7).standard_normal((5, 6))
    terms = [LeastSquares(y, ndim=1) @ A, 0.7 * L1(ndim=1) @ K, NonNegative(ndim=1)]
    result = solve(CondatVu(terms), torch.zeros(6, dtype=F64), tol=1e-10, max_iter=20000)
    assert result.status == "converged", str(result)

    def value(z: np.ndarray) -> float:
        return float(0.5 * ((A.matrix @ z[:6] - y.numpy()) ** 2).sum() + 0.7 * z[6:].sum())

    cones = [{"type": "ineq", "fun": lambda z, s=s: z[6:] + s * (K.matrix @ z[:6])} for s in (1, -1)]
    bounds = [(0, None)] * 6 + [(None, None)] * 5
    start = np.concatenate([np.zeros(6), np.ones(5)])
    best = minimize(
        value, start, method="SLSQP", bounds=bounds, constraints=cones, options={"ftol": 1e-14, "maxiter": 500}
    )
    assert best.success
    torch.testing.assert_close(result.x, torch.from_numpy(best.x[:6]), rtol=0, atol=1e-5)
