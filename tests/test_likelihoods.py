"""Likelihoods against scipy's densities and minimisers, at their limits, at extreme counts and in PDHG."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from members import FUNCTIONALS, LIKELIHOODS, uniform
from scipy import optimize, special, stats

from invreg.core import Likelihood, Linear, Space, inner, solve
from invreg.operators import (
    Ball,
    CorrelatedGaussian,
    Gradient,
    HeteroscedasticGaussian,
    Huber,
    Laplace,
    LeastSquares,
    Poisson,
    PoissonGaussian,
    PoissonTransmission,
    Saturated,
    StudentT,
    WeightedLeastSquares,
    likelihoods,
)
from invreg.operators.likelihoods.transmission import wright_omega
from invreg.priors import TV, NonNegative
from invreg.solvers import PDHG

pytestmark = pytest.mark.usefixtures("one_thread")

F64 = torch.float64
P, Q = uniform(6, 7, low=0.5, high=9, seed=1), uniform(6, 7, low=0.5, high=9, seed=2)
Y = uniform(6, 7, low=-1, high=8, seed=3)
N = torch.poisson(P, generator=torch.Generator().manual_seed(4))  # counts, some of them 0


def variance(p: np.ndarray) -> np.ndarray:
    return 0.3 + 0.2 * p


# (term, log density of its measurement at a prediction)
DENSITIES = {
    "weighted": (WeightedLeastSquares(Y, 1 / Q), lambda p: stats.norm.logpdf(Y, p, np.sqrt(Q))),
    "affine": (
        WeightedLeastSquares.from_affine_noise(Y, 0.3, 0.2, signal=Q),
        lambda p: stats.norm.logpdf(Y, p, np.sqrt(variance(Q.numpy()))),
    ),
    "heteroscedastic": (
        HeteroscedasticGaussian(Y, 0.3, 0.2),
        lambda p: stats.norm.logpdf(Y, p, np.sqrt(variance(p))),
    ),
    "poisson": (Poisson(N), lambda p: stats.poisson.logpmf(N, p)),
    "background": (Poisson(N, background=Q), lambda p: stats.poisson.logpmf(N, p + Q.numpy())),
    "transmission": (
        PoissonTransmission(N, incident=20 * Q),
        lambda p: stats.poisson.logpmf(N, 20 * Q.numpy() * np.exp(-p)),
    ),
    "scattered": (
        PoissonTransmission(N, incident=20.0, background=Q),
        lambda p: stats.poisson.logpmf(N, 20 * np.exp(-p) + Q.numpy()),
    ),
    "laplace": (Laplace(Y, scale=Q), lambda p: stats.laplace.logpdf(Y, p, Q)),
    "student": (StudentT(Y, dof=3.5, scale=Q), lambda p: stats.t.logpdf(Y, 3.5, p, Q)),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_differences_of_values_are_those_of_the_log_density(name):
    f, log_density = DENSITIES[name]
    expected = log_density(Q.numpy()).sum() - log_density(P.numpy()).sum()
    assert float(f(P) - f(Q)) == pytest.approx(expected, rel=1e-11)


def test_correlated_noise_has_the_dense_covariance_of_its_spectrum(generator):
    shape = (4, 5)
    f = CorrelatedGaussian(
        uniform(*shape), lambda a, b: 0.2 + torch.exp(-20 * (a + b) ** 2) + torch.exp(-20 * (a - b) ** 2)
    )
    C = torch.linalg.inv(torch.autograd.functional.hessian(lambda x: f(x), uniform(*shape)).reshape(20, 20))
    a, b = torch.meshgrid(torch.fft.fftfreq(4, dtype=F64), torch.fft.fftfreq(5, dtype=F64), indexing="ij")
    spectrum = 0.2 + torch.exp(-20 * (a + b) ** 2) + torch.exp(-20 * (a - b) ** 2)
    first = torch.fft.ifft2(spectrum).real  # the covariance of pixel (0, 0) with the others
    for i in range(4):
        for j in range(5):
            torch.testing.assert_close(C[5 * i + j], first.roll((i, j), (0, 1)).flatten(), rtol=1e-10, atol=1e-12)
    x = uniform(*shape, seed=8)
    density = stats.multivariate_normal(x.flatten().numpy(), C.numpy())
    value = density.logpdf(x.flatten().numpy()) - density.logpdf(f.y.flatten().numpy())
    assert float(f(x)) == pytest.approx(value, rel=1e-10)
    noise = f.sample(torch.zeros(20000, *shape, dtype=F64), torch.Generator().manual_seed(0)).reshape(-1, 20)
    torch.testing.assert_close(noise.T @ noise / len(noise), C, rtol=0, atol=0.05)


def test_correlated_noise_as_white_noise_as_a_sobolev_norm_and_with_an_unknown_mean():
    y, x = uniform(2, 6, 7), uniform(2, 6, 7, seed=5)
    white = CorrelatedGaussian(y, torch.full((6, 4), 0.25, dtype=F64))
    torch.testing.assert_close(white(x), 4 * LeastSquares(y)(x), rtol=1e-12, atol=0)
    torch.testing.assert_close(white.expected(), torch.full((2,), 21.0, dtype=F64))
    # H^1 with spectral derivatives, the side of length 2 along both axes
    sobolev = CorrelatedGaussian(y, lambda a, b: 1 / (1 + (math.pi * 6 * a) ** 2 + (math.pi * 7 * b) ** 2))
    waves = [2j * math.pi / 2 * n * torch.fft.fftfreq(n, dtype=F64) for n in (6, 7)]
    terms = [torch.fft.fft2(x - y, norm="ortho") * w for w in (1, waves[0][:, None], waves[1])]
    norm = sum(t.abs().square().sum((-1, -2)) for t in terms)
    torch.testing.assert_close(sobolev(x), 0.5 * norm, rtol=1e-12, atol=0)
    spectrum = torch.ones(6, 4, dtype=F64)
    spectrum[0, 0] = math.inf
    free = CorrelatedGaussian(y, spectrum)
    torch.testing.assert_close(free(x + 3), free(x), rtol=1e-12, atol=0)
    u = free.conj_prox(uniform(2, 6, 7, seed=6), 0.7)
    assert bool(u.mean((-1, -2)).abs().max() < 1e-15) and bool(free.conj(u).isfinite().all())
    assert bool(free.conj(u + 1e-6).isinf().all()) and free.expected().tolist() == [20.5, 20.5]


def huber_std(delta: float) -> float:
    """By quadrature over the density exp(-h)."""
    z = np.linspace(-60 / delta, 60 / delta, 2_000_001)
    density = np.exp(-np.where(np.abs(z) < delta, z**2 / 2, delta * np.abs(z) - delta**2 / 2))
    return float(np.sqrt((z**2 * density).sum() / density.sum()))


CLEAN = torch.full((3, 200, 200), 4.0, dtype=F64)
# (term, mean and standard deviation of a datum at the prediction 4)
MOMENTS = {
    "affine": (WeightedLeastSquares.from_affine_noise(CLEAN, 0.5, 0.25), 4, 1.5**0.5),
    "correlated": (CorrelatedGaussian(CLEAN, lambda a, b: 0.1 + 9 * (a * a + b * b < 0.1)), 4, None),
    "heteroscedastic": (HeteroscedasticGaussian(CLEAN, 0.5, 0.25), 4, 1.5**0.5),
    "poisson": (Poisson(CLEAN, background=3.0), 7, 7**0.5),
    "camera": (PoissonGaussian(CLEAN, gain=2.5, read=3.0, offset=11.0), 21, (2.5**2 * 4 + 9) ** 0.5),
    "transmission": (PoissonTransmission(CLEAN, incident=1e3), 1e3 * math.exp(-4), 1e3**0.5 * math.exp(-2)),
    "laplace": (Laplace(CLEAN, scale=0.7), 4, 0.7 * 2**0.5),
    "huber": (Huber(CLEAN, std=0.7, delta=0.9), 4, 0.7 * huber_std(0.9)),
    "student": (StudentT(CLEAN, dof=7.0, scale=0.7), 4, 0.7 * (7 / 5) ** 0.5),
    "ball": (Ball.from_noise(CLEAN, 0.7), 4, 0.7),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_samples_have_the_moments_of_theory(name):
    f, mean, std = MOMENTS[name]
    drawn = f.sample(CLEAN, torch.Generator().manual_seed(0))
    if std is None:
        std = float((1 / f.weights * f.multiplicity).sum() / 40000) ** 0.5
    n, kurtosis = drawn.numel(), 12.0
    wide = 20 if name == "correlated" else 1  # its low frequencies have a larger say in the mean
    assert float(drawn.mean()) == pytest.approx(mean, abs=wide * 4 * std / n**0.5)
    assert float(drawn.std()) == pytest.approx(std, rel=wide**0.5 * 4 * (kurtosis / 4 / n) ** 0.5)
    assert not torch.equal(drawn, f.sample(CLEAN, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (lambda y: WeightedLeastSquares.from_affine_noise(y, 0.5, 0.25, signal=torch.full_like(y, 4.0)), 0),
        (lambda y: CorrelatedGaussian(y, lambda a, b: 0.1 + 9 * (a * a + b * b < 0.1)), 0),
        (lambda y: Poisson(y.clamp(min=0), background=3.0), 0.04),  # n / 2 is the limit of many counts
        (lambda y: Laplace(y, scale=0.7), 0),
        (lambda y: Huber(y, std=0.7, delta=0.9), 0),
        (lambda y: StudentT(y, dof=2.5, scale=0.7), 0),
    ],
    ids=["affine", "correlated", "poisson", "laplace", "huber", "student"],
)
def test_the_expected_value_is_the_mean_over_samples(make, tolerance):
    drawn = make(CLEAN).sample(CLEAN, torch.Generator().manual_seed(0))
    f = make(drawn)
    mean_error = 4 * 1.5 / CLEAN.numel() ** 0.5
    assert float(f(CLEAN).sum() / f.expected().sum()) == pytest.approx(1, abs=mean_error + tolerance)
    assert f.expected().shape == (3,)


def test_mean_divergence_of_few_counts_is_as_documented():
    k = np.arange(100)
    for q, mean in ((0.1, 0.24), (1.0, 0.57), (5.0, 0.52)):
        value = (stats.poisson.pmf(k, q) * (q - k + special.xlogy(k, k / q))).sum()
        assert value == pytest.approx(mean, abs=0.005)
        f = Poisson(torch.tensor([[3.0]], dtype=F64))
        assert float(f(torch.tensor([[q]], dtype=F64))) == pytest.approx(q - 3 + 3 * math.log(3 / q), abs=1e-12)


SEPARABLE = [
    ("affine", lambda y: WeightedLeastSquares.from_affine_noise(y, 0.3, 0.2)),
    ("poisson", lambda y: Poisson(y.abs())),
    ("background", lambda y: Poisson(y.abs(), background=1.5)),
    ("camera", lambda y: PoissonGaussian(y, gain=0.7, read=1.1, offset=0.2)),
    ("transmission", lambda y: PoissonTransmission(y.abs(), incident=30.0)),
    ("laplace", lambda y: Laplace(y, scale=0.8)),
    ("huber", lambda y: Huber(y, std=0.8, delta=0.6)),
    ("student", lambda y: StudentT(y, dof=1.5, scale=0.3)),
    ("saturated", lambda y: Saturated(Huber(y, std=0.8), 0.5)),
    ("saturated student", lambda y: Saturated(StudentT(y, dof=1.5, scale=0.3), 0.5)),
]


@pytest.mark.parametrize("make", [m for _, m in SEPARABLE], ids=[name for name, _ in SEPARABLE])
def test_prox_is_the_global_minimum_that_scipy_finds(make):
    rng = np.random.default_rng(0)
    for step in (1e-3, 0.3, 4.0, 100.0):
        for y, x in ((0.0, -2.0), (0.0, 3.0), *rng.normal(0, 4, (6, 2))):
            f = make(torch.tensor([[y]], dtype=F64))

            def objective(u, f=f, x=x, step=step):
                u = torch.as_tensor(np.atleast_1d(u), dtype=F64)[:, None, None]
                return (f(u) + (u[:, 0, 0] - x) ** 2 / (2 * step)).clamp(max=1e30).numpy()

            grid = np.linspace(-15, 15, 3001)
            best = grid[objective(grid).argmin()]
            result = optimize.minimize_scalar(
                lambda u: float(objective(u)[0]), bounds=(best - 0.02, best + 0.02), method="bounded",
                options={"xatol": 1e-11},
            )  # fmt: skip
            p = f.prox(torch.tensor([[x]], dtype=F64), step)
            if abs(float(p)) < 14:
                assert float(objective(float(p))[0]) <= result.fun + 1e-12 * (1 + abs(result.fun))
                assert float(p) == pytest.approx(result.x, abs=2e-6)


def test_prox_of_student_t_jumps_to_the_better_of_two_minima():
    f = StudentT(torch.zeros(1, 1, dtype=F64), dof=1.0, scale=1.0)
    x = torch.linspace(0, 40, 401, dtype=F64)[:, None, None]
    p = f.prox(x, 20.0)[:, 0, 0]
    grid = torch.linspace(0, 40, 400001, dtype=F64)
    for z, r in zip(x[:, 0, 0], p, strict=True):
        objective = 0.5 * (grid - z) ** 2 + 20 * torch.log1p(grid**2)
        assert float(0.5 * (r - z) ** 2 + 20 * torch.log1p(r**2)) <= float(objective.min()) + 1e-9
    assert bool((p.diff() > -1e-9).all()) and float(p.diff().max()) > 5
    single = f.float().prox(x.float(), 20.0)[:, 0, 0]
    torch.testing.assert_close(single.double(), p, rtol=1e-6, atol=1e-6)


def test_lambert_w_in_the_logarithm():
    for dtype in (F64, torch.float32):
        z = torch.cat([torch.linspace(-80, 90, 10001), torch.logspace(2, 30, 300)]).to(dtype)
        expected = special.wrightomega(z.double().numpy())
        error = np.abs(wright_omega(z).double().numpy() / expected - 1)
        condition = z.double().abs().numpy() / (1 + expected)  # what a relative change of z does to it
        assert (error <= torch.finfo(dtype).eps * (2 + condition)).all()


@pytest.mark.parametrize("name", ["poisson", "background", "camera", "transmission", "student", "huber"])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_single_precision_keeps_its_digits_at_extreme_counts(name, size):
    g = torch.Generator().manual_seed(0)
    y = (size * uniform(8, 9)).float()
    y[0] = 0
    p = (y + (1 + y).sqrt() * torch.randn(8, 9, generator=g)).abs() + 0.1
    one = {
        "poisson": lambda y: Poisson(y),
        "background": lambda y: Poisson(y, background=0.5),
        "camera": lambda y: PoissonGaussian(y, gain=1.0, read=2.0),
        "transmission": lambda y: PoissonTransmission(y, incident=4e6),
        "student": lambda y: StudentT(y, dof=3.0, scale=1e-2),
        "huber": lambda y: Huber(y, std=1e-2),
    }[name]
    single, double = one(y), one(y.double())
    if name == "transmission":
        p = torch.log(4e6 / p)
    torch.testing.assert_close(single(p), double(p.double()), rtol=2e-5, atol=1e-30)
    for step in (1e-6, 1.0, 1e6):
        there = double.prox(p.double(), step)
        # what the rounding of x + step and of the prediction itself leaves
        torch.testing.assert_close(
            single.prox(p, step).double(), there, rtol=2e-6, atol=2e-7 * (2 + float(y.max()) + min(step, 1e6))
        )
        if name != "student":
            u = single.conj_prox(p, step)
            assert bool(single.conj(u).isfinite().all())
            dual = double.conj_prox(p.double(), step)
            scale = 4e6 if name == "transmission" else 1 + step * (1 + y.double())
            assert bool(((u.double() - dual).abs() <= 3e-6 * (dual.abs() + scale)).all())


def test_limits_join_one_likelihood_to_the_next():
    x = uniform(6, 7, low=-3, high=12, seed=6)
    white = WeightedLeastSquares(Y, torch.full_like(Y, 1 / 0.49))
    for near, far, tol in (
        (Huber(Y, std=0.7, delta=1e6), white, 1e-12),
        (StudentT(Y, dof=1e9, scale=0.7), white, 1e-6),
        (HeteroscedasticGaussian(Y, 0.49, 0.0), white, 1e-12),
        (PoissonGaussian(N, gain=1.0, read=0.0), Poisson(N), 1e-12),
        (Poisson(N, background=1e-12), Poisson(N), 1e-9),
        (PoissonTransmission(N, incident=9.0, background=1e-13), PoissonTransmission(N, incident=9.0), 1e-9),
        (Saturated(white, 1e9), white, 1e-15),
    ):
        point = x.abs() + 0.1
        torch.testing.assert_close(near(point), far(point), rtol=tol, atol=0)
        torch.testing.assert_close(near.grad(point), far.grad(point), rtol=tol, atol=tol)
    sharp, laplace = 1e6 * Huber(Y, std=0.8, delta=1e-6), Laplace(Y, scale=0.8)
    torch.testing.assert_close(sharp(x), laplace(x), rtol=1e-5, atol=0)
    torch.testing.assert_close(sharp.prox(x, 0.5), laplace.prox(x, 0.5), rtol=0, atol=1e-5)
    torch.testing.assert_close(sharp.conj_prox(x, 0.5), laplace.conj_prox(x, 0.5), rtol=0, atol=1e-5)


def test_the_minimum_of_counting_terms_is_zero_where_the_rate_is_the_count():
    for f, best in (
        (Poisson(N.clamp(min=1), background=0.3), N.clamp(min=1) - 0.3),
        (PoissonTransmission(N.clamp(min=1), incident=9.0), torch.log(9.0 / N.clamp(min=1))),
    ):
        assert abs(float(f(best))) < 1e-28 and float(f.grad(best).abs().max()) < 1e-14
    assert float(Poisson(N)(torch.where(N > 0, N, -1e-9))) == math.inf
    assert float(Poisson(N)(torch.where(N == N.max(), 0.0, N))) == math.inf
    assert float(Poisson(torch.zeros(2, 2))(torch.zeros(2, 2))) == 0


def test_shifted_poisson_model_of_a_camera_against_the_exact_convolution():
    """The score, the derivative by p of the negative log-likelihood, over measurements drawn at p."""
    k = np.arange(300)[:, None]
    for p, read, error in ((1.0, 1.0, 0.25), (3.0, 1.0, 0.1), (10.0, 1.0, 0.03), (10.0, 5.0, 0.09), (50.0, 3.0, 0.03)):
        f = PoissonGaussian(torch.zeros(1, 4000, dtype=F64), gain=2.0, read=2 * read, offset=10.0)
        y = f.sample(torch.full((1, 4000), p, dtype=F64), torch.Generator().manual_seed(0))
        noise = stats.norm.logpdf(y.numpy(), 2 * k + 10, 2 * read)

        def exact(p, noise=noise):
            return -special.logsumexp(stats.poisson.logpmf(k, p) + noise, axis=0)

        score = (exact(p + 1e-4) - exact(p - 1e-4)) / 2e-4
        f = PoissonGaussian(y, gain=2.0, read=2 * read, offset=10.0)
        ours = f.grad(torch.full_like(y, p))[0].numpy()
        assert np.sqrt(((ours - score) ** 2).mean() / (score**2).mean()) < error
        assert abs(ours.mean()) < 0.04
        # the profile of the likelihood of all the data together
        values = [float(f(torch.full_like(y, q))) for q in (0.9 * p, p, 1.1 * p)]
        profile = [exact(q).sum() for q in (0.9 * p, p, 1.1 * p)]
        assert np.diff(values, 2)[0] == pytest.approx(np.diff(profile, 2)[0], rel=3 * error)


def test_a_saturated_pixel_is_one_sided():
    y = torch.tensor([[1.0, 5.0], [5.0, 2.0]], dtype=F64)
    over, under = torch.full_like(y, 8.0), torch.full_like(y, 3.0)
    full = y == 5
    weights = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=F64)
    terms: list[Likelihood] = [Saturated(WeightedLeastSquares(y, weights), 5.0)]
    terms += [Saturated(Huber(y), 5.0), HeteroscedasticGaussian(y, 0.5, 0.1, saturated=full)]
    for f in terms:
        assert bool((f.grad(over)[full] == 0).all()) and bool((f.grad(under)[full] < 0).all())
        assert bool((f.grad(over)[~full] > 0).all())
        moved = over + 100 * full
        assert f(moved) == f(over)
        drawn = f.sample(under.expand(1000, 2, 2), torch.Generator().manual_seed(0))
        assert float(drawn[:, full].max()) <= 5
    assert float(terms[0](under)) == pytest.approx((4 + 2 * 4 + 3 * 4 + 4) / 2)
    assert torch.equal(terms[0].prox(over, 1.0)[full], over[full])
    assert terms[0].conj(full.double()) == math.inf and terms[0].conj(full.double(), 3.0) < math.inf
    assert float(terms[2](over)) == pytest.approx(float(HeteroscedasticGaussian(y, 0.5, 0.1)(over))
        - sum(0.5 * 9 / 1.3 + 0.5 * math.log(1.3 / 0.5) for _ in range(2)))  # fmt: skip


def test_the_gradient_of_the_heteroscedastic_term_vanishes_on_average_at_the_truth():
    truth = torch.full((500, 400), 6.0, dtype=F64)
    f = HeteroscedasticGaussian(truth, 0.5, 0.4)
    score = HeteroscedasticGaussian(f.sample(truth, torch.Generator().manual_seed(0)), 0.5, 0.4).grad(truth)
    assert abs(float(score.mean())) < 4 * float(score.std()) / 200000**0.5


def test_weights_from_the_measurement_lean_low_and_those_from_the_signal_do_not():
    truth = torch.full((300, 300), 100.0, dtype=F64)
    y = HeteroscedasticGaussian(truth, 1.0, 1.0).sample(truth, torch.Generator().manual_seed(0))
    for signal, bias in ((None, -1.0), (truth, 0.0)):
        f = WeightedLeastSquares.from_affine_noise(y, 1.0, 1.0, signal=signal)
        assert float((f.weights * y).sum() / f.weights.sum()) - 100 == pytest.approx(bias, abs=0.15)


def test_parameters_of_each_item_and_of_each_datum():
    y, x = uniform(3, 5, 4, low=0.1), uniform(3, 5, 4, low=0.1, seed=2)
    levels = torch.tensor([0.5, 1.0, 2.0], dtype=F64)
    makers = [
        lambda y, v: Laplace(y, scale=v),
        lambda y, v: Huber(y, std=v, delta=v),
        lambda y, v: StudentT(y, dof=v, scale=v),
        lambda y, v: Poisson(y, background=v),
        lambda y, v: PoissonGaussian(y, gain=v, read=v, offset=v),
        lambda y, v: PoissonTransmission(y, incident=v),
        lambda y, v: HeteroscedasticGaussian(y, v, v),
        lambda y, v: WeightedLeastSquares.from_affine_noise(y, v, v),
        lambda y, v: Saturated(LeastSquares(y), v / 2),
    ]
    for make in makers:
        together, spread = make(y, levels), make(y, levels[:, None, None].expand_as(y))
        torch.testing.assert_close(together(x), spread(x), rtol=1e-13, atol=0)
        for i, level in enumerate(levels):
            alone = make(y[i], float(level))
            torch.testing.assert_close(together(x)[i], alone(x[i]), rtol=1e-13, atol=0)
            if not isinstance(alone, HeteroscedasticGaussian):
                torch.testing.assert_close(together.prox(x, 0.5)[i], alone.prox(x[i], 0.5), rtol=1e-12, atol=1e-13)
    balls = Ball(y, levels)
    for i, level in enumerate(levels):
        torch.testing.assert_close(balls.prox(9 * x, 1.0)[i], Ball(y[i], float(level)).prox(9 * x[i], 1.0))


class Blur(Linear):
    """A periodic blur by (1, 2, 1) along both axes, / 16."""

    def __init__(self, n: int) -> None:
        super().__init__(Space((n, n)), Space((n, n)))

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        for axis in (-1, -2):
            x = 0.5 * x + 0.25 * (x.roll(1, axis) + x.roll(-1, axis))
        return x

    _adjoint = _forward


def deblurring() -> tuple[Linear, torch.Tensor]:
    x = torch.full((12, 12), 2.0, dtype=F64)
    x[3:8, 4:9], x[7:10, 2:5], x[:3, :3] = 30, 60, 0
    return Blur(12), x


@pytest.mark.parametrize("kind", ["emission", "background", "transmission"])
def test_pdhg_certifies_the_minimum_that_an_independent_method_finds(kind):
    A, x = deblurring()
    n = x.shape[-1]
    g = torch.Generator().manual_seed(0)
    if kind == "transmission":
        x = x / 20
        f = PoissonTransmission(torch.poisson(200 * torch.exp(-A(x)), generator=g), incident=200.0)
        weight = 4.0
    else:
        background = 0.0 if kind == "emission" else 3.0
        f = Poisson(torch.poisson(A(x) + background, generator=g), background=background)
        weight = 0.2
    result = solve(PDHG([f @ A, weight * TV((n, n)), NonNegative()]), torch.zeros_like(x), tol=1e-5, max_iter=20000)
    objective = f @ A + weight * TV((n, n))
    best = float(objective(result.check().x))
    D, smoothing = Gradient((n, n)), 1e-2

    def smooth(flat):
        v = torch.as_tensor(flat, dtype=F64).reshape(n, n).requires_grad_()
        size = (D(v).square().sum(-3) + smoothing**2).sqrt()
        value = f(A(v) + 1e-9) + weight * (size - smoothing).sum()
        value.backward()
        return float(value.detach()), v.grad.numpy().ravel()

    start = torch.full((n * n,), 1.0).numpy().astype(float)
    independent = optimize.minimize(
        smooth, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * n * n,
        options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-13, "gtol": 1e-8, "maxcor": 30},
    )  # fmt: skip
    other = float(objective(torch.as_tensor(independent.x, dtype=F64).reshape(n, n).clamp(min=1e-9)))
    lower = best * (1 - result.history[-1]["gap"])
    assert lower <= other + 1e-9  # no image may be below the certified bound
    # the smooth problem is below the sharp one by at most smoothing * weight a pixel
    assert best <= other * (1 + 1e-5) and independent.fun <= best + 1e-6
    assert best - independent.fun <= weight * smoothing * n * n + 1e-5 * best


def test_pdhg_keeps_to_a_ball_and_waits_until_it_is_inside():
    A, x = deblurring()
    y = A(x) + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=F64)
    ball = Ball.from_noise(y, 0.5)
    result = solve(PDHG([ball @ A, TV(x.shape)]), torch.zeros_like(x), tol=1e-4, max_iter=20000, every=1)
    assert result.check().history[0]["gap"] == math.inf
    residual = float((A(result.x) - y).norm())
    assert residual == pytest.approx(float(ball.radius), rel=1e-4)
    # the multiplier of the constraint is the weight with which the penalty has the same solution
    u = result.state.duals[0]
    weight = float(ball.radius / inner(u, u, 2).sqrt())
    penalised = solve(PDHG([LeastSquares(y) @ A, weight * TV(x.shape)]), y, tol=1e-5, max_iter=20000)
    assert float(TV(x.shape)(penalised.check().x)) == pytest.approx(float(TV(x.shape)(result.x)), rel=1e-3)


def test_radius_of_the_ball_holds_the_noise():
    y = torch.zeros(2000, 8, 9, dtype=F64)
    noisy = Ball.from_noise(y, 0.3).sample(y, torch.Generator().manual_seed(0))
    outside = float((Ball.from_noise(y, 0.3)(noisy) > 0).double().mean())
    assert outside == pytest.approx(stats.chi2.sf(72 + 2 * 144**0.5, 72), abs=0.012) and outside < 1 / 25


@pytest.mark.parametrize("case", LIKELIHOODS, ids=lambda m: m.name)
def test_every_likelihood_samples_in_both_precisions_and_repeats_with_the_seed(case, device, dtype):
    f = case.build(device, dtype)
    if isinstance(f, Ball):
        f = Ball.from_noise(f.y, 0.1)
    prediction = torch.full((2, *case.shape), 0.7, dtype=dtype, device=device)
    one, two = (f.sample(prediction, torch.Generator(device).manual_seed(0)) for _ in range(2))
    assert one.shape == prediction.shape and one.dtype == dtype and torch.equal(one, two)
    assert not torch.equal(one[0], one[1]) and bool(one.isfinite().all())
    assert f.expected() is None or f.expected().dtype == F64


NAN = torch.tensor([[1.0, math.nan]])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Poisson(-torch.ones(2, 3)), r"Poisson takes counts y >= 0; the least is -1"),
        (lambda: PoissonTransmission(-torch.ones(2, 3), incident=1.0), "counts y >= 0"),
        (lambda: Poisson(torch.ones(2, 3, dtype=torch.int64)), "real floating-point values .* got torch.int64"),
        (lambda: Laplace(torch.ones(3)), r"at least 2 axes and one value; got torch.float32 \(3,\)"),
        (lambda: Huber(torch.ones(0, 3)), "at least 2 axes and one value"),
        (lambda: Poisson(torch.ones(2, 3), background=-1.0), "finite `background` >= 0; got -1"),
        (lambda: Poisson(torch.ones(2, 3), background=torch.ones(3, 2)), r"`background` as a number, .*got \(3, 2\)"),
        (lambda: PoissonTransmission(torch.ones(2, 3), incident=0.0), "finite `incident` > 0; got 0"),
        (lambda: PoissonGaussian(torch.ones(2, 3), gain=0.0, read=1.0), "finite `gain` > 0; got 0"),
        (lambda: PoissonGaussian(torch.ones(2, 3), gain=1.0, read=-1.0), "finite `read` >= 0; got -1"),
        (lambda: PoissonGaussian(torch.ones(2, 3), gain=1.0, read=1.0, offset=math.inf), "finite `offset`; got inf"),
        (lambda: Laplace(torch.ones(2, 3), scale=0.0), "finite `scale` > 0"),
        (lambda: Huber(torch.ones(2, 3), delta=0.0), "finite `delta` > 0"),
        (lambda: StudentT(torch.ones(2, 3), dof=math.nan), "finite `dof` > 0; got nan"),
        (lambda: HeteroscedasticGaussian(torch.ones(2, 3), 0.0, 1.0), "finite `constant` > 0"),
        (lambda: HeteroscedasticGaussian(torch.ones(2, 3), 1.0, -1.0), "finite `slope` >= 0"),
        (lambda: HeteroscedasticGaussian(torch.ones(2, 3), 1.0, 1.0, saturated=torch.ones(2, 3)), "boolean mask"),
        (lambda: WeightedLeastSquares.from_affine_noise(torch.ones(2, 3), 0.0, 1.0), "finite `constant` > 0"),
        (lambda: Ball(torch.ones(2, 3), 0.0), "finite radius > 0"),
        (lambda: Ball(torch.ones(2, 3), torch.ones(3)), "finite radius > 0, one or for each"),
        (
            lambda: CorrelatedGaussian(torch.ones(4, 4), torch.ones(4, 4)),
            r"on the grid \(4, 3\) of rfftn; got \(4, 4\)",
        ),
        (lambda: CorrelatedGaussian(torch.ones(4, 4), torch.zeros(4, 3)), "spectrum > 0; the least is 0"),
        (lambda: CorrelatedGaussian(torch.ones(4, 4), lambda a, b: 2 + torch.sin(6 * a)), "even spectrum"),
        (lambda: Saturated(LeastSquares(torch.ones(2, 3)), math.nan), "finite `level`; got nan"),
    ],
)
def test_senseless_arguments_are_refused_in_one_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_measurements_that_are_not_finite_and_terms_that_do_not_saturate_are_refused():
    for make in (Laplace, Huber, Ball, Poisson):
        with pytest.raises(ValueError, match=r"finite measurement y; 1 of 2 values are not: .* weight 0"):
            make(NAN, 1.0) if make is Ball else make(NAN)
    with pytest.raises(TypeError, match=r"Saturated takes one of LeastSquares.*; got Poisson"):
        Saturated(Poisson(torch.ones(2, 3)), 1.0)
    with pytest.raises(TypeError, match=r"Ball has no noise level; use Ball\.from_noise"):
        Ball(torch.ones(2, 3), 1.0).sample(torch.ones(2, 3), torch.Generator())


SOME = ("if b = 0", "not padded")  # of the members of a class have it


def test_the_table_of_the_documentation_says_what_each_class_has():
    text = (Path(__file__).parent.parent / "docs" / "likelihoods.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    table = {row[0].strip("`"): row[3:6] for row in rows if len(row) == 8}
    assert set(table) == set(likelihoods.__all__)
    for name, columns in table.items():
        members = [case for case in FUNCTIONALS if case.needs is None and type(case.make()).__name__ == name]
        for method, cell in zip(("grad", "prox", "conj"), columns, strict=True):
            has = {method not in case.lacks for case in members}
            if cell != "as within":
                assert has == ({True, False} if cell in SOME else {cell.startswith("yes")}), (
                    name,
                    method,
                )
