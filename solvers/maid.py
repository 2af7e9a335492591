"""MAID: bilevel learning whose accuracy adapts, so that every accepted step is a descent for certain."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invreg.core import Functional
from invreg.solvers.bilevel import BilevelLower, Learned, conjugate_gradients, descend, items

FINEST = 1e-14  # an accuracy below this is round-off
FAILURES = 10  # steps one after another without one that is accepted, until it stops


class MAIDState(NamedTuple):
    """theta and x within eps of its lower solution; q, the last linear solution; accuracies, step, backtracks.

    z, omega: the hypergradient at theta and the bound on its error. left: steps of the lower problem that may still
    be made; none are where a solve was cut short, whose x is not within eps. lower_steps, cg_steps: work so far.
    """

    theta: Tensor
    x: Tensor
    q: Tensor | None
    eps: float
    delta: float
    beta: float
    backtracks: int
    z: Tensor
    left: int
    omega: float = math.inf
    lower_steps: int = 0
    cg_steps: int = 0

    @property
    def size(self) -> float:
        return float(self.z.norm())


@dataclass(frozen=True)
class MAID:
    """The method of adaptive inexact descent on f(theta) = mean of upper(x(theta)) over the batch.

    upper: a functional with `grad` and `lipschitz`, such as LeastSquares(truth) of (n, *image); convex: whether it is,
    which spares half of its smoothness in the descent test. eps, delta: first accuracies of the lower problem,
    |x - x(theta)| <= eps, and of the linear system. beta: first step. reach: theta moves by no more at once; take about
    2 for logarithms of weights, since f is flat where they are far too small and a leap there may well be a descent.
    eta (least descent), rho (backtracking), tau (tightening) and nu (relaxing of the accuracies), backtracks: as in the
    paper's scripts; `rounds` of tightening a step. omega, and so the descent, is certain where the bounds of `lower`
    are; its form is sharper than the paper's, which has |J| / mu and the Lipschitz constant of H^-1. Source: Salehi,
    Mukherjee, Roberts, Ehrhardt, "An adaptively inexact first-order method for bilevel optimization", arXiv 2308.10098.
    """

    lower: BilevelLower
    upper: Functional
    eps: float = 1e-1
    delta: float = 1e-1
    beta: float = 1e-2
    reach: float = math.inf
    convex: bool = True
    eta: float = 1e-4
    rho: float = 0.5
    tau: float = 0.5
    nu: float = 1.05
    backtracks: int = 10
    rounds: int = 3
    smooth: float = field(init=False)

    def __post_init__(self) -> None:
        for name in ("eps", "delta", "beta"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"MAID takes a finite {name} > 0; got {getattr(self, name)}")
        if not self.reach > 0:
            raise ValueError(f"MAID takes a reach > 0; got {self.reach}")
        object.__setattr__(self, "smooth", self.upper.lipschitz())  # of an upper f @ K it costs tens of products

    def run(
        self,
        theta: Tensor,
        x: Tensor,
        *,
        max_iter: int = 100,
        tol: float = 0.0,
        relative: float = 0.0,
        max_lower_steps: int = 100_000,
        callback: Callable[[dict[str, Any]], object] | None = None,
    ) -> Learned:
        """Learn from theta (p,), with the first lower solve started at x (n, *image).

        Stops where |grad f| <= tol or <= relative * f ("converged"), after max_iter steps or max_lower_steps of the
        lower problem ("max_iter"), after ten steps that did not lower f however fine the accuracy ("stalled"), or on
        what is not finite ("nonfinite"). A row of the history holds theta, its hypergradient z and the accuracies
        before the step that it tells of.
        """
        zero = torch.zeros_like(theta)
        s = MAIDState(theta, x, None, self.eps, self.delta, self.beta, self.backtracks, zero, max_lower_steps)
        s = self._solve(s)
        history: list[dict[str, Any]] = []
        status, failures = "max_iter", 0
        while len(history) < max_iter and s.left > 0 and status == "max_iter":
            enough = max(tol, relative * self.value(s.x))
            s, ahead = self._step(s, enough)
            row = {"iter": len(history) + 1, "theta": s.theta, "z": s.z, "upper": self.value(s.x)}
            row |= {
                "gradient": s.size,
                "omega": s.omega,
                "eps": s.eps,
                "delta": s.delta,
                "step": float((ahead.theta - s.theta).norm()) / s.size if ahead else 0.0,
            }
            row |= {"lower_steps": (ahead or s).lower_steps, "cg_steps": s.cg_steps}
            history.append(row)
            if callback is not None:
                callback(row)
            failures = 0 if ahead else failures + 1
            if not math.isfinite(s.size + s.omega):
                status = "nonfinite"
            elif s.size + s.omega <= enough:
                status = "converged"
            elif failures == FAILURES or (s.eps <= FINEST and not ahead):
                status = "stalled"
            if ahead is not None:
                s = ahead._replace(beta=ahead.beta * 10 / 9, eps=self.nu * s.eps, delta=self.nu * s.delta)
        return Learned(s.theta, s.x, status, history, s.lower_steps, s.cg_steps)

    def hypergradient(self, s: MAIDState) -> MAIDState:
        """z = -J^T q with H q = grad g(x) up to delta, and omega >= |z - grad f| given |x - x(theta)| <= eps."""
        slope = self.slope(s.x)
        solved = conjugate_gradients(
            lambda v: self.lower.hvp(s.x, s.theta, v),
            slope,
            s.delta,
            torch.zeros_like(slope) if s.q is None else s.q,
            max(100, slope.numel()),
        )
        z = -self.lower.mixed_vjp(s.x, s.theta, solved.x)
        # z - grad f = (J - J*)^T q + J*^T H*^-1 (grad g* - grad g + residual + (H - H*) q), * at x(theta)
        bounds, size = self.lower.bounds(s.x, s.theta, solved.x, s.eps), float(solved.x.norm())
        moved = (self._smooth(s.x) + bounds.hessian_lipschitz * size) * s.eps
        # max keeps a first argument that is not a number
        omega = bounds.sensitivity * (moved + max(solved.residual, s.delta)) + bounds.jacobian_lipschitz * size * s.eps
        return s._replace(z=z, omega=omega, q=solved.x, cg_steps=s.cg_steps + solved.steps + bounds.cg_steps)

    def value(self, x: Tensor) -> float:
        return float(self.upper(x).mean())

    def slope(self, x: Tensor) -> Tensor:
        """The gradient of the mean of `upper`."""
        return self.upper.grad(x) / items(x, self.upper)

    def _step(self, s: MAIDState, tol: float) -> tuple[MAIDState, MAIDState | None]:
        """The state with a descent direction, and the one after the step along it (its `beta`), None if none is."""
        for _ in range(self.rounds):
            s = self.hypergradient(s)
            while s.omega > (1 - self.eta) * s.size and s.size + s.omega > tol and s.eps > FINEST and s.left > 0:
                s = self.hypergradient(self._tightened(s))
            if s.size + s.omega <= tol or not math.isfinite(s.size + s.omega) or s.eps <= FINEST or s.left == 0:
                return s, None
            lowest = self._bound(s, -1)
            blur = self._bound(s, 1) - lowest
            longest = min(s.beta, self.reach / s.size)
            for i in range(s.backtracks):
                step = longest * self.rho**i
                if step * s.size * (s.size + s.omega) < blur:
                    break  # so short a step gains, to first order, less than can be told at this accuracy
                there = self._solve(s._replace(theta=s.theta - step * s.z, beta=s.beta * self.rho**i))
                s = s._replace(lower_steps=there.lower_steps, left=there.left)
                if s.left == 0:
                    return s, None
                if self._bound(there, 1) - lowest <= -self.eta * step * s.size**2:
                    return s, there
            s = self._tightened(s)._replace(backtracks=s.backtracks + 1)
        return s, None

    def _solve(self, s: MAIDState) -> MAIDState:
        found = descend(self.lower, s.x, s.theta, s.eps * self.lower.mu(s.theta), s.left)
        x = found.x if math.isfinite(found.residual) else found.x * math.nan  # must not pass for a solution
        return s._replace(x=x, lower_steps=s.lower_steps + found.steps, left=s.left - found.steps)

    def _tightened(self, s: MAIDState) -> MAIDState:
        return self._solve(s._replace(eps=self.tau * s.eps, delta=self.tau * s.delta))

    def _smooth(self, x: Tensor) -> float:
        return self.smooth / items(x, self.upper)

    def _bound(self, s: MAIDState, side: int) -> float:
        """An upper (side 1) or lower (-1) bound on f from an x within eps of the lower solution."""
        curved = 0.5 * self._smooth(s.x) * s.eps**2 if side > 0 or not self.convex else 0.0
        return self.value(s.x) + side * (float(self.slope(s.x).norm()) * s.eps + curved)
