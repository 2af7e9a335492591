"""Krylov methods against dense linear algebra in float64."""

import torch
from members import Dense, uniform

from invreg.core import solve
from invreg.solvers import CG, CGLS


def test_damped_least_squares_of_a_batch_with_a_damping_for_each():
    A, y, damping = Dense(6, 9), uniform(3, 6, seed=2), torch.tensor([0.1, 1.0, 20.0], dtype=torch.float64)
    result = solve(CGLS(A, y, damping), torch.zeros(3, 9, dtype=torch.float64), tol=1e-12, max_iter=60, every=5)
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
