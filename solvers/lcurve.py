"""The weight at the corner of the L-curve, which needs no noise level."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from invreg.core import Result
from invreg.solvers.choose import Choice

GOLDEN = (1 + math.sqrt(5)) / 2
CLOSE = math.log(1.5)  # between the outer weights: the search ends

Point = tuple[float, float]


def lcurve(
    solve_at: Callable[[float, Any], Result],
    norms: Callable[[Tensor], tuple[float, float]],
    low: float,
    high: float,
    *,
    state: Any = None,
    max_trials: int = 14,
) -> Choice:
    """The weight in [low, high] at which (log |A x - y|^2, log prior(x)) bends most.

    solve_at(weight, state): a short solve, from the state of the trial whose weight was nearest (`state` at first).
    norms(x): |A x - y|^2 and the value of the prior. A golden-section search on the curvature of circles through
    three neighbouring points; it finds one corner, and where there are several not always the sharpest. The corner
    need not be where the image is best, and moves away from there as the noise falls (Hanke, BIT 36, 287, 1996).
    Raises ValueError unless 0 < low < high. Source: Cultrera and Callegaro (IOP SciNotes 1, 025004, 2020).
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"lcurve takes weights 0 < low < high; got {low} and {high}")
    trials: dict[float, dict[str, float]] = {}
    results: dict[float, Result] = {}

    def point(at: float) -> Point:
        near = min(results, key=lambda other: abs(other - at), default=None)
        results[at] = solve_at(math.exp(at), state if near is None else results[near].state)
        misfit, prior = norms(results[at].x)
        trials[at] = {"weight": math.exp(at), "misfit": misfit, "prior": prior}
        return math.log(max(misfit, 1e-300)), math.log(max(prior, 1e-300))

    def between(x: list[float]) -> float:
        return (x[-1] + GOLDEN * x[0]) / (1 + GOLDEN)

    ends = [math.log(low), math.log(high)]
    lower = between(ends)
    x = [ends[0], lower, sum(ends) - lower, ends[1]]
    p = [point(at) for at in reversed(x)][::-1]  # large weights settle first, and start the others
    while True:
        bends = curvature(*p[:3]), curvature(*p[1:])
        left = bends[1] < 0 or bends[0] > bends[1]  # beyond the corner the curve bends the other way
        corner = x[1] if left else x[2]
        broken = any(r.status in ("interrupted", "nonfinite") for r in results.values())
        if x[-1] - x[0] <= CLOSE or len(trials) >= max_trials or broken:
            break
        if left:
            x, p = [x[0], x[0], x[1], x[2]], [p[0], p[0], p[1], p[2]]
            x[1] = between(x)
            p[1] = point(x[1])
        else:
            x, p = [x[1], x[2], x[2], x[3]], [p[1], p[2], p[2], p[3]]
            x[2] = x[0] + x[3] - x[1]
            p[2] = point(x[2])
    reason = f"the L-curve bends most there, of {len(trials)} weights from {low:.3g} to {high:.3g}"
    return Choice(math.exp(corner), reason, results[corner], list(trials.values()))


def curvature(a: Point, b: Point, c: Point) -> float:
    """One over the radius of the circle through three points, positive where they turn left (Menger)."""
    sides = math.dist(a, b) * math.dist(b, c) * math.dist(c, a)
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return 2 * area / sides if sides > 0 else 0.0
