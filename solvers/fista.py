"""Accelerated proximal gradients."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Functional, Precomposed, Solver, inner, over_batch, taken_apart
from invreg.solvers.gap import descent_step, duality_gap, on_image

TRIALS = 60  # at most so many doublings of the constant within a step
SHRINK = 0.9  # of a constant that was found by backtracking, before the next step tries it


class FISTAState(NamedTuple):
    """Estimate x, point z of the next step, momentum t and constant L (*batch,)."""

    x: Tensor
    z: Tensor
    t: Tensor
    L: Tensor


@dataclass(frozen=True, eq=False)
class FISTA(Solver):
    """min_x g(x) + sum_i f_i(K_i x) for f_i with a gradient and g with a prox, by accelerated proximal gradients.

    `objective`: terms `f @ K` with K linear and f with a gradient, quadratic terms of x itself, and at most one other
    term g. The momentum starts anew, item by item, where it points uphill (O'Donoghue and Candes, 2015). Where a term
    has no Lipschitz constant one is found by backtracking, at the price of two values of f a step.
    Criterion: the primal-dual gap, or where a term has no conjugate `step`, the length of a proximal gradient step
    over |x|. Raises TypeError for a term it cannot handle. Source: Beck and Teboulle (2009).
    """

    objective: Iterable[Functional]
    g: Functional | None = field(init=False)
    smooth: tuple[Precomposed, ...] = field(init=False)
    constant: float | None = field(init=False)

    def __post_init__(self) -> None:
        terms, found, own, g = taken_apart("FISTA", self.objective, lambda t: t.quadratic, " that is not quadratic")
        blocks = [*found, *(on_image(t, found[0].K.domain) for t in own)]
        try:
            constant = sum(t.lipschitz() for t in blocks)
        except TypeError:
            constant = None
        for name, value in {
            "objective": terms,
            "g": g,
            "smooth": tuple(blocks),
            "constant": constant,
        }.items():
            object.__setattr__(self, name, value)

    def init(self, x0: Tensor) -> FISTAState:
        self._grad(x0)  # a term without a gradient is refused here, in its own words
        one = torch.ones_like(inner(x0, x0, self.ndim))
        if self.constant is not None:
            return FISTAState(x0, x0, one, self.constant * one)
        curvature = descent_step([t for t in self.smooth if t.quadratic], x0)[1]
        return FISTAState(x0, x0, one, torch.where(curvature > 0, curvature, one))

    def step(self, s: FISTAState) -> FISTAState:
        n, z, L = self.ndim, s.z, s.L
        if self.constant is None:
            value = self._value(z)
            outside = ~value.isfinite()  # the momentum left the domain of a term, a logarithm's say
            if bool(outside.any()):
                z = torch.where(outside.reshape(*outside.shape, *(1,) * n), s.x, z)
                value = self._value(z)
            L = L * SHRINK
        grad = self._grad(z)
        x = self._proximal(z, grad, L)
        if self.constant is None:
            for _ in range(TRIALS):
                d = x - z
                above = self._value(x) - value - inner(grad, d, n) - 0.5 * L * inner(d, d, n)
                steep = ~(above <= 10 * torch.finfo(x.dtype).eps * value.abs())
                if not bool(steep.any()):
                    break
                L = torch.where(steep, 2 * L, L)
                x = self._proximal(z, grad, L)
        uphill = inner(z - x, x - s.x, n) > 0
        t = torch.where(uphill, 1.0, s.t)
        after = 0.5 * (1 + (1 + 4 * t.square()).sqrt())
        momentum = torch.where(uphill, 0.0, (t - 1) / after)
        return FISTAState(x, x + over_batch(momentum, x, n) * (x - s.x), after, L)

    def certificate(self, s: FISTAState) -> dict[str, Tensor]:
        """`gap`, `infeasibility` and `objective` as `duality_gap` says, where terms have conjugates, and `step`."""
        d = self._proximal(s.x, self._grad(s.x), s.L) - s.x
        size = inner(s.x, s.x, self.ndim)
        step = torch.where(inner(d, d, self.ndim) == 0, 0.0, (inner(d, d, self.ndim) / size).sqrt())
        try:
            return duality_gap(s.x, self.smooth, [t.f.grad(t.K(s.x)) for t in self.smooth], self.g) | {"step": step}
        except TypeError:
            return {"step": step}

    @property
    def ndim(self) -> int:
        return len(self.smooth[0].K.domain.shape)

    def _grad(self, x: Tensor) -> Tensor:
        return sum((t.grad(x) for t in self.smooth[1:]), self.smooth[0].grad(x))

    def _value(self, x: Tensor) -> Tensor:
        return sum((t(x) for t in self.smooth[1:]), self.smooth[0](x))

    def _proximal(self, z: Tensor, grad: Tensor, L: Tensor) -> Tensor:
        x = z - grad / over_batch(L, z, self.ndim)
        return x if self.g is None else self.g.prox(x, 1 / L)
