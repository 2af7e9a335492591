"""HOAG: bilevel learning along approximate gradients of summable errors."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from invreg.core import Functional
from invreg.solvers.bilevel import BilevelLower, Learned, conjugate_gradients, descend, items

SCHEDULES: dict[str, Callable[[int], float]] = {  # tolerances of step k = 1, 2, ... over the first one
    "quadratic": lambda k: k**-2.0,
    "cubic": lambda k: k**-3.0,
    "exponential": lambda k: 0.9**k,
    "exact": lambda k: 1e-9,
}
SLACK = 0.25  # C of the step-size heuristic


@dataclass(frozen=True)
class HOAG:
    """Projected gradient steps on f(theta) = mean of upper(x(theta)) over the batch, theta logarithms of parameters.

    Step k solves the lower problem to |d/dx h| <= e_k |d/dx h at the start| and H q = grad g to |residual| <= e_k
    |grad g at the start|, both from the last solution, e_k = tol times the schedule, and moves by 1 / `L` of the
    hypergradient. L starts at |first hypergradient| / sqrt(p), shrinks by 0.95 while f falls as it should, and doubles
    where f rose by a fifth, with that step undone and the tolerances halved. theta is clipped to `bounds`.
    Source: Pedregosa, ICML 2016, arXiv 1602.02355, and its public implementation for the step sizes.
    """

    lower: BilevelLower
    upper: Functional
    schedule: Literal["quadratic", "cubic", "exponential", "exact"] = "quadratic"
    tol: float = 1e-3
    bounds: tuple[float, float] = (-12.0, 12.0)
    max_lower: int = 10_000

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES or not 0 < self.tol < 1 or not self.bounds[0] < self.bounds[1]:
            raise ValueError(
                f"HOAG takes a schedule of {', '.join(SCHEDULES)}, 0 < tol < 1 and bounds (low, high); "
                f"got {self.schedule!r}, {self.tol} and {self.bounds}"
            )

    def run(
        self,
        theta: Tensor,
        x: Tensor,
        *,
        max_iter: int = 50,
        tol: float = 1e-4,
        callback: Callable[[dict[str, Any]], object] | None = None,
    ) -> Learned:
        """Learn from theta (p,), with the first lower solve started at x (n, *image).

        Stops where a step moves no parameter by more than `tol` ("converged"), after max_iter ("max_iter"), or on what
        is not finite ("nonfinite").
        """
        n = items(x, self.upper)
        first = float(self.lower.grad_x(x, theta).norm())
        q, first_slope = torch.zeros_like(x), float(self.upper.grad(x).norm()) / n
        history: list[dict[str, Any]] = []
        lower_steps = cg_steps = 0
        kept, L, last, tight, status = theta, 0.0, math.inf, 1.0, "max_iter"
        error_before, best = 1.0, (math.inf, theta, x)
        for k in range(1, max_iter + 1):
            error = tight * self.tol * SCHEDULES[self.schedule](k)
            solved = descend(self.lower, x, theta, error * first, self.max_lower)
            at = solved.x

            def hessian(v: Tensor, at: Tensor = at, theta: Tensor = theta) -> Tensor:
                return self.lower.hvp(at, theta, v)

            slope = self.upper.grad(at) / n
            linear = conjugate_gradients(hessian, slope, error * first_slope, q, max(100, slope.numel()))
            x, q = at, linear.x
            p = -self.lower.mixed_vjp(x, theta, q)
            lower_steps, cg_steps = lower_steps + solved.steps, cg_steps + linear.steps
            value, size = float(self.upper(x).mean()), float(p.norm())
            row = {"iter": k, "theta": theta, "upper": value, "gradient": size, "error": error}
            history.append(row | {"lower_steps": lower_steps, "cg_steps": cg_steps})
            if callback is not None:
                callback(history[-1])
            if not (math.isfinite(value) and math.isfinite(size)):
                status = "nonfinite"
                break
            best = min(best, (value, theta, x), key=lambda b: b[0])
            if L == 0:
                L = size / theta.numel() ** 0.5 if size > 1e-3 else 1.0
            moved = size / L
            if value >= 1.2 * last:
                L, theta, tight = 2 * L, kept, tight / 2
                continue
            if value <= last + SLACK * error + error_before * (SLACK + 1) * moved - L * moved**2:
                L = 0.95 * L
            kept, last, error_before = theta, value, error
            theta = (theta - p / L).clamp(*self.bounds)
            if float((theta - kept).abs().max()) <= tol:
                status = "converged"
                break
        return Learned(best[1], best[2], status, history, lower_steps, cg_steps)
