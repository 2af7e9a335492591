"""Total variation denoising: the proximal maps of the family, with a certified primal-dual gap."""

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from invreg.core import inner
from invreg.operators.tomography.threads import run
from invreg.priors.jacobian import Jacobian
from invreg.priors.tv import TV, _Variation

EVERY = 10  # steps between two looks at the gap
STALLED = 30  # looks, and a quarter of those before, without a gap smaller by a fifth: round-off
BLOCK = 2**14  # pixels of an image that a step takes at a time: the blocks of EVERY steps fit the cache
LARGE = 2**16  # pixels from which the rows of one image are shared by the threads


def tv_denoise(
    y: Tensor, weight: Tensor | float, *, prior: _Variation | None = None, tol: float = 1e-4, max_iter: int = 2000
) -> tuple[Tensor, Tensor]:
    """argmin_x |x - y|^2 / 2 + weight * prior(x) of an image y, and its relative gap (*batch,), in float64.

    `y` (*batch, h, w), or as `prior` takes it: a member of the family, by default TV of two axes. `weight` > 0, in
    the unit of y: a number or one for each item. The objective at the returned x is above its minimum by at most
    the gap times itself, also where `max_iter` or round-off ended the steps before the gap was `tol` (in float32 at
    about 1e-6). An image that is not finite has the gap nan. Under autograd the steps are recorded.

    Accelerated projected gradients on the dual, each item restarted where its dual objective falls. Sources: Beck and
    Teboulle, IEEE Trans. Image Process. 18 (2009); O'Donoghue and Candes (2015). Raises ValueError for a weight that
    is not positive and finite, or a `tol` or `max_iter` below 0.
    """
    if prior is None:
        if y.ndim < 2:
            raise ValueError(f"tv_denoise takes an image (*batch, h, w), or a prior for others; got {tuple(y.shape)}")
        prior = TV((y.shape[-2], y.shape[-1]), complex=y.is_complex())
    weights = torch.as_tensor(weight, dtype=torch.float64)
    if not bool(((weights > 0) & weights.isfinite()).all()):
        raise ValueError(f"tv_denoise takes a finite weight > 0; got {weight}")
    if not tol >= 0 or max_iter < 0:
        raise ValueError(f"tv_denoise takes tol >= 0 and max_iter >= 0; got tol={tol}, max_iter={max_iter}")
    prior.K.domain.check(y, "tv_denoise")
    if y.is_complex() and type(prior.K) is Jacobian:
        return _as_channels(y, weight, prior, prior.K, tol, max_iter)
    g = weights.to(y.device) * prior
    recorded = torch.is_grad_enabled() and y.requires_grad
    with torch.set_grad_enabled(recorded):
        return _accelerate(_Torch(g, y) if recorded or g.kernels(y) is None else _Numba(g, y), tol, max_iter)


def _as_channels(
    y: Tensor, weight: Tensor | float, prior: _Variation, K: Jacobian, tol: float, max_iter: int
) -> tuple[Tensor, Tensor]:
    """The same of a complex image, whose real and imaginary parts are two channels under one length."""
    at, spacing = y.ndim - len(K.shape), K.gradient.spacing
    parts = torch.view_as_real(y).movedim(-1, at)  # (*batch, [channel,] part, *shape)
    flat = parts.reshape(*K.domain.batch(y), 2 * K.channels, *K.shape)
    real = _Variation(prior.f, Jacobian(K.shape, spacing, 2 * K.channels, apart=not prior.isotropic), prior.tol)
    x, gap = tv_denoise(flat, weight, prior=real, tol=tol, max_iter=max_iter)
    return torch.view_as_complex(x.reshape(parts.shape).movedim(at, -1).contiguous()), gap


class _Torch:
    """Steps and gaps by the prior's own operations, on any device; all items of the batch at once."""

    def __init__(self, g: _Variation, y: Tensor) -> None:
        self.g, self.y, self.batch = g, y, g.K.domain.batch(y)
        self.u = y.new_zeros(*self.batch, *g.K.codomain.shape)
        self.v = self.u
        norm = g.K.norm()
        self.sigma = torch.full(self.batch, 1 / norm**2 if norm else 1.0, dtype=torch.float64, device=y.device)
        self.x = y

    def gap(self) -> tuple[Tensor, Tensor]:
        """Objective and gap, (*batch,), at x = y - K^T u, which is kept."""
        n = self.g.ndim
        back = self.g.K.adjoint(self.u)
        self.x = self.y - back
        slope = self.g.K(self.x)
        value = self.g.f(slope)
        product = inner(self.u, slope, self.g.f.ndim)
        return inner(back, back, n) / 2 + value, value + self.g.f.conj(self.u) - product

    def restart(self, which: Tensor) -> None:
        self.v = torch.where(self._wide(which), self.u, self.v)

    def steps(self, betas: Tensor, active: Tensor) -> None:
        """One step for each row of `betas` (step, *batch), for the `active` items."""
        chosen = self._wide(active)
        u, v = self.u, self.v
        for beta in betas:
            x = self.y - self.g.K.adjoint(v)
            new = self.g.ascend(v, x, self.sigma)
            v = new + self._wide(beta).to(new.real.dtype) * (new - u)
            u = new
        self.u, self.v = torch.where(chosen, u, self.u), torch.where(chosen, v, self.v)

    def _wide(self, value: Tensor) -> Tensor:
        return value.reshape(*value.shape, *(1,) * self.g.f.ndim)


class _Numba:
    """The same by the kernels of the CPU, in place and item by item."""

    def __init__(self, g: _Variation, y: Tensor) -> None:
        K = g.kernels(y)
        assert K is not None
        self.K, self.g, self.batch = K, g, K.domain.batch(y)
        self.x = y.detach().clone(memory_format=torch.contiguous_format)
        u = y.new_zeros(*self.batch, *K.codomain.shape)
        self.y, self.images, self.u, self.v = K.images(y), K.images(self.x), K.fields(u), K.fields(u.clone())
        self.inverse, self.radius = K.inverses(y), g.radii(K, self.batch, y.dtype)
        norm = K.norm()
        self.sigma = 1 / norm**2 if norm else 1.0

    def gap(self) -> tuple[Tensor, Tensor]:
        from invreg.priors.kernels_cpu import gap, residual

        K, g, rows = self.K, self.g, np.zeros((len(self.y), math.prod(self.K.box[:2]), 2))
        items = list(zip(self.y, self.u, self.images, self.radius, rows, strict=True))
        K.in_bands([partial(residual, y, u, self.inverse, x) for y, u, x, _, _ in items])
        K.in_bands([partial(gap, y, u, x, self.inverse, r, g.soft, g.isotropic, out) for y, u, x, r, out in items])
        primal, excess = torch.from_numpy(rows.sum(1)).reshape(*self.batch, 2).unbind(-1)
        return primal, excess

    def restart(self, which: Tensor) -> None:
        for i in which.reshape(-1).nonzero().flatten().tolist():
            self.v[i] = self.u[i]

    def steps(self, betas: Tensor, active: Tensor) -> None:
        from invreg.priors.kernels_cpu import ascend_ahead, fista, residual

        K, g, s, inverse = self.K, self.g, self.sigma, self.inverse
        factors = betas.reshape(len(betas), -1).T.numpy()
        chosen = active.reshape(-1).nonzero().flatten().tolist()
        options = s, s * g.soft, g.isotropic
        if torch.get_num_threads() == 1 or math.prod(K.domain.shape) < LARGE:
            depth, height, width = K.box
            block = height if depth > 1 else max(BLOCK // width, 1)
            arrays = [(self.y[i], self.u[i], self.v[i], self.images[i], inverse, self.radius[i]) for i in chosen]
            betas_each = [np.ascontiguousarray(factors[i]) for i in chosen]
            run([partial(fista, *a, *options, b, block) for a, b in zip(arrays, betas_each, strict=True)])
            return
        for i in chosen:
            y, u, v, x = self.y[i], self.u[i], self.v[i], self.images[i]
            for beta in factors[i].tolist():
                K.in_bands([partial(residual, y, v, inverse, x)])
                K.in_bands([partial(ascend_ahead, x, u, v, inverse, self.radius[i], *options, beta)])


def _accelerate(method: _Torch | _Numba, tol: float, max_iter: int) -> tuple[Tensor, Tensor]:
    """Run until every item has the relative gap `tol`, or no smaller one any more; the images and their gaps."""
    batch, eps = method.batch, torch.finfo(method.x.dtype).eps
    t = torch.ones(batch, dtype=torch.float64)
    active = torch.ones(batch, dtype=torch.bool)
    best = torch.full(batch, math.inf, dtype=torch.float64)
    dual, looks = -best, torch.zeros(batch, dtype=torch.int64)
    done = 0
    while True:
        primal, gap = (value.detach().cpu() for value in method.gap())
        better = gap < 0.8 * best
        looks = torch.where(better, 0, looks + 1)
        best = torch.where(better, gap, best)
        active = active & (gap > tol * primal) & (looks < STALLED + done / EVERY / 4)
        if done >= max_iter or not bool(active.any()):
            break
        fell = active & (primal - gap < dual - eps * primal)
        if bool(fell.any()):
            method.restart(fell)
            t = torch.where(fell, 1.0, t)
        dual = primal - gap
        betas = []
        for _ in range(min(EVERY, max_iter - done)):
            following = (1 + (1 + 4 * t * t).sqrt()) / 2
            betas.append((t - 1) / following)
            t = following
        method.steps(torch.stack(betas), active)
        done += len(betas)
    return method.x, (gap / primal.clamp(min=torch.finfo(torch.float64).tiny)).clamp(min=0).to(method.x.device)
