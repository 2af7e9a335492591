"""What solvers of sums of terms share: the primal-dual gap, and the sizes from which they start."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from invreg.core import Functional, Linear, Precomposed, Space, inner


def duality_gap(
    x: Tensor, blocks: Sequence[Precomposed], duals: Sequence[Tensor], g: Functional | None
) -> dict[str, Tensor]:
    """Relative gap, dual infeasibility and the objective sum_i f_i(K_i x) + g(x), each (*batch,), of x and duals u_i.

    gap: as `relative_gap` says, of the `dual_value`. Raises TypeError where a term has no conjugate.
    """
    back = [t.K.adjoint(u) for t, u in zip(blocks, duals, strict=True)]  # type: ignore[operator]
    return relative_gap(
        objective(x, blocks, g), *dual_value(x, blocks, duals, back, g), x, len(blocks[0].K.domain.shape)
    )


def objective(x: Tensor, blocks: Sequence[Precomposed], g: Functional | None) -> Tensor:
    """sum_i f_i(K_i x) + g(x), (*batch,)."""
    return torch.stack([t(x) for t in blocks] + ([] if g is None else [g(x)])).sum(0)


def dual_value(
    x: Tensor, blocks: Sequence[Precomposed], duals: Sequence[Tensor], back: Sequence[Tensor], g: Functional | None
) -> tuple[Tensor, Tensor]:
    """D(u) and the infeasibility of duals u_i with back = K_i^T u_i, each (*batch,).

    D is the dual over the images of values up to 1.5 times those of x: it bounds the minimum wherever the minimiser
    keeps to that. infeasibility: the distance of -sum K_i^T u_i from the domain of g*, over the sum of the norms of
    its terms.
    """
    n = len(blocks[0].K.domain.shape)
    bound = _bound(x, n)
    slope = -torch.stack(tuple(back)).sum(0)
    size = torch.stack([inner(b, b, n).sqrt() for b in back]).sum(0)
    dual = -torch.stack([t.f.conj(u) for t, u in zip(blocks, duals, strict=True)]).sum(0)
    if g is None:
        dual = dual - bound * slope.abs().flatten(-n).sum(-1, dtype=torch.float64)
        outside = slope
    else:
        dual = dual - g.conj(slope, bound)
        # the proximal map of a vanishing step of g* is the projection onto the closure of its domain
        outside = slope - g.conj_prox(slope, 1e-6 * size / inner(x, x, n).sqrt().clamp(min=1e-300))
    return dual, inner(outside, outside, n).sqrt() / size.clamp(min=1e-300)


def relative_gap(primal: Tensor, dual: Tensor, infeasibility: Tensor, x: Tensor, n: int) -> dict[str, Tensor]:
    """(P(x) - D(u)) / |P(x)|, at least an infeasibility above 0.1: an x close to zero bounds nothing.

    It bounds the relative distance to the minimum as far as D does.
    """
    gap = (primal - dual) / primal.abs().clamp(min=1e-300)
    # not yet inside a constraint of a block: no answer, but no breakdown either
    gap = torch.where(primal.isinf() & _bound(x, n).isfinite(), math.inf, gap)
    # what is left of a small infeasibility is the projection's own
    gap = torch.where(infeasibility > 0.1, torch.maximum(gap, infeasibility), gap)
    return {"gap": gap, "infeasibility": infeasibility, "objective": primal}


def _bound(x: Tensor, n: int) -> Tensor:
    return 1.5 * x.abs().flatten(-n).amax(-1).double()


def descent_step(terms: Sequence[Precomposed], x0: Tensor) -> tuple[Tensor, Tensor]:
    """A steepest-descent step off zero on quadratic terms, and their curvature along it; without any x0 and 0."""
    if not terms:
        return x0, torch.zeros((), dtype=torch.float64, device=x0.device)
    zero = torch.zeros_like(x0)
    n = len(terms[0].K.domain.shape)
    descent, along = zero, 0.0 * inner(zero, zero, n)
    for t in terms:
        descent = descent - t.grad(zero)
    for t in terms:
        image = t.K(descent)
        along = along + inner(image, t.f.grad(image) - t.f.grad(torch.zeros_like(image)), t.f.ndim)
    curvature = along / inner(descent, descent, n)
    known = curvature.isfinite() & (curvature > 0)
    safe = torch.where(known, curvature, 1.0).to(x0.real.dtype)
    x = torch.where(_spread(known, n), descent / _spread(safe, n), x0)
    return x, torch.where(known, curvature, 0.0)


def on_image(t: Functional, domain: Space) -> Precomposed:
    """A term of the image itself as one of the identity."""
    return t @ _Identity(domain, domain)


class _Identity(Linear):
    def _forward(self, x: Tensor) -> Tensor:
        return x

    def _adjoint(self, y: Tensor) -> Tensor:
        return y

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        return 1.0


def _spread(value: Tensor, n: int) -> Tensor:
    return value.reshape(*value.shape, *(1,) * n)
