"""The stochastic primal-dual hybrid gradient method."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Functional, Precomposed, Solver, inner, taken_apart
from invreg.solvers.gap import descent_step, duality_gap

EPOCH = 10  # passes over the data before the first estimate of the step sizes; the next ones after twice as many each


class SPDHGState(NamedTuple):
    """Estimate x, duals u_i, back = sum_i K_i^T u_i and ahead, its extrapolation; step tau (*batch,).

    start, start_duals: where the epoch began. random: state of the generator. k: steps so far.
    """

    x: Tensor
    duals: tuple[Tensor, ...]
    back: Tensor
    ahead: Tensor
    tau: Tensor
    start: Tensor
    start_duals: tuple[Tensor, ...]
    random: Tensor
    k: int


@dataclass(frozen=True, eq=False)
class SPDHG(Solver):
    """min_x g(x) + sum_i f_i(K_i x) by PDHG with one randomly drawn block a step, as for subsets of the views.

    `objective`: terms `f @ K` with K linear, the subsets of the data (`XRay.subset`) first among them, and at most one
    term g without. A block is drawn with the probability p_i = |K_i| / sum_j |K_j|, but the quadratic ones together and
    the others together with 1/2 each. tau sigma_i |K_i|^2 = p_i; tau is set from the distances travelled in epochs of
    growing length, as in `PDHG`. `generator` (on the CPU) draws the blocks from its state when `init` is called; the
    state of the solver carries it from there. One pass over the data is as many steps as there are blocks.
    Criterion: the primal-dual gap. Raises TypeError for a term it cannot handle.
    Source: Chambolle, Ehrhardt, Richtarik, Schonlieb (2018), algorithm 1 with theta = 1.
    """

    objective: Iterable[Functional]
    generator: torch.Generator
    g: Functional | None = field(init=False)
    blocks: tuple[Precomposed, ...] = field(init=False)
    norms: tuple[float, ...] = field(init=False)
    chances: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        terms, blocks, _, g = taken_apart("SPDHG", self.objective)
        norms = tuple(t.K.norm() for t in blocks)  # type: ignore[operator]
        kinds = [[i for i, t in enumerate(blocks) if t.quadratic is q] for q in (True, False)]
        chances = [0.0] * len(blocks)
        for members in kinds:
            share = (1.0 if len(members) == len(blocks) else 0.5) / max(sum(norms[i] for i in members), 1e-300)
            for i in members:
                chances[i] = share * norms[i]
        for name, value in {
            "objective": terms,
            "g": g,
            "blocks": blocks,
            "norms": norms,
            "chances": tuple(chances),
        }.items():
            object.__setattr__(self, name, value)

    def init(self, x0: Tensor) -> SPDHGState:
        """Start at `x0` (*batch, *domain) with zero duals."""
        duals = tuple(x0.new_zeros(*t.K.domain.batch(x0), *t.K.codomain.shape) for t in self.blocks)
        x = descent_step([t for t in self.blocks if t.quadratic], x0)[0]
        steep = 1e12  # the conjugate's proximal map of a long step is a (sub)gradient
        tau = self._distance(x, [t.f.conj_prox(steep * t.K(x), steep) for t in self.blocks])
        fallback = 1 / sum(norm**2 for norm in self.norms) ** 0.5
        tau = torch.where(tau.isfinite() & (tau > 0), tau, fallback)
        zero = torch.zeros_like(x0)
        return SPDHGState(x0, duals, zero, zero, tau, x0, duals, self.generator.get_state(), 0)

    def step(self, s: SPDHGState) -> SPDHGState:
        generator = torch.Generator()
        generator.set_state(s.random)
        i = int(torch.multinomial(torch.tensor(self.chances), 1, generator=generator))
        t, p = self.blocks[i], self.chances[i]
        tau = s.tau.to(s.x.real.dtype).reshape(*s.tau.shape, *(1,) * self.ndim)
        x = s.x - tau * s.ahead
        if self.g is not None:
            x = self.g.prox(x, s.tau)
        dual = t.ascend(s.duals[i], x, 0.99 * p / (self.norms[i] ** 2 * s.tau))
        change = t.K.adjoint(dual - s.duals[i])  # type: ignore[operator]
        duals = (*s.duals[:i], dual, *s.duals[i + 1 :])
        back = s.back + change
        new = s._replace(x=x, duals=duals, back=back, ahead=back + change / p, random=generator.get_state(), k=s.k + 1)
        epochs = new.k / (EPOCH * len(self.blocks))
        if epochs < 1 or not math.log2(epochs).is_integer():
            return new
        tau = self._distance(x - s.start, [u - v for u, v in zip(duals, s.start_duals, strict=True)])
        tau = torch.where(tau.isfinite() & (tau > 0), torch.maximum(tau, (s.tau * tau).sqrt()), s.tau)
        return new._replace(tau=tau, ahead=back, start=x, start_duals=duals)

    def certificate(self, s: SPDHGState) -> dict[str, Tensor]:
        """Relative gap and dual infeasibility, and the objective, of the estimate and its duals: `duality_gap`."""
        return duality_gap(s.x, self.blocks, s.duals, self.g)

    @property
    def ndim(self) -> int:
        return len(self.blocks[0].K.domain.shape)

    def _distance(self, dx: Tensor, duals: list[Tensor]) -> Tensor:
        """The tau for which |dx|^2 / tau and sum_i |du_i|^2 / sigma_i weigh the same."""
        scaled = torch.zeros_like(inner(dx, dx, self.ndim))
        for t, u, norm, p in zip(self.blocks, duals, self.norms, self.chances, strict=True):
            scaled = scaled + norm**2 / p * inner(u, u, t.f.ndim)
        return (inner(dx, dx, self.ndim) / scaled).sqrt()
