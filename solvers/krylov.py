"""Krylov methods: conjugate gradients, and those on the normal equations of least squares."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Linear, Solver, inner, over_batch


def refuse_nonlinear(who: str, A: Linear, y: Tensor) -> None:
    """Raise TypeError unless A is linear and ShapeError unless y is a measurement of it."""
    if not isinstance(A, Linear):
        raise TypeError(
            f"{who} takes a linear A; got {A}, which has no adjoint: use its derivative at an estimate as a "
            "Linear, or descend the gradient of |A(x) - y|^2, with torch.optim say"
        )
    A.codomain.check(y, A, f"y of {who}, of ")


class CGState(NamedTuple):
    x: Tensor
    residual: Tensor
    direction: Tensor
    norm2: Tensor


@dataclass(frozen=True, eq=False)
class CG(Solver):
    """A x = y by conjugate gradients, for a symmetric (Hermitian) and positive semi-definite A, from x0.

    y (*batch, *domain), in the range of A. An item of the batch whose residual |y - A x| is at most `floor`, a number
    or (*batch,), stands still. The criterion `residual` is |y - A x| / |y|. Source: Hestenes and Stiefel (1952).
    """

    A: Linear
    y: Tensor
    floor: Tensor | float = 0.0

    def __post_init__(self) -> None:
        refuse_nonlinear("CG", self.A, self.y)
        if self.A.domain != self.A.codomain:
            raise TypeError(f"CG takes a symmetric A; got {self.A}: use CGLS, or A.normal() and A.adjoint(y)")

    def init(self, x0: Tensor) -> CGState:
        residual = self.y - self.A(x0)
        return CGState(x0, residual, residual, inner(residual, residual, self.ndim))

    def step(self, s: CGState) -> CGState:
        n = self.ndim
        forward = self.A(s.direction)
        curvature = inner(s.direction, forward, n)
        still = (curvature == 0) | (s.norm2 <= self.floor**2)
        alpha = torch.where(still, 0.0, s.norm2 / curvature)
        x = s.x + over_batch(alpha, s.x, n) * s.direction
        residual = s.residual - over_batch(alpha, forward, n) * forward
        norm2 = inner(residual, residual, n)
        beta = torch.where(still, 0.0, norm2 / s.norm2)
        return CGState(x, residual, residual + over_batch(beta, residual, n) * s.direction, norm2)

    def certificate(self, s: CGState) -> dict[str, Tensor]:
        """`residual` as above, and the objective <x, A x> / 2 - <x, y> that is least at the solution."""
        size = inner(self.y, self.y, self.ndim)
        relative = torch.where(s.norm2 == 0, 0.0, (s.norm2 / size).sqrt())
        return {"residual": relative, "objective": -0.5 * inner(s.x, self.y + s.residual, self.ndim)}

    @property
    def ndim(self) -> int:
        return len(self.A.domain.shape)


class CGLSState(NamedTuple):
    x: Tensor
    residual: Tensor
    gradient: Tensor
    direction: Tensor
    norm2: Tensor
    norm2_start: Tensor


@dataclass(frozen=True, eq=False)
class CGLS(Solver):
    """min_x |A x - y|^2 + damping |x|^2 by conjugate gradients on the normal equations, from x0.

    y (*batch, *codomain); `damping` >= 0, a number or (*batch,), is Tikhonov's; without it early stopping
    regularises. The criterion `gradient` is |A^T r - damping x| over that of x0, r = y - A x. Source: Hestenes and
    Stiefel (1952); Bjorck (1996), section 7.4.
    """

    A: Linear
    y: Tensor
    damping: Tensor | float = 0.0

    def __post_init__(self) -> None:
        refuse_nonlinear("CGLS", self.A, self.y)
        refuse_damping("CGLS", self.damping)

    def init(self, x0: Tensor) -> CGLSState:
        n = len(self.A.domain.shape)
        residual = self.y - self.A(x0)
        gradient = self.A.adjoint(residual) - over_batch(self.damping, x0, n) * x0
        norm2 = inner(gradient, gradient, n)
        return CGLSState(x0, residual, gradient, gradient, norm2, norm2)

    def step(self, s: CGLSState) -> CGLSState:
        n, m = len(self.A.domain.shape), len(self.A.codomain.shape)
        forward = self.A(s.direction)
        curvature = inner(forward, forward, m) + self.damping * inner(s.direction, s.direction, n)
        # a solved item of the batch stands still; one that is not a number stays so
        alpha = torch.where(curvature == 0, 0.0, s.norm2 / curvature)
        x = s.x + over_batch(alpha, s.x, n) * s.direction
        residual = s.residual - over_batch(alpha, forward, m) * forward
        gradient = self.A.adjoint(residual) - over_batch(self.damping, x, n) * x
        norm2 = inner(gradient, gradient, n)
        beta = torch.where(s.norm2 == 0, 0.0, norm2 / s.norm2)
        direction = gradient + over_batch(beta, gradient, n) * s.direction
        return CGLSState(x, residual, gradient, direction, norm2, s.norm2_start)

    def certificate(self, s: CGLSState) -> dict[str, Tensor]:
        """`gradient` as above, and half the squared residual, with half the damping times |x|^2."""
        relative = torch.where(s.norm2_start == 0, 0.0, (s.norm2 / s.norm2_start).sqrt())
        objective = 0.5 * inner(s.residual, s.residual, len(self.A.codomain.shape))
        return {
            "gradient": relative,
            "objective": objective + 0.5 * self.damping * inner(s.x, s.x, len(self.A.domain.shape)),
        }


def refuse_damping(who: str, damping: Tensor | float) -> None:
    """Raise ValueError unless the damping is finite and at least 0."""
    d = torch.as_tensor(damping, dtype=torch.float64)
    if not bool(((d >= 0) & d.isfinite()).all()):
        raise ValueError(f"{who} takes a finite damping >= 0; got {damping}")
