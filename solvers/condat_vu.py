"""The Condat-Vu method: smooth terms by their gradients, the others by proximal maps."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Functional, Precomposed, Solver, inner, over_batch, taken_apart
from invreg.solvers.gap import descent_step, duality_gap, on_image

EPOCH = 10  # steps before the first estimate of the step sizes; the next ones come after twice as many each
RELAXATION = 1.45  # below 1.5, Condat's limit for 1 / tau - sum_i sigma_i |K_i|^2 = L


class CondatVuState(NamedTuple):
    """Estimate x, duals u_i; the over-relaxed z and w_i from which the next step starts; steepness (*batch,).

    start, start_duals: where the epoch began. k: steps so far.
    """

    x: Tensor
    duals: tuple[Tensor, ...]
    z: Tensor
    w: tuple[Tensor, ...]
    steepness: Tensor
    start: Tensor
    start_duals: tuple[Tensor, ...]
    k: int


@dataclass(frozen=True, eq=False)
class CondatVu(Solver):
    """min_x F(x) + g(x) + sum_i f_i(K_i x): a gradient of F, a proximal map of g and of each f_i* a step.

    `objective`: terms `f @ K` with K linear and terms of x itself. Those with a Lipschitz gradient make up F, of
    constant L; of the others at most one, g, is without a K. The steps are 1 / tau = L + s and
    sigma_i = s / (m |K_i|^2) for m blocks. The steepness s, at which primal and dual distances weigh the same, is that
    of a steepest-descent step on quadratic terms, then that of the distances travelled in epochs of growing length, as
    in `PDHG`, by a factor of two at most. Criterion: the primal-dual gap, or where a term has no conjugate `step`.
    Raises TypeError for a term it cannot handle. Sources: Condat (2013), algorithm 3.1 with theorem 3.1; Vu (2013).
    """

    objective: Iterable[Functional]
    g: Functional | None = field(init=False)
    smooth: tuple[Precomposed, ...] = field(init=False)
    blocks: tuple[Precomposed, ...] = field(init=False)
    constant: float = field(init=False)
    norms: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        terms, mapped, own, g = taken_apart(
            "CondatVu", self.objective, lambda t: _constant(t) is not None, " that has no Lipschitz gradient"
        )
        constants = [_constant(t) for t in mapped]
        smooth = [t for t, c in zip(mapped, constants, strict=True) if c is not None]
        smooth += [on_image(t, mapped[0].K.domain) for t in own]
        blocks = tuple(t for t, c in zip(mapped, constants, strict=True) if c is None)
        for name, value in {
            "objective": terms,
            "g": g,
            "smooth": tuple(smooth),
            "blocks": blocks,
            "constant": sum(t.lipschitz() for t in smooth),
            "norms": tuple(t.K.norm() for t in blocks),  # type: ignore[operator]
        }.items():
            object.__setattr__(self, name, value)

    def init(self, x0: Tensor) -> CondatVuState:
        """Start at `x0` (*batch, *domain) with zero duals."""
        duals = tuple(x0.new_zeros(*t.K.domain.batch(x0), *t.K.codomain.shape) for t in self.blocks)
        x = descent_step([t for t in self.smooth if t.quadratic], x0)[0]
        far = 1e12  # the conjugate's proximal map of a long step is a (sub)gradient
        s = self._steepness(x, [t.f.conj_prox(far * t.K(x), far) for t in self.blocks])
        usual = math.sqrt(sum(norm**2 for norm in self.norms)) if self.blocks else 0.0
        s = torch.where(s.isfinite() & (s > 0), s, usual)
        return CondatVuState(x0, duals, x0, duals, s, x0, duals, 0)

    def step(self, s: CondatVuState) -> CondatVuState:
        x, duals = self._maps(s)
        k = s.k + 1
        if k < EPOCH or not math.log2(k / EPOCH).is_integer():
            w = tuple(torch.lerp(u, v, RELAXATION) for u, v in zip(s.w, duals, strict=True))
            return s._replace(x=x, duals=duals, z=torch.lerp(s.z, x, RELAXATION), w=w, k=k)
        # end of an epoch: steps from the distances travelled in it
        steepness = self._steepness(x - s.start, [u - v for u, v in zip(duals, s.start_duals, strict=True)])
        steepness = torch.minimum(torch.maximum(steepness, s.steepness / 2), s.steepness * 2)
        steepness = torch.where(steepness.isfinite() & (steepness > 0), steepness, s.steepness)
        return CondatVuState(x, duals, x, duals, steepness, x, duals, k)

    def certificate(self, s: CondatVuState) -> dict[str, Tensor]:
        """`gap`, `infeasibility` and `objective` as `duality_gap` says, or `step`.

        step: the larger of what one step changes x and the u_i by, each over its own size.
        """
        try:
            slopes = [t.f.grad(t.K(s.x)) for t in self.smooth]
            return duality_gap(s.x, (*self.blocks, *self.smooth), (*s.duals, *slopes), self.g)
        except TypeError:
            x, duals = self._maps(s._replace(z=s.x, w=s.duals))
            moves = [(x - s.x, s.x, self.ndim)]
            moves += [(v - u, u, t.f.ndim) for t, v, u in zip(self.blocks, duals, s.duals, strict=True)]
            ratios = [(inner(d, d, n), inner(v, v, n)) for d, v, n in moves]
            return {"step": torch.stack([torch.where(a == 0, 0.0, (a / b).sqrt()) for a, b in ratios]).amax(0)}

    @property
    def ndim(self) -> int:
        return len((*self.blocks, *self.smooth)[0].K.domain.shape)

    def _maps(self, s: CondatVuState) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x and the u_i of a step from z and the w_i, before the relaxation."""
        tau = 1 / (self.constant + s.steepness)
        slope = torch.zeros_like(s.z)
        for t in self.smooth:
            slope = slope + t.grad(s.z)
        for t, w in zip(self.blocks, s.w, strict=True):
            slope = slope + t.K.adjoint(w)  # type: ignore[operator]
        x = s.z - over_batch(tau, slope, self.ndim) * slope
        if self.g is not None:
            x = self.g.prox(x, tau)
        forward = torch.lerp(s.z, x, 2.0)
        sigmas = (s.steepness / (len(self.blocks) * norm**2) for norm in self.norms)
        return x, tuple(t.ascend(w, forward, sigma) for t, w, sigma in zip(self.blocks, s.w, sigmas, strict=True))

    def _steepness(self, dx: Tensor, duals: Sequence[Tensor]) -> Tensor:
        """The s for which s |dx|^2 and sum_i |du_i|^2 / sigma_i are the same."""
        size = inner(dx, dx, self.ndim)
        scaled = torch.zeros_like(size)
        for t, u, norm in zip(self.blocks, duals, self.norms, strict=True):
            scaled = scaled + len(self.blocks) * norm**2 * inner(u, u, t.f.ndim)
        return (scaled / size).sqrt()


def _constant(t: Functional) -> float | None:
    try:
        return t.lipschitz()
    except TypeError:
        return None
