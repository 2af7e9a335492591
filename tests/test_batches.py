"""Batches: each item is solved as if alone, stops on its own certificate, and does not harm the others."""

import math

import numpy as np
import pytest
import torch
from members import uniform
from torch import Tensor

from invreg.core import Result, solve
from invreg.operators import LeastSquares, Parallel2D, XRay
from invreg.priors import TV, NonNegative
from invreg.solvers import PDHG

F64 = torch.float64
N = 12
A = XRay(Parallel2D(np.linspace(0.01, np.pi, 6, endpoint=False), 18), (N, N), 1.0).double()


def measured(seed: int, scale: float = 1.0) -> Tensor:
    x = (uniform(N, N, seed=seed) > 0.6).double()
    return scale * (A(x) + 0.05 * uniform(6, 18, seed=seed + 50, low=-1))


def run(y: Tensor, weight: Tensor | float, tol: float = 1e-4, **limits: int) -> Result:
    solver = PDHG([LeastSquares(y) @ A, weight * TV((N, N)), NonNegative()])
    return solve(solver, torch.zeros(*y.shape[:-2], N, N, dtype=F64), tol=tol, **{"max_iter": 3000} | limits)


def assert_same(together: Result, alone: list[Result], rel: float = 1e-6) -> None:
    assert together.status == "converged" and together.converged.tolist() == [True] * len(alone)
    assert together.iters_each.tolist() == [one.iters for one in alone]
    assert together.iters == max(one.iters for one in alone)
    for x, one in zip(together.x, alone, strict=True):
        torch.testing.assert_close(x, one.x, rtol=rel, atol=rel * float(one.x.max()))


def test_a_batch_of_weights_is_its_single_solves():
    y, weights = measured(1), torch.tensor([0.003, 0.1, 3.0], dtype=F64)
    alone = [run(y, float(w)) for w in weights]
    assert len({one.iters for one in alone}) > 1, "items that stop together do not test this"
    assert_same(run(y.expand(3, 6, 18), weights), alone)


def test_a_batch_of_images_is_its_single_solves():
    ys = [measured(2), measured(3, 100.0), measured(4, 0.01)]
    weights = torch.tensor([0.1, 10.0, 0.0003], dtype=F64)
    alone = [run(y, float(w)) for y, w in zip(ys, weights, strict=True)]
    assert len({one.iters for one in alone}) > 1
    assert_same(run(torch.stack(ys), weights), alone)


def test_an_item_keeps_the_estimate_of_its_own_certificate():
    y, weights = measured(1).expand(2, 6, 18), torch.tensor([0.003, 3.0], dtype=F64)
    result = run(y, weights)
    early = int(result.iters_each.argmin())
    then = run(y, weights, tol=0.0, max_iter=int(result.iters_each[early]))
    assert torch.equal(result.x[early], then.x[early])
    assert not torch.equal(result.x[early], result.state.x[early])


def test_one_that_did_not_converge_is_told_from_those_that_did():
    y, weights = measured(1).expand(2, 6, 18), torch.tensor([0.003, 3.0], dtype=F64)
    full = run(y, weights).iters_each
    limit = int(full.min())
    result = run(y, weights, max_iter=limit)
    assert result.status == "max_iter" and result.iters_each.tolist() == [limit] * 2
    assert result.converged.tolist() == (full == limit).tolist()
    with pytest.raises(RuntimeError, match="not converged"):
        result.check()
    # going on from the state of both ends where one run would have
    more = solve(PDHG([LeastSquares(y) @ A, weights * TV((N, N)), NonNegative()]), result.state, tol=1e-4)
    assert more.status == "converged" and limit + int(more.iters_each.max()) == int(full.max())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_item_that_is_not_a_number_does_not_stop_the_others(value):
    good = measured(1)
    bad = good.clone()
    bad[2, 7] = value
    alone = run(good, 0.1)
    result = run(torch.stack([good, bad, good]), 0.1)
    assert result.status == "nonfinite" and result.converged.tolist() == [True, False, True]
    for i in (0, 2):
        torch.testing.assert_close(result.x[i], alone.x, rtol=1e-6, atol=1e-8)
    assert result.iters == alone.iters and result.iters_each[1] <= alone.iters
    assert all(math.isfinite(row["gap"]) for row in result.history)


def test_a_single_measurement_has_one_answer():
    result = run(measured(1), 0.1)
    assert result.converged.shape == () and bool(result.converged) and int(result.iters_each) == result.iters
    assert result.x is result.state.x


def test_batches_of_two_axes():
    y = torch.stack([measured(1), measured(2)])
    result = run(y[:, None].expand(2, 2, 6, 18), torch.tensor([[0.01, 1.0]] * 2, dtype=F64))
    assert result.converged.shape == result.iters_each.shape == (2, 2)
    one = run(y[1], 1.0)
    assert int(result.iters_each[1, 1]) == one.iters
    torch.testing.assert_close(result.x[1, 1], one.x, rtol=1e-6, atol=1e-8)
