"""ADMM against closed forms and PDHG; its linear systems; what it does not take for a solution."""

import math

import pytest
import torch
from members import Method, uniform

from invreg.core import solve
from invreg.operators import Blur, CorrelatedGaussian, Gradient, Laplace, LeastSquares, Mask
from invreg.priors import TV, Box, GroupL1, NonNegative
from invreg.solvers import ADMM, PDHG

F64 = torch.float64
SHAPE = (12, 15)
Y = uniform(*SHAPE, seed=3)
KERNEL = uniform(3, 4, seed=1) / 6
PERIODIC = Gradient(SHAPE, boundary="periodic")


def objective(solver, x):
    return float(sum(t(x) for t in solver.objective))


def test_a_step_loses_its_height_to_the_boundary():
    """Total variation of weight c denoises a step of n and m samples to a + c / n and b - c / m."""
    y = torch.tensor([0.0] * 4 + [1.0] * 6, dtype=F64)[:, None]
    result = solve(ADMM([LeastSquares(y), 0.3 * TV((10, 1))]), torch.zeros(10, 1, dtype=F64), tol=1e-10, max_iter=5000)
    expected = torch.tensor([0.3 / 4] * 4 + [1 - 0.3 / 6] * 6, dtype=F64)[:, None]
    assert result.status == "converged"
    torch.testing.assert_close(result.x, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("boundary", ["periodic", "reflect"])
def test_quadratic_terms_alone_are_solved_as_the_linear_system_they_are(boundary):
    B = Blur(KERNEL, SHAPE, boundary)
    D = Gradient(SHAPE, boundary="periodic" if boundary == "periodic" else "neumann")
    solver = ADMM([LeastSquares(Y) @ B, 0.1 * LeastSquares(torch.zeros(2, *SHAPE, dtype=F64), ndim=3) @ D])
    result = solve(solver, torch.zeros(SHAPE, dtype=F64), tol=1e-10, max_iter=200, every=1)
    matrix, slope = Method.dense(B), Method.dense(D)
    right = torch.from_numpy(matrix.T @ Y.numpy().ravel())
    best = torch.linalg.solve(torch.from_numpy(matrix.T @ matrix + 0.1 * slope.T @ slope), right).reshape(SHAPE)
    assert result.status == "converged" and len(result.state.spectra) == (boundary == "periodic")
    torch.testing.assert_close(result.x, best, rtol=0, atol=1e-6)
    assert result.iters == 1 or boundary == "reflect"


@pytest.mark.parametrize("boundary", ["periodic", "reflect"])
@pytest.mark.parametrize("bounded", [True, False])
def test_agreement_with_pdhg(boundary, bounded):
    B = Blur(KERNEL, SHAPE, boundary)
    prior = 0.05 * GroupL1() @ PERIODIC if boundary == "periodic" else 0.05 * TV(SHAPE)
    terms = [LeastSquares(Y) @ B, prior, *([Box(0.2, 0.8)] if bounded else [])]
    ends = [solve(s(terms), torch.zeros(SHAPE, dtype=F64), tol=1e-7, max_iter=4000, every=50) for s in (ADMM, PDHG)]
    assert all(end.status == "converged" for end in ends), str(ends)
    assert len(ends[0].state.spectra) == ((3 if bounded else 2) if boundary == "periodic" else 0)
    assert objective(ADMM(terms), ends[0].x) == pytest.approx(objective(ADMM(terms), ends[1].x), rel=2e-7)


def test_a_misfit_of_correlated_noise_is_divided_by_in_fourier_space():
    f = CorrelatedGaussian(Y, lambda a, b: (1 + 40 * (a * a + b * b)) ** -1.0)
    terms = [f, 0.05 * GroupL1() @ PERIODIC]
    ours = solve(ADMM(terms), torch.zeros(SHAPE, dtype=F64), tol=1e-7, max_iter=3000)
    theirs = solve(PDHG([f @ Blur(torch.ones(1, 1, dtype=F64), SHAPE), terms[1]]), ours.x, tol=1e-7, max_iter=6000)
    assert ours.status == theirs.status == "converged" and len(ours.state.spectra) == 2
    torch.testing.assert_close(ours.x, theirs.x, rtol=0, atol=2e-3)


def test_without_quadratic_terms():
    terms = [Laplace(Y, scale=0.1) @ Blur(KERNEL, SHAPE, "reflect"), 0.5 * TV(SHAPE), NonNegative()]
    ends = [solve(s(terms), torch.zeros(SHAPE, dtype=F64), tol=1e-4, max_iter=4000) for s in (ADMM, PDHG)]
    assert all(end.status == "converged" for end in ends), str(ends)
    assert objective(ADMM(terms), ends[0].x) == pytest.approx(objective(ADMM(terms), ends[1].x), rel=2e-4)


def test_an_estimate_near_zero_is_not_taken_for_a_solution():
    """With so stiff a copy the first images are almost zero, and so is any bound over images as small as that."""
    solver = ADMM([LeastSquares(Y) @ Blur(KERNEL, SHAPE), 0.01 * TV(SHAPE), NonNegative()])
    state = solver.init(torch.zeros(SHAPE, dtype=F64))
    state = state._replace(rhos=(state.rhos[0], torch.tensor(1e9, dtype=F64)))
    for _ in range(3):
        state = solver.step(state)
    assert float(state.x.abs().max()) < 1e-6 and float(solver.certificate(state)["gap"]) > 0.1


def test_a_term_without_a_conjugate_leaves_the_residuals():
    pytest.importorskip("deepinv", exc_type=ImportError)
    import deepinv

    from invreg.adapters.deepinv import from_prior

    y = Y[None]
    terms = [LeastSquares(y, ndim=3), 0.2 * from_prior(deepinv.optim.L1Prior()) @ Mask(torch.ones(1, *SHAPE) > 0)]
    result = solve(ADMM(terms), torch.zeros(1, *SHAPE, dtype=F64), tol=1e-8, max_iter=500)
    assert result.status == "converged" and "residual" in result.history[-1]
    torch.testing.assert_close(result.x, (y - 0.2).clamp(min=0), rtol=0, atol=1e-6)


def test_complex_images():
    y = torch.complex(Y, uniform(*SHAPE, seed=5))
    terms = [LeastSquares(y), 0.2 * GroupL1() @ Gradient(SHAPE, boundary="periodic", complex=True)]
    ends = [solve(ADMM(terms), torch.zeros_like(y), tol=1e-8, max_iter=3000)]
    assert ends[0].status == "converged" and len(ends[0].state.spectra) == 2
    # the minimiser of a strongly convex function: no move lowers it
    for seed in range(5):
        move = 1e-2 * torch.complex(uniform(*SHAPE, seed=seed, low=-1), uniform(*SHAPE, seed=seed + 9, low=-1))
        assert objective(ADMM(terms), ends[0].x + move) > objective(ADMM(terms), ends[0].x)


def test_terms_it_cannot_handle_are_refused():
    with pytest.raises(
        TypeError, match=r"ADMM takes at least one term f @ K and at most one .*; got TV, NonNegative, Box"
    ):
        ADMM([TV(SHAPE), NonNegative(), Box(0, 1)])
    with pytest.raises(TypeError, match=r"at least one term f @ K .*; got NonNegative"):
        ADMM([NonNegative()])
    assert math.isinf(float(ADMM([LeastSquares(Y), TV(SHAPE)]).init(Y).primal))
