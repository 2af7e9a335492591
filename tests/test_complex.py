"""Complex images, as in magnetic resonance: against real arithmetic on both parts, numpy and scipy."""

import math

import numpy as np
import pytest
import torch
from members import uniform
from phantoms import SHEPP_LOGAN, ellipse_image, scaled
from torch import Tensor

from invreg.core import Result, ShapeError, Space, solve
from invreg.metrics import psnr
from invreg.operators import FourierSampling, Gradient, LeastSquares, WeightedLeastSquares, random_lines
from invreg.priors import TV, GroupL1
from invreg.solvers import CGLS, PDHG

F64, C128 = torch.float64, torch.complex128


def normal(*shape: int, seed: int = 0) -> Tensor:
    return Space(shape, complex=True).random(generator=torch.Generator().manual_seed(seed), dtype=F64)


def birdcage(shape: tuple[int, int], coils: int) -> Tensor:
    """Smooth complex sensitivities of coils around the image, their squares summing to 1."""
    v, u = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=F64) for n in shape), indexing="ij")
    angle = 2 * math.pi * torch.arange(coils, dtype=F64).reshape(-1, 1, 1) / coils
    size = torch.exp(-((u - 1.2 * angle.cos()) ** 2) - (v - 1.2 * angle.sin()) ** 2)
    s = torch.polar(size, angle + u * angle.sin())
    return s / torch.linalg.vector_norm(s, dim=0)


def scan(shape: tuple[int, int], coils: int, acceleration: float, std: float) -> tuple[FourierSampling, Tensor, Tensor]:
    """Operator, head with a smooth phase, and its noisy measurement."""
    v, u = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=F64) for n in shape), indexing="ij")
    head = torch.from_numpy(ellipse_image(scaled(SHEPP_LOGAN, shape[0] / 2), shape))
    image = torch.polar(head, 0.8 * u - 0.5 * v * v)
    generator = torch.Generator().manual_seed(1)
    mask = random_lines(shape, acceleration, generator)
    A = FourierSampling(mask, birdcage(shape, coils))
    return A, image, mask * LeastSquares(A(image), ndim=3, std=std).sample(A(image), generator)


def dense(A: FourierSampling | Gradient) -> np.ndarray:
    basis = torch.eye(A.domain.size, dtype=C128).reshape(-1, *A.domain.shape)
    return A(basis).reshape(A.domain.size, -1).T.numpy()


def stacked(z: Tensor, dim: int) -> Tensor:
    return torch.cat([z.real, z.imag], dim)


# Terms against the same terms on real and imaginary parts


@pytest.mark.parametrize("weights", [None, uniform(4, 5)], ids=["plain", "weights"])
def test_the_group_norm_is_that_of_real_and_imaginary_parts_as_components(weights):
    f, x, step = GroupL1(weights), normal(3, 2, 4, 5), 0.4
    parts = stacked(x, -3)
    torch.testing.assert_close(f(x), f(parts))
    torch.testing.assert_close(f.conj(x, 2.0), f.conj(parts, 2.0))
    torch.testing.assert_close(stacked(f.prox(x, step), -3), f.prox(parts, step))
    torch.testing.assert_close(stacked(f.conj_prox(x, step), -3), f.conj_prox(parts, step))


@pytest.mark.parametrize("make", [LeastSquares, lambda y: WeightedLeastSquares(y, uniform(*y.shape[:-1], 5, low=0.2))])
def test_least_squares_are_those_of_real_and_imaginary_parts(make):
    y, x = normal(4, 5), normal(4, 5, seed=1)
    f, g = make(y), make(y.real)
    h = make(y.imag)
    assert f(x).dtype == F64
    torch.testing.assert_close(f(x), g(x.real) + h(x.imag))
    torch.testing.assert_close(f.conj(x), g.conj(x.real) + h.conj(x.imag))
    for method in ("prox", "conj_prox"):
        torch.testing.assert_close(
            getattr(f, method)(x, 0.7), torch.complex(getattr(g, method)(x.real, 0.7), getattr(h, method)(x.imag, 0.7))
        )
    z = x.clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(f(z), z)[0], f.grad(x))


@pytest.mark.parametrize("make", [
    lambda p: LeastSquares(p, std=torch.full(p.shape[:1], 0.3)),
    lambda p: WeightedLeastSquares(p, torch.full(p.shape, 1 / 0.3**2, dtype=F64)),
], ids=["LeastSquares", "WeightedLeastSquares"])  # fmt: skip
def test_noise_has_its_deviation_in_each_part(make, generator):
    clean = normal(3, 80, 90)
    f = make(clean)
    noisy = f.sample(clean, generator)
    noise = noisy - clean
    for part in (noise.real, noise.imag):
        assert float(part.std()) == pytest.approx(0.3, rel=0.02) and abs(float(part.mean())) < 0.01
    correlation = (noise.real * noise.imag).mean() / 0.3**2
    assert abs(float(correlation)) < 0.03
    variance = 0.3**2 if isinstance(f, LeastSquares) else 1
    torch.testing.assert_close(f.expected().expand(3), torch.full((3,), 80 * 90 * variance, dtype=F64))
    torch.testing.assert_close(f(noisy), f.expected().expand(3), rtol=0.05, atol=0)


def test_a_change_of_precision_keeps_imaginary_parts():
    y = normal(4, 5)
    for f in (LeastSquares(y), 2.0 * LeastSquares(y), LeastSquares(y) @ FourierSampling(torch.ones(4, 5, dtype=F64))):
        found = next(t for name, t in f.float().state_dict().items() if name.endswith("y"))
        assert found.dtype == torch.complex64
        torch.testing.assert_close(found, y.to(torch.complex64))
    conjugate = LeastSquares(y.conj()).float().y
    torch.testing.assert_close(conjugate, y.to(torch.complex64).conj())


def test_total_variation_does_not_see_a_constant_phase():
    x = uniform(3, 6, 7)
    turned = torch.polar(x, torch.full_like(x, 0.7))
    torch.testing.assert_close(TV((6, 7), complex=True)(turned), TV((6, 7))(x))


def test_one_length_for_both_components():
    """A jump of 3 down and 4i to the right at one pixel is one of 5."""
    x = torch.zeros(3, 3, dtype=C128)
    x[2, :], x[:, 2] = 3, 4j
    x[2, 2] = 3 + 4j
    parts = np.abs(np.diff(x.numpy(), axis=0, append=x.numpy()[-1:])) ** 2
    parts += np.abs(np.diff(x.numpy(), axis=1, append=x.numpy()[:, -1:])) ** 2
    assert float(TV((3, 3), complex=True)(x)) == pytest.approx(np.sqrt(parts).sum())
    assert np.sqrt(parts)[1, 1] == 5


def test_proximal_maps_have_gradients_for_unrolled_solvers():
    x = normal(2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: GroupL1().prox(x, 0.3), x)


def test_no_imaginary_part_is_lost_without_a_word(tmp_path):
    x = normal(4, 5)
    with pytest.raises(ShapeError, match=r"Jacobian.* takes real floating-point .*got torch.complex128"):
        TV((4, 5))(x)
    with pytest.raises(TypeError, match=r"writes real images, x is torch.complex128.*x\.abs\(\)"):
        Result(x, "converged", 1, [], None, torch.tensor(True), torch.tensor(1)).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=r"image \(complex128\) and reference \(float64\) must be real"):
        psnr(x, x.abs(), data_range=1.0)


# Solvers


def test_cgls_gives_the_least_squares_solution():
    A = FourierSampling(uniform(4, 5) > 0.4, birdcage((4, 5), 3))
    y = normal(3, 4, 5)
    result = solve(CGLS(A, y), torch.zeros(4, 5, dtype=C128), tol=1e-12, every=1)
    expected = np.linalg.lstsq(dense(A), y.numpy().ravel(), rcond=None)[0]
    assert result.status == "converged"
    np.testing.assert_allclose(result.x.numpy().ravel(), expected, atol=1e-9)


def scipy_minimum(A: np.ndarray, D: np.ndarray, y: np.ndarray, weight: float) -> np.ndarray:
    """The minimiser by L-BFGS on real and imaginary parts side by side, |.|_eps = sqrt(|.|^2 + eps^2), eps to zero."""
    from scipy.optimize import minimize

    def real(M: np.ndarray) -> np.ndarray:
        return np.block([[M.real, -M.imag], [M.imag, M.real]])

    A, D, y = real(A), real(D), np.r_[y.real, y.imag]

    def value_and_grad(x: np.ndarray, eps: float) -> tuple[float, np.ndarray]:
        residual, d = A @ x - y, (D @ x).reshape(4, -1)
        size = np.sqrt((d**2).sum(0) + eps**2)
        return 0.5 * residual @ residual + weight * size.sum(), A.T @ residual + weight * D.T @ (d / size).ravel()

    x = np.zeros(A.shape[1])
    options = {"maxiter": 3000, "maxfun": 10000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 30}
    for eps in 10.0 ** np.arange(0, -6.5, -0.5):
        x = minimize(value_and_grad, x, (eps,), jac=True, method="L-BFGS-B", options=options).x
    return x[: x.size // 2] + 1j * x[x.size // 2 :]


@pytest.mark.parametrize("block", [True, False], ids=["coils", "denoising, the misfit as the term on x itself"])
def test_agreement_with_an_independent_minimiser_and_a_gap_worth_its_name(block):
    shape, weight = (8, 6), 0.05
    D = Gradient(shape, complex=True)
    A, _, y = scan(shape, 2, 2, 0.05)
    misfit = LeastSquares(y, ndim=3) @ A
    if not block:
        y = normal(*shape)
        misfit = LeastSquares(y)
    matrix = dense(A) if block else np.eye(48, dtype=complex)

    def objective(x: np.ndarray) -> float:
        lengths = np.sqrt((np.abs((dense(D) @ x).reshape(2, -1)) ** 2).sum(0))
        return float(0.5 * np.linalg.norm(matrix @ x - y.numpy().ravel()) ** 2 + weight * lengths.sum())

    solver, start = PDHG([misfit, weight * TV(shape, complex=True)]), torch.zeros(shape, dtype=C128)
    best = scipy_minimum(matrix, dense(D), y.numpy().ravel(), weight)
    result = solve(solver, start, tol=1e-9, max_iter=20000, every=50)
    assert result.status == "converged", str(result)
    assert result.history[-1]["objective"] == pytest.approx(objective(result.x.numpy().ravel()), rel=1e-12)
    assert result.history[-1]["objective"] == pytest.approx(objective(best), rel=1e-6)
    np.testing.assert_allclose(result.x.numpy().ravel(), best, atol=2e-4)
    for tol in (1e-1, 1e-2, 1e-3):
        rough = solve(solver, start, tol=tol, max_iter=20000, every=1)
        assert rough.status == "converged"
        assert objective(rough.x.numpy().ravel()) - objective(best) <= 1.001 * tol * objective(rough.x.numpy().ravel())


def test_a_constant_phase_and_a_scale_of_the_measurement_are_those_of_the_estimate():
    A, _, y = scan((12, 10), 3, 2, 0.02)
    turns = torch.tensor([1, 1j, -0.6 + 0.8j, 0.6 - 0.8j], dtype=C128).reshape(-1, 1, 1)
    many = LeastSquares(turns.unsqueeze(-1) * y, ndim=3) @ A
    start = torch.zeros(4, 12, 10, dtype=C128)
    x = solve(PDHG([many, 0.02 * TV((12, 10), complex=True)]), start, tol=0.0, max_iter=100).x
    torch.testing.assert_close(x, turns * x[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [torch.complex64, C128], ids=str)
def test_eight_coils_at_acceleration_four(kind):
    A, image, y = scan((64, 64), 8, 4, 0.01)
    y = y.to(kind)
    zero_filled = A.adjoint(y)
    result = solve(PDHG([LeastSquares(y, ndim=3) @ A, 2e-3 * TV((64, 64), complex=True)]), zero_filled, tol=1e-4)
    assert result.status == "converged", str(result)
    assert result.x.dtype == kind
    before, after = (psnr(x.abs(), image.abs(), data_range=1.0) for x in (zero_filled, result.x))
    assert after > before + 8
    assert torch.linalg.vector_norm(result.x - image) < 0.3 * torch.linalg.vector_norm(zero_filled - image)
