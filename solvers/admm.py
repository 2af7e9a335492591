"""The alternating direction method of multipliers, with the quadratic terms kept together."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Functional, Linear, Precomposed, Solver, inner, over_batch, taken_apart
from invreg.solvers.gap import descent_step, duality_gap, on_image
from invreg.solvers.krylov import CG

EPOCH = 5  # steps before the penalties are first balanced; the next ones come after twice as many each
INNER = 50  # at most so many conjugate gradient steps within a step


class ADMMState(NamedTuple):
    """Estimate x; solution v of the last linear system; copies z_i, duals u_i and penalties rho_i (*batch,) of terms.

    spectra: of the quadratic part and of each K_i^T K_i where all are diagonal in Fourier space, else empty.
    primal, dual: relative residuals (*batch,). k: steps so far.
    """

    x: Tensor
    v: Tensor
    copies: tuple[Tensor, ...]
    duals: tuple[Tensor, ...]
    rhos: tuple[Tensor, ...]
    spectra: tuple[Tensor, ...]
    primal: Tensor
    dual: Tensor
    k: int


class _SelfAdjoint(Linear):
    """A symmetric function on a space, as an operator."""

    def __init__(self, function: Callable[[Tensor], Tensor], like: Linear) -> None:
        super().__init__(like.domain, like.domain)
        self.function = function

    def _forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.function(y)


@dataclass(frozen=True, eq=False)
class ADMM(Solver):
    """min_x g(x) + sum_i f_i(K_i x): quadratic terms by a linear system, a copy z_i = K_i x for each other one.

    `objective`: terms `f @ K` with K linear, quadratic terms of x itself, and at most one other term g with a prox.
    Each step solves for x, by a division in Fourier space where all K_i and quadratic terms are periodic
    convolutions (tested in `init` by products with an impulse and a random image) and else by conjugate gradients from
    the x before, until the residual has fallen by ten and below |b| / k^2, so that the errors can be summed. It
    then takes one proximal map a copy, over-relaxed by `relaxation` in [1, 2). The penalties are balanced after EPOCH,
    then 2, 4, 8 ... times as many steps, each by the relative residuals of its own term. The estimate is the copy of
    x that g has made, or x. Criterion: the primal-dual gap, or the larger relative residual where a term has no
    conjugate. Raises TypeError for a term it cannot handle. Sources: Eckstein and Bertsekas (1992); Boyd et al. (2011);
    Wohlberg (arXiv 1704.06209) for the relative residuals.
    """

    objective: Iterable[Functional]
    relaxation: float = 1.7
    g: Functional | None = field(init=False)
    quadratic: tuple[Precomposed, ...] = field(init=False)
    split: tuple[Precomposed, ...] = field(init=False)

    def __post_init__(self) -> None:
        terms, found, own, g = taken_apart("ADMM", self.objective, lambda t: t.quadratic, " that is not quadratic")
        own += () if g is None else (g,)
        blocks = [*found, *(on_image(t, found[0].K.domain) for t in own)]
        for name, value in {
            "objective": terms,
            "g": g,
            "quadratic": tuple(t for t in blocks if t.quadratic),
            "split": tuple(t for t in blocks if not t.quadratic),  # g is the last
        }.items():
            object.__setattr__(self, name, value)

    def init(self, x0: Tensor) -> ADMMState:
        """Start at `x0` (*batch, *domain) with copies K_i x0 and zero duals."""
        copies = tuple(t.K(x0) for t in self.split)
        duals = tuple(torch.zeros_like(z) for z in copies)
        nothing = torch.full_like(inner(x0, x0, self.ndim), math.inf)
        return ADMMState(x0, x0, copies, duals, self._first_rhos(x0), self._spectra(x0), nothing, nothing, 0)

    def step(self, s: ADMMState) -> ADMMState:
        v = self._solve(s)
        copies, duals, primal, dual, rhos = [], [], [], [], []
        for t, z, u, rho in zip(self.split, s.copies, s.duals, s.rhos, strict=True):
            m = t.f.ndim
            weight = over_batch(rho, u, m)
            image = t.K(v)
            relaxed = torch.lerp(z, image, self.relaxation)
            if t.f is self.g:  # the estimate is to be where g is finite, the other duals where their conjugates are
                new = t.f.prox(relaxed + u / weight, 1 / rho)
                u_new = u + weight * (relaxed - new)
            else:
                u_new = t.f.conj_prox(u + weight * relaxed, rho)
                new = relaxed + (u - u_new) / weight
            off, moved = image - new, new - z
            primal.append(ratio(inner(off, off, m), torch.maximum(inner(new, new, m), inner(image, image, m))))
            dual.append(rho * ratio(inner(moved, moved, m), inner(u_new, u_new, m)))
            rhos.append(self._balanced(rho, primal[-1], dual[-1], s.k + 1))
            copies.append(new)
            duals.append(u_new)
        zero = torch.zeros_like(s.primal)
        off_most, moved_most = (torch.stack([zero, *each]).amax(0) for each in (primal, dual))
        x = copies[-1] if self.g is not None else v
        return ADMMState(x, v, tuple(copies), tuple(duals), tuple(rhos), s.spectra, off_most, moved_most, s.k + 1)

    def certificate(self, s: ADMMState) -> dict[str, Tensor]:
        """`gap`, `infeasibility` and `objective` as `duality_gap` says, where terms have conjugates, and the residuals.

        primal: the largest |K_i x - z_i| over the larger of the two; dual: the largest change of rho_i z_i over |u_i|.
        """
        residuals = {"primal": s.primal, "dual": s.dual}
        blocks = self.split if self.g is None else self.split[:-1]
        duals = (*s.duals[: len(blocks)], *(t.f.grad(t.K(s.v)) for t in self.quadratic))
        try:
            return duality_gap(s.x, (*blocks, *self.quadratic), duals, self.g) | residuals
        except TypeError:
            return {"residual": torch.maximum(s.primal, s.dual)} | residuals

    @property
    def ndim(self) -> int:
        return len((*self.split, *self.quadratic)[0].K.domain.shape)

    def _balanced(self, rho: Tensor, primal: Tensor, dual: Tensor, k: int) -> Tensor:
        if k < EPOCH or not math.log2(k / EPOCH).is_integer():
            return rho
        factor = (primal / dual).sqrt().clamp(0.1, 10.0)
        return torch.where(factor.isfinite() & (factor > 0), factor * rho, rho)

    def _solve(self, s: ADMMState) -> Tensor:
        """The x at which the quadratic terms, <u_i, K_i x> and rho_i |K_i x - z_i|^2 / 2 are least in sum."""
        n = self.ndim
        zero = torch.zeros_like(s.v)
        b = zero
        for t in self.quadratic:
            b = b - t.grad(zero)
        for t, z, u, rho in zip(self.split, s.copies, s.duals, s.rhos, strict=True):
            b = b + t.K.adjoint(over_batch(rho, z, t.f.ndim) * z - u)  # type: ignore[operator]
        if s.spectra:
            total = s.spectra[0]
            for rho, spectrum in zip(s.rhos, s.spectra[1:], strict=True):
                total = total + over_batch(rho, spectrum, n) * spectrum
            return filtered(b, 1 / total, n)

        def system(x: Tensor) -> Tensor:
            out = self._hessian(x)
            for t, rho in zip(self.split, s.rhos, strict=True):
                out = out + over_batch(rho, x, n) * t.K.adjoint(t.K(x))  # type: ignore[operator]
            return out

        N = _SelfAdjoint(system, (*self.split, *self.quadratic)[0].K)  # type: ignore[arg-type]
        return inexact(N, b, s.v, s.k)

    def _hessian(self, x: Tensor) -> Tensor:
        """That of the quadratic terms, applied to x."""
        return hessian(self.quadratic, x)

    def _spectra(self, x0: Tensor) -> tuple[Tensor, ...]:
        spectra = []
        parts = [_SelfAdjoint(self._hessian, (*self.split, *self.quadratic)[0].K)]  # type: ignore[arg-type]
        for N in (*parts, *(t.K.normal() for t in self.split)):  # type: ignore[operator]
            found = periodic_spectrum(N, x0)
            if found is None:
                return ()
            spectra.append(found)
        return tuple(spectra)

    def _first_rhos(self, x0: Tensor) -> tuple[Tensor, ...]:
        """|u_i| / |K_i x| at a steepest-descent step x off zero on the quadratic terms (without any, at x0).

        A constraint, whose dual there may be of any size, takes the least rho_i |K_i x|^2 / |x|^2 of the others, or a
        hundredth of the curvature along that step.
        """
        n = self.ndim
        x, curvature = descent_step(self.quadratic, x0)
        usual = torch.where(curvature > 0, 0.01 * curvature, math.inf)
        rhos, stretches = [], []
        for t in self.split:
            image, m = t.K(x), t.f.ndim
            # the conjugate's proximal map of a long step is a (sub)gradient, if there is one
            near, far = (t.f.conj_prox(steep * image, steep) for steep in (1e9, 1e12))
            rho = ratio(inner(near, near, m), inner(image, image, m))
            settled = rho.isfinite() & (rho > 0) & (inner(far, far, m) < 4 * inner(near, near, m))
            stretches.append(inner(image, image, m) / inner(x, x, n))
            rhos.append(torch.where(settled, rho, math.nan))
            usual = torch.where(settled, torch.minimum(usual, rho * stretches[-1]), usual)
        usual = torch.where(usual.isfinite() & (usual > 0), usual, 1.0)
        others = (torch.where(s.isfinite() & (s > 0), usual / s, usual) for s in stretches)
        return tuple(torch.where(rho.isnan(), other, rho) for rho, other in zip(rhos, others, strict=True))


def hessian(terms: Iterable[Precomposed], x: Tensor) -> Tensor:
    """The Hessian of quadratic terms, applied to x: by a derivative, as large measurements drown a difference."""
    out = torch.zeros_like(x)
    for t in terms:
        image = t.K(x)
        symmetric: Callable[[Tensor], tuple[Tensor]] = torch.func.vjp(t.f.grad, torch.zeros_like(image))[1]
        out = out + t.K.adjoint(symmetric(image)[0])  # type: ignore[operator]
    return out


def periodic_spectrum(N: Linear, x0: Tensor) -> Tensor | None:
    """The transfer function of a symmetric N on images like x0 where it is a periodic convolution, else None.

    Tested by products with an impulse and a random image.
    """
    n = len(N.domain.shape)
    impulse = torch.zeros_like(x0)
    impulse.flatten(-n)[..., 0] = 1
    generator = torch.Generator(x0.device).manual_seed(0)
    probe = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    axes = tuple(range(-n, 0))
    spectrum = (torch.fft.fftn if x0.is_complex() else torch.fft.rfftn)(N(impulse), dim=axes).real
    expected = N(probe)
    off = (filtered(probe, spectrum, n) - expected).abs().amax()
    return spectrum if bool(off <= 100 * torch.finfo(x0.dtype).eps * expected.abs().amax()) else None


def inexact(N: Linear, b: Tensor, start: Tensor, k: int) -> Tensor:
    """About N^-1 b by conjugate gradients from `start`, in step k = 0, 1, ... of a solver whose errors are summed.

    Until the residual has fallen by ten and below |b| / (k + 1)^2, or to ten times its own round-off, after which it
    says nothing.
    """
    state = CG(N, b).init(start)
    size = inner(b, b, len(N.domain.shape)).sqrt()
    floor = torch.minimum(0.1 * state.norm2.sqrt(), size / (k + 1) ** 2)
    cg = CG(N, b, torch.maximum(floor, 10 * torch.finfo(b.dtype).eps * size))
    for _ in range(INNER):
        if not bool((state.norm2 > cg.floor**2).any()):
            break
        state = cg.step(state)
    # an item with a residual that is no number takes no step: it must not pass for a solution
    return state.x + over_batch(0 * state.norm2, state.x, len(N.domain.shape))


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """sqrt(a / b), and 0 where both are."""
    return torch.where(a == 0, 0.0, (a / b).sqrt())


def filtered(x: Tensor, transfer: Tensor, n: int) -> Tensor:
    axes = tuple(range(-n, 0))
    if x.is_complex():
        return torch.fft.ifftn(torch.fft.fftn(x, dim=axes) * transfer, dim=axes)
    return torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * transfer, s=x.shape[-n:], dim=axes)
