"""The weight by generalised cross-validation, which needs no noise level."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from invreg.core import Operator, Result
from invreg.solvers.choose import Choice
from invreg.solvers.influence import Probes
from invreg.solvers.weight_search import minimise

STEP = 1e-2  # of the perturbation, next to the root mean square of the measurement


def gcv(
    solve_at: Callable[[float, Any, Tensor], Result],
    A: Operator,
    y: Tensor,
    start: float,
    *,
    influence: Callable[[float], float] | None = None,
    probes: int = 1,
    step: float | None = None,
    generator: torch.Generator | None = None,
    state: Any = None,
    max_trials: int = 12,
) -> Choice:
    """The weight of least GCV = (|A x - y|^2 / m) / (1 - t / m)^2 with t the trace of d(A x) / dy, m numbers in y.

    solve_at(weight, state, measurements): estimates from (1 + probes, *y), of which the first is y; a short solve
    from the state of a near weight (None at first). All axes of y are one real measurement with white noise.
    influence: weight -> t where it is known (`tikhonov_influence`); solve_at is then given (1, *y). Otherwise t is the
    difference quotient along random signs, `step` long (default a hundredth of the root mean square of y), which
    serves estimators that are not linear, too. The result's x is that of y, its state that of all measurements.
    Sources: Golub, Heath and Wahba (Technometrics 21, 215, 1979); Girard (1989) for the trace.
    """
    seen = None
    if influence is None:
        size = float(y.abs().double().square().mean().sqrt())
        seen = Probes.of(y, probes, step or STEP * size, generator)
    measurements = y[None] if seen is None else seen.measurements

    def score(weight: float, result: Result) -> dict[str, float]:
        residual = float((A(result.x[0]) - y).square().mean(dtype=torch.float64))
        t = influence(weight) if influence is not None else seen.influence(A, result.x)  # type: ignore[union-attr]
        free = 1 - t / y.numel()
        return {"gcv": residual / free**2 if free > 0 else float("inf"), "residual": residual**0.5, "influence": t}

    name = "generalised cross-validation score"
    return minimise(
        lambda weight, at: solve_at(weight, at, measurements), score, start, name, state=state, max_trials=max_trials
    ).of_first()
