"""Bilevel learning: certified descent of MAID, approximate gradients of HOAG."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from invreg.core import Linear, Precomposed, Space
from invreg.operators import LeastSquares
from invreg.solvers import HOAG, MAID, Bounds
from invreg.solvers.bilevel import conjugate_gradients, descend

pytestmark = pytest.mark.usefixtures("one_thread")


class Matrix(Linear):
    def __init__(self, matrix: Tensor) -> None:
        super().__init__(Space((matrix.shape[1],)), Space((matrix.shape[0],)))
        self.register_buffer("matrix", matrix)

    def _forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T

    def _adjoint(self, y: Tensor) -> Tensor:
        return y @ self.matrix


class Quadratic:
    """h = |A x + B theta - b|^2 / 2, its bounds exact; counts its gradients."""

    def __init__(self, A: Tensor, B: Tensor, b: Tensor) -> None:
        self.H, self.J, self.c = A.T @ A, A.T @ B, A.T @ b
        eigenvalues = torch.linalg.eigvalsh(self.H)
        self.low, self.high = float(eigenvalues[0]), float(eigenvalues[-1])
        self.norm = float(torch.linalg.matrix_norm(torch.linalg.solve(self.H, self.J), 2))

    def grad_x(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.H @ x + self.J @ theta - self.c

    def hvp(self, x: Tensor, theta: Tensor, v: Tensor) -> Tensor:
        return self.H @ v

    def mixed_vjp(self, x: Tensor, theta: Tensor, v: Tensor) -> Tensor:
        return self.J.T @ v

    def mu(self, theta: Tensor) -> float:
        return self.low

    def L(self, theta: Tensor) -> float:
        return self.high

    def bounds(self, x: Tensor, theta: Tensor, q: Tensor, eps: float) -> Bounds:
        return Bounds(self.norm, 0.0, 0.0)

    def solution(self, theta: Tensor) -> Tensor:
        return torch.linalg.solve(self.H, self.c - self.J @ theta)


def toy():
    """Matrices of 1000 x 10: the lower problem, the upper one, and the least value of f in closed form."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / math.sqrt(1000)

    A1, A2, A3 = normal(1000, 10), normal(1000, 10), normal(1000, 10)
    one = torch.ones(10, dtype=torch.float64)
    b1, b2 = A1 @ one + 0.01 * normal(1000), A2 @ one + A3 @ one + 0.01 * normal(1000)
    lower = Quadratic(A2, A3, b2)
    upper = Precomposed(LeastSquares(b1, ndim=1), Matrix(A1))
    M = -A1 @ torch.linalg.solve(lower.H, lower.J)  # f = |M theta + r|^2 / 2
    r = A1 @ torch.linalg.solve(lower.H, lower.c) - b1
    best = torch.linalg.lstsq(M, -r[:, None]).solution[:, 0]
    return lower, upper, M, r, float(0.5 * (M @ best + r).square().sum())


@pytest.fixture(scope="module")
def runs():
    lower, upper, M, r, best = toy()
    zero = torch.zeros(10, dtype=torch.float64)
    learned = {
        eps: MAID(lower, upper, eps=eps, delta=eps, nu=1.25).run(zero, zero, max_iter=1000, tol=2e-6)
        for eps in (1e-1, 1e-3, 1e-5)
    }
    return learned, M, r, best


def test_maid_ends_at_the_optimum_wherever_its_accuracy_starts(runs):
    learned, M, r, best = runs
    for found in learned.values():
        assert found.status == "converged"
        assert float(0.5 * (M @ found.theta + r).square().sum()) - best < 1e-7


def test_maid_descends_and_keeps_its_bound(runs):
    """The closed-form gradient lies within omega of z at each step, and the closed-form f never rises."""
    learned, M, r, _ = runs
    for found in learned.values():
        values = []
        for row in found.history:
            exact = M.T @ (M @ row["theta"] + r)
            assert float((row["z"] - exact).norm()) <= row["omega"] * (1 + 1e-9) + 1e-14
            values.append(float(0.5 * (M @ row["theta"] + r).square().sum()))
        assert len(values) > 50
        assert all(b <= a * (1 + 1e-12) for a, b in pairwise(values))


def test_the_work_of_maid_does_not_hang_on_its_first_accuracy(runs):
    work = np.array([[found.lower_steps, found.cg_steps] for found in runs[0].values()])
    assert (abs(work / work.mean(0) - 1) <= 0.1).all(), work


def test_a_fixed_accuracy_stalls(runs):
    """Without tightening (tau = 1) a coarse accuracy stops far from the optimum: the adaptivity is what gets there."""
    lower, upper, M, r, best = toy()
    zero = torch.zeros(10, dtype=torch.float64)

    class Fixed(MAID):
        def _tightened(self, s):
            return s._replace(eps=1e-15)  # ends the run

    found = Fixed(lower, upper, eps=1e-3, delta=1e-3, nu=1.0).run(zero, zero, max_iter=500)
    assert found.status == "stalled" and found.theta.isfinite().all()
    gaps = [float(0.5 * (M @ t + r).square().sum()) - best for t in (found.theta, runs[0][1e-3].theta)]
    assert gaps[0] > 100 * gaps[1]


@pytest.mark.parametrize("bad", [{"eps": 0.0}, {"delta": -1.0}, {"beta": math.nan}])
def test_maid_refuses(bad):
    lower, upper, *_ = toy()
    with pytest.raises(ValueError, match=f"MAID takes a finite {next(iter(bad))} > 0"):
        MAID(lower, upper, **bad)


def test_maid_refuses_a_reach_of_nothing():
    lower, upper, *_ = toy()
    with pytest.raises(ValueError, match="MAID takes a reach > 0"):
        MAID(lower, upper, reach=0.0)


def test_maid_says_what_is_not_finite():
    lower, upper, *_ = toy()
    zero = torch.zeros(10, dtype=torch.float64)
    assert MAID(lower, upper).run(zero * math.nan, zero, max_iter=5).status == "nonfinite"


def test_the_lower_solvers_reach_their_tolerance():
    lower, *_ = toy()
    theta, zero = torch.ones(10, dtype=torch.float64), torch.zeros(10, dtype=torch.float64)
    for tol in (1e-2, 1e-6, 1e-10):
        found = descend(lower, zero, theta, tol, 1000)
        assert found.residual <= tol
        assert float((found.x - lower.solution(theta)).norm()) <= tol / lower.low
        solved = conjugate_gradients(lambda v: lower.H @ v, lower.c, tol, zero, 100)
        assert float((lower.H @ solved.x - lower.c).norm()) <= 1.01 * tol and solved.steps <= 12


# Tikhonov deblurring of 32 x 32 pixels, whose weight is learned

SIZE = 32
BOUNDS = (-12.0, 0.0)


class Deblurring:
    """h = |A x - y|^2 / 2 + e^theta |x|^2 / 2, all diagonal in Fourier space."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        t = torch.linspace(-1, 1, SIZE, dtype=torch.float64)
        disc = ((t[:, None] ** 2 + t[None] ** 2) < 0.5).double()
        self.truth = (disc + 0.5 * ((t[:, None] - 0.2).abs() < 0.2) * ((t[None] + 0.1).abs() < 0.3))[None]
        f = torch.fft.fftfreq(SIZE, dtype=torch.float64)
        self.spectrum = torch.exp(-40 * (f[:, None] ** 2 + f[None] ** 2))
        noise = torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64)
        self.y = self.times(self.spectrum, self.truth) + 0.05 * noise

    def times(self, spectrum: Tensor, x: Tensor) -> Tensor:
        return torch.fft.ifft2(spectrum * torch.fft.fft2(x)).real

    def grad_x(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.hvp(x, theta, x) - self.times(self.spectrum, self.y)

    def hvp(self, x: Tensor, theta: Tensor, v: Tensor) -> Tensor:
        return self.times(self.spectrum**2 + theta.exp(), v)

    def mixed_vjp(self, x: Tensor, theta: Tensor, v: Tensor) -> Tensor:
        return theta.exp() * (x * v).sum()

    def mu(self, theta: Tensor) -> float:
        return float(theta.exp())

    def L(self, theta: Tensor) -> float:
        return float(1 + theta.exp())

    def bounds(self, x: Tensor, theta: Tensor, q: Tensor, eps: float) -> Bounds:
        weight = float(theta.exp())  # J = weight * x, mu = weight, H the same everywhere
        return Bounds(float(x.norm()) + eps, 0.0, weight)

    def solution(self, theta: Tensor | float) -> Tensor:
        return self.times(
            self.spectrum / (self.spectrum**2 + torch.as_tensor(theta, dtype=torch.float64).exp()), self.y
        )

    def value(self, theta: Tensor | float) -> float:
        return float(0.5 * (self.solution(theta) - self.truth).square().sum())


GRID = np.arange(-8.0, 0.0, 0.05)


def best_of_grid(lower: Deblurring) -> float:
    return float(GRID[np.argmin([lower.value(t) for t in GRID])])


START = torch.zeros(1, dtype=torch.float64)


def hoag(schedule: str):
    lower = Deblurring()
    problem = HOAG(lower, LeastSquares(lower.truth), schedule, bounds=BOUNDS)
    return problem.run(START, torch.zeros_like(lower.truth), max_iter=60, tol=1e-4)


def test_hoag_finds_the_weight_of_a_grid_search_with_less_work():
    lower = Deblurring()
    exact = hoag("exact")
    for schedule in ("quadratic", "cubic", "exponential"):
        found = hoag(schedule)
        assert abs(float(found.theta) - best_of_grid(lower)) < GRID[1] - GRID[0], schedule
        assert found.cg_steps <= 0.6 * exact.cg_steps, (schedule, found.cg_steps, exact.cg_steps)
    assert abs(float(exact.theta) - best_of_grid(lower)) < GRID[1] - GRID[0]


def test_maid_finds_it_too():
    lower = Deblurring()
    found = MAID(lower, LeastSquares(lower.truth), beta=0.1).run(START, torch.zeros_like(lower.truth), tol=1e-3)
    assert found.status == "converged"
    assert abs(float(found.theta) - best_of_grid(lower)) < GRID[1] - GRID[0]


@pytest.mark.parametrize("theta", [-1.0, -4.0])
def test_the_hypergradient_is_the_central_difference(theta):
    lower = Deblurring()
    at = torch.tensor([theta], dtype=torch.float64)
    found = []
    solved = HOAG(lower, LeastSquares(lower.truth), "exact", tol=1e-3)
    solved.run(at, torch.zeros_like(lower.truth), max_iter=1, callback=found.append)
    slope = (lower.value(theta + 1e-4) - lower.value(theta - 1e-4)) / 2e-4
    assert found[0]["gradient"] == pytest.approx(abs(slope), rel=1e-6)


@pytest.mark.parametrize("bad", [{"schedule": "linear"}, {"tol": 0.0}, {"bounds": (1.0, 0.0)}])
def test_hoag_refuses(bad):
    lower = Deblurring()
    with pytest.raises(ValueError, match="HOAG takes a schedule of"):
        HOAG(lower, LeastSquares(lower.truth), **bad)
