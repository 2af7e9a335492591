"""The weight by the L-curve, generalised cross-validation and Stein's estimate, against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from invreg.core import External, Result, Space
from invreg.core.solver import Status
from invreg.solvers import gcv, lcurve, sure, tikhonov_influence
from invreg.solvers.lcurve import curvature

N = 60
S = torch.logspace(0, -3, N, dtype=torch.float64)  # singular values
TRUTH = torch.exp(-torch.linspace(0, 3, N, dtype=torch.float64))
NOISE = 0.02
WEIGHTS = np.logspace(-9, 3, 4001)


class Diagonal(External):
    """x -> U s x with an orthogonal U, so that nothing depends on A being diagonal in the pixels of y."""

    def __init__(self, rotated: bool = True) -> None:
        super().__init__(Space((N,)), Space((N,)))
        matrix = torch.randn(N, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.U = torch.linalg.qr(matrix).Q if rotated else torch.eye(N, dtype=torch.float64)

    def _forward(self, x: Tensor) -> Tensor:
        return (S * x) @ self.U.T

    def _adjoint(self, y: Tensor) -> Tensor:
        return S * (y @ self.U)


A = Diagonal()


def measured(seed: int) -> Tensor:
    return A(TRUTH) + NOISE * torch.randn(N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tikhonov(weight: float, y: Tensor) -> Tensor:
    """argmin |A x - y|^2 / 2 + weight |x|^2 / 2 for each of a batch."""
    return A.adjoint(y) / (S**2 + weight)


def ended(x: Tensor, state: object, status: Status = "converged") -> Result:
    return Result(x, status, 1, [], state, torch.tensor(status == "converged"), torch.tensor(1))


def solved(weight: float, state: object, y: Tensor) -> Result:
    return ended(tikhonov(weight, y), state)


def influence(weight: float) -> float:
    return float((S**2 / (S**2 + weight)).sum())


def gcv_at(weight: float, y: Tensor) -> float:
    left = weight / (S**2 + weight) * (y @ A.U)
    return float(left.square().mean()) / (1 - influence(weight) / N) ** 2


def least(score, y: Tensor) -> float:
    return min(score(w, y) for w in WEIGHTS)


@pytest.mark.parametrize("start", [1e-6, 1e-3, 1.0, 100.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gcv_of_tikhonov_is_the_least_of_its_closed_form(seed, start):
    y = measured(seed)
    choice = gcv(solved, A, y, start, influence=tikhonov_influence(A))
    for trial in choice.trials:
        assert trial["gcv"] == pytest.approx(gcv_at(trial["weight"], y), rel=1e-9)
    assert gcv_at(choice.value, y) <= 1.01 * least(gcv_at, y), choice
    assert choice.reason.startswith("the least generalised cross-validation score of")
    assert torch.equal(choice.result.x, tikhonov(choice.value, y))
    assert len(choice.trials) <= 12


def test_the_influence_of_tikhonov():
    exact = tikhonov_influence(A)
    for weight in (1e-5, 1e-2, 1.0):
        hat = A(tikhonov(weight, torch.eye(N, dtype=torch.float64)))
        assert exact(weight) == pytest.approx(float(hat.trace()), rel=1e-10)


def test_the_influence_from_random_probes_is_unbiased():
    y, weight = measured(0), 1e-2
    found = [
        gcv(solved, A, y, weight, generator=torch.Generator().manual_seed(k), max_trials=1).trials[0]["influence"]
        for k in range(200)
    ]
    error = np.std(found) / math.sqrt(len(found))
    assert error < 0.03 * influence(weight)
    assert abs(np.mean(found) - influence(weight)) < 4 * error


def test_many_probes_are_an_average():
    y, weight = measured(0), 1e-2
    choice = gcv(solved, A, y, weight, probes=2000, max_trials=1)
    assert choice.trials[0]["influence"] == pytest.approx(influence(weight), rel=0.02)
    assert choice.result.x.shape == (N,)


def risk_of_prediction(weight: float) -> float:
    """E |A x - A x_true|^2 / N over the noise: squared bias and variance."""
    kept = S**2 / (S**2 + weight)
    return float((((1 - kept) * S * TRUTH) ** 2 + NOISE**2 * kept**2).mean())


def risk_of_image(weight: float) -> float:
    kept = S**2 / (S**2 + weight)
    return float((((1 - kept) * TRUTH) ** 2 + (NOISE * kept / S) ** 2).mean())


@pytest.mark.parametrize("weight", [1e-4, 1e-2, 0.3])
def test_sure_is_unbiased(weight):
    """Its mean over noise draws (and probes) is the risk of the prediction in closed form."""
    risks = [
        sure(solved, A, measured(k), NOISE, weight, max_trials=1, generator=torch.Generator().manual_seed(k)).trials[0]
        for k in range(300)
    ]
    values = np.array([t["risk"] for t in risks])
    error = values.std() / math.sqrt(values.size)
    assert error < 0.2 * risk_of_prediction(weight) + 0.03 * NOISE**2
    assert abs(values.mean() - risk_of_prediction(weight)) < 4 * error


@pytest.mark.parametrize("weight", [3e-3, 3e-2])
def test_sure_through_the_pseudo_inverse_is_the_risk_of_the_image(weight, monkeypatch):
    monkeypatch.setattr(f"{__name__}.S", torch.logspace(0, -0.7, N, dtype=torch.float64))

    def pseudo_inverse(v: Tensor) -> Tensor:
        return (v @ A.U) / S

    risks = [
        sure(
            solved, A, measured(k), NOISE, weight, through=pseudo_inverse, max_trials=1,
            generator=torch.Generator().manual_seed(k),
        ).trials[0]["risk"]
        for k in range(300)
    ]  # fmt: skip
    error = np.std(risks) / math.sqrt(len(risks))
    assert error < 0.15 * risk_of_image(weight)
    assert abs(np.mean(risks) - risk_of_image(weight)) < 4 * error


def test_sure_of_a_soft_threshold_with_uneven_noise():
    """An estimator that is not linear, noise that differs: the risk estimated is that found with the truth."""
    identity = Diagonal(rotated=False)
    std = torch.linspace(0.01, 0.3, N, dtype=torch.float64)
    ones = S / S  # an identity of A: s = 1

    def shrink(weight: float, state: object, y: Tensor) -> Result:
        return ended(y.sign() * (y.abs() - weight).clamp(min=0) / S, state)

    estimated, true = [], []
    for k in range(300):
        noise = std * torch.randn(N, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        y = TRUTH * ones + noise
        seen = sure(shrink, identity, y, std, 0.2, max_trials=1, step=1e-6, generator=torch.Generator().manual_seed(k))
        estimated.append(seen.trials[0]["risk"])
        true.append(float((S * seen.result.x - TRUTH).square().mean()))
    difference = np.array(estimated) - np.array(true)
    error = difference.std() / math.sqrt(difference.size)
    assert error < 0.15 * np.mean(true)
    assert abs(difference.mean()) < 4 * error


@pytest.mark.parametrize("start", [1e-5, 1e-2, 10.0])
def test_sure_chooses_close_to_the_least_risk(start):
    """With many probes; over ten draws of the noise, as one may be unlucky."""
    chosen = [sure(solved, A, measured(k), NOISE, start, probes=50).value for k in range(10)]
    best = min(risk_of_prediction(w) for w in WEIGHTS)
    assert np.median([risk_of_prediction(w) for w in chosen]) < 1.05 * best


def test_the_reason_says_where_no_lowest_point_was_found():
    """More weight is always better for a truth of nothing."""
    noise = measured(0) - A(TRUTH)
    choice = sure(solved, A, noise, NOISE, 1e-3, probes=200)
    assert "no lowest point" in choice.reason and "largest" in choice.reason


@pytest.mark.parametrize("status", ["interrupted", "nonfinite"])
def test_a_trial_that_breaks_off_ends_the_search(status):
    calls = []

    def broken(weight: float, state: object, y: Tensor) -> Result:
        calls.append(weight)
        return ended(tikhonov(weight, y), state, status)

    assert sure(broken, A, measured(0), NOISE, 0.1).result.status == status
    assert gcv(broken, A, measured(0), 0.1).result.status == status
    assert len(calls) == 2


def test_trials_go_on_from_the_nearest():
    states = {}

    def solve_at(weight: float, state: object, y: Tensor) -> Result:
        if states:
            assert state == min(states, key=lambda w: abs(math.log(w / weight)))
        else:
            assert state == "first"
        states[weight] = state
        return ended(tikhonov(weight, y), weight)

    assert len(sure(solve_at, A, measured(0), NOISE, 10.0, state="first").trials) > 3


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf])
def test_sure_refuses_what_is_no_noise_level(std):
    with pytest.raises(ValueError, match="sure takes a finite standard deviation > 0"):
        sure(solved, A, measured(0), std, 0.1)


@pytest.mark.parametrize("start", [0.0, -1.0, math.nan, math.inf])
def test_a_start_that_is_no_weight(start):
    with pytest.raises(ValueError, match="finite number > 0"):
        gcv(solved, A, measured(0), start)


def test_complex_measurements_are_refused():
    with pytest.raises(ValueError, match="real floating-point"):
        gcv(solved, A, torch.complex(measured(0), measured(1)), 1.0)


# the L-curve


def curve(weight: float, y: Tensor) -> tuple[float, float]:
    x = tikhonov(weight, y)
    return float((A(x) - y).square().sum()), float(x.square().sum())


def sharpest(y: Tensor) -> float:
    """The weight of largest curvature of (log |A x - y|^2, log |x|^2), by finite differences on a fine grid."""
    t = np.linspace(math.log(1e-7), math.log(10), 1000)
    u, v = np.log(np.array([curve(math.exp(w), y) for w in t])).T
    du, dv = np.gradient(u, t), np.gradient(v, t)
    bend = (du * np.gradient(dv, t) - dv * np.gradient(du, t)) / (du**2 + dv**2) ** 1.5
    inside = slice(10, -10)
    return float(np.exp(t[inside][np.argmax(bend[inside])]))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_lcurve_finds_the_sharpest_bend(seed):
    y = measured(seed)
    choice = lcurve(
        lambda w, s: ended(tikhonov(w, y), s),
        lambda x: (float((A(x) - y).square().sum()), float(x.square().sum())),
        1e-7,
        10.0,
        max_trials=30,
    )
    assert choice.value == pytest.approx(sharpest(y), rel=0.1)
    assert torch.equal(choice.result.x, tikhonov(choice.value, y))


def test_curvature_of_a_circle():
    points = [(3 * math.cos(t), 3 * math.sin(t)) for t in (0.1, 0.7, 1.9)]
    assert curvature(*points) == pytest.approx(1 / 3)
    assert curvature(*reversed(points)) == pytest.approx(-1 / 3)
    assert curvature((0, 0), (1, 1), (2, 2)) == 0 and curvature((1, 1), (1, 1), (2, 2)) == 0


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1.0, 1.0), (-1.0, 1.0), (1.0, math.inf), (math.nan, 1.0)])
def test_lcurve_refuses_what_is_no_range(low, high):
    with pytest.raises(ValueError, match="0 < low < high"):
        lcurve(lambda w, s: solved(w, s, measured(0)), lambda x: (1.0, 1.0), low, high)
