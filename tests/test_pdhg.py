"""PDHG against closed forms, scipy and ODL; its certificate; space-variant total variation as published."""

import os
import signal
import threading

import numpy as np
import pytest
import torch
from members import Cube, uniform
from phantoms import ellipse_image, random_ellipses, scaled
from torch import Tensor

from invreg.core import solve
from invreg.metrics import ssim
from invreg.operators import Gradient, LeastSquares, Parallel2D, WeightedLeastSquares, XRay
from invreg.priors import TV, Box, GroupL1, NonNegative, SpaceVariantTV
from invreg.solvers import CGLS, PDHG
from invreg.solvers.pdhg import PDHGState

pytestmark = pytest.mark.usefixtures("one_thread")

F64 = torch.float64


def rays(n: int, views: int) -> XRay:
    angles = np.linspace(0.01, np.pi, views, endpoint=False)
    return XRay(Parallel2D(angles, int(1.5 * n)), (n, n), 1.0).double()


def scan(seed: int, n: int = 24, views: int = 10, noise: float = 0.01) -> tuple[XRay, Tensor, Tensor]:
    """A, the image of random ellipses and its measurement with |noise| = `noise` |A x|."""
    A = rays(n, views)
    x = torch.from_numpy(ellipse_image(scaled(random_ellipses(seed, 7), n / 2), (n, n)))
    return A, x, measured(A, x, seed, noise)


def measured(A: XRay, x: Tensor, seed: int, noise: float) -> Tensor:
    y = A(x)
    e = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return y + noise * y.norm() / e.norm() * e


def tv_problem(A: XRay, y: Tensor, weight: float = 0.5) -> PDHG:
    return PDHG([LeastSquares(y) @ A, weight * TV(A.domain.shape), NonNegative()])


# Against closed forms and other solvers


def test_a_step_loses_its_height_to_the_boundary():
    """Total variation of weight c denoises a step of n and m samples to a + c / n and b - c / m."""
    y = torch.tensor([0.0] * 4 + [1.0] * 6, dtype=F64)[:, None]
    result = solve(PDHG([LeastSquares(y), 0.3 * TV((10, 1))]), torch.zeros(10, 1, dtype=F64), tol=1e-12, max_iter=5000)
    expected = torch.tensor([0.3 / 4] * 4 + [1 - 0.3 / 6] * 6, dtype=F64)[:, None]
    assert result.status == "converged"
    torch.testing.assert_close(result.x, expected, rtol=0, atol=1e-6)


def test_agreement_with_scipy_on_a_quadratic_program():
    """On a column of pixels |Dx| is a sum of absolute values: x = c + S (p - n) with p, n >= 0 has no kink."""
    from scipy.optimize import minimize

    A = XRay(Parallel2D(np.array([0.1, 1.0, 2.3]), 9), (14, 1), 1.0).double()
    y = A(uniform(14, 1, seed=3)) + 0.1 * uniform(3, 9, seed=4, low=-1)
    matrix = A(torch.eye(14, dtype=F64)[..., None]).reshape(14, -1).T.numpy()
    S = np.tril(np.ones((14, 13)), -1)
    M = matrix @ np.hstack([np.ones((14, 1)), S, -S])
    cost = np.r_[0.0, np.full(26, 0.2)]

    def value_and_grad(v: np.ndarray) -> tuple[float, np.ndarray]:
        r = M @ v - y.numpy().ravel()
        return 0.5 * r @ r + cost @ v, M.T @ r + cost

    best = minimize(
        value_and_grad, np.zeros(27), jac=True, method="L-BFGS-B", bounds=[(None, None)] + [(0, None)] * 26,
        options={"maxiter": 10000, "maxfun": 20000, "ftol": 1e-16, "gtol": 1e-10},
    )  # fmt: skip
    result = solve(
        PDHG([LeastSquares(y) @ A, 0.2 * TV((14, 1))]), torch.zeros(14, 1, dtype=F64), tol=1e-9, max_iter=20000
    )
    assert result.status == "converged"
    assert result.history[-1]["objective"] == pytest.approx(best.fun, rel=1e-7)
    np.testing.assert_allclose(A(result.x).numpy().ravel(), M @ best.x, atol=1e-4)


def test_agreement_with_odl():
    odl = pytest.importorskip("odl", reason="compares with ODL")
    from invreg.adapters.odl import to_operator

    A, _, y = scan(1, n=16, views=6)
    space = odl.uniform_discr([0, 0], [16, 16], (16, 16), dtype="float64")
    data = odl.rn(A.codomain.shape, dtype="float64")
    D = odl.Gradient(space, method="forward", pad_mode="symmetric")
    K = odl.BroadcastOperator(to_operator(A, space, data), 3 * D)  # of like norms
    misfit = 0.5 * odl.functionals.L2NormSquared(data).translated(data.element(y.numpy()))
    prior = odl.functionals.SeparableSum(misfit, 0.5 / 3 * odl.functionals.GroupL1Norm(D.range))
    norm = float(np.hypot(A.norm(), 3 * 8**0.5))
    x = space.zero()
    positive = odl.functionals.IndicatorNonnegativity(space)
    odl.solvers.pdhg(x, positive, prior, K, 1000, tau=0.3 / norm, sigma=3 / norm)
    theirs = torch.from_numpy(np.asarray(x.asarray()))
    solver = tv_problem(A, y)
    ours = solve(solver, torch.zeros(16, 16, dtype=F64), tol=1e-6, max_iter=5000)
    objective = float(sum(t(theirs.clamp(min=0)) for t in solver.objective))
    assert ours.status == "converged"
    assert ours.history[-1]["objective"] == pytest.approx(objective, rel=1e-4)
    torch.testing.assert_close(A(ours.x), A(theirs), rtol=0, atol=1e-2 * float(y.abs().max()))


# The certificate


@pytest.mark.parametrize("bounded", [True, False], ids=["non-negative", "unbounded"])
def test_the_gap_bounds_the_distance_to_the_minimum(bounded):
    A, _, y = scan(2, n=16, views=8)
    terms = [LeastSquares(y) @ A, 0.5 * TV(A.domain.shape), NonNegative()]
    solver = PDHG(terms if bounded else terms[:2])
    zero = torch.zeros(A.domain.shape, dtype=F64)
    end = solve(solver, zero, tol=2e-6, max_iter=10000, every=100)
    assert end.status == "converged"
    minimum = end.history[-1]["objective"]
    state, above = solver.init(zero), []
    for k in range(1, 301):
        state = solver.step(state)
        if k in (5, 10, 20, 40, 80, 160, 300):
            c = {name: float(v) for name, v in solver.certificate(state).items()}
            assert c["objective"] >= minimum * (1 - 2e-6)
            assert c["objective"] - minimum <= c["gap"] * abs(c["objective"])
            above.append(c["gap"])
    assert above[-1] < 0.05 * above[0]


def test_gap_and_infeasibility_vanish():
    A, _, y = scan(3, n=16, views=8)
    result = solve(tv_problem(A, y), torch.zeros(A.domain.shape, dtype=F64), tol=1e-5, max_iter=10000)
    assert result.status == "converged"
    assert result.history[-1]["gap"] < 1e-4 and result.history[-1]["infeasibility"] < 1e-6


def test_single_precision_reaches_a_gap_that_is_of_use():
    A, _, y = scan(3)
    result = solve(tv_problem(A, y.float()), torch.zeros(A.domain.shape), tol=1e-4, max_iter=3000)
    assert result.status == "converged" and result.x.dtype == torch.float32


def test_what_is_unique_is_found_from_any_start():
    """A x and the value of the prior are, whether or not x is (here 5 views of 16 x 16 pixels)."""
    A, x, y = scan(4, n=16, views=5)
    prior = SpaceVariantTV.from_image(x, eta=0.05)
    solver = PDHG([LeastSquares(y) @ A, 0.5 * prior, NonNegative()])
    starts = torch.zeros_like(x), 2 * uniform(*x.shape, seed=9)
    ends = [solve(solver, start, tol=1e-3, max_iter=5000, every=100) for start in starts]
    assert all(end.status == "converged" for end in ends)
    # half of |A x - A x*|^2 is no more than the objective is above its minimum, and that no more than the gap
    reach = sum((2 * end.history[-1]["gap"] * end.history[-1]["objective"]) ** 0.5 for end in ends)
    assert float((A(ends[0].x) - A(ends[1].x)).norm()) <= reach < 5e-3 * float(y.norm())
    assert float(prior(ends[0].x)) == pytest.approx(float(prior(ends[1].x)), rel=2e-3)


def test_steps_satisfy_the_condition_of_convergence():
    A, _, y = scan(5, n=12, views=5)
    terms = [LeastSquares(y) @ A, 0.5 * TV(A.domain.shape), 0.1 * GroupL1() @ (0.3 * Gradient(A.domain.shape))]
    solver = PDHG([*terms, NonNegative()])
    basis = torch.eye(144, dtype=F64).reshape(144, 12, 12)
    norms = [float(torch.linalg.matrix_norm(t.K(basis).reshape(144, -1), ord=2)) for t in terms]
    state = solver.init(torch.zeros(12, 12, dtype=F64))
    for _ in range(200):
        state = solver.step(state)
        shares = [float(state.tau * sigma) * norm**2 for sigma, norm in zip(state.sigmas, norms, strict=True)]
        assert solver.inner == (False, True, True)
        # of the steps with A, and of the inner steps with both gradients
        assert 0.9 < shares[0] <= 1 + 1e-12 and 0.9 < sum(shares[1:]) <= 1 + 1e-12


def test_the_certificate_of_any_iterate_is_a_bound():
    """Also at duals that mean nothing, and at those whose polish has far to go."""
    A, _, y = scan(2, n=16, views=8)
    solver = tv_problem(A, y)
    end = solve(solver, torch.zeros(16, 16, dtype=F64), tol=1e-6, max_iter=5000)
    minimum = end.history[-1]["objective"]
    for seed in range(4):
        x, u = 2 * uniform(16, 16, seed=seed), uniform(*y.shape, seed=seed + 10, low=-1)
        p = solver.blocks[1].f.conj_prox(10 * uniform(2, 16, 16, seed=seed + 20, low=-1), 1.0)
        for state in (end.state._replace(x=x, duals=(u, p)), end.state._replace(x=x), end.state._replace(duals=(u, p))):
            c = {name: float(v) for name, v in solver.certificate(state).items()}
            # what the gap says the minimum is no less than, over images of values up to 1.5 times those of x
            if 1.5 * float(state.x.max()) >= float(end.x.max()):
                assert c["objective"] - c["gap"] * abs(c["objective"]) <= minimum * (1 + 2e-6)


def test_an_iteration_costs_one_product_with_the_costly_operator():
    A, _, y = scan(2, n=16, views=8)
    calls = {"forward": 0, "adjoint": 0}
    A.register_forward_hook(lambda *_: calls.update(forward=calls["forward"] + 1))
    adjoint = A.adjoint
    A.adjoint = lambda v: (calls.update(adjoint=calls["adjoint"] + 1), adjoint(v))[1]
    solver = tv_problem(A, y)
    state = solver.init(torch.zeros(16, 16, dtype=F64))
    calls.update(forward=0, adjoint=0)
    for _ in range(50):
        state = solver.step(state)
    assert calls == {"forward": 50, "adjoint": 50}
    solver.certificate(state)
    assert calls == {"forward": 51, "adjoint": 51}


def test_few_pairs_to_a_certified_gap(one_thread):
    """128 x 128 pixels, 40 views, one per cent of noise."""
    A = rays(128, 40).float()
    x = torch.from_numpy(ellipse_image(scaled(random_ellipses(21, 12), 64), (128, 128))).double()
    y = measured(rays(128, 40), x, 21, 0.01).float()
    weight = 0.01 * float(y.square().mean().sqrt()) * 40**0.5
    solver = PDHG([LeastSquares(y) @ A, weight * SpaceVariantTV.from_image(x.float(), 0.1), NonNegative()])
    result = solve(solver, torch.zeros(128, 128), tol=1e-3, max_iter=350)
    assert result.status == "converged", str(result)


# Space-variant total variation


@pytest.mark.parametrize("same", [{"eta": 1e-3, "p": 1.0}, {"eta": 1e9, "p": 0.0}], ids=["p = 1", "large eta"])
def test_limits_of_the_weights_are_total_variation(same):
    A, x, y = scan(6)
    plain = tv_problem(A, y)
    weighted = PDHG([LeastSquares(y) @ A, 0.5 * SpaceVariantTV.from_image(x, **same), NonNegative()])
    a, b = (solver.init(torch.zeros_like(x)) for solver in (plain, weighted))
    for _ in range(100):
        a, b = plain.step(a), weighted.step(b)
    torch.testing.assert_close(a.x, b.x, rtol=0, atol=1e-10)


class Phantom64:
    """64 x 64 pixels, 30 views, one per cent of noise: flat ellipses with sharp edges, bright dots and a line."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        image = ellipse_image(scaled(random_ellipses(seed, 7), 32), (64, 64), sub=1)
        image[tuple(rng.integers(14, 50, (2, 5)))] += 1
        image[rng.integers(16, 48), 12:52] += 0.5
        self.A, self.x = rays(64, 30), torch.from_numpy(image)
        self.y = measured(self.A, self.x, seed, 0.01)

    def solve(self, weights: Tensor, radius: Tensor) -> Tensor:
        """Estimates (weight, h, w) for weights (weight,) of the prior and a map of its local weights, in one batch."""
        y = self.y.float().expand(len(weights), *self.y.shape)
        prior = (weights * GroupL1(radius.float())) @ Gradient((64, 64))
        solver = PDHG([LeastSquares(y) @ self.A, prior, NonNegative()])
        return solve(solver, torch.zeros(len(weights), 64, 64), max_iter=300, tol=1e-3, every=50).x.double()

    def errors(self, x: Tensor) -> Tensor:
        return (x - self.x).flatten(1).norm(dim=1) / self.x.norm()


def edges(x: Tensor, eta: float) -> Tensor:
    return SpaceVariantTV.from_image(x, eta).f.weights


TRIED = torch.logspace(-2, 1.5, 9, dtype=F64)


def tuned(phantom: Phantom64, radius: Tensor) -> Tensor:
    """The best weight of those tried, (1,)."""
    errors = phantom.errors(phantom.solve(TRIED, radius))
    best = int(errors.argmin())
    assert 0 < best < len(TRIED) - 1, f"the best weight is not within those tried: {errors}"
    return TRIED[best : best + 1]


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_edges_of_the_truth_beat_total_variation(one_thread):
    """As published (arXiv 2404.16900): each with the weight that is best on another phantom."""
    train, test = Phantom64(11), Phantom64(12)
    flat = torch.ones(64, 64, dtype=F64)
    plain = test.solve(tuned(train, flat), flat)
    weighted = test.solve(tuned(train, edges(train.x, 2e-3)), edges(test.x, 2e-3))
    assert test.errors(weighted) < 0.8 * test.errors(plain)
    similarities = [ssim(x[0], test.x, data_range=1.0) for x in (weighted, plain)]
    assert similarities[0] > similarities[1] + 0.002


def test_streaks_taken_for_edges_are_worse_than_total_variation(one_thread):
    """The pitfall of a bad pre-estimate: eta below its streaks protects them, eta above them does not."""
    phantom = Phantom64(11)
    flat = torch.ones(64, 64, dtype=F64)
    streaky = solve(CGLS(phantom.A, phantom.y), torch.zeros_like(phantom.x), max_iter=15, tol=0.0, every=15).x
    weight = tuned(phantom, flat)
    plain, protected, spared = (
        float(phantom.errors(phantom.solve(weight, radius)))
        for radius in (flat, edges(streaky, 2e-3), edges(streaky, 0.1))
    )
    assert protected > 1.5 * plain and spared <= plain


def test_weights_of_zero_leave_their_pixels_to_the_data():
    """Where the prior is off and each pixel is measured, the estimate is the measurement."""
    y = uniform(9, 9, seed=8)
    weights = torch.ones(9, 9, dtype=F64)
    weights[3:6, 3:6] = 0
    solver = PDHG([LeastSquares(y), 10.0 * SpaceVariantTV(weights)])
    result = solve(solver, torch.zeros(9, 9, dtype=F64), tol=1e-9, max_iter=20000)
    assert result.status == "converged" and bool(result.x.isfinite().all())
    # the pixels whose differences all weigh nothing: those whose upper and left neighbours are inside as well
    torch.testing.assert_close(result.x[4:6, 4:6], y[4:6, 4:6], rtol=0, atol=1e-4)
    everywhere = PDHG([LeastSquares(y), SpaceVariantTV(torch.zeros(9, 9, dtype=F64))])
    torch.testing.assert_close(solve(everywhere, torch.zeros_like(y), tol=1e-10).x, y, rtol=0, atol=1e-4)


# Terms


def test_terms_it_cannot_handle_are_refused():
    y = torch.zeros(5, 4)
    nonlinear = LeastSquares(y) @ Cube((5, 4))
    with pytest.raises(TypeError, match=r"takes terms f @ K with a linear K; got LeastSquares @ Cube"):
        PDHG([nonlinear, TV((5, 4))])
    with pytest.raises(TypeError, match=r"at most one term without; got TV, NonNegative, Box"):
        PDHG([TV((5, 4)), NonNegative(), Box(0, 1)])
    with pytest.raises(TypeError, match=r"at least one term f @ K"):
        PDHG([NonNegative()])


def test_a_sum_is_its_terms():
    A, _, y = scan(7, n=12, views=5)
    terms = [LeastSquares(y) @ A, 0.5 * TV(A.domain.shape), NonNegative()]
    a, b = (
        solve(PDHG(t), torch.zeros(12, 12, dtype=F64), max_iter=50) for t in (terms, terms[0] + terms[1] + terms[2])
    )
    assert torch.equal(a.x, b.x)


def test_data_of_weight_zero_do_not_matter():
    """Two detectors' readings as two dual blocks, some of them dead: as if those had not been measured at all."""
    A, _, y = scan(8, n=12, views=8)
    g = A.geometry
    dead = torch.ones(8, g.detectors, dtype=F64)
    dead[[1, 4]] = 0
    broken = torch.where(dead > 0, y, 1e3)
    alive = np.array([0, 2, 3, 5, 6, 7])
    part = XRay(g.views(alive), (12, 12), 1.0).double()
    prior, low = 0.5 * TV((12, 12)), NonNegative()
    zero = torch.zeros(12, 12, dtype=F64)
    whole = solve(PDHG([WeightedLeastSquares(broken, 2 * dead) @ A, prior, low]), zero, tol=1e-4, max_iter=20000)
    twice = [LeastSquares(y[alive]) @ part, LeastSquares(y[alive]) @ part]
    blocks = solve(PDHG([*twice, prior, low]), zero, tol=1e-4, max_iter=20000)
    assert whole.status == blocks.status == "converged"
    assert whole.history[-1]["objective"] == pytest.approx(blocks.history[-1]["objective"], rel=2e-4)
    torch.testing.assert_close(part(whole.x), part(blocks.x), rtol=0, atol=2e-2)


# Starting, stopping, going on


def test_a_warm_start_needs_fewer_steps():
    A, _, y = scan(9)
    zero = torch.zeros(A.domain.shape, dtype=F64)
    before = solve(tv_problem(A, y, 0.5), zero, tol=1e-3)
    solver = tv_problem(A, y, 0.55)
    cold, warm = (solve(solver, start, tol=1e-3, every=5) for start in (zero, solver.warm(before.state)))
    assert cold.status == warm.status == "converged"
    assert warm.iters < 0.7 * cold.iters


def test_a_saved_state_goes_on_as_if_nothing_had_happened(tmp_path):
    A, _, y = scan(9, n=12, views=5)
    solver, zero = tv_problem(A, y.float()), torch.zeros(12, 12)
    whole = solve(solver, zero, max_iter=130, tol=0.0)
    first = solve(solver, zero, max_iter=57, tol=0.0)
    torch.save(tuple(first.state), tmp_path / "state.pt")
    state = PDHGState(*torch.load(tmp_path / "state.pt", weights_only=True))
    second = solve(tv_problem(A, y.float()), state, max_iter=73, tol=0.0)
    assert torch.equal(second.x, whole.x)
    assert all(torch.equal(a, b) for a, b in zip(second.state.duals, whole.state.duals, strict=True))


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals need the main thread")
def test_control_c_keeps_the_estimate():
    A, _, y = scan(9, n=12, views=5)
    solver = tv_problem(A, y)

    def press(row: dict[str, float]) -> None:
        if row["iter"] == 40:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores Ctrl-C
    try:
        result = solve(solver, torch.zeros(12, 12, dtype=F64), tol=0.0, callback=press, max_iter=1000)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.status == "interrupted" and 40 <= result.iters < 60
    assert bool(result.x.isfinite().all()) and str(result).startswith("interrupted, not converged: gap")
    assert solve(solver, result.state, tol=1e-3, max_iter=3000).status == "converged"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_measurement_that_is_not_a_number_is_said(value):
    A, _, y = scan(9, n=12, views=5)
    y[2, 7] = value
    result = solve(tv_problem(A, y), torch.zeros(12, 12, dtype=F64), max_iter=200)
    assert result.status == "nonfinite" and "not a finite number" in str(result)
