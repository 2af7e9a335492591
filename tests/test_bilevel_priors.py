"""Parameters of priors learned from pairs: the derivatives, and what is learned, against grids and differences."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from invreg.core import Functional
from invreg.operators import Gradient, LeastSquares
from invreg.priors import FieldsOfExperts, SmoothTV
from invreg.solvers import MAID, Variational
from invreg.solvers.bilevel import descend

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 16


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pairs(n: int, noise: float, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Images of rectangles, and noisy ones."""
    at = np.random.default_rng(0).integers(1, size // 2, (n, 3, 4))
    x = torch.zeros(n, size, size, dtype=torch.float64)
    for i in range(n):
        for top, left, h, w in at[i]:
            x[i, top : top + h, left : left + w] += 0.5
    return x, x + noise * random(n, size, size, seed=1)


def smooth_tv(theta: Tensor) -> Functional:
    return SmoothTV((SIZE, SIZE), theta[0].exp(), theta[1].exp())


def weighted_tv(theta: Tensor) -> Functional:
    return SmoothTV((SIZE, SIZE), theta.exp().reshape(SIZE, SIZE), 0.1)


def tikhonov(theta: Tensor) -> Functional:
    return theta[0].exp() * (
        LeastSquares(torch.zeros(2, SIZE, SIZE, dtype=torch.float64), ndim=3) @ Gradient((SIZE, SIZE))
    )


def experts(theta: Tensor) -> Functional:
    return FieldsOfExperts.from_theta(theta, 3, 3)


EXPERTS = torch.cat([torch.full((3,), -3.0).double(), torch.full((3,), -2.0).double(), random(27, seed=5)])
PRIORS = {
    "smooth TV": (smooth_tv, torch.tensor([-2.0, -3.0], dtype=torch.float64)),
    "weighted TV": (weighted_tv, -2 + 0.3 * random(SIZE * SIZE)),
    "Tikhonov": (tikhonov, torch.tensor([-1.0], dtype=torch.float64)),
    "fields of experts": (experts, EXPERTS),
}
every_prior = pytest.mark.parametrize("name", PRIORS)


def lower_of(name: str, y: Tensor) -> Variational:
    return Variational(LeastSquares(y), PRIORS[name][0], strength=1.0)


@every_prior
def test_second_derivatives(name):
    """hvp and mixed_vjp, and J u, against central differences of the gradient."""
    y = pairs(2, 0.1)[1]
    lower, theta = lower_of(name, y), PRIORS[name][1]
    v, x, u, h = random(*y.shape, seed=2), y + 0.1, random(*theta.shape, seed=3), 1e-5
    along = (lower.grad_x(x + h * v, theta) - lower.grad_x(x - h * v, theta)) / (2 * h)
    torch.testing.assert_close(lower.hvp(x, theta, v), along, rtol=1e-4, atol=1e-5)
    along = (lower.grad_x(x, theta + h * u) - lower.grad_x(x, theta - h * u)) / (2 * h)
    torch.testing.assert_close(lower._jvp(x, theta, u), along, rtol=1e-4, atol=1e-6)
    assert float((lower.mixed_vjp(x, theta, v) * u).sum()) == pytest.approx(float((v * along).sum()), rel=1e-5)


@every_prior
def test_the_constants_hold(name):
    """The Hessian's quotients lie in [mu, L]."""
    y = pairs(2, 0.1)[1]
    lower, theta = lower_of(name, y), PRIORS[name][1]
    for seed in range(5):
        v = random(*y.shape, seed=seed)
        quotient = float((v * lower.hvp(y, theta, v)).sum() / v.square().sum())
        assert lower.mu(theta) <= quotient <= lower.L(theta)


@every_prior
def test_the_sensitivity(name):
    """That of one parameter is |H^-1 J|, of several |J| / mu, as dense matrices give them."""
    y = pairs(1, 0.1)[1]
    lower, theta = lower_of(name, y), PRIORS[name][1]
    J = torch.stack([lower._jvp(y, theta, u).flatten() for u in torch.eye(len(theta), dtype=torch.float64)], 1)
    H = torch.stack([lower.hvp(y, theta, v.reshape(y.shape)).flatten() for v in torch.eye(y.numel()).double()])
    moved = float(torch.linalg.matrix_norm(torch.linalg.solve(H, J), 2))
    found = lower.bounds(y, theta, random(*y.shape), 1e-2).sensitivity
    if len(theta) == 1:
        assert found == pytest.approx(moved, rel=0.02)
    else:
        exact = float(torch.linalg.matrix_norm(J, 2))
        assert max(moved, 0.8 * exact) <= found <= exact * (1 + 1e-9)


def test_the_lipschitz_constants_of_a_quadratic_in_closed_form():
    """Of Tikhonov the Hessian is the same everywhere, and J = e^theta D^T D x."""
    y = pairs(2, 0.1)[1]
    lower, theta, q = lower_of("Tikhonov", y), PRIORS["Tikhonov"][1], random(2, SIZE, SIZE)
    found = lower.bounds(y, theta, q, 1e-2)
    D = Gradient((SIZE, SIZE))
    along = float(theta.exp()) * float(D.adjoint(D(q)).norm() / q.norm())  # what the worst displacement shows
    assert found.hessian_lipschitz < 1e-12 and 0 < found.jacobian_lipschitz <= along * (1 + 1e-9)


@every_prior
def test_the_hypergradient_is_a_central_difference(name):
    truth, y = pairs(2, 0.1)
    lower, (_, theta) = lower_of(name, y), PRIORS[name]
    learner = MAID(lower, LeastSquares(truth), eps=1e-9, delta=1e-9)
    rows = []
    learner.run(theta, y, max_iter=1, callback=rows.append)
    u = random(*theta.shape, seed=4)

    def value(at: Tensor) -> float:
        return learner.value(descend(lower, y, at, 1e-11, 20_000).x)

    slope = (value(theta + 1e-4 * u) - value(theta - 1e-4 * u)) / 2e-4
    assert float((rows[0]["z"] * u).sum()) == pytest.approx(slope, rel=1e-4)


def test_the_weight_of_total_variation_is_that_of_a_grid_search():
    truth, y = pairs(2, 0.1, 32)
    lower = Variational(LeastSquares(y), lambda t: SmoothTV((32, 32), t[0].exp(), 0.03), strength=1.0)
    learner = MAID(lower, LeastSquares(truth), eps=1e-2, delta=1e-2, beta=0.1)
    found = learner.run(torch.tensor([-4.0], dtype=torch.float64), y, max_iter=40, tol=2e-2)

    def value(t: float) -> float:
        return learner.value(descend(lower, y, torch.tensor([t], dtype=torch.float64), 1e-4, 5000).x)

    grid = np.arange(-2.5, -1.0, 0.05)
    best = grid[np.argmin([value(t) for t in grid])]
    assert float(found.theta) == pytest.approx(best, abs=0.05)
    values = [row["upper"] for row in found.history]
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("name", ["weighted TV", "fields of experts"])
def test_more_parameters_explain_the_pairs_better(name):
    """f falls at every step, and below the best of one weight (weighted TV) or the noisy images (experts)."""
    truth, y = pairs(2, 0.2)
    lower, theta = lower_of(name, y), PRIORS[name][1]
    learner = MAID(lower, LeastSquares(truth), eps=1e-2, delta=1e-2, beta=0.5)
    found = learner.run(theta, y, max_iter=12)
    values = [row["upper"] for row in found.history if row["step"] > 0]
    exact = [learner.value(descend(lower, y, row["theta"], 1e-6, 20_000).x) for row in found.history[::4]]
    assert all(b < a for a, b in pairwise(exact))
    single = [
        learner.value(descend(lower_of("weighted TV", y), y, torch.full((SIZE**2,), t).double(), 1e-5, 20_000).x)
        for t in np.arange(-3.5, 0, 0.25)
    ]
    assert values[-1] < (min(single) if name == "weighted TV" else learner.value(y))


@pytest.mark.parametrize("bad", [{}, {"ridge": -1.0}, {"strength": float("nan")}])
def test_a_lower_problem_without_strong_convexity_is_refused(bad):
    with pytest.raises(ValueError, match="ridge and strength >= 0 with a sum > 0"):
        Variational(LeastSquares(torch.zeros(4, 4)), smooth_tv, **bad)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_smooth_tv_refuses(bad):
    with pytest.raises(ValueError, match="finite weights > 0"):
        SmoothTV((4, 4), bad)
    with pytest.raises(ValueError, match="finite smoothing > 0"):
        SmoothTV((4, 4), 1.0, bad)
    with pytest.raises(ValueError, match="one number as smoothing"):
        SmoothTV((4, 4), 1.0, torch.ones(4, 4))


def test_fields_of_experts_refuse():
    with pytest.raises(ValueError, match="size odd"):
        FieldsOfExperts(torch.ones(2, 4, 4), torch.ones(2), torch.ones(2))
    with pytest.raises(ValueError, match="2 finite weights > 0"):
        FieldsOfExperts(torch.ones(2, 3, 3), torch.zeros(2), torch.ones(2))
    with pytest.raises(ValueError, match=r"48 filters of 7 x 7 take theta \(2448,\); got \(2449,\)"):
        FieldsOfExperts.from_theta(torch.zeros(2449))
