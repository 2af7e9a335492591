"""The weight of a prior, chosen by the discrepancy principle."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from invreg.core import Result

CLOSE = 0.05  # relative distance of the residual from its target that ends the search


@dataclass(frozen=True)
class Choice:
    """The chosen weight, why in words, the solve it ended with, and all trials: weight and what was found there.

    `residual` and `target` are root mean squares in the unit of the measurement; other entries are those of the rule.
    """

    value: float
    reason: str
    result: Result
    trials: list[dict[str, float]] = field(default_factory=list)

    def of_first(self) -> "Choice":
        """The same with the first of a batch of estimates as the result's x."""
        return replace(self, result=replace(self.result, x=self.result.x[0]))


def discrepancy(
    solve_at: Callable[[float, Any], Result],
    residual: Callable[[Tensor], float],
    target: float,
    start: float,
    *,
    state: Any = None,
    max_trials: int = 8,
) -> Choice:
    """The weight at which the residual of the estimate is as large as the noise (Morozov 1966).

    solve_at(weight, state): a short solve, from the state of the trial before (None at first). residual(x): root
    mean square of A x - y. target: standard deviation of the noise. The residual grows with the weight, so the
    search brackets the target by factors of up to ten and then takes secants of the logarithms. Where no weight
    brings the residual down to the target (the model does not explain the measurement that well) the largest
    weight tried that costs less than 10 % over the least residual is chosen, and the reason says so.
    """
    trials: list[dict[str, float]] = []
    results: list[Result] = []
    weight = start
    for _ in range(max_trials):
        result = solve_at(weight, state)
        state = result.state
        trials.append({"weight": weight, "residual": residual(result.x), "target": target})
        results.append(result)
        reached = trials[-1]["residual"] / target
        if abs(reached - 1) <= CLOSE or result.status in ("interrupted", "nonfinite") or _settled(trials):
            break
        weight = _next(trials, target)
    best = min(range(len(trials)), key=lambda i: abs(math.log(max(trials[i]["residual"], 1e-300) / target)))
    reached = trials[best]["residual"] / target
    reason = f"the residual is {reached:.2f} times the noise ({target:.3g}), as the discrepancy principle asks"
    if reached > 1 + CLOSE:
        least = trials[best]["residual"]
        best = max(
            (i for i in range(len(trials)) if trials[i]["residual"] <= 1.1 * least), key=lambda i: trials[i]["weight"]
        )
        reason = (
            f"no weight brings the residual to the noise ({target:.3g}): it stays above {least / target:.2f} times "
            "that, as where geometry or noise level are off; the largest weight within 10 % of the least residual"
        )
    elif reached < 1 - 2 * CLOSE:
        reason = (
            f"the residual stays below the noise ({target:.3g}) at {reached:.2f} times it: the prior explains it all"
        )
    return Choice(trials[best]["weight"], reason, results[best], trials)


def _settled(trials: list[dict[str, float]]) -> bool:
    """Whether a change of the weight by three or more no longer changes the residual by 2 %."""
    if len(trials) < 2:
        return False
    a, b = trials[-2:]
    far = abs(math.log(b["weight"] / a["weight"])) >= math.log(3)
    return far and abs(b["residual"] - a["residual"]) <= 0.02 * a["residual"]


def _next(trials: list[dict[str, float]], target: float) -> float:
    """Secant in the logarithms within the bracket, or a step of at most ten towards the target outside it."""
    low = max((t for t in trials if t["residual"] < target), key=lambda t: t["weight"], default=None)
    high = min((t for t in trials if t["residual"] >= target), key=lambda t: t["weight"], default=None)
    if low is not None and high is not None and low["weight"] < high["weight"]:
        a, b = math.log(low["residual"] / target), math.log(high["residual"] / target)
        share = min(max(-a / (b - a), 0.1), 0.9)
        return math.exp((1 - share) * math.log(low["weight"]) + share * math.log(high["weight"]))
    # outside the bracket: the slope seen between the last two trials, at first a typical one
    last, slope = trials[-1], 0.25
    if len(trials) > 1:
        grown = math.log(max(last["residual"], 1e-300) / max(trials[-2]["residual"], 1e-300))
        slope = min(max(grown / math.log(last["weight"] / trials[-2]["weight"]), 0.05), 1.0)
    step = math.log(target / max(last["residual"], 1e-300)) / slope
    return last["weight"] * math.exp(min(max(step, -math.log(10)), math.log(10)))
