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


class LSQRState(NamedTuple):
    """Estimate x; unit vectors u (its parts in the data and in the image) and v, alpha of the bidiagonalisation.

    direction w, rho_bar and phi_bar: of the QR factorisation. slope: |A^T r - damping x|, and at the start.
    """

    x: Tensor
    u: Tensor
    u_image: Tensor
    v: Tensor
    alpha: Tensor
    direction: Tensor
    rho_bar: Tensor
    phi_bar: Tensor
    slope: Tensor
    slope_start: Tensor


@dataclass(frozen=True, eq=False)
class LSQR(Solver):
    """min_x |A x - y|^2 + damping |x|^2 from x0 as `CGLS` does, by bidiagonalisation: steadier if A is ill-conditioned.

    y (*batch, *codomain); `damping` >= 0, a number or (*batch,). Works on [A; sqrt(damping)] and [y; 0], so that any x0
    leads to the same solution. The criterion `gradient` is |A^T r - damping x| over that of x0, r = y - A x, as the
    recurrence gives it. Source: Paige and Saunders (1982).
    """

    A: Linear
    y: Tensor
    damping: Tensor | float = 0.0

    def __post_init__(self) -> None:
        refuse_nonlinear("LSQR", self.A, self.y)
        refuse_damping("LSQR", self.damping)

    def init(self, x0: Tensor) -> LSQRState:
        n = len(self.A.domain.shape)
        u, u_image, beta = self._unit(self.y - self.A(x0), -self._root(x0) * x0)
        v = self.A.adjoint(u) + self._root(x0) * u_image
        alpha = inner(v, v, n).sqrt()
        v = over_batch(_inverse(alpha), v, n) * v
        return LSQRState(x0, u, u_image, v, alpha, v, alpha, beta, alpha * beta, alpha * beta)

    def step(self, s: LSQRState) -> LSQRState:
        n, m = len(self.A.domain.shape), len(self.A.codomain.shape)
        root = self._root(s.x)
        u, u_image, beta = self._unit(
            self.A(s.v) - over_batch(s.alpha, s.u, m) * s.u, root * s.v - over_batch(s.alpha, s.x, n) * s.u_image
        )
        v = self.A.adjoint(u) + root * u_image - over_batch(beta, s.v, n) * s.v
        alpha = inner(v, v, n).sqrt()
        v = over_batch(_inverse(alpha), v, n) * v
        rho = torch.hypot(s.rho_bar, beta)
        c, sine = s.rho_bar * _inverse(rho), beta * _inverse(rho)
        x = s.x + over_batch(c * s.phi_bar * _inverse(rho), s.x, n) * s.direction
        direction = v - over_batch(sine * alpha * _inverse(rho), v, n) * s.direction
        phi_bar = sine * s.phi_bar
        slope = phi_bar * alpha * c.abs()
        return LSQRState(x, u, u_image, v, alpha, direction, -c * alpha, phi_bar, slope, s.slope_start)

    def certificate(self, s: LSQRState) -> dict[str, Tensor]:
        """`gradient` as above, and half the squared residual, with half the damping times |x|^2."""
        return {
            "gradient": torch.where(s.slope_start == 0, 0.0, s.slope / s.slope_start),
            "objective": 0.5 * s.phi_bar.square(),
        }

    def _root(self, x: Tensor) -> Tensor | float:
        return over_batch(torch.as_tensor(self.damping, dtype=torch.float64).sqrt(), x, len(self.A.domain.shape))

    def _unit(self, data: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, m = len(self.A.domain.shape), len(self.A.codomain.shape)
        size = (inner(data, data, m) + inner(image, image, n)).sqrt()
        return over_batch(_inverse(size), data, m) * data, over_batch(_inverse(size), image, n) * image, size


def _inverse(size: Tensor) -> Tensor:
    """1 / size, and 0 of a solved item of the batch, which stands still."""
    return torch.where(size == 0, 0.0, 1 / size)


def refuse_damping(who: str, damping: Tensor | float) -> None:
    """Raise ValueError unless the damping is finite and at least 0."""
    d = torch.as_tensor(damping, dtype=torch.float64)
    if not bool(((d >= 0) & d.isfinite()).all()):
        raise ValueError(f"{who} takes a finite damping >= 0; got {damping}")
