"""Gradient descent with a constant step, in the metric of one's choice."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Functional, Linear, Solver, inner


class LandweberState(NamedTuple):
    """Estimate, the gradient of f at it, and the norm of the gradient at the start (*batch,)."""

    x: Tensor
    gradient: Tensor
    start: Tensor


@dataclass(frozen=True, eq=False)
class Landweber(Solver):
    """min_x f(x) by x <- x - step M grad f(x), for a smooth f such as `likelihood @ A`; early stopping regularises.

    `metric` M, linear, self-adjoint and positive, makes M grad f the gradient in another inner product, such as
    `BesselPotential(shape, r)` that of H^r; none is that of L2. The step `tau` > 0 is by default 1 / (L |M|) with L
    the Lipschitz constant of grad f: safe, but short where M undoes a smoothing of f, so give it there. To stop at the
    noise level, `record` the residual of the state. The criterion `gradient` is |grad f| relative to the start. Raises
    ValueError for another step, TypeError for an f without a gradient. Sources: Landweber (1951); Neuberger, Sobolev
    Gradients and Differential Equations (2010).
    """

    f: Functional
    tau: float | None = None
    metric: Linear | None = None
    step_size: float = field(init=False)

    def __post_init__(self) -> None:
        if self.tau is not None and not 0 < self.tau < math.inf:
            raise ValueError(f"Landweber takes a finite step tau > 0; got {self.tau}")
        norm = 1.0 if self.metric is None else self.metric.norm()
        object.__setattr__(self, "step_size", 1 / (self.f.lipschitz() * norm) if self.tau is None else self.tau)

    def init(self, x0: Tensor) -> LandweberState:
        gradient = self.f.grad(x0)
        return LandweberState(x0, gradient, inner(gradient, gradient, self.f.ndim).sqrt())

    def step(self, s: LandweberState) -> LandweberState:
        descent = s.gradient if self.metric is None else self.metric(s.gradient)
        x = torch.add(s.x, descent, alpha=-self.step_size)
        return LandweberState(x, self.f.grad(x), s.start)

    def certificate(self, s: LandweberState) -> dict[str, Tensor]:
        """`gradient` as above, and the objective f(x)."""
        size = inner(s.gradient, s.gradient, self.f.ndim).sqrt()
        return {"gradient": torch.where(s.start == 0, 0.0, size / s.start), "objective": self.f(s.x)}
