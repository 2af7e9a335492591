"""The weight by the discrepancy principle, on a problem whose residual is known in closed form."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from invreg.core import Result
from invreg.solvers import Choice, discrepancy

S = torch.logspace(0, -3, 40, dtype=torch.float64)  # singular values of a diagonal A
TRUTH = torch.linspace(1, 2, 40, dtype=torch.float64)
NOISE = 0.05
Y = S * TRUTH + NOISE * torch.randn(40, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def tikhonov(weight: float, state: object = None, status: str = "converged") -> Result:
    """argmin |A x - y|^2 / 2 + weight |x|^2 / 2."""
    x = S * Y / (S**2 + weight)
    return Result(x, status, 1, [], state, torch.tensor(status == "converged"), torch.tensor(1))


def residual(x: Tensor) -> float:
    return float((S * x - Y).square().mean().sqrt())


def at(weight: float) -> float:
    """The residual of `tikhonov` at a weight: y_i weight / (s_i^2 + weight) in each coordinate."""
    return float((Y * weight / (S**2 + weight)).square().mean().sqrt())


def root(target: float) -> float:
    low, high = 1e-12, 1e12
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if at(middle) < target else (low, middle)
    return low


@pytest.mark.parametrize("target", [0.04, 0.05, 0.2, 0.28])
@pytest.mark.parametrize("start", [1e-4, 1e-2, 1.0, 100.0])
def test_the_residual_is_as_large_as_the_noise(target, start):
    choice = discrepancy(tikhonov, residual, target, start)
    assert abs(at(choice.value) / target - 1) <= 0.05
    assert choice.value == pytest.approx(root(target), rel=0.5)
    assert "times the noise" in choice.reason and "as the discrepancy principle asks" in choice.reason
    assert len(choice.trials) <= 8
    for trial in choice.trials:
        assert trial["residual"] == pytest.approx(at(trial["weight"]), rel=1e-12) and trial["target"] == target
    assert torch.equal(choice.result.x, tikhonov(choice.value).x)


def test_trials_go_on_from_each_other():
    states = []

    def solve_at(weight: float, state: object) -> Result:
        states.append(state)
        return tikhonov(weight, len(states))

    choice = discrepancy(solve_at, residual, 0.05, 10.0, state="first")
    assert states == ["first", *range(1, len(choice.trials))]


def unexplained(floor: float) -> tuple[Callable[[float, object], Result], Callable[[Tensor], float]]:
    """Part of the measurement, of the size `floor`, is out of reach of any x."""
    return tikhonov, lambda x: math.hypot(residual(x), floor)


@pytest.mark.parametrize("start", [1e-4, 0.01, 100.0])
def test_a_noise_level_out_of_reach_is_said(start):
    floor = 0.3
    choice = discrepancy(*unexplained(floor), 0.05, start)
    assert choice.reason.startswith("no weight brings the residual") and "the noise (0.05)" in choice.reason
    assert choice.reason.count("times") == 1 and "6." in choice.reason  # 0.3 / 0.05 and a little
    least = min(t["residual"] for t in choice.trials)
    assert least < 1.02 * floor, "it looked far enough"
    cheap = [t["weight"] for t in choice.trials if t["residual"] <= 1.1 * least]
    assert choice.value == max(cheap)
    assert residual_of(choice, floor) <= 1.1 * least


def residual_of(choice: Choice, floor: float) -> float:
    return math.hypot(residual(choice.result.x), floor)


@pytest.mark.parametrize("start", [0.01, 1.0])
def test_a_residual_that_stays_below_the_noise_is_said(start):
    """A prior that explains all: even x = 0 leaves less than the noise."""
    most = float(Y.square().mean().sqrt())
    choice = discrepancy(tikhonov, residual, 3 * most, start)
    assert "the residual stays below the noise" in choice.reason
    assert at(choice.value) > 0.9 * most


@pytest.mark.parametrize("status", ["interrupted", "nonfinite"])
def test_a_trial_that_breaks_off_ends_the_search(status):
    calls = []

    def solve_at(weight: float, state: object) -> Result:
        calls.append(weight)
        return tikhonov(weight, state, status if len(calls) == 2 else "converged")

    choice = discrepancy(solve_at, residual, 0.05, 1e6)
    assert len(calls) == 2 and len(choice.trials) == 2


def test_a_residual_of_nothing_is_no_error():
    choice = discrepancy(tikhonov, lambda x: 0.0, 0.1, 1.0)
    assert "stays below the noise" in choice.reason and math.isfinite(choice.value)


def test_a_residual_that_is_no_number_is_no_error():
    broken = discrepancy(lambda w, s: tikhonov(w, s, "nonfinite"), lambda x: math.nan, 0.1, 1.0)
    assert broken.result.status == "nonfinite" and broken.value == 1.0
