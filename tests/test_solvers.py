"""The contract of solvers, and of the driver that runs them all."""

import copy
import math
import pickle
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from members import SOLVERS, Method, every, uniform
from torch import Tensor

from invreg.core import Result, Solver, solve


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [t for part in state for t in _tensors(part)] if isinstance(state, tuple) else []


def _run(solver: Solver, state: Any, steps: int) -> Any:
    for _ in range(steps):
        state = solver.step(state)
    return state


def scipy_minimum(case: Method) -> np.ndarray:
    """The minimiser of a small problem by L-BFGS-B on |.|_eps = sqrt(|.|^2 + eps^2), eps going to zero."""
    from scipy.optimize import minimize

    A, D = case.dense(case.A), case.dense(case.D)
    y, w, radius = case.y.numpy().ravel(), case.weights.numpy().ravel(), case.radius.numpy().ravel()
    D = D.reshape(2, radius.size, -1)

    def value_and_grad(x: np.ndarray, eps: float) -> tuple[float, np.ndarray]:
        residual, d = A @ x - y, D @ x
        size = np.sqrt((d**2).sum(0) + eps**2)
        grad = A.T @ (w * residual) + np.einsum("kij,ki->j", D, d * (radius / size))
        return 0.5 * w @ residual**2 + radius @ size, grad

    x = np.zeros(A.shape[1])
    bounds = [(case.low, case.high)] * x.size
    options = {"maxiter": 3000, "maxfun": 10000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 30}
    for eps in 10.0 ** np.arange(0, -6.5, -0.5):
        x = minimize(value_and_grad, x, (eps,), jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return x


def _objective(case: Method, x: Tensor) -> float:
    """The objective in numpy, infinite outside the bounds (up to round-off)."""
    flat = x.double().numpy().ravel()
    if flat.min() < case.low - 1e-9 or flat.max() > case.high + 1e-9:
        return math.inf
    residual = case.dense(case.A) @ flat - case.y.numpy().ravel()
    field = (case.dense(case.D) @ flat).reshape(2, -1)
    tv = case.radius.numpy().ravel() @ np.sqrt((field**2).sum(0))
    return float(0.5 * case.weights.numpy().ravel() @ residual**2 + tv)


@every(SOLVERS)
def test_agreement_with_an_independent_minimiser(case: Method):
    result = solve(case.make(), case.start(), max_iter=20000, tol=1e-9, every=50)
    best = _objective(case, torch.from_numpy(scipy_minimum(case)))
    assert result.status == "converged", str(result)
    assert _objective(case, result.x) == pytest.approx(best, rel=1e-6)


@every(SOLVERS)
def test_the_start_does_not_matter(case: Method):
    ends = [solve(case.make(), x0, max_iter=20000, tol=1e-9, every=50).x for x0 in (case.start(), 3 + case.start())]
    values = [_objective(case, x) for x in ends]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@every(SOLVERS)
def test_resuming_is_exact(case: Method):
    whole = solve(case.make(), case.start(), max_iter=60, tol=0.0)
    first = solve(case.make(), case.start(), max_iter=25, tol=0.0)
    saved = pickle.loads(pickle.dumps((case.make(), first.state)))
    second = solve(saved[0], saved[1], max_iter=35, tol=0.0)
    assert torch.equal(second.x, whole.x)
    assert all(torch.equal(a, b) for a, b in zip(_tensors(second.state), _tensors(whole.state), strict=True))


@every(SOLVERS)
def test_iterating_is_repeating_the_step(case: Method):
    solver = case.make()
    repeated = _run(solver, solver.init(case.start()), 12)
    driven = solve(solver, case.start(), max_iter=12, tol=0.0, every=5)
    assert driven.iters == 12 and driven.status == "max_iter"
    assert torch.equal(driven.x, repeated.x) and driven.x is driven.state.x


@every(SOLVERS)
def test_steps_write_to_nothing(case: Method):
    solver, x0 = case.make(), case.start()
    kept = x0.clone()
    state = _run(solver, solver.init(x0), 15)
    for _ in range(30):  # past the steps at which step sizes are estimated anew
        before = copy.deepcopy(state)
        twice = [solver.step(state) for _ in range(2)]
        solver.certificate(state)
        assert all(torch.equal(a, b) for a, b in zip(_tensors(state), _tensors(before), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(*map(_tensors, twice), strict=True))
        state = twice[0]
    assert torch.equal(x0, kept)


@every(SOLVERS)
def test_items_of_a_batch_do_not_know_each_other(case: Method):
    scales = torch.tensor([1.0, 0.01, 30.0], dtype=torch.float64)
    many = replace(case, y=scales[:, None, None] * case.y)
    together = _run(many.make(), many.make().init(torch.stack([case.start()] * 3)), 60)
    for i, scale in enumerate(scales):
        one = replace(case, y=scale * case.y).make()
        alone = _run(one, one.init(case.start()), 60)
        torch.testing.assert_close(together.x[i], alone.x, rtol=1e-8, atol=1e-8 * float(scale))
        theirs, own = many.make().certificate(together), one.certificate(alone)
        for name in own:
            assert theirs[name].shape == (3,)
            torch.testing.assert_close(theirs[name][i], own[name], rtol=1e-5, atol=1e-9)


@every(SOLVERS)
def test_precision_and_device_are_kept(case: Method, device, dtype):
    solver = replace(case, y=case.y.to(device, dtype)).make()
    result = solve(solver, case.start().to(device, dtype), max_iter=30)
    assert result.x.dtype == dtype and result.x.device.type == device.type


@every(SOLVERS, "gap")
def test_the_certificate_is_named_and_worth_its_name(case: Method):
    solver = case.make()
    rough = solve(solver, case.start(), max_iter=20000, tol=1e-3)
    assert rough.status == "converged"
    best = _objective(case, torch.from_numpy(scipy_minimum(case)))
    assert _objective(case, rough.x) - best <= 2e-3 * best


@every(SOLVERS)
def test_a_broken_measurement_ends_the_run_in_words(case: Method):
    bad = case.y.clone()
    bad[0, 0] = math.nan
    result = solve(replace(case, y=bad).make(), case.start(), max_iter=200)
    assert result.status == "nonfinite" and "not a finite number" in str(result)


# The driver, with a solver that is nothing but arithmetic.


class HalfState(NamedTuple):
    x: Tensor
    k: int


@dataclass(frozen=True)
class Half(Solver):
    """x -> x / 2; certified by |x|."""

    interrupt_at: int = -1

    def init(self, x0: Tensor) -> HalfState:
        return HalfState(x0, 0)

    def step(self, state: HalfState) -> HalfState:
        if state.k == self.interrupt_at:
            raise KeyboardInterrupt
        return HalfState(state.x / 2, state.k + 1)

    def certificate(self, state: HalfState) -> dict[str, Tensor]:
        return {"size": state.x.abs().amax((-2, -1)), "other": state.x.sum((-2, -1))}


ONES = torch.ones(2, 3, 3) * torch.tensor([1.0, 4.0])[:, None, None]


def test_the_driver_stops_when_the_worst_item_has_converged():
    result = solve(Half(), ONES, tol=0.1, every=4)
    assert result.status == "converged" and result.iters == 8  # 4 / 2^6 < 0.1, looked at after 8
    assert [row["iter"] for row in result.history] == [4, 8]
    assert result.history[-1]["size"] == 4 / 2**8 and result.history[-1]["other"] == 9 * 4 / 2**8
    assert result.check() is result and "converged: size 1.56e-02 after 8 iterations" in str(result)


def test_the_driver_stops_at_the_limit_and_says_so():
    result = solve(Half(), ONES, max_iter=5, tol=1e-9, every=4)
    assert result.status == "max_iter" and result.iters == 5 and len(result.history) == 2
    with pytest.raises(RuntimeError, match=r"stopped at the limit, not converged: size 1\.25e-01 after 5 iterations"):
        result.check()


def test_the_driver_records_and_calls_back():
    rows: list[dict[str, float]] = []
    result = solve(Half(), ONES, max_iter=6, tol=0.0, every=2, record={"k": lambda s: s.k}, callback=rows.append)
    assert [row["k"] for row in result.history] == [2, 4, 6] and rows == result.history
    assert all(a["seconds"] <= b["seconds"] for a, b in pairwise(rows))


def test_an_interrupt_keeps_the_current_estimate():
    result = solve(Half(interrupt_at=7), ONES, tol=0.0, every=5)
    assert result.status == "interrupted" and result.iters == 7
    assert torch.equal(result.x, ONES / 2**7) and result.state.k == 7
    assert str(result).startswith("interrupted, not converged: size 1.25e-01")


def test_an_interrupt_before_the_first_step_keeps_the_start():
    result = solve(Half(interrupt_at=0), ONES)
    assert result.status == "interrupted" and result.iters == 0 and torch.equal(result.x, ONES)


def test_results_are_written_as_float32_tiff(tmp_path):
    import tifffile

    x = uniform(2, 5, 4)
    Result(x, "converged", 1, [], None, torch.tensor(True), torch.tensor(1)).save(tmp_path / "x.tif")
    stored = tifffile.imread(tmp_path / "x.tif")
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, x.float().numpy())
