"""Sobolev misfits: their norms, limits and noise, and what they do to gradient descent."""

import math

import numpy as np
import pytest
import torch
from members import uniform
from scipy import fft, stats

from invreg.core import solve
from invreg.operators import BesselPotential, Blur, CorrelatedGaussian, LeastSquares, Sobolev
from invreg.solvers import Landweber

F64 = torch.float64


def spectral(r: np.ndarray, s: float, length: tuple[float, ...], alpha: float) -> float:
    """Half the squared periodic norm by numpy's whole FFT."""
    axes = [(2 * np.pi * n * np.fft.fftfreq(n) / side) ** 2 for n, side in zip(r.shape, length, strict=True)]
    squares = alpha + sum(np.meshgrid(*axes, indexing="ij"))
    return 0.5 * float((squares**s * np.abs(np.fft.fftn(r, norm="ortho")) ** 2).sum())


@pytest.mark.parametrize("shape", [(6, 7), (5, 8), (1, 9)])
def test_orders_zero_and_one_are_norms_in_space(shape):
    y, x = uniform(2, *shape), uniform(2, *shape, seed=5)
    torch.testing.assert_close(Sobolev(y, 0.0)(x), LeastSquares(y)(x), rtol=1e-12, atol=0)
    length = (2.0, 3.0)
    sines = [2j * np.pi * n / side * np.fft.fftfreq(n) for n, side in zip(shape, length, strict=True)]
    r = (x - y).numpy()
    parts = [np.fft.ifft2(np.fft.fft2(r) * w) for w in (1, sines[0][:, None], sines[1])]
    expected = 0.5 * sum((np.abs(part) ** 2).sum((-1, -2)) for part in parts)  # |u|^2 + |grad u|^2
    np.testing.assert_allclose(Sobolev(y, 1.0, length=length)(x).numpy(), expected, rtol=1e-12)


def test_values_of_all_boundaries_against_scipy():
    y, x = uniform(6, 7), uniform(6, 7, seed=5)
    r, length, alpha = (x - y).numpy(), (2.0, 3.0), 0.3
    for s in (-1.3, -0.5, 0.4):
        assert float(Sobolev(y, s, length=length, alpha=alpha)(x)) == pytest.approx(
            spectral(r, s, length, alpha), rel=1e-12
        )
        padded = Sobolev(y, s, length=length, alpha=alpha, boundary="padded")
        around = np.pad(r, ((3, 3), (5, 2)))  # where the zeros lie does not matter
        assert float(padded(x)) == pytest.approx(spectral(around, s, (4.0, 6.0), alpha), rel=1e-12)
        cosine = Sobolev(y, s, length=length, alpha=alpha, boundary="cosine")
        even = np.pad(r, ((0, 6), (0, 7)), mode="symmetric")
        assert float(cosine(x)) == pytest.approx(spectral(even, s, (4.0, 6.0), alpha) / 4, rel=1e-12)
        one = Sobolev(y, s, length=2.0, alpha=alpha, boundary="cosine", axes=-2)
        weights = (alpha + (np.pi * np.arange(6) / 2.0) ** 2) ** s
        expected = 0.5 * (weights[:, None] * fft.dct(r, axis=0, norm="ortho") ** 2).sum()
        assert float(one(x)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("boundary", ["periodic", "cosine", "padded"])
def test_the_gradient_is_that_of_autograd_and_of_an_operator_before_it(boundary):
    A = Blur(uniform(3, 3), (6, 7))
    for s in (-0.8, 0.4):
        f = Sobolev(uniform(6, 7), s, boundary=boundary, length=5.0)
        x = uniform(6, 7, seed=3).requires_grad_()
        for term in (f, f @ A):
            (slope,) = torch.autograd.grad(term(x), x)
            torch.testing.assert_close(term.grad(x.detach()), slope, rtol=1e-12, atol=1e-12)


def test_periodic_is_correlated_noise_of_that_spectrum():
    y, x = uniform(6, 7), uniform(6, 7, seed=5)
    other = CorrelatedGaussian(y, lambda a, b: (1 + (math.pi * 6 * a) ** 2 + (math.pi * 7 * b) ** 2) ** -0.7)
    f = Sobolev(y, 0.7, length=2.0)
    for g in (f, 3.0 * f):
        h = other if g is f else 3.0 * other
        torch.testing.assert_close(g(x), h(x), rtol=1e-12, atol=0)
        torch.testing.assert_close(g.prox(x, 0.3), h.prox(x, 0.3), rtol=1e-12, atol=1e-12)


def test_the_homogeneous_norm_has_physical_units_and_no_mean():
    """Of a wave of k periods over a side of length l it is (2 pi k / l)^(2 s) times the mean square."""
    t = torch.arange(64, dtype=F64) / 64
    for s in (-1.5, 0.25, 2.0):
        for k, side in ((1, 1.0), (5, 0.1), (20, 7.0)):
            f = Sobolev(torch.zeros(64, dtype=F64), s, length=side, alpha=0.0, ndim=1)
            wave = torch.sin(2 * math.pi * k * t)
            assert float(f(wave)) == pytest.approx(0.5 * 32 * (2 * math.pi * k / side) ** (2 * s), rel=1e-9)
            assert float(f(wave + 9)) == pytest.approx(float(f(wave)), rel=1e-6)


@pytest.mark.parametrize(("boundary", "limit"), [("cosine", 1.5), ("padded", 0.5)])
def test_orders_end_where_the_ends_outweigh_the_data_on_finer_grids(boundary, limit):
    """A ramp, smooth inside: below the limit its norm converges on finer grids, beyond it grows as n^(2 s - 2 l)."""

    def norm(n: int, s: float) -> float:
        r = (np.arange(n) + 0.5) / n
        whole = np.concatenate([r, r[::-1] if boundary == "cosine" else 0 * r])
        return spectral(whole, s, (2.0,), 1.0) / n

    below, beyond = limit - 0.3, limit + 0.3
    growth = [[norm(2 * n, s) / norm(n, s) for n in (1024, 4096)] for s in (below, beyond)]
    assert growth[0][0] < 1.1 and growth[0][1] < 1 + 0.6 * (growth[0][0] - 1)
    assert growth[1][1] == pytest.approx(2**0.6, rel=0.02)
    y = torch.zeros(8, 8)
    Sobolev(y, below, boundary=boundary)
    for s in (limit, beyond):
        with pytest.raises(ValueError, match=f"boundary '{boundary}' takes s < {limit}, .* got {s:g}"):
            Sobolev(y, s, boundary=boundary)


def test_normalised_weights_have_mean_one():
    """The value of white noise, and what a prior's weight means beside it, are those of least squares."""
    y = torch.zeros(64, 48, dtype=F64)
    noise = torch.randn(400, 64, 48, generator=torch.Generator().manual_seed(0), dtype=F64)
    for boundary in ("periodic", "cosine", "padded"):
        for s in (-0.7, 0.3):
            f = Sobolev(y, s, boundary=boundary, normalise=True, length=10.0)
            assert float(f(noise).mean()) == pytest.approx(64 * 48 / 2, rel=0.01)


@pytest.mark.parametrize("boundary", ["periodic", "cosine"])
@pytest.mark.parametrize("s", [-0.5, 0.8])
def test_samples_have_the_spectrum_and_standard_deviation_of_theory(boundary, s):
    y = torch.zeros(40, 30, dtype=F64)
    std = torch.tensor([0.3, 2.0], dtype=F64)
    f = Sobolev(y.expand(2, 40, 30), s, boundary=boundary, length=6.0, axes=-1, std=std)
    noise = f.sample(torch.zeros(200, 2, 40, 30, dtype=F64), torch.Generator().manual_seed(0))
    torch.testing.assert_close(noise.square().mean((0, 2, 3)).sqrt(), std, rtol=0.01, atol=0)
    torch.testing.assert_close(f(noise).mean(0), f.expected(), rtol=0.01, atol=0)
    if boundary == "cosine":
        power = (fft.dct(noise.numpy(), norm="ortho") ** 2).mean((0, 2))
        squares = 1 + (np.pi * np.arange(30) / 6) ** 2
    else:
        power = (np.abs(np.fft.fft(noise.numpy(), norm="ortho")) ** 2).mean((0, 2))
        squares = 1 + (2 * np.pi * 30 * np.fft.fftfreq(30) / 6) ** 2
    np.testing.assert_allclose(power * squares**s / (power * squares**s).mean(1, keepdims=True), 1, atol=0.08)


def test_differences_of_values_are_those_of_the_log_density():
    y, p, q = uniform(4, 5), uniform(4, 5, seed=5), uniform(4, 5, seed=6)
    f = Sobolev(y, 0.6, boundary="cosine", length=3.0, std=0.4)
    eye = torch.eye(20, dtype=F64).reshape(20, 4, 5)
    noise = f.sample(torch.zeros(4, 5, dtype=F64), torch.Generator().manual_seed(0))
    precision = torch.stack([f.grad(y + e) for e in eye]).reshape(20, 20) / f.white**2
    covariance = np.linalg.inv(precision.numpy())
    assert np.trace(covariance) / 20 == pytest.approx(0.4**2, rel=1e-10)
    density = stats.multivariate_normal(np.zeros(20), covariance)
    difference = density.logpdf((q - y).flatten().numpy()) - density.logpdf((p - y).flatten().numpy())
    assert float((f(p) - f(q)) / f.white**2) == pytest.approx(difference, rel=1e-9)
    assert bool(noise.isfinite().all())


NAN = torch.tensor([[1.0, math.nan]])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Sobolev(NAN, 0.5), "Sobolev takes a finite measurement y; 1 of 2"),
        (lambda: Sobolev(torch.ones(4, 4), math.nan), "finite order; got nan"),
        (lambda: Sobolev(torch.ones(4, 4), 0.5, alpha=-1.0), "alpha >= 0; got -1"),
        (lambda: Sobolev(torch.ones(4, 4), 0.5, length=0.0), "length > 0 .* got 0"),
        (lambda: Sobolev(torch.ones(4, 4), 0.5, length=(1.0, 2.0, 3.0)), "one for each of the 2 axes"),
        (lambda: Sobolev(torch.ones(4, 4), 0.5, boundary="dirichlet"), "'cosine', 'padded'; got 'dirichlet'"),
        (lambda: Sobolev(torch.ones(4, 4), 0.5, axes=1), "axes from -2 to -1, .* got 1"),
        (lambda: Sobolev(torch.ones(4, 4), 0.5, axes=(-1, -1)), "each once"),
        (lambda: Sobolev(torch.ones(4, 64), 20.0, length=1e-3), "range of torch.float32; at 20 they are not"),
        (lambda: BesselPotential((4, 4), 0.5, alpha=0.0), "alpha > 0; got 'periodic', 0"),
        (lambda: BesselPotential((4, 4), 0.5, boundary="padded"), "'periodic' or 'cosine'"),
        (lambda: Landweber(LeastSquares(torch.ones(4, 4)), tau=0.0), "step tau > 0; got 0"),
    ],
)
def test_bad_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_bessel_potentials_add_their_orders_and_invert_the_laplacian():
    x = uniform(3, 16, 12, low=-1)
    for boundary in ("periodic", "cosine"):

        def J(r: float, boundary: str = boundary) -> BesselPotential:
            return BesselPotential((16, 12), r, (2.0, 1.0), boundary=boundary)

        torch.testing.assert_close(J(0.4)(J(0.6)(x)), J(1.0)(x), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(J(-1.0)(J(1.0)(x)), x, rtol=1e-10, atol=1e-12)
    t = (torch.arange(16, dtype=F64) + 0.5)[:, None] / 16
    wave = torch.cos(3 * math.pi * t).expand(16, 12)  # over a side of 2 its Laplacian is -(3 pi / 2)^2 times itself
    smooth = BesselPotential((16, 12), 1.0, (2.0, 1.0), boundary="cosine")(wave)
    torch.testing.assert_close(smooth, wave / (1 + (1.5 * math.pi) ** 2), rtol=1e-10, atol=1e-12)


def smoother(n: int) -> BesselPotential:
    """Of order 1: |xi|^-1 at high frequencies, as a ray transform's normal operator."""
    return BesselPotential((n,), 0.5, 1.0)


def test_the_matched_order_makes_the_condition_number_independent_of_the_grid():
    kappa = {}
    for n in (32, 64, 128):
        A = smoother(n)
        eye = torch.eye(n, dtype=F64)
        for s in (0.0, 1.0):
            f = Sobolev(torch.zeros(n, dtype=F64), s, ndim=1) @ A
            hessian = torch.stack([f.grad(e) for e in eye]).numpy()
            kappa[n, s] = np.linalg.cond(hessian)
    assert [kappa[n, 1.0] for n in (32, 64, 128)] == pytest.approx([1, 1, 1], rel=1e-6)
    assert kappa[64, 0.0] / kappa[32, 0.0] == pytest.approx(4, rel=0.1)
    assert kappa[128, 0.0] / kappa[64, 0.0] == pytest.approx(4, rel=0.1)


def test_a_metric_and_a_misfit_are_the_same_descent_for_a_convolution_only():
    y, kernel = uniform(16, 12), uniform(3, 3)
    x0 = torch.zeros(16, 12, dtype=F64)
    ends = []
    for A in (Blur(kernel, (16, 12)), Blur(kernel, (16, 12), "reflect")):
        metric = Landweber(LeastSquares(y) @ A, metric=BesselPotential((16, 12), 0.5), tau=0.3)
        misfit = Landweber(Sobolev(y, -0.5) @ A, tau=0.3)
        ends.append([solve(solver, x0, max_iter=30, tol=0.0).x for solver in (metric, misfit)])
    torch.testing.assert_close(*ends[0], rtol=1e-10, atol=1e-12)
    assert float((ends[1][0] - ends[1][1]).abs().max()) > 1e-3


def test_a_metric_of_the_right_order_takes_few_steps():
    """A smoother of order 1: hundreds of steps by the plain gradient, eight by that of H^-1."""
    n = 64
    A, x = smoother(n), uniform(n, low=-1)
    steps = {}
    for name, metric, tau in (("plain", None, None), ("H^-1", BesselPotential((n,), -1.0), 0.9)):
        solver = Landweber(LeastSquares(A(x), ndim=1) @ A, tau, metric)
        result = solve(solver, torch.zeros_like(x), max_iter=400, tol=1e-8, every=1)
        steps[name] = result.iters
        if name == "H^-1":
            assert result.status == "converged"
            torch.testing.assert_close(result.x, x, rtol=1e-5, atol=1e-5)
    assert steps["H^-1"] <= 9 and steps["plain"] > 300
