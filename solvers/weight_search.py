"""The weight of least score: a bracket on the logarithm of the weight, then parabolas in it."""

import math
from collections.abc import Callable
from typing import Any

from invreg.core import Result
from invreg.solvers.choose import Choice

FIRST, LONGEST = math.log(4.0), math.log(16.0)  # steps outside of what has been tried
GROWTH = (1 + math.sqrt(5)) / 2  # of the steps that follow each other in the same direction
FARTHEST = math.log(1e8)  # from the start
WIDE = math.log(20.0)  # a bracket that is halved
CLOSE = math.log(1.2)  # between the best weight and the lowest point of the parabola: the search ends


def minimise(
    solve_at: Callable[[float, Any], Result],
    score: Callable[[float, Result], dict[str, float]],
    start: float,
    name: str,
    *,
    state: Any = None,
    max_trials: int = 12,
) -> Choice:
    """The weight at which the first entry of `score(weight, result)` is least; all entries stand in the trials.

    solve_at(weight, state): a short solve, from the state of the trial whose weight was nearest (`state` at first).
    name: of the score, for the reason. Raises ValueError unless start is a finite number > 0.
    """
    if not 0 < start < math.inf:
        raise ValueError(f"the search for a weight starts at a finite number > 0; got {start}")
    trials: list[dict[str, float]] = []
    results: list[Result] = []
    points: list[tuple[float, float]] = []
    following: float | None = math.log(start)
    while following is not None and len(trials) < max_trials:
        at = following
        nearest = min(range(len(points)), key=lambda i: abs(points[i][0] - at), default=None)
        result = solve_at(math.exp(at), state if nearest is None else results[nearest].state)
        row = score(math.exp(at), result)
        value = next(iter(row.values()))
        trials.append({"weight": math.exp(at), **row})
        results.append(result)
        points.append((at, value if math.isfinite(value) else math.inf))
        if result.status in ("interrupted", "nonfinite"):
            break
        following = _next(sorted(points), points[0][0])
    best = min(range(len(points)), key=lambda i: points[i][1])
    reason = f"the least {name} of {len(trials)} weights, {points[best][1]:.3g}"
    if points[best][0] in (min(points)[0], max(points)[0]):
        side = "largest" if points[best] == max(points) else "smallest"
        reason = f"the {name} has no lowest point between the weights tried; it is least at the {side} one"
    return Choice(trials[best]["weight"], reason, results[best], trials)


def _next(points: list[tuple[float, float]], start: float) -> float | None:
    """The logarithm to try next, None where the search has ended; points (logarithm, score) in rising order."""
    if len(points) == 1:
        return points[0][0] - FIRST
    k = min(range(len(points)), key=lambda i: points[i][1])
    if k in (0, len(points) - 1):
        step = points[k][0] - points[1 if k == 0 else -2][0]
        further = points[k][0] + math.copysign(min(GROWTH * abs(step), LONGEST), step)
        further = min(max(further, start - FARTHEST), start + FARTHEST)
        return further if further != points[k][0] else None
    (a, fa), (b, fb), (c, fc) = points[k - 1 : k + 2]
    left, right = b - a, c - b
    if left + right > WIDE:  # over which a score is no parabola
        return b - left / 2 if left > right else b + right / 2
    slopes = (fb - fa) / left, (fc - fb) / right
    bend = slopes[1] - slopes[0]
    if not 0 < bend < math.inf:
        return None
    lowest = 0.5 * (a + b) - slopes[0] * (c - a) / (2 * bend)  # of the parabola through the three points
    if abs(lowest - b) <= CLOSE:
        return None
    return min(max(lowest, a + 0.15 * left), c - 0.15 * right)
