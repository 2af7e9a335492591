"""Schemes that the default solver was compared with, as short as research code: generators of (x, duals)."""

import math
from collections.abc import Iterator

import torch
from schemes.problems import Problem
from torch import Tensor

Iterates = Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]


def _start(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    data, prior, _ = problem.objective
    return torch.zeros(data.K.domain.shape), torch.zeros_like(problem.y), torch.zeros(prior.K.codomain.shape)


def chambolle_pock(problem: Problem, ratio: float = 1.0, relaxation: float = 1.0) -> Iterates:
    """On [A; D], sigma / tau = `ratio`, after Chambolle and Pock (2011); over-relaxed after Condat (2013)."""
    data, prior, _ = problem.objective
    x, u, p = _start(problem)
    size = math.hypot(data.K.norm(), prior.K.norm())
    tau, sigma = 0.999 / size / ratio**0.5, torch.tensor(0.999 / size * ratio**0.5)
    z, v, q = x, u, p
    while True:
        x = (z - tau * (data.K.adjoint(v) + prior.K.adjoint(q))).clamp(min=0)
        ahead = 2 * x - z
        u, p = data.ascend(v, ahead, sigma), prior.ascend(q, ahead, sigma)
        z, v, q = torch.lerp(z, x, relaxation), torch.lerp(v, u, relaxation), torch.lerp(q, p, relaxation)
        yield x, (u, p)


def diagonal(problem: Problem) -> Iterates:
    """Diagonally preconditioned, alpha = 1 (Pock and Chambolle 2011): row and column sums of |A| (A >= 0) and |D|."""
    data, prior, _ = problem.objective
    x, u, p = _start(problem)
    columns = data.K.adjoint(torch.ones_like(u)) + 4
    sigma = 1 / data.K(torch.ones_like(x)).clamp(min=1e-3)
    y, z, half = problem.y, x, torch.tensor(0.5)
    while True:
        u = (u + sigma * (data.K(z) - y)) / (1 + sigma)
        p = prior.ascend(p, z, half)
        new = (x - (data.K.adjoint(u) + prior.K.adjoint(p)) / columns).clamp(min=0)
        x, z = new, 2 * new - x
        yield x, (u, p)


def _prior_steps(problem: Problem, v: Tensor, tau: float, p: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Warm FISTA on the dual of the proximal map of TV and x >= 0."""
    prior = problem.objective[1]
    q, t, sigma = p, 1.0, torch.tensor(1 / (8 * tau))
    for _ in range(steps):
        new = prior.ascend(q, (v - tau * prior.K.adjoint(q)).clamp(min=0), sigma)
        t, before = (1 + math.sqrt(1 + 4 * t * t)) / 2, t
        p, q = new, torch.lerp(p, new, 1 + (before - 1) / t)
    return (v - tau * prior.K.adjoint(p)).clamp(min=0), p


def fista(problem: Problem, steps: int = 30) -> Iterates:
    """Beck and Teboulle (2009), restarted by the gradient (O'Donoghue and Candes 2015)."""
    data = problem.objective[0]
    x, _, p = _start(problem)
    tau, t, z = 1 / data.K.norm() ** 2, 1.0, x
    while True:
        u = data.K(z) - problem.y
        new, p = _prior_steps(problem, z - tau * data.K.adjoint(u), tau, p, steps)
        if float(((z - new) * (new - x)).sum()) > 0:
            t = 1.0
        t, before = (1 + math.sqrt(1 + 4 * t * t)) / 2, t
        z, x = new + (before - 1) / t * (new - x), new
        yield x, (u, p)


def accelerated(problem: Problem, steps: int = 10) -> Iterates:
    """Chambolle and Pock (2011), algorithm 2 on the dual, strongly convex with constant 1, with inner steps for TV."""
    data = problem.objective[0]
    x, u, p = _start(problem)
    sigma, tau, v = 1.0, 1 / data.K.norm() ** 2, u
    while True:
        x, p = _prior_steps(problem, x - tau * data.K.adjoint(v), tau, p, steps)
        new = data.ascend(u, x, torch.tensor(sigma))
        theta = 1 / math.sqrt(1 + 2 * sigma)
        sigma, tau = sigma * theta, tau / theta
        u, v = new, new + theta * (new - u)
        yield x, (u, p)
