"""The primal-dual hybrid gradient method (Chambolle-Pock) with several dual blocks."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Functional, Precomposed, Solver, inner, over_batch, taken_apart
from invreg.solvers.gap import dual_value, objective, relative_gap

EPOCH = 10  # steps before the first estimate of the step sizes; the next ones come after twice as many each
INNER = 10  # steps of the inner dual problem in each of the first LATER steps, twice as many in the next, and so on
LATER = 160
MOST = 100  # inner steps
POLISH = 50  # and for a certificate
LONG = 20.0  # tau's first value, in units of that which weighs a smooth term and the step towards it the same


class PDHGState(NamedTuple):
    """Estimate x, duals u_i; the over-relaxed z and w_i from which the next step starts; steps tau, sigma_i (*batch,).

    start, start_duals: where the epoch began. k: steps so far.
    """

    x: Tensor
    duals: tuple[Tensor, ...]
    z: Tensor
    w: tuple[Tensor, ...]
    tau: Tensor
    sigmas: tuple[Tensor, ...]
    start: Tensor
    start_duals: tuple[Tensor, ...]
    k: int


@dataclass(frozen=True, eq=False)
class PDHG(Solver):
    """min_x g(x) + sum_i f_i(K_i x) by over-relaxed PDHG, stopped by its primal-dual gap.

    `objective`: terms `f @ K` (f with `conj_prox`, K linear) and at most one term g with a `prox` on x itself;
    further such terms become dual blocks of the identity. `relaxation` in [1, 2).

    Terms with a `local` K (a gradient) join g: the proximal map of their sum is found by INNER steps of FISTA on its
    dual from where the last ones ended, more in later steps, which spares steps with the other, costly K. Where all
    are local none joins. The steps of the others satisfy tau sum_i sigma_i |K_i|^2 = 1 with equal shares. Their ratio
    is set from the problem: the bound |x* - x|^2 / tau + sum_i |u_i* - u_i|^2 / sigma_i weighs primal and dual
    distances the same when tau is their quotient. It starts at LONG times that of a steepest-descent step for smooth
    terms, and for others at that of the first EPOCH steps; then, after 2, 4, 8 ... times as many, it moves to that of
    the last epoch, by a factor of two at most. There are finitely many changes up to any step, each followed by a
    longer stretch of constant steps. Raises TypeError for a term it cannot handle. Sources: Chambolle and Pock
    (2011); Condat (2013), algorithm 3.2, for the relaxation; Beck and Teboulle (2009) for the inner steps; Rasch and
    Chambolle (2020) for primal-dual methods with an inexact proximal map.
    """

    objective: Iterable[Functional]
    relaxation: float = 1.6
    g: Functional | None = field(init=False)
    blocks: tuple[Precomposed, ...] = field(init=False)
    norms: tuple[float, ...] = field(init=False)
    inner: tuple[bool, ...] = field(init=False)

    def __post_init__(self) -> None:
        terms, blocks, _, g = taken_apart("PDHG", self.objective)
        local = tuple(bool(t.K.local) for t in blocks)
        object.__setattr__(self, "objective", terms)
        object.__setattr__(self, "g", g)
        object.__setattr__(self, "blocks", blocks)
        object.__setattr__(self, "inner", tuple(k and not all(local) for k in local))
        # the norm is needed for the steps of every state, and costs tens of products: once, here
        object.__setattr__(self, "norms", tuple(t.K.norm() for t in blocks))  # type: ignore[operator]

    def init(self, x0: Tensor) -> PDHGState:
        """Start at `x0` (*batch, *domain) with zero duals."""
        duals = tuple(x0.new_zeros(*t.K.domain.batch(x0), *t.K.codomain.shape) for t in self.blocks)
        tau = self._first_tau(x0, duals)
        return PDHGState(x0, duals, x0, duals, tau, self._sigmas(tau), x0, duals, 0)

    def warm(self, state: PDHGState) -> PDHGState:
        """A start at the estimate, duals and steps of a similar problem's state (another weight, say)."""
        x, duals = state.x, state.duals
        return PDHGState(x, duals, x, duals, state.tau, self._sigmas(state.tau), x, duals, EPOCH)

    def step(self, s: PDHGState) -> PDHGState:
        x, duals = self._proximal_step(s)
        k = s.k + 1
        if k < EPOCH or not math.log2(k / EPOCH).is_integer():
            rho = self.relaxation
            w = tuple(v if local else torch.lerp(u, v, rho) for u, v, local in zip(s.w, duals, self.inner, strict=True))
            return s._replace(x=x, duals=duals, z=torch.lerp(s.z, x, rho), w=w, k=k)
        # end of an epoch: steps from the distances travelled in it
        tau = s.tau
        if k > EPOCH or not self._smooth(duals):
            tau = self._distance(x - s.start, [u - v for u, v in zip(duals, s.start_duals, strict=True)])
        if k > EPOCH:
            tau = torch.minimum(torch.maximum(tau, s.tau / 2), s.tau * 2)
        tau = torch.where(tau.isfinite() & (tau > 0), tau, s.tau)
        return PDHGState(x, duals, x, duals, tau, self._sigmas(tau), x, duals, k)

    def certificate(self, s: PDHGState) -> dict[str, Tensor]:
        """Relative gap and dual infeasibility, and the objective, of the estimate and its duals.

        As `relative_gap` and `dual_value` say; the duals of the inner terms are those of `s` or, where D is higher
        there, as POLISH steps towards feasibility leave them.
        """
        x = s.x
        back = [t.K.adjoint(u) for t, u in zip(self.blocks, s.duals, strict=True)]  # type: ignore[operator]
        dual, infeasibility = dual_value(x, self.blocks, s.duals, back, self.g)
        if any(self.inner):
            # from x = 0 with tau = 1 this is the least distance of the slope from the domain of g*
            slope = self._total([b for b, local in zip(back, self.inner, strict=True) if not local])
            _, polished = self._inner_steps(-slope, torch.ones_like(s.tau), s.duals, POLISH)
            back = [
                t.K.adjoint(u) if local else b  # type: ignore[operator]
                for t, u, b, local in zip(self.blocks, polished, back, self.inner, strict=True)
            ]
            better, closer = dual_value(x, self.blocks, polished, back, self.g)
            infeasibility = torch.where(better > dual, closer, infeasibility)
            dual = torch.maximum(dual, better)
        return relative_gap(objective(x, self.blocks, self.g), dual, infeasibility, x, self.ndim)

    @property
    def ndim(self) -> int:
        return len(self.blocks[0].K.domain.shape)

    def _proximal_step(self, s: PDHGState) -> tuple[Tensor, tuple[Tensor, ...]]:
        back = [
            t.K.adjoint(u)  # type: ignore[operator]
            for t, u, local in zip(self.blocks, s.w, self.inner, strict=True)
            if not local
        ]
        x, duals = self._inner_steps(self._ahead(s.z, s.tau, back), s.tau, s.w, min(INNER * (1 + s.k // LATER), MOST))
        forward = torch.lerp(s.z, x, 2.0)
        return x, tuple(
            u if local else t.ascend(u, forward, sigma)
            for t, u, sigma, local in zip(self.blocks, duals, s.sigmas, self.inner, strict=True)
        )

    def _inner_steps(
        self, v: Tensor, tau: Tensor, duals: tuple[Tensor, ...], steps: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The proximal map of tau (g + the inner terms) at v and their duals, by FISTA on these; others are kept."""
        terms = [(i, self.blocks[i]) for i, local in enumerate(self.inner) if local]
        sigmas, t = self._sigmas(tau), 1.0
        new = {i: duals[i] for i, _ in terms}
        ahead = dict(new)

        def primal(at: dict[int, Tensor]) -> Tensor:
            x = self._ahead(v, tau, [term.K.adjoint(at[i]) for i, term in terms])  # type: ignore[operator]
            return x if self.g is None else self.g.prox(x, tau)

        for _ in range(steps if terms else 0):
            x = primal(ahead)
            old, new = new, {i: term.ascend(ahead[i], x, sigmas[i]) for i, term in terms}
            t, before = (1 + math.sqrt(1 + 4 * t * t)) / 2, t
            ahead = {i: torch.lerp(old[i], new[i], 1 + (before - 1) / t) for i in new}
        return primal(new), tuple(new.get(i, u) for i, u in enumerate(duals))

    def _ahead(self, z: Tensor, tau: Tensor, back: list[Tensor]) -> Tensor:
        """z - tau sum(back)."""
        if not back:
            return z
        return torch.addcmul(z, self._total(back), -tau.to(z.real.dtype).reshape(*tau.shape, *(1,) * self.ndim))

    @staticmethod
    def _total(back: Sequence[Tensor]) -> Tensor:
        return reduce(torch.add, back)

    def _sigmas(self, tau: Tensor) -> tuple[Tensor, ...]:
        """Equal shares of tau sum_i sigma_i |K_i|^2 = 1, among the inner terms and among the others."""
        share = {local: self.inner.count(local) for local in (True, False)}
        return tuple(1 / (share[local] * norm**2 * tau) for norm, local in zip(self.norms, self.inner, strict=True))

    def _distance(self, dx: Tensor, duals: Sequence[Tensor]) -> Tensor:
        """The tau for which primal and dual distances weigh the same in the bound."""
        scaled = torch.zeros_like(inner(dx, dx, self.ndim))
        for t, u, norm, local in zip(self.blocks, duals, self.norms, self.inner, strict=True):
            if not local:
                scaled = scaled + self.inner.count(False) * norm**2 * inner(u, u, t.f.ndim)
        return (inner(dx, dx, self.ndim) / scaled).sqrt()

    def _smooth(self, duals: tuple[Tensor, ...]) -> bool:
        """Whether the terms outside the inner problem have gradients."""
        try:
            for t, u, local in zip(self.blocks, duals, self.inner, strict=True):
                if not local:
                    t.f.grad(torch.zeros_like(u))
        except TypeError:
            return False
        return True

    def _first_tau(self, x0: Tensor, duals: tuple[Tensor, ...]) -> Tensor:
        """LONG times that for a steepest-descent step off zero on the smooth terms and the change of their slopes."""
        fallback = torch.full_like(inner(x0, x0, self.ndim), 1 / sum(norm**2 for norm in self.norms) ** 0.5)
        if not self._smooth(duals):
            return fallback
        outer = [(t, u) for t, u, local in zip(self.blocks, duals, self.inner, strict=True) if not local]
        slopes = [t.f.grad(torch.zeros_like(u)) for t, u in outer]
        descent = -self._total([t.K.adjoint(v) for (t, _), v in zip(outer, slopes, strict=True)])  # type: ignore[operator]
        forward = [t.K(descent) for t, _ in outer]

        def change(size: Tensor | float) -> list[Tensor]:
            scaled = [over_batch(size, k, t.f.ndim) * k for (t, _), k in zip(outer, forward, strict=True)]
            return [t.f.grad(k) - v for (t, _), k, v in zip(outer, scaled, slopes, strict=True)]

        curvature = torch.stack(
            [inner(k, c, t.f.ndim) for (t, _), k, c in zip(outer, forward, change(1.0), strict=True)]
        ).sum(0)
        size = inner(descent, descent, self.ndim) / curvature
        changes = iter(change(size))
        moved = [u if local else next(changes) for u, local in zip(duals, self.inner, strict=True)]
        tau = LONG * self._distance(over_batch(size, descent, self.ndim) * descent, moved)
        return torch.where(tau.isfinite() & (tau > 0), tau, fallback)
