"""Where the gradient of a convex network takes a given value: Newton's method with conjugate gradients, in batches."""

from typing import NamedTuple

import torch
from torch import Tensor

from invreg.priors.icnn import Potential

INNER = 200  # conjugate gradients a Newton step
ACROSS = 1e-7  # root mean square of the difference for products with the Hessian, for images of about [0, 1]
FLAT = 1e-8  # curvatures below are within ten times the round-off of these differences, 1e-16 / ACROSS
FAR = 1e6  # root mean square of the way from the start beyond which a sequence has diverged


class Inversion(NamedTuple):
    """How an inversion went, (*batch,): |f(y) - x| in the unit of the images, what failed, Newton steps taken."""

    residual: Tensor
    failed: Tensor
    iterations: Tensor


def value_and_gradient(psi: Potential, x: Tensor) -> tuple[Tensor, Tensor]:
    """psi(x) and its gradient for items (item, *shape), without a graph, also where gradients are off."""
    with torch.inference_mode(False), torch.enable_grad():
        own = x.detach().clone().requires_grad_()
        value = psi(own)
        return value.detach(), torch.autograd.grad(value.sum(), own)[0]


class _Problem(NamedTuple):
    """min_y (1 - tau) psi(y) + tau |y|^2 / 2 - <x, y>, one for each item: x (item, *shape), tau (item,)."""

    psi: Potential
    x: Tensor
    tau: Tensor

    def at(self, items: Tensor) -> "_Problem":
        return _Problem(self.psi, self.x[items], self.tau[items])

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, its round-off and gradient at y."""
        psi, slope = value_and_gradient(self.psi, y)
        parts = torch.stack([(1 - self.tau) * psi, self.tau * _dot(y, y) / 2, -_dot(self.x, y)])
        round_off = 10 * torch.finfo(y.dtype).eps * parts.abs().sum(0)
        return parts.sum(0), round_off, _times(1 - self.tau, slope) + _times(self.tau, y) - self.x

    def newton_step(self, y: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The step d of Newton's method to a relative residual of a tenth or less, and where it is none: the problem
        has no curvature left along some direction of it.

        Products with the Hessian are differences of gradients: a graph of second derivatives would hold all
        activations of a large image at once.
        """
        size = _dot(gradient, gradient).sqrt()
        root_n = gradient[0].numel() ** 0.5
        stop = size * (size / root_n).sqrt().clamp(1e-4, 0.1)
        d, residual, direction = torch.zeros_like(y), -gradient, -gradient
        norm2, flat = size.square(), torch.zeros_like(size, dtype=torch.bool)
        active = size > 0
        for _ in range(min(INNER, 2 * gradient[0].numel())):
            now = active.nonzero()[:, 0]
            if not len(now):
                break
            p, length2 = direction[now], _dot(direction[now], direction[now])
            h = ACROSS * root_n / length2.sqrt()
            product = _times(1 / h, self.at(now)(y[now] + _times(h, p))[2] - gradient[now])
            curvature = _dot(p, product)
            none = curvature <= FLAT * length2
            first = none & (_dot(d[now], d[now]) == 0)  # then the gradient, as it is
            t = torch.where(none, first.to(h), norm2[now] / curvature)
            d[now] += _times(t, p)
            residual[now] -= _times(t, product)
            new = _dot(residual[now], residual[now])
            direction[now] = residual[now] + _times(new / norm2[now], p)
            norm2[now] = new
            flat[now] = none
            active[now] = ~none & (new > stop[now].square())
        return d, flat


def invert(psi: Potential, x: Tensor, tau: Tensor, tol: float, max_iter: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y with (1 - tau) grad psi(y) + tau y = x for items x (item, *shape) of about [0, 1] and tau (item,) in [0, 1).

    Returns y, the residuals, which items failed and their iterations. An item is done where the root mean square of
    its residual is at most `tol` and Newton's step from there is short against the way that led there: where x is on
    the edge of what the gradient takes, residuals fall to 0 along a sequence that diverges, in steps that do not
    shrink. All items go at once, each stops by itself.
    """
    problem = _Problem(psi, x, tau)
    y, root_n = x.clone(), x[0].numel() ** 0.5
    value, round_off, gradient = problem(y)
    failed, iterations = torch.ones_like(tau, dtype=torch.bool), torch.zeros_like(tau, dtype=torch.int64)
    running = value.isfinite() & _dot(gradient, gradient).isfinite()
    for _ in range(max_iter + 1):
        now = running.nonzero()[:, 0]
        if not len(now):
            break
        d, flat = problem.at(now).newton_step(y[now], gradient[now])
        way, step = _norm(y[now] - x[now]), _norm(d)
        done = (_norm(gradient[now]) <= tol * root_n) & (step <= 1e-3 * way) & ~flat
        failed[now], running[now] = ~done, ~done & (way <= FAR * root_n) & (iterations[now] < max_iter)
        now, d = now[running[now]], d[running[now]]
        slope, t, searching = _dot(gradient[now], d), torch.ones_like(tau[now]), torch.ones_like(now, dtype=torch.bool)
        start, before = y[now], value[now]
        for _ in range(40):
            if not bool(searching.any()):
                break
            trial = start + _times(t, d)
            found = problem.at(now)(trial)
            good = searching & (found[0] <= before + 1e-4 * t * slope + round_off[now]) & found[0].isfinite()
            y[now[good]] = trial[good]
            value[now[good]], round_off[now[good]], gradient[now[good]] = (part[good] for part in found)
            searching = searching & ~good
            t = torch.where(searching, 0.5 * t, t)
        running[now[searching]] = False  # no descent to be had
        iterations[now] += 1
    return y, _norm(gradient), failed, iterations


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def _norm(a: Tensor) -> Tensor:
    return _dot(a, a).sqrt()


def _times(c: Tensor, x: Tensor) -> Tensor:
    return c.reshape(-1, *(1,) * (x.ndim - 1)) * x
