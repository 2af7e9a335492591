"""Newton-type methods for smooth terms of non-linear operators: Gauss-Newton and Newton-CG, in a trust region."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Functional, Linear, Precomposed, Solver, Sum, inner, over_batch


class NewtonState(NamedTuple):
    """Estimate, objective, gradient, radius of the trust region and |gradient| at the start, (*batch,) but x."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    radius: Tensor
    norm_start: Tensor


def _derivative(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """f'(x) v."""
    # without gradients an operator of numpy, such as a ray transform, would be run on what only torch can read
    with torch.enable_grad(), warnings.catch_warnings():  # torch's own, on its first forward derivative
        warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
        return torch.func.jvp(f, (x,), (v,))[1]


@dataclass(frozen=True, eq=False)
class _TrustRegion(Solver):
    """The part that Gauss-Newton and Newton-CG share: all but the matrix of the quadratic model."""

    objective: Iterable[Functional]
    radius: float = math.inf
    inner_steps: int = 50
    forcing: float = 0.5
    total: Sum = field(init=False)

    def __post_init__(self) -> None:
        total = self.objective if isinstance(self.objective, Sum) else Sum(*self.objective)
        object.__setattr__(self, "objective", tuple(total.terms))
        object.__setattr__(self, "total", total)

    @abstractmethod
    def _matrix(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """The product of a vector with the matrix of the model at x."""

    def init(self, x0: Tensor) -> NewtonState:
        gradient = self.total.grad(x0)
        norm = inner(gradient, gradient, self.total.ndim).sqrt()
        return NewtonState(x0, self.total(x0), gradient, torch.full_like(norm, self.radius), norm)

    def step(self, s: NewtonState) -> NewtonState:
        n = self.total.ndim
        d, predicted = self._model_minimum(s)
        length = inner(d, d, n).sqrt()
        x = s.x + d
        value = self.total(x)
        # near the minimum both reductions drown in round-off, and the model is trusted
        noise = 10 * torch.finfo(d.dtype).eps * s.value.abs()
        ratio = (s.value - value + noise) / (predicted + noise)
        ratio = torch.where((predicted == 0) & (noise == 0), 1.0, ratio)
        accepted = (ratio > 1e-4) & value.isfinite()
        radius = torch.where(accepted & (ratio >= 0.25), s.radius, 0.25 * length)
        radius = torch.where((ratio > 0.75) & (length >= 0.99 * s.radius), 2 * s.radius, radius)
        x = torch.where(accepted.reshape(*accepted.shape, *(1,) * n), x, s.x)
        return NewtonState(x, torch.where(accepted, value, s.value), self.total.grad(x), radius, s.norm_start)

    def certificate(self, s: NewtonState) -> dict[str, Tensor]:
        """`gradient`, the norm of the gradient over that at the start; the objective."""
        norm = inner(s.gradient, s.gradient, self.total.ndim).sqrt()
        return {"gradient": torch.where(s.norm_start == 0, norm, norm / s.norm_start), "objective": s.value}

    def _model_minimum(self, s: NewtonState) -> tuple[Tensor, Tensor]:
        """A step d that reduces <g, d> + <d, B d> / 2 within the radius, and by how much (Steihaug 1983).

        Conjugate gradients, up to the radius along directions of no positive curvature and wherever they leave it.
        """
        n = self.total.ndim
        residual = -s.gradient
        d, direction = torch.zeros_like(residual), residual
        norm2 = inner(residual, residual, n)
        relative = torch.where(s.norm_start == 0, 0.0, norm2.sqrt() / s.norm_start)
        round_off = 64 * torch.finfo(d.dtype).eps * s.norm_start
        stop = torch.maximum(norm2.sqrt() * relative.clamp(max=self.forcing), round_off).square()
        length2, predicted = torch.zeros_like(norm2), torch.zeros_like(norm2)
        product_with = self._matrix(s.x)
        active = norm2 > round_off.square()
        for _ in range(self.inner_steps):
            if not bool(active.any()):
                break
            product = product_with(direction)
            curvature = inner(direction, product, n)
            alpha = norm2 / curvature
            # the way to the boundary: |d + t p| = radius
            cross, size2 = inner(d, direction, n), inner(direction, direction, n)
            room = (s.radius.square() - length2).clamp(min=0)
            far = room / (cross + (cross.square() + size2 * room).sqrt())
            # without a radius there is no boundary: the first direction is taken as it is, later ones are left
            unbounded = s.radius.isinf()
            far = torch.where(unbounded, torch.where(length2 == 0, 1.0, 0.0), far)
            leaves = (curvature <= 0) | (~unbounded & (alpha >= far))
            t = torch.where(active, torch.where(leaves, far, alpha), 0.0)
            d = d + over_batch(t, d, n) * direction
            predicted = predicted + t * norm2 - 0.5 * t * t * curvature.where(active, 0.0)
            length2 = inner(d, d, n)
            active = active & ~leaves
            residual = residual - over_batch(t, residual, n) * product
            new = inner(residual, residual, n)
            beta = torch.where(norm2 == 0, 0.0, new / norm2)
            direction = residual + over_batch(beta, direction, n) * direction
            norm2 = torch.where(active, new, norm2)
            active = active & (norm2 > stop)
        return d, predicted


@dataclass(frozen=True, eq=False)
class GaussNewton(_TrustRegion):
    """min_x sum_i f_i(A_i(x)) + g(x) by Gauss-Newton steps in a trust region (Levenberg-Marquardt damping).

    `objective`: terms `f @ A` with a smooth convex f and a differentiable A, and smooth terms on x itself. The
    model of a step is sum_i J_i^T (Hessian of f_i) J_i, J_i the derivative of A_i: positive semidefinite, first
    derivatives of A only. It is minimised by at most `inner_steps` conjugate gradients, until the residual has shrunk
    by min(`forcing`, |gradient| / |gradient at the start|); each costs a derivative of A and its transpose. The
    first trust `radius` is in the unit of x; infinite, the first step is free, and for a linear A and quadratic f
    it is that of CGLS. Local convergence is fast where the residual is small.
    Raises TypeError for a term without a gradient. Sources: Steihaug (1983); More (1978).
    """

    def _matrix(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        products = [_curvature(t, x) for t in self.total.terms]
        return lambda v: torch.stack([product(v) for product in products]).sum(0)


def _curvature(term: Functional, x: Tensor) -> Callable[[Tensor], Tensor]:
    """v -> J^T (Hessian of f) J v of a term f @ A at x, or the Hessian of a term on x itself."""
    if not isinstance(term, Precomposed):
        return lambda v: _derivative(term.grad, x, v)
    A, f = term.K, term.f
    z = A(x)

    def product(v: Tensor) -> Tensor:
        ahead = A(v) if isinstance(A, Linear) else _derivative(A, x, v)
        return A.vjp(x, _derivative(f.grad, z, ahead))

    return product


@dataclass(frozen=True, eq=False)
class NewtonCG(_TrustRegion):
    """min_x sum_i f_i(x) of smooth terms by truncated Newton steps in a trust region.

    As `GaussNewton`, with the Hessian itself, by differentiating `grad` forwards: second derivatives of the operators
    are needed, f need not be convex, and convergence is quadratic. Sources: Steihaug (1983); Nocedal and
    Wright, Numerical Optimization (2006), algorithm 7.2.
    """

    def _matrix(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda v: _derivative(self.total.grad, x, v)
