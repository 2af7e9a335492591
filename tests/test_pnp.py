"""Plug and play with priors whose value is known: fixed points, descent, and what is refused."""

import math
import pickle
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from members import uniform
from torch import Tensor, nn

from invreg.core import Functional, Linear, solve
from invreg.operators import Blur, Gradient, LeastSquares, Mask, Parallel2D, Poisson, StudentT, XRay
from invreg.priors import LPN, Box, GroupL1, NonNegative, SquaredL2
from invreg.priors.icnn import ConvPotential
from invreg.solvers import PnPADMM, PnPPGD

SHAPE = (8, 8)
KERNEL = torch.tensor([[0.05, 0.1, 0.05], [0.1, 0.5, 0.1], [0.0, 0.1, 0.0]], dtype=torch.float64)
OPERATORS: dict[str, Callable[[], Linear]] = {
    "deblurring": lambda: Blur(KERNEL, SHAPE),
    "deblurring, valid": lambda: Blur(KERNEL, SHAPE, "valid"),
    "inpainting": lambda: Mask(uniform(*SHAPE) > 0.5),
    "tomography": lambda: XRay(Parallel2D(np.array([0.0, 0.4, 1.2, 2.0, 2.9]), 11), SHAPE).double(),
}
every_operator = pytest.mark.parametrize("name", OPERATORS)


class Quadratic(nn.Module):
    """psi(x) = x^T M x / 2 with the eigenvalues of M from 0.3 to 0.9: f = M, so that R(x) = x^T (M^-1 - 1) x / 2."""

    modulus = 0.0

    def __init__(self, shape: tuple[int, int], seed: int = 0) -> None:
        super().__init__()
        n = math.prod(shape)
        basis = torch.linalg.qr(uniform(n, n, low=-1, seed=seed))[0]
        self.shape = (1, *shape)
        self.register_buffer("matrix", basis @ torch.diag(uniform(n, low=0.3, high=0.9, seed=seed + 1)) @ basis.T)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return 0.5 * (flat @ self.matrix * flat).sum(1)


class Shrinking(nn.Module):
    """psi(x) = sum of x^2 / 2 - log cosh(x) / 2, so that f(y) = y - tanh(y) / 2, with slopes in [1/2, 1): R convex."""

    shape, modulus = (1, None, None), 0.5

    def forward(self, x: Tensor) -> Tensor:
        return (0.5 * x.square() - 0.5 * (nn.functional.softplus(2 * x) - x - math.log(2))).flatten(1).sum(1)


def network(seed: int = 0) -> ConvPotential:
    """A convex network with random weights: no denoiser, but a proximal map, of a nonconvex function."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        psi = ConvPotential((1, *SHAPE), hidden=8, strides=(2, 1), beta=10.0, alpha=0.05)
        with torch.no_grad():
            for p in psi.parameters():
                p.add_(0.1 * p.abs().mean() * torch.randn_like(p))
            psi.last.weight.mul_(2)
    psi.project()
    return psi.double().requires_grad_(False)


def measured(A: Linear, *batch: int, noise: float = 0.02, seed: int = 5) -> Tensor:
    clean = A(uniform(*batch, *A.domain.shape, seed=seed))
    return clean + noise * torch.randn(clean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def start(A: Linear, *batch: int) -> Tensor:
    return torch.zeros(*batch, *A.domain.shape, dtype=torch.float64)


def dense(A: Linear) -> Tensor:
    basis = torch.eye(A.domain.size, dtype=torch.float64).reshape(-1, *A.domain.shape)
    return A(basis).reshape(A.domain.size, -1).T


# Where they end


@every_operator
def test_a_quadratic_prior_gives_the_solution_of_a_linear_system(name):
    A = OPERATORS[name]()
    y, prior = measured(A), LPN(Quadratic(SHAPE))
    M, K = prior.psi.matrix, dense(A)
    curvature = torch.linalg.inv(M) - torch.eye(len(M), dtype=torch.float64)
    pgd = PnPPGD([LeastSquares(y) @ A, prior])
    admm = PnPADMM([LeastSquares(y) @ A, prior])
    for solver, weight in ((pgd, 1 / pgd.step_size), (admm, admm.penalty)):
        exact = torch.linalg.solve(K.T @ K + weight * curvature, K.T @ y.flatten()).reshape(SHAPE)
        result = solve(solver, start(A), max_iter=5000, tol=1e-11).check()
        torch.testing.assert_close(result.x, exact, rtol=1e-7, atol=1e-8)
        # the objective by the preimage is that of the closed form
        flat = exact.flatten()
        least = 0.5 * (K @ flat - y.flatten()).square().sum() + 0.5 * weight * flat @ curvature @ flat
        scale = weight if solver is pgd else 1.0
        assert result.history[-1]["objective"] * scale == pytest.approx(float(least), rel=1e-7)


def test_a_weight_below_one_is_within_the_proof_too():
    """eta h + c R at a weight of the data that no step of the whole R may have, against the closed form."""
    A, c = OPERATORS["deblurring"](), 0.2
    y, prior = measured(A), LPN(Quadratic(SHAPE))
    M, K = prior.psi.matrix, dense(A)
    curvature = torch.linalg.inv(M) - torch.eye(len(M), dtype=torch.float64)
    for solver in (PnPPGD([LeastSquares(y) @ A, c * prior]), PnPADMM([LeastSquares(y) @ A, c * prior])):
        weight = c / solver.step_size if isinstance(solver, PnPPGD) else c * solver.penalty
        exact = torch.linalg.solve(K.T @ K + weight * curvature, K.T @ y.flatten())
        result = solve(solver, start(A), max_iter=300, tol=1e-7, every=10).check()
        torch.testing.assert_close(result.x.flatten(), exact, rtol=1e-4, atol=1e-5)
        objectives = [row["objective"] for row in result.history]
        least = 0.5 * (K @ exact - y.flatten()).square().sum() + 0.5 * weight * exact @ curvature @ exact
        scale = 1 / solver.step_size if isinstance(solver, PnPPGD) else 1.0
        assert scale * objectives[-1] == pytest.approx(float(least), rel=1e-6)
        if isinstance(solver, PnPPGD):
            assert all(b <= a + 1e-10 for a, b in pairwise(objectives))


@every_operator
def test_a_convex_prior_gives_the_minimiser_that_scipy_finds(name):
    """In the variable y, x = f(y), where the objective needs no inverse of f."""
    from scipy.optimize import minimize

    A = OPERATORS[name]()
    data = measured(A)
    prior = LPN(Shrinking())
    pgd = PnPPGD([LeastSquares(data) @ A, prior])
    admm = PnPADMM([LeastSquares(data) @ A, prior], rho=1 / pgd.step_size)
    K, d, eta = dense(A).numpy(), data.flatten().numpy(), pgd.step_size

    def value_and_grad(y: np.ndarray) -> tuple[float, np.ndarray]:
        x = y - np.tanh(y) / 2
        psi = (y**2 / 2 - np.log(np.cosh(y)) / 2).sum()
        residual = K @ x - d
        value = eta / 2 * residual @ residual + x @ y - x @ x / 2 - psi
        return value, (1 - 0.5 / np.cosh(y) ** 2) * (eta * K.T @ residual + y - x)

    options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-16, "gtol": 1e-10}
    found = minimize(value_and_grad, np.zeros(A.domain.size), jac=True, method="L-BFGS-B", options=options)
    best = torch.from_numpy(found.x - np.tanh(found.x) / 2).reshape(SHAPE)
    for solver, scale in ((pgd, 1.0), (admm, eta)):
        result = solve(solver, start(A), max_iter=20000, tol=1e-10).check()
        torch.testing.assert_close(result.x, best, rtol=1e-5, atol=1e-6)
        assert scale * result.history[-1]["objective"] == pytest.approx(found.fun, rel=1e-9)


@every_operator
def test_admm_stands_still_where_a_gradient_step_does(name):
    """x = f(x - grad h(x) / rho), for a nonconvex prior."""
    A = OPERATORS[name]()
    h, prior = LeastSquares(measured(A)) @ A, LPN(network())
    solver = PnPADMM([h, prior])
    x = solve(solver, start(A), max_iter=5000, tol=1e-10).check().x
    again = prior.prox(x - h.grad(x) / solver.penalty, 1.0)
    assert float((again - x).norm() / x.norm()) < 1e-8


def test_a_set_is_a_second_split_where_no_proof_is_asked_for():
    """Against bounded least squares of scipy: quadratic prior and h + rho R over x >= 0."""
    from scipy.optimize import minimize

    A = OPERATORS["deblurring"]()
    y, prior = measured(A) - 0.4, LPN(Quadratic(SHAPE))
    solver = PnPADMM([LeastSquares(y) @ A, prior, NonNegative()], rho=0.5, strict=False)
    result = solve(solver, start(A), max_iter=20000, tol=1e-10).check()
    K, M = dense(A), prior.psi.matrix
    H = (K.T @ K + 0.5 * (torch.linalg.inv(M) - torch.eye(len(M), dtype=torch.float64))).numpy()
    b = (K.T @ y.flatten()).numpy()
    options = {"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-11}
    bounds = [(0, None)] * len(b)
    best = minimize(
        lambda x: (x @ H @ x / 2 - b @ x, H @ x - b), 0 * b, jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    assert (best.x == 0).sum() > 5  # the bound is at work
    torch.testing.assert_close(result.x.flatten(), torch.from_numpy(best.x), rtol=1e-4, atol=1e-5)


# How they get there


@every_operator
@pytest.mark.parametrize("share", [0.3, 0.99])
def test_the_objective_falls_as_the_proof_says(name, share):
    """F(x+) <= F(x) - (1 - eta L) |x+ - x|^2 / 2 for a nonconvex prior, to the round-off of float64."""
    A = OPERATORS[name]()
    h, prior = LeastSquares(measured(A)) @ A, LPN(network())
    solver = PnPPGD([h, prior], eta=share / h.lipschitz())
    state = solver.init(uniform(*SHAPE, seed=7))
    values, moves = [float(solver.certificate(state)["objective"])], []
    for _ in range(200):
        before, state = state.x, solver.step(state)
        values.append(float(solver.certificate(state)["objective"]))
        moves.append(float((state.x - before).square().sum()))
    sizes = [1e-13 * (1 + abs(v)) for v in values]
    for (a, b), move, eps in zip(pairwise(values), moves, sizes, strict=False):
        assert b <= a - 0.5 * (1 - share) * move + eps
    assert values[0] - values[-1] > 1e-3
    # and it is the objective: R by an inversion
    direct = float(solver.step_size * h(state.x) + prior(state.x))
    assert direct == pytest.approx(values[-1], rel=1e-8)


def test_a_nonconvex_likelihood_is_descended_too():
    A = OPERATORS["deblurring"]()
    solver = PnPPGD([StudentT(measured(A), dof=3.0, scale=0.1) @ A, LPN(network())])
    rows = solve(solver, uniform(*SHAPE, seed=7), max_iter=200, tol=0.0, every=1).history
    assert all(b["objective"] <= a["objective"] + 1e-13 for a, b in pairwise(rows))


def test_the_random_prior_is_not_convex():
    """f stretches some distances, which the prox of a convex function never does."""
    f, generator = LPN(network()), torch.Generator().manual_seed(0)
    x = uniform(50, *SHAPE)
    d = 1e-3 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    stretch = (f.prox(x + d, 1.0) - f.prox(x, 1.0)).flatten(1).norm(dim=1) / d.flatten(1).norm(dim=1)
    assert float(stretch.max()) > 1.05


@pytest.mark.parametrize("solver", [PnPPGD, PnPADMM])
def test_runs_are_resumed_and_batches_are_apart(solver):
    A = OPERATORS["tomography"]()
    y = measured(A, 3)
    terms = [LeastSquares(y) @ A, LPN(network())]
    whole = solve(solver(terms), start(A, 3), max_iter=40, tol=0.0)
    first = solve(solver(terms), start(A, 3), max_iter=15, tol=0.0)
    again, state = pickle.loads(pickle.dumps((solver(terms), first.state)))
    assert torch.equal(solve(again, state, max_iter=25, tol=0.0).x, whole.x)
    for k in range(3):
        alone = solve(solver([LeastSquares(y[k]) @ A, terms[1]]), start(A), max_iter=40, tol=0.0)
        torch.testing.assert_close(whole.x[k], alone.x, rtol=1e-9, atol=1e-10)


def test_denoisers_without_a_value_are_logged_without_an_objective():
    class Smooth(Functional):
        convex = False

        def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
            return 0.8 * x + 0.2 * x.roll(1, -1)

    A = OPERATORS["inpainting"]()
    terms = [LeastSquares(measured(A)) @ A, Smooth()]
    for solver in (PnPPGD(terms), PnPADMM(terms)):
        result = solve(solver, start(A), max_iter=2000, tol=1e-6).check()
        assert set(result.history[-1]) == {"iter", "seconds", "change"}


# What is asked for


def test_steps_beyond_the_proof_are_refused_in_words():
    A = OPERATORS["deblurring"]()
    h, prior = 2.0 * (LeastSquares(measured(A)) @ A), LPN(network())
    L = h.lipschitz()
    with pytest.raises(ValueError, match=rf"step eta below 1 / L = {1 / L:.4g}.*LeastSquares @ Blur.*strict=False"):
        PnPPGD([h, prior], eta=1.01 / L)
    with pytest.raises(ValueError, match=rf"penalty rho above L = {L:.4g}.*LeastSquares @ Blur.*strict=False"):
        PnPADMM([h, prior], rho=0.99 * L)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite step eta > 0"):
            PnPPGD([h, prior], eta=bad, strict=False)
        with pytest.raises(ValueError, match="finite penalty rho > 0"):
            PnPADMM([h, prior], rho=bad, strict=False)
    assert PnPPGD([h, prior]).step_size * L == pytest.approx(0.99)
    assert PnPADMM([h, prior]).penalty * 0.99 == pytest.approx(L)


def test_published_settings_run_without_a_proof():
    """Step 2 and penalty 0.1 for a blur of norm 1, as in the experiments of the paper."""
    A = OPERATORS["deblurring"]()
    terms = [LeastSquares(measured(A)) @ A, LPN(Quadratic(SHAPE))]
    for solver in (PnPPGD(terms, eta=1.9, strict=False), PnPADMM(terms, rho=0.1, strict=False)):
        result = solve(solver, start(A), max_iter=20)
        assert bool(result.x.isfinite().all()) and "objective" in result.history[-1]


def test_terms_that_do_not_fit_are_refused_in_words():
    A = OPERATORS["deblurring"]()
    fit, prior = LeastSquares(measured(A)) @ A, LPN(network())
    with pytest.raises(TypeError, match=r"PnPPGD takes one term of the image itself; got LPN and Box.*PnPADMM"):
        PnPPGD([fit, prior, Box(0, 1)])
    with pytest.raises(TypeError, match="one term of the image itself, or with strict=False one convex term more"):
        PnPADMM([fit, prior, Box(0, 1)])
    for terms in ([fit], [prior], [fit, prior, LPN(network())], [fit, SquaredL2(), Box(0, 1)]):
        with pytest.raises(TypeError, match=r"at least one term f @ K and one prior"):
            PnPADMM(terms, strict=False)
    counts = Poisson(1 + measured(A).abs())
    with pytest.raises(TypeError, match="PnPADMM takes quadratic terms of the data, and Poisson @ Blur"):
        PnPADMM([counts @ A, prior])
    with pytest.raises(TypeError, match=r"PnPPGD needs a Lipschitz constant.*give eta and strict=False"):
        PnPPGD([counts @ A, prior])
    assert PnPPGD([counts @ A, prior], eta=1e-3, strict=False).step_size == 1e-3
    with pytest.raises(TypeError, match="GroupL1 has no Lipschitz gradient"):
        PnPPGD([fit, GroupL1() @ Gradient(SHAPE), prior])
