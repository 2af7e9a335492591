"""The primal-dual hybrid gradient method (Chambolle-Pock) with several dual blocks."""

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Functional, Precomposed, Solver, convex_terms, inner, over_batch

EPOCH = 10  # steps before the first estimate of the step sizes; the next ones come after twice as many each


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

    The steps satisfy tau sum_i sigma_i |K_i|^2 = 1 with equal shares. Their ratio is set from the problem: the
    bound |x* - x|^2 / tau + sum_i |u_i* - u_i|^2 / sigma_i weighs primal and dual distances the same when tau is
    their quotient, for which those travelled in the last epoch stand in (after EPOCH steps, then 2, 4, 8 ...
    times as many): at once where they ask for a longer tau, halfway in the logarithm and early only for a shorter.
    There are finitely many changes up to any step, each followed by a longer stretch of constant steps.
    Raises TypeError for a term it cannot handle. Sources: Chambolle and Pock (2011); Condat (2013), algorithm 3.2,
    for the relaxation.
    """

    objective: Iterable[Functional]
    relaxation: float = 1.9
    g: Functional | None = field(init=False)
    blocks: tuple[Precomposed, ...] = field(init=False)
    norms: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        terms = convex_terms("PDHG", self.objective)
        blocks = tuple(t for t in terms if isinstance(t, Precomposed))
        simple = [t for t in terms if not isinstance(t, Precomposed)]
        if len(simple) > 1 or not blocks:
            raise TypeError(
                "PDHG takes at least one term f @ K and at most one term without; got "
                + ", ".join(t.name for t in terms)
            )
        object.__setattr__(self, "objective", terms)
        object.__setattr__(self, "g", simple[0] if simple else None)
        object.__setattr__(self, "blocks", blocks)
        # the norm is needed for the steps of every state, and costs tens of products: once, here
        object.__setattr__(self, "norms", tuple(t.K.norm() for t in blocks))  # type: ignore[operator]

    def init(self, x0: Tensor) -> PDHGState:
        """Start at `x0` (*batch, *domain) with zero duals."""
        duals = tuple(x0.new_zeros(*t.K.domain.batch(x0), *t.K.codomain.shape) for t in self.blocks)
        tau = self._first_tau(x0)
        return PDHGState(x0, duals, x0, duals, tau, self._sigmas(tau), x0, duals, 0)

    def warm(self, state: PDHGState) -> PDHGState:
        """A start at the estimate, duals and steps of a similar problem's state (another weight, say)."""
        x, duals = state.x, state.duals
        return PDHGState(x, duals, x, duals, state.tau, self._sigmas(state.tau), x, duals, EPOCH)

    def step(self, s: PDHGState) -> PDHGState:
        x, duals = self._proximal_step(s)
        rho = self.relaxation
        if s.k + 1 < EPOCH or not math.log2((s.k + 1) / EPOCH).is_integer():
            w = tuple(torch.lerp(u, v, rho) for u, v in zip(s.w, duals, strict=True))
            return s._replace(x=x, duals=duals, z=torch.lerp(s.z, x, rho), w=w, k=s.k + 1)
        # end of an epoch: steps from the distances travelled in it
        tau = self._distance(x - s.start, [u - v for u, v in zip(duals, s.start_duals, strict=True)])
        if s.k + 1 > EPOCH:
            # an image that has all but arrived travels no more, and does not call for shorter steps
            less = (s.tau * tau).sqrt() if s.k + 1 <= 8 * EPOCH else s.tau
            tau = torch.maximum(tau, torch.minimum(less, s.tau))
        tau = torch.where(tau.isfinite() & (tau > 0), tau, s.tau)
        return PDHGState(x, duals, x, duals, tau, self._sigmas(tau), x, duals, s.k + 1)

    def certificate(self, s: PDHGState) -> dict[str, Tensor]:
        """Relative gap and dual infeasibility, and the objective, of the estimate and its duals.

        gap: (P(x) - D(u)) / |P(x)| with D the dual over the images of values up to 1.5 times those of x, so that
        P(x) - D bounds the distance to the minimum wherever the minimiser keeps to that. infeasibility: the
        distance of -sum K_i^T u_i from the domain of g*, over the sum of the norms of its terms.
        """
        x, duals = s.x, s.duals
        n = self.ndim
        bound = 1.5 * x.abs().flatten(-n).amax(-1).double()
        primal, dual = torch.zeros_like(bound), torch.zeros_like(bound)
        slope, size = torch.zeros_like(x), torch.zeros_like(bound)
        for t, u in zip(self.blocks, duals, strict=True):
            primal = primal + t(x)
            dual = dual - t.f.conj(u)
            back = t.K.adjoint(u)  # type: ignore[operator]
            slope -= back
            size = size + inner(back, back, n).sqrt()
        if self.g is None:
            dual = dual - bound * slope.abs().flatten(-n).sum(-1, dtype=torch.float64)
            outside = slope
        else:
            primal = primal + self.g(x)
            dual = dual - self.g.conj(slope, bound)
            # the proximal map of a vanishing step of g* is the projection onto the closure of its domain
            outside = slope - self.g.conj_prox(slope, 1e-6 * size / inner(x, x, n).sqrt().clamp(min=1e-300))
        gap = (primal - dual) / primal.abs().clamp(min=1e-300)
        # not yet inside a constraint of a dual block: no answer, but no breakdown either
        gap = torch.where(primal.isinf() & bound.isfinite(), math.inf, gap)
        infeasibility = inner(outside, outside, n).sqrt() / size.clamp(min=1e-300)
        return {"gap": gap, "infeasibility": infeasibility, "objective": primal}

    @property
    def ndim(self) -> int:
        return len(self.blocks[0].K.domain.shape)

    def _proximal_step(self, s: PDHGState) -> tuple[Tensor, tuple[Tensor, ...]]:
        back = [t.K.adjoint(u) for t, u in zip(self.blocks, s.w, strict=True)]  # type: ignore[operator]
        slope = back[0] if len(back) == 1 else torch.stack(back).sum(0) if len(back) > 2 else back[0] + back[1]
        tau = s.tau.to(slope.real.dtype).reshape(*s.tau.shape, *(1,) * self.ndim)
        x = torch.addcmul(s.z, slope, -tau)
        if self.g is not None:
            x = self.g.prox(x, s.tau)
        ahead = torch.lerp(s.z, x, 2.0)
        duals = [t.ascend(u, ahead, sigma) for t, u, sigma in zip(self.blocks, s.w, s.sigmas, strict=True)]
        return x, tuple(duals)

    def _sigmas(self, tau: Tensor) -> tuple[Tensor, ...]:
        """Equal shares of tau sum_i sigma_i |K_i|^2 = 1."""
        return tuple(1 / (len(self.norms) * norm**2 * tau) for norm in self.norms)

    def _distance(self, dx: Tensor, duals: list[Tensor]) -> Tensor:
        """The tau for which primal and dual distances weigh the same in the bound."""
        scaled = torch.zeros_like(inner(dx, dx, self.ndim))
        for t, u, norm in zip(self.blocks, duals, self.norms, strict=True):
            scaled = scaled + len(self.norms) * norm**2 * inner(u, u, t.f.ndim)
        return (inner(dx, dx, self.ndim) / scaled).sqrt()

    def _first_tau(self, x0: Tensor) -> Tensor:
        """From the sizes of a steepest-descent step off zero on the smooth terms, and of the duals there."""
        zero = torch.zeros_like(x0)
        descent, curvature = torch.zeros_like(x0), 0.0 * inner(x0, x0, self.ndim)
        smooth = []
        for t in self.blocks:
            with contextlib.suppress(TypeError):  # a term without a gradient does not say how large x will be
                descent = descent - t.grad(zero)
                smooth.append(t)
        for t in smooth:
            forward = t.K(descent)
            curvature = curvature + inner(forward, forward, t.f.ndim)
        size = inner(descent, descent, self.ndim) / curvature
        x = over_batch(size, descent, self.ndim) * descent
        steep = 1e12  # the conjugate's proximal map of a long step is a (sub)gradient
        tau = self._distance(x, [t.f.conj_prox(steep * t.K(x), steep) for t in self.blocks])
        fallback = torch.full_like(tau, 1 / sum(norm**2 for norm in self.norms) ** 0.5)
        return torch.where(tau.isfinite() & (tau > 0), tau, fallback)
