"""The limited-memory quasi-Newton method, with bounds."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Functional, Solver, Sum, inner, over_batch


class LBFGSState(NamedTuple):
    """Estimate, objective (*batch,), gradient; steps of x and of the gradient, newest last; the criterion at x0."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    pairs: tuple[tuple[Tensor, Tensor], ...]
    norm_start: Tensor


@dataclass(frozen=True, eq=False)
class LBFGS(Solver):
    """min_x sum_i f_i(x) over low <= x <= high for smooth terms, by projected L-BFGS with `memory` pairs.

    What is at a bound and pushed against it stands still; the others take the quasi-Newton direction, on which the
    projection of x + t d is searched for a sufficient decrease (Bertsekas, SIAM J. Control Optim. 20, 221, 1982), from
    t = 1 with quadratic interpolation. One value and at least one gradient a step. The first trial changes no value of
    x by more than `first`, in the unit of x (infinite: the step -gradient). For velocities, say
    `LBFGS(objective, low=1500.0, high=4500.0, first=50.0)`.

    The criterion `gradient` is |P(x - g) - x|, the projected gradient, over that at the start. Raises TypeError
    for a term without a gradient, ValueError for senseless bounds. Source: Nocedal and Wright, Numerical
    Optimization (2006), algorithm 7.4.
    """

    objective: Iterable[Functional]
    low: float = -math.inf
    high: float = math.inf
    memory: int = 10
    first: float = math.inf
    total: Sum = field(init=False)

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"LBFGS takes bounds low < high; got low {self.low}, high {self.high}")
        if self.memory < 1 or not self.first > 0:
            raise ValueError(f"LBFGS takes memory >= 1 and first > 0; got memory {self.memory}, first {self.first}")
        total = self.objective if isinstance(self.objective, Sum) else Sum(*self.objective)
        object.__setattr__(self, "objective", tuple(total.terms))
        object.__setattr__(self, "total", total)

    def init(self, x0: Tensor) -> LBFGSState:
        """Start at the projection of `x0` onto the bounds."""
        x = x0.clamp(self.low, self.high)
        gradient = self.total.grad(x)
        return LBFGSState(x, self.total(x), gradient, (), self._criterion(x, gradient))

    def step(self, s: LBFGSState) -> LBFGSState:
        n = self.total.ndim
        d, steepest = self._direction(s)
        longest = self.first / d.abs().flatten(-n).amax(-1).double().clamp(min=1e-300)
        t = torch.where(steepest & longest.isfinite(), longest, 1.0)
        x, value, searching = s.x, s.value, torch.ones_like(t, dtype=torch.bool)
        for _ in range(30):
            trial = (s.x + over_batch(t, d, n) * d).clamp(self.low, self.high)
            moved = self.total(trial)
            slope = inner(s.gradient, trial - s.x, n)
            noise = 10 * torch.finfo(d.dtype).eps * s.value.abs()
            # the last digits of the objective cannot show a decrease; the slope still can
            good = searching & (moved <= s.value + 1e-4 * slope + noise * (slope <= 0))
            chosen = good.reshape(*good.shape, *(1,) * n)
            x, value = torch.where(chosen, trial, x), torch.where(good, moved, value)
            searching = searching & ~good
            if not bool(searching.any()):
                break
            shorter = -0.5 * slope / (moved - s.value - slope)
            t = t * shorter.nan_to_num(nan=0.1).clamp(0.1, 0.5)
        gradient = self.total.grad(x)
        pairs = (*s.pairs, (x - s.x, gradient - s.gradient))[-self.memory :]
        return LBFGSState(x, value, gradient, pairs, s.norm_start)

    def certificate(self, s: LBFGSState) -> dict[str, Tensor]:
        """`gradient` as above, and the objective."""
        norm = self._criterion(s.x, s.gradient)
        return {"gradient": torch.where(s.norm_start == 0, norm, norm / s.norm_start), "objective": s.value}

    def _criterion(self, x: Tensor, gradient: Tensor) -> Tensor:
        step = torch.clamp(-gradient, self.low - x, self.high - x)  # x - gradient would round small gradients away
        return inner(step, step, self.total.ndim).sqrt()

    def _direction(self, s: LBFGSState) -> tuple[Tensor, Tensor]:
        """-H g on the free variables by the two loops, and for which items it is -g for lack of pairs.

        Pairs without positive curvature are left out, item by item.
        """
        n = self.total.ndim
        held = ((s.x <= self.low) & (s.gradient > 0)) | ((s.x >= self.high) & (s.gradient < 0))
        q = torch.where(held, 0.0, s.gradient)
        scale, steepest = torch.ones_like(s.value), torch.ones_like(s.value, dtype=torch.bool)
        pairs = []
        for step, change in s.pairs:
            a, b = torch.where(held, 0.0, step), torch.where(held, 0.0, change)
            ab, aa, bb = inner(a, b, n), inner(a, a, n), inner(b, b, n)
            usable = ab > 1e-10 * (aa * bb).sqrt()
            scale, steepest = torch.where(usable, ab / bb, scale), steepest & ~usable
            pairs.append((a, b, torch.where(usable, 1 / ab, 0.0)))
        weights = []
        for a, b, rho in reversed(pairs):
            weight = rho * inner(a, q, n)
            q = q - over_batch(weight, q, n) * b
            weights.append(weight)
        q = over_batch(scale, q, n) * q
        for (a, b, rho), weight in zip(pairs, reversed(weights), strict=True):
            q = q + over_batch(weight - rho * inner(b, q, n), q, n) * a
        return -torch.where(held, 0.0, q), steepest
