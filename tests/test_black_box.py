"""Random search and TPE, on a problem whose best parameter is known."""

import math
import sys

import pytest
import torch
from torch import Tensor

from invreg.solvers import search

LOW, HIGH = torch.tensor([-12.0], dtype=torch.float64), torch.tensor([0.0], dtype=torch.float64)
METHODS = ["random", "tpe"]


def valley(theta: Tensor) -> float:
    return float((theta + 5.45).square().sum())


def ready(method: str) -> None:
    if method == "tpe":
        pytest.importorskip("optuna")


@pytest.mark.parametrize("method", METHODS)
def test_the_best_of_sixty_lies_near_the_lowest_point(method):
    ready(method)
    for seed in range(3):
        best, tried = search(valley, LOW, HIGH, budget=60, method=method, seed=seed)
        assert abs(float(best) + 5.45) < 0.3 and len(tried) == 60
        assert valley(best) == min(score for _, score in tried)
        assert all(-12 <= float(theta) <= 0 for theta, _ in tried)


def test_tpe_beats_random_draws_of_equal_budget_in_four_dimensions():
    ready("tpe")
    low, high = LOW.repeat(4), HIGH.repeat(4)
    ends = {
        m: sum(valley(search(valley, low, high, budget=80, method=m, seed=seed)[0]) for seed in range(3))
        for m in METHODS
    }
    assert ends["tpe"] < 0.5 * ends["random"]


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_gives_the_same_again(method):
    ready(method)
    runs = [search(valley, LOW, HIGH, budget=8, method=method, seed=s)[1] for s in (1, 1, 2)]
    assert runs[0] == runs[1] and runs[0] != runs[2]


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_are_no_number_are_never_best(method):
    ready(method)
    best, tried = search(lambda t: math.nan if t < -6 else float(t), LOW, HIGH, budget=20, method=method)
    assert float(best) >= -6 and math.inf in [score for _, score in tried]


@pytest.mark.parametrize(("low", "high", "budget"), [(HIGH, LOW, 5), (LOW, HIGH, 0), (LOW, HIGH.repeat(2), 5)])
def test_a_box_of_nothing_is_refused(low, high, budget):
    with pytest.raises(ValueError, match="search takes low < high"):
        search(valley, low, high, budget=budget)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="the method random or tpe; got 'grid'"):
        search(valley, LOW, HIGH, budget=5, method="grid")


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install \"invreg\[tune\]\""):
        search(valley, LOW, HIGH, budget=5, method="tpe")
