"""Schemes that the default solver was compared with, as short as research code: generators of (x, duals)."""

import math
from collections.abc import Callable, Iterator

import torch
from schemes.problems import Problem
from torch import Tensor

from invreg.core import Functional, Linear, Space, inner, over_batch
from invreg.solvers import ADMM, PDHG

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


def default(problem: Problem) -> Iterates:
    """The project's default, as it is."""
    yield from _steps(problem, PDHG(problem.objective))


def former(problem: Problem) -> Iterates:
    """The default before: the gradient as a dual block like A, relaxation 1.9, steps from the distances travelled."""
    solver = PDHG(problem.objective, relaxation=1.9)
    object.__setattr__(solver, "inner", (False, False))
    yield from _steps(problem, solver)


def _steps(problem: Problem, solver: PDHG) -> Iterates:
    state = solver.init(torch.zeros(problem.truth.shape))
    while True:
        state = solver.step(state)
        yield state.x, state.duals


def admm(problem: Problem) -> Iterates:
    """invreg's: TV and x >= 0 split off, A in conjugate gradients (a pair each)."""
    data = problem.objective[0]
    solver = ADMM(problem.objective)
    state = solver.init(torch.zeros(problem.truth.shape))
    while True:
        state = solver.step(state)
        yield state.x, (data.f.grad(data.K(state.v)), state.duals[0])


class Balanced:
    """min_x max_u <K x, u> - F*(u) with K = [A; c D], |c D| = |A|, so that one step fits both: sigma D's is c^2 sigma.

    Points are (x, u, p) with p the dual of D, not of c D; `back` is K^T (u, p).
    The schemes on it start with the sigma / tau that was best of 1, 0.1, ... 1e-4 |K|^2 on four problems to choose by.
    """

    def __init__(self, problem: Problem) -> None:
        self.data, self.prior, _ = problem.objective
        self.c2 = (self.data.K.norm() / self.prior.K.norm()) ** 2
        self.norm = 2**0.5 * self.data.K.norm()

    def back(self, u: Tensor, p: Tensor) -> Tensor:
        return self.data.K.adjoint(u) + self.prior.K.adjoint(p)

    def ascend(self, u: Tensor, p: Tensor, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        return self.data.ascend(u, x, torch.tensor(sigma)), self.prior.ascend(p, x, torch.tensor(sigma * self.c2))

    def step(self, point: list[Tensor], omega: float) -> list[Tensor]:
        """Of PDHG with tau = 0.99 / (omega |K|), sigma = 0.99 omega / |K|."""
        x, u, p = point
        step = 0.99 / self.norm
        new = (x - step / omega * self.back(u, p)).clamp(min=0)
        return [new, *self.ascend(u, p, 2 * new - x, step * omega)]

    def distances(self, a: list[Tensor], b: list[Tensor]) -> tuple[float, float]:
        """|dx| and |(du, dp / c)|."""
        x, u, p = (float((v - w).norm()) for v, w in zip(a, b, strict=True))
        return x, math.hypot(u, p / self.c2**0.5)

    def residual(self, a: list[Tensor], b: list[Tensor], omega: float) -> float:
        """The distance in the steps' metric but for its cross term."""
        dx, du = self.distances(a, b)
        return math.hypot(dx * omega**0.5, du / omega**0.5)

    def weight(self, a: list[Tensor], b: list[Tensor], omega: float) -> float:
        """PDLP's smoothed |du| / |dx| of an epoch."""
        dx, du = self.distances(a, b)
        return math.sqrt(omega * du / dx) if dx > 0 and du > 0 else omega


def balanced(problem: Problem, ratio: float = 1e-3) -> Iterates:
    """Chambolle-Pock on it, sigma / tau = `ratio` |K|^2."""
    b = Balanced(problem)
    point = list(_start(problem))
    while True:
        point = b.step(point, b.norm * ratio**0.5)
        yield point[0], (point[1], point[2])


def line_search(problem: Problem, ratio: float = 1e-3) -> Iterates:
    """Malitsky and Pock (2018), algorithm 1, mu = 0.7, delta = 0.99; sigma / tau = `ratio` |K|^2."""
    b = Balanced(problem)
    beta = ratio * b.norm**2
    data, prior = b.data, b.prior
    x, u, p = _start(problem)
    tau, theta = 1 / b.norm / beta**0.5, 1.0
    back, Ax, Dx = b.back(u, p), u, p  # of x = 0, u = 0
    while True:
        x_new = (x - tau * back).clamp(min=0)
        Ax_new, Dx_new = data.K(x_new), prior.K(x_new)
        trial = tau * math.sqrt(1 + theta)
        while True:
            theta, sigma = trial / tau, torch.tensor(beta * trial)
            u_new = data.f.conj_prox(u + sigma * torch.lerp(Ax, Ax_new, 1 + theta), sigma)
            p_new = prior.f.conj_prox(p + b.c2 * sigma * torch.lerp(Dx, Dx_new, 1 + theta), b.c2 * sigma)
            back_new = b.back(u_new, p_new)
            moved = b.distances([x, u_new, p_new], [x, u, p])[1]
            if beta**0.5 * trial * float((back_new - back).norm()) <= 0.99 * moved:
                break
            trial *= 0.7
        x, u, p, back, Ax, Dx, tau = x_new, u_new, p_new, back_new, Ax_new, Dx_new, trial
        yield x, (u, p)


def restarted(problem: Problem, first_ratio: float = 0.01, every: int = 20) -> Iterates:
    """PDHG restarted from the better of its last point and their mean, with adaptive primal weight, after PDLP.

    Applegate et al. (2021), its rules on the fixed-point residual instead of the normalised gap, looked at (two pairs)
    `every` steps.
    """
    b = Balanced(problem)
    point = start = mean = list(_start(problem))
    omega, total, k, last = b.norm * first_ratio**0.5, 0, 0, math.inf
    first = b.residual(b.step(point, omega), point, omega)
    while True:
        point = b.step(point, omega)
        k, total = k + 1, total + 1
        mean = [torch.lerp(m, v, 1 / k) for m, v in zip(mean, point, strict=True)]
        yield mean[0], (mean[1], mean[2])
        if k % every:
            continue
        now, best = min(((b.residual(b.step(v, omega), v, omega), v) for v in (point, mean)), key=lambda pair: pair[0])
        if now <= 0.2 * first or (now <= 0.8 * first and now > last) or k >= 0.36 * total:
            omega = b.weight(best, start, omega)
            point = start = mean = best
            first, last, k = now, math.inf, 0
        else:
            last = now


def halpern(problem: Problem, first_ratio: float = 1e-3) -> Iterates:
    """Restarted reflected Halpern PDHG (Lu and Yang 2024), adaptive weight."""
    b = Balanced(problem)
    point = start = list(_start(problem))
    omega, total, k, first, last = b.norm * first_ratio**0.5, 0, 0, math.inf, math.inf
    while True:
        new = b.step(point, omega)
        total += 1
        yield new[0], (new[1], new[2])
        now = b.residual(new, point, omega)
        first = now if k == 0 else first
        if k > 0 and (now <= 0.2 * first or (now <= 0.8 * first and now > last) or k >= 0.36 * max(total, 28)):
            omega = b.weight(new, start, omega)
            point = start = new
            k, last = 0, math.inf
            continue
        k, last = k + 1, now
        point = [torch.lerp(s, 2 * n - z, k / (k + 1)) for s, n, z in zip(start, new, point, strict=True)]


class Ramp(Linear):
    """R, the square root of the metric m = floor + (1 - floor) |frequency| / its largest, along the detector."""

    def __init__(self, sinograms: Space, floor: float) -> None:
        super().__init__(sinograms, sinograms)
        self.bins = sinograms.shape[-1]
        self.metric = torch.lerp(2 * torch.fft.rfftfreq(self.bins), torch.ones(()), floor)

    def by(self, factors: Tensor, y: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(y) * factors, n=self.bins)

    def _forward(self, x: Tensor) -> Tensor:
        return self.by(self.metric.sqrt(), x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)


class Misfit(Functional):
    """f(z) = |R^-1 z - y|^2 / 2."""

    def __init__(self, R: Ramp, y: Tensor) -> None:
        super().__init__()
        self.R, self.data = R, y

    def grad(self, x: Tensor) -> Tensor:
        return self.R.by(1 / self.R.metric, x - self.R(self.data))

    def forward(self, x: Tensor) -> Tensor:
        rest = self.R.by(self.R.metric.rsqrt(), x) - self.data
        return inner(rest, rest, 2) / 2

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        back = self.R(u)
        return inner(back, back, 2) / 2 + inner(back, self.data, 2)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        s = over_batch(step, u, 2)
        return self.R.by(1 / (1 + s * self.R.metric), u - s * self.R(self.data))


class Ramped(Problem):
    """A scan's problem with the data's dual in the metric of a ramp filter, in which A A^T is closer to the identity.

    f(A x) = f(R^-1 (R A) x): as a term of R A its dual v is R^-1 times that of A, so |v|^2 is |u|^2 in the metric.
    """

    def __init__(self, problem: Problem, floor: float) -> None:
        data, *others = problem.objective
        R = Ramp(data.K.codomain, floor)
        K = R @ data.K
        norm = K.norm()
        K.norm = lambda *_: norm
        vars(self).update(
            vars(problem), R=R, y=problem.y, truth=problem.truth, objective=(Misfit(R, problem.y) @ K, *others)
        )


def ramped(scheme: Callable[[Problem], Iterates], floor: float = 0.1) -> Callable[[Problem], Iterates]:
    """The scheme on the `Ramped` problem; a blur has no ramp and stays as it is.

    floor: of 0.1, 0.03 and 0.01 the one that cost the default no pairs on six problems to choose by.
    """

    def on(problem: Problem) -> Iterates:
        if problem.kind == "blur":
            return scheme(problem)
        other = Ramped(problem, floor)
        return ((x, (other.R(v), p)) for x, (v, p) in scheme(other))

    return on
