"""Krylov methods for least squares."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Linear, Solver, inner, over_batch


class CGLSState(NamedTuple):
    x: Tensor
    residual: Tensor
    gradient: Tensor
    direction: Tensor
    norm2: Tensor
    norm2_start: Tensor


@dataclass(frozen=True, eq=False)
class CGLS(Solver):
    """min_x |A x - y|^2 by conjugate gradients on the normal equations, from x0; early stopping regularises.

    y (*batch, *codomain). The criterion `gradient` is |A^T r| / |A^T r_0|. Source: Hestenes and Stiefel (1952).
    """

    A: Linear
    y: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.A, Linear):
            raise TypeError(
                f"CGLS takes a linear A; got {self.A}, which has no adjoint: use its derivative at an estimate as a "
                "Linear, or descend the gradient of |A(x) - y|^2, with torch.optim say"
            )
        self.A.codomain.check(self.y, self.A, "y of CGLS, of ")

    def init(self, x0: Tensor) -> CGLSState:
        residual = self.y - self.A(x0)
        gradient = self.A.adjoint(residual)
        norm2 = inner(gradient, gradient, len(self.A.domain.shape))
        return CGLSState(x0, residual, gradient, gradient, norm2, norm2)

    def step(self, s: CGLSState) -> CGLSState:
        n, m = len(self.A.domain.shape), len(self.A.codomain.shape)
        forward = self.A(s.direction)
        curvature = inner(forward, forward, m)
        # a solved item of the batch stands still; one that is not a number stays so
        alpha = torch.where(curvature == 0, 0.0, s.norm2 / curvature)
        x = s.x + over_batch(alpha, s.x, n) * s.direction
        residual = s.residual - over_batch(alpha, forward, m) * forward
        gradient = self.A.adjoint(residual)
        norm2 = inner(gradient, gradient, n)
        beta = torch.where(s.norm2 == 0, 0.0, norm2 / s.norm2)
        direction = gradient + over_batch(beta, gradient, n) * s.direction
        return CGLSState(x, residual, gradient, direction, norm2, s.norm2_start)

    def certificate(self, s: CGLSState) -> dict[str, Tensor]:
        """`gradient` as above, and half the squared residual."""
        relative = torch.where(s.norm2_start == 0, 0.0, (s.norm2 / s.norm2_start).sqrt())
        return {"gradient": relative, "objective": 0.5 * inner(s.residual, s.residual, len(self.A.codomain.shape))}
