"""Krylov methods against dense linear algebra in float64."""

import pytest
import torch
from members import Dense, uniform

from invreg.core import solve
from invreg.solvers import CG, CGLS, LSQR


@pytest.mark.parametrize("method", [CGLS, LSQR])
@pytest.mark.parametrize("start", [0.0, 3.0])
def test_damped_least_squares_of_a_batch_with_a_damping_for_each(method, start):
    A, y, damping = Dense(6, 9), uniform(3, 6, seed=2), torch.tensor([0.1, 1.0, 20.0], dtype=torch.float64)
    result = solve(
        method(A, y, damping), torch.full((3, 9), start, dtype=torch.float64), tol=1e-12, max_iter=60, every=5
    )
    M = torch.from_numpy(A.matrix)
    best = [
        torch.linalg.solve(M.T @ M + d * torch.eye(9, dtype=torch.float64), M.T @ b)
        for d, b in zip(damping, y, strict=True)
    ]
    assert result.status == "converged"
    torch.testing.assert_close(result.x, torch.stack(best), rtol=1e-9, atol=1e-11)


def test_conjugate_gradients_leave_an_item_below_its_floor():
    A, y = Dense(9, 5), uniform(2, 5, seed=2)
    floor = torch.tensor([1e-9, 1e9], dtype=torch.float64)
    result = solve(CG(A.normal(), y, floor), torch.zeros(2, 5, dtype=torch.float64), tol=0.0, max_iter=20)
    M = torch.from_numpy(A.matrix)
    torch.testing.assert_close(result.x[0], torch.linalg.solve(M.T @ M, y[0]), rtol=1e-8, atol=1e-10)
    assert torch.equal(result.x[1], torch.zeros(5, dtype=torch.float64))


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_lsqr_is_scipys_step_by_step(damping):
    from scipy.sparse.linalg import lsqr

    A, y = Dense(12, 9), uniform(12, seed=2)
    solver = LSQR(A, y, damping)
    state = solver.init(torch.zeros(9, dtype=torch.float64))
    for k in range(1, 10):
        state = solver.step(state)
        theirs, _, _, _, residual, _, _, slope, *_ = lsqr(
            A.matrix, y.numpy(), damping**0.5, atol=0, btol=0, conlim=0, iter_lim=k
        )
        torch.testing.assert_close(state.x, torch.from_numpy(theirs), rtol=1e-8, atol=1e-10)
        assert float(state.phi_bar) == pytest.approx(residual, rel=1e-10)
        assert float(state.slope) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_an_item_that_is_solved_leaves_the_others_alone():
    """One without a measurement, and one that is solved by its first step."""
    A, y = Dense(5, 5), uniform(3, 5, seed=2)
    M = torch.from_numpy(A.matrix)
    y[0], y[1] = 0, M @ torch.linalg.eigh(M.T @ M).eigenvectors[:, -1]
    result = solve(LSQR(A, y), torch.zeros(3, 5, dtype=torch.float64), tol=0.0, max_iter=30)
    torch.testing.assert_close(result.x, torch.linalg.solve(M, y.T).T, rtol=1e-7, atol=1e-8)
