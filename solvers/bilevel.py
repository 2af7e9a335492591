"""Bilevel learning: parameters theta of a variational problem, learned from pairs of measurement and truth.

min_theta f(theta) = mean_i g_i(x_i(theta)),  x_i(theta) = argmin_x h_i(x, theta), i over the batch. All pairs are one
problem in the product space: norms are over whole tensors, and the upper gradient carries the 1 / n.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from invreg.core import Functional

SENSITIVE = 1e-2  # relative residual of the system that estimates a sensitivity


class Bounds(NamedTuple):
    """What holds within eps of x: |H^-1 J| <= sensitivity, and Lipschitz constants in x of H and J.

    H = d2/dx2 h, J = d/dtheta d/dx h; a sensitivity of |J| / mu always holds. cg_steps: what finding them took.
    """

    sensitivity: float
    hessian_lipschitz: float
    jacobian_lipschitz: float
    cg_steps: int = 0


class BilevelLower(Protocol):
    """h(x, theta): mu-strongly convex and L-smooth in x for each batch item; theta (p,)."""

    def grad_x(self, x: Tensor, theta: Tensor) -> Tensor: ...
    def hvp(self, x: Tensor, theta: Tensor, v: Tensor) -> Tensor: ...
    def mixed_vjp(self, x: Tensor, theta: Tensor, v: Tensor) -> Tensor:
        """The derivative in theta of <d/dx h(x, theta), v>, (p,)."""

    def mu(self, theta: Tensor) -> float: ...
    def L(self, theta: Tensor) -> float: ...
    def bounds(self, x: Tensor, theta: Tensor, q: Tensor, eps: float) -> Bounds:
        """Those of H and J need to hold along q only."""


@dataclass(frozen=True)
class Variational:
    """h(x, theta) = likelihood(x) + prior(theta)(x) + ridge |x|^2 / 2: a `BilevelLower` by automatic differentiation.

    likelihood: convex with a gradient and `lipschitz`. prior(theta): a convex functional with a `grad` that autograd
    can follow in x and theta, and `lipschitz`. strength: of the likelihood's convexity, such as 1 of a denoiser's,
    >= 0; strength + ridge must be > 0 (ValueError). The bounds are estimates: the sensitivity of one parameter is
    solved for, that of several is |J| / mu by power iteration; the Lipschitz constants are what one random displacement
    of length eps shows.
    """

    likelihood: Functional
    prior: Callable[[Tensor], Functional]
    ridge: float = 0.0
    strength: float = 0.0

    def __post_init__(self) -> None:
        if not (self.ridge >= 0 and self.strength >= 0 and 0 < self.ridge + self.strength < math.inf):
            raise ValueError(
                f"Variational takes ridge and strength >= 0 with a sum > 0; got {self.ridge} and {self.strength}"
            )

    def grad_x(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.likelihood.grad(x) + self.prior(theta).grad(x) + self.ridge * x

    @torch.enable_grad()
    def hvp(self, x: Tensor, theta: Tensor, v: Tensor) -> Tensor:
        at = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(self.grad_x(at, theta.detach()), at, v)
        return found

    @torch.enable_grad()
    def mixed_vjp(self, x: Tensor, theta: Tensor, v: Tensor) -> Tensor:
        at = theta.detach().requires_grad_()
        (found,) = torch.autograd.grad(self.prior(at).grad(x.detach()), at, v)
        return found

    def mu(self, theta: Tensor) -> float:
        return self.strength + self.ridge

    def L(self, theta: Tensor) -> float:
        return self.likelihood.lipschitz() + self.prior(theta.detach()).lipschitz() + self.ridge

    @torch.enable_grad()
    def _jvp(self, x: Tensor, theta: Tensor, u: Tensor) -> Tensor:
        """J u, the derivative of d/dx h along u: backward of a backward pass."""
        at = theta.detach().requires_grad_()
        v = torch.zeros_like(x).requires_grad_()
        (back,) = torch.autograd.grad(self.prior(at).grad(x.detach()), at, v, create_graph=True)
        (found,) = torch.autograd.grad(back, v, u)
        return found

    def bounds(self, x: Tensor, theta: Tensor, q: Tensor, eps: float) -> Bounds:
        generator = torch.Generator(x.device).manual_seed(0)
        d = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        d, along = d * (eps / d.norm()), eps * float(q.norm().clamp(min=1e-300))
        hessian = float((self.hvp(x + d, theta, q) - self.hvp(x, theta, q)).norm()) / along
        jacobian = float((self.mixed_vjp(x + d, theta, q) - self.mixed_vjp(x, theta, q)).norm()) / along
        if len(theta) == 1:
            Ju = self._jvp(x, theta, torch.ones_like(theta))
            moved = conjugate_gradients(
                lambda v: self.hvp(x, theta, v), Ju, SENSITIVE * float(Ju.norm()), torch.zeros_like(x), x.numel()
            )
            return Bounds(float(moved.x.norm()), hessian, jacobian, moved.steps)
        return Bounds(self._jacobian(x, theta, d) / self.mu(theta), hessian, jacobian)

    def _jacobian(self, x: Tensor, theta: Tensor, v: Tensor) -> float:
        """|J| by power iteration from v."""
        norm = 0.0
        for _ in range(5):
            u = self.mixed_vjp(x, theta, v / v.norm())
            norm = float(u.norm())
            if norm == 0:
                break
            v = self._jvp(x, theta, u / norm)
        return norm


def items(x: Tensor, upper: Functional) -> int:
    """How many estimates x holds."""
    return math.prod(x.shape[: x.ndim - upper.ndim])


class Solved(NamedTuple):
    """x with |d/dx h| <= tolerance, or after the most steps; how many there were."""

    x: Tensor
    steps: int
    residual: float


def descend(lower: BilevelLower, x: Tensor, theta: Tensor, tol: float, max_steps: int) -> Solved:
    """The lower problem to |d/dx h(x, theta)| <= tol from x, by Nesterov's method of constant momentum.

    With a restart where the gradient points against the step. Source: Nesterov (2004), scheme 2.2.11; O'Donoghue and
    Candes (2015).
    """
    mu, L = lower.mu(theta), lower.L(theta)
    momentum = (math.sqrt(L) - math.sqrt(mu)) / (math.sqrt(L) + math.sqrt(mu))
    ahead = x
    gradient = lower.grad_x(ahead, theta)
    for k in range(max_steps):
        size = float(gradient.norm())
        if not size > tol:  # also what is not a number
            return Solved(ahead, k, size)
        new = ahead - gradient / L
        uphill = float((gradient * (new - x)).sum()) > 0
        ahead = new if uphill else new + momentum * (new - x)
        x = new
        gradient = lower.grad_x(ahead, theta)
    return Solved(ahead, max_steps, float(gradient.norm()))


def conjugate_gradients(matvec: Callable[[Tensor], Tensor], b: Tensor, tol: float, x: Tensor, max_steps: int) -> Solved:
    """A symmetric positive definite system to the residual |b - A x| <= tol, from x (Hestenes, Stiefel 1952)."""
    residual = b - matvec(x)
    direction, norm2 = residual, float(residual.square().sum())
    for k in range(max_steps):
        if not math.sqrt(norm2) > tol:
            return Solved(x, k, math.sqrt(norm2))
        forward = matvec(direction)
        step = norm2 / float((direction * forward).sum())
        x, residual = x + step * direction, residual - step * forward
        previous, norm2 = norm2, float(residual.square().sum())
        direction = residual + (norm2 / previous) * direction
    return Solved(x, max_steps, math.sqrt(norm2))


@dataclass
class Learned:
    """What was learned: theta; the estimates x at it; one row a step; why it stopped; lower and CG steps in all."""

    theta: Tensor
    x: Tensor
    status: str
    history: list[dict[str, Any]]
    lower_steps: int
    cg_steps: int
