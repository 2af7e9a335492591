"""Plug and play: a prior that is known by its proximal map alone, joined to a likelihood."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor

from invreg.core import Functional, Precomposed, Solver, Weighted, checked_terms, inner, over_batch
from invreg.solvers.admm import _SelfAdjoint, filtered, hessian, inexact, periodic_spectrum, ratio

SHARE = 0.99  # of the bound on the step, which is the step by default; penalties likewise


class PnPPGDState(NamedTuple):
    """Estimate x = prox(point), the point, and |x - x before| / |x| (*batch,)."""

    x: Tensor
    point: Tensor
    change: Tensor


@dataclass(frozen=True, eq=False)
class PnPPGD(Solver):
    """x <- prox_R(x - eta grad h(x)), which minimises F = eta h + R, from prox_R(x0).

    `objective`: the smooth terms h, each `f @ K` with K linear, convex or not, and one prior R of the image with a
    prox, which is taken at the step 1: a learned proximal network, a denoiser of an adapter, or a convex term. The step
    `eta` is by default 0.99 / L, L the Lipschitz constant of grad h. With `strict`, eta < 1 / L is asked for: then
    F(x+) <= F(x) - (1 - eta L) |x+ - x|^2 / 2 where prox_R is a proximal map, that of a nonconvex R included. Without,
    any eta > 0 is taken, and nothing is promised.

    The weight of the data against R, whose scale is fixed, is eta: F / eta = h + R / eta, below 1 / L with `strict`. A
    smaller weight of the prior is c * R with c < 1, for those whose prox can be had at smaller steps: F = eta h + c R.
    The certificate is `change`,
    |x+ - x| / |x|, and `objective`, F: of a learned prior by its value at the known preimage (`value_after`), else by
    the prior's value, and left out for one that has none. Raises TypeError for terms it does not take, a second one of
    the image itself among them (a projection after the prox is no prox of the sum), and ValueError for the step.
    Sources: Venkatakrishnan et al. (2013); Fang, Buchanan, Sulam, ICLR 2024.
    """

    objective: Iterable[Functional]
    eta: float | None = None
    strict: bool = True
    smooth: tuple[Precomposed, ...] = field(init=False)
    prior: Functional = field(init=False)
    step_size: float = field(init=False)

    def __post_init__(self) -> None:
        terms, smooth, prior, more = _parted("PnPPGD", self.objective)
        if more:
            raise TypeError(
                f"PnPPGD takes one term of the image itself; got {prior.name} and {more[0].name}, and the two maps one "
                "after the other are not the prox of the sum: use PnPADMM with strict=False, which splits them"
            )
        constant = _constant("PnPPGD", smooth, self.strict or self.eta is None)
        eta = SHARE / constant if self.eta is None else self.eta
        if not 0 < eta < math.inf:
            raise ValueError(f"PnPPGD takes a finite step eta > 0; got {eta}")
        if self.strict and not eta * constant < 1:
            raise ValueError(
                f"PnPPGD with strict=True takes a step eta below 1 / L = {1 / constant:.4g}, L = {constant:.4g} that "
                f"of {' + '.join(t.name for t in smooth)}; got {eta:.4g}: take less or leave it out, or give up the "
                "proof of convergence by strict=False"
            )
        for name, value in {"objective": terms, "smooth": smooth, "prior": prior, "step_size": eta}.items():
            object.__setattr__(self, name, value)

    def init(self, x0: Tensor) -> PnPPGDState:
        self.smooth[0].grad(x0)  # what has no gradient, or another shape, is refused here
        nothing = torch.full_like(inner(x0, x0, self.ndim), math.inf)
        return PnPPGDState(self.prior.prox(x0, 1.0), x0, nothing)

    def step(self, s: PnPPGDState) -> PnPPGDState:
        point = s.x
        for t in self.smooth:
            point = torch.add(point, t.grad(s.x), alpha=-self.step_size)
        x = self.prior.prox(point, 1.0)
        return PnPPGDState(x, point, _relative(x - s.x, x, self.ndim))

    def certificate(self, s: PnPPGDState) -> dict[str, Tensor]:
        """`change` and, where the prior has a value, `objective`, as above."""
        value = _prior_value(self.prior, s.x, s.point)
        return {"change": s.change} | (
            {} if value is None else {"objective": self.step_size * _total(self.smooth, s.x) + value}
        )

    @property
    def ndim(self) -> int:
        return len(self.smooth[0].K.domain.shape)


class PnPADMMState(NamedTuple):
    """Estimate x = prox(point), the solution v of the linear system and the dual u.

    copy, dual: those of a second term, else empty. spectrum: of the normal operator where it is a periodic convolution,
    else empty. change: the largest of |x - x before|, |v - x| and |v - copy| over |x|, (*batch,). k: steps so far.
    """

    x: Tensor
    point: Tensor
    v: Tensor
    u: Tensor
    copy: tuple[Tensor, ...]
    dual: tuple[Tensor, ...]
    spectrum: tuple[Tensor, ...]
    change: Tensor
    k: int


@dataclass(frozen=True, eq=False)
class PnPADMM(Solver):
    """min h + rho R by v = argmin h + rho |v - x + u|^2 / 2, then u <- u + v - x, then x = prox_R(v + u).

    `objective`: quadratic terms h, each `f @ K` with K linear, and one prior R of the image with a prox, which is taken
    at the step 1, as in PnPPGD. v is found by a division in Fourier space where h is a periodic convolution (as in
    ADMM) and else by conjugate gradients from the v before, to errors that can be summed. In this order u is
    -grad h(v) / rho. With `strict`, rho > L, the Lipschitz constant of grad h, is asked for, under which the
    iterates converge where prox_R is the gradient of a convex function (Fang, Buchanan, Sulam, ICLR 2024, for
    linear K); rho None is L / 0.99. Without, any rho > 0 is taken, as in their experiments, and one more convex term
    with a prox, such as a Box, by a copy of its own; nothing is promised then.

    The weight of R is rho. The estimate x is the prior's, from prox_R(x0). The certificate is `change`, as the state
    has it, and `objective`, h + rho R at x, as in PnPPGD. Raises TypeError for terms it does not take and ValueError
    for a rho.
    """

    objective: Iterable[Functional]
    rho: float | None = None
    strict: bool = True
    quadratic: tuple[Precomposed, ...] = field(init=False)
    prior: Functional = field(init=False)
    more: tuple[Functional, ...] = field(init=False)
    penalty: float = field(init=False)

    def __post_init__(self) -> None:
        terms, quadratic, prior, more = _parted("PnPADMM", self.objective)
        for t in quadratic:
            if not t.quadratic:
                raise TypeError(f"PnPADMM takes quadratic terms of the data, and {t.name} is none: use PnPPGD")
        if len(more) > 1 or (more and self.strict):
            raise TypeError(
                f"PnPADMM takes one term of the image itself, or with strict=False one convex term more; got "
                f"{prior.name} and {', '.join(t.name for t in more)}"
            )
        constant = _constant("PnPADMM", quadratic, self.strict or self.rho is None)
        rho = constant / SHARE if self.rho is None else self.rho
        if not 0 < rho < math.inf:
            raise ValueError(f"PnPADMM takes a finite penalty rho > 0; got {rho}")
        if self.strict and not rho > constant:
            raise ValueError(
                f"PnPADMM with strict=True takes a penalty rho above L = {constant:.4g}, that of "
                f"{' + '.join(t.name for t in quadratic)}; got {rho:.4g}: take more, weigh the data less, or give up "
                "the proof of convergence by strict=False"
            )
        found = {"objective": terms, "quadratic": quadratic, "prior": prior, "more": more, "penalty": rho}
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def init(self, x0: Tensor) -> PnPADMMState:
        x, zero = self.prior.prox(x0, 1.0), torch.zeros_like(x0)
        spectrum = periodic_spectrum(_SelfAdjoint(partial(hessian, self.quadratic), self.quadratic[0].K), x0)  # type: ignore[arg-type]
        known = () if spectrum is None else (spectrum,)
        nothing = torch.full_like(inner(x0, x0, self.ndim), math.inf)
        copies = tuple(t.prox(x, 1 / self.penalty) for t in self.more)
        return PnPADMMState(x, x0, x, zero, copies, tuple(zero for _ in copies), known, nothing, 0)

    def step(self, s: PnPADMMState) -> PnPADMMState:
        n, rho = self.ndim, self.penalty
        v = self._solve(s)
        u = s.u + v - s.x
        x = self.prior.prox(v + u, 1.0)
        dual = tuple(q + v - w for q, w in zip(s.dual, s.copy, strict=True))
        copy = tuple(t.prox(v + q, 1 / rho) for t, q in zip(self.more, dual, strict=True))
        apart = [_relative(d, x, n) for d in (x - s.x, v - x, *(v - w for w in copy))]
        return PnPADMMState(x, v + u, v, u, copy, dual, s.spectrum, torch.stack(apart).amax(0), s.k + 1)

    def certificate(self, s: PnPADMMState) -> dict[str, Tensor]:
        """`change` and, where the prior has a value, `objective`, as above."""
        value = _prior_value(self.prior, s.x, s.point)
        return {"change": s.change} | (
            {} if value is None else {"objective": _total(self.quadratic, s.x) + self.penalty * value}
        )

    @property
    def ndim(self) -> int:
        return len(self.quadratic[0].K.domain.shape)

    def _solve(self, s: PnPADMMState) -> Tensor:
        """argmin_v h(v) + rho |v - x + u|^2 / 2, with the same of a copy and its dual."""
        n, rho = self.ndim, self.penalty
        b = rho * (s.x - s.u)
        for w, q in zip(s.copy, s.dual, strict=True):
            b = b + rho * (w - q)
        for t in self.quadratic:
            b = b - t.grad(torch.zeros_like(b))
        shift = rho * (1 + len(s.copy))
        if s.spectrum:
            return filtered(b, 1 / (s.spectrum[0] + shift), n)
        system = _SelfAdjoint(lambda x: hessian(self.quadratic, x) + shift * x, self.quadratic[0].K)  # type: ignore[arg-type]
        return inexact(system, b, s.v, s.k)


def _parted(
    who: str, objective: Functional | Iterable[Functional]
) -> tuple[tuple[Functional, ...], tuple[Precomposed, ...], Functional, tuple[Functional, ...]]:
    """All terms; those f @ K; the prior, the one of the others that is not convex or the only one; what is left."""
    terms = checked_terms(who, objective)
    blocks = tuple(t for t in terms if isinstance(t, Precomposed))
    own = [t for t in terms if not isinstance(t, Precomposed)]
    learned = [t for t in own if not t.convex] or own[:1]
    more = tuple(t for t in own if t is not learned[0]) if learned else ()
    if not blocks or not own or len(learned) > 1 or (len(own) > 1 and learned[0].convex):
        raise TypeError(
            f"{who} takes at least one term f @ K and one prior of the image itself with a prox; got "
            + ", ".join(t.name for t in terms)
        )
    return terms, blocks, learned[0], more


def _constant(who: str, terms: tuple[Precomposed, ...], needed: bool) -> float:
    """The Lipschitz constant of the gradient of all; NaN where it is unknown and not needed."""
    try:
        return sum(t.lipschitz() for t in terms)
    except TypeError as error:
        if not needed:
            return math.nan
        hint = "give eta and strict=False" if who == "PnPPGD" else "give rho and strict=False"
        raise TypeError(f"{who} needs a Lipschitz constant, and {error}; or {hint}") from None


def _prior_value(prior: Functional, x: Tensor, point: Tensor) -> Tensor | None:
    """R(x) of x = prox_R(point), which a learned prior has without an inversion; None where it has none.

    The y with f(y) = x is the point; for c R, whose prox solves c y + (1 - c) f(y) = point, it follows from both.
    """
    f = prior.f if isinstance(prior, Weighted) else prior
    after: Callable[[Tensor], Tensor] | None = getattr(f, "value_after", None)
    if after is not None and isinstance(prior, Weighted):
        c = over_batch(prior.weight, x, prior.ndim)
        return prior.weight.to(x.device) * after(x + (point - x) / c)
    if after is not None:
        return after(point)
    try:
        return cast(Tensor, prior(x))
    except TypeError:  # a denoiser
        return None


def _total(terms: tuple[Precomposed, ...], x: Tensor) -> Tensor:
    return torch.stack([t(x) for t in terms]).sum(0)


def _relative(d: Tensor, x: Tensor, n: int) -> Tensor:
    return ratio(inner(d, d, n), inner(x, x, n))
