"""Total generalised variation against its formula in numpy, scipy's minimisers, and what it must leave alone."""

import numpy as np
import pytest
import torch
from members import uniform
from torch import Tensor

from invreg.core import solve
from invreg.operators import Component, Gradient, LeastSquares, SymmetrisedGradient
from invreg.priors import TGV, TV, NonNegative, Through
from invreg.solvers import PDHG

F64 = torch.float64
SHAPES = [(7,), (5, 4), (3, 2, 4)]


def matrices(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """D x - w and E w as arrays (component, pixel, stack), written pixel by pixel."""
    d, n = len(shape), int(np.prod(shape))
    index = np.arange((1 + d) * n).reshape(1 + d, *shape)
    slopes, bends = np.zeros((d, n, (1 + d) * n)), np.zeros((d * d, n, (1 + d) * n))
    for pixel, at in enumerate(np.ndindex(shape)):
        for i in range(d):
            after = tuple(p + (a == i) for a, p in enumerate(at))
            if after[i] < shape[i]:
                slopes[i, pixel, index[(0, *after)]] += 1
                slopes[i, pixel, index[(0, *at)]] -= 1
                slopes[i, pixel, index[(1 + i, *at)]] -= 1
            before = tuple(p - (a == i) for a, p in enumerate(at))
            for j in range(d):
                if before[i] >= 0:
                    for entry in (i * d + j, j * d + i):
                        bends[entry, pixel, index[(1 + j, *at)]] += 0.5
                        bends[entry, pixel, index[(1 + j, *before)]] -= 0.5
    return slopes, bends


def reference(stack: np.ndarray, shape: tuple[int, ...], alpha0: float, alpha1: float, eps: float = 0.0):
    """The value of TGV at a flat stack with |.| smoothed by eps, and its gradient."""
    value, slope = 0.0, np.zeros_like(stack)
    for weight, K in zip((alpha1, alpha0), matrices(shape), strict=True):
        field = K @ stack
        size = np.sqrt((field**2).sum(0) + eps**2)
        value += weight * size.sum()
        slope += weight * np.einsum("cps,cp->s", K, field / np.maximum(size, 1e-300))
    return value, slope


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_its_value_is_that_of_the_formula(shape):
    stack = uniform(2, 1 + len(shape), *shape, low=-1)
    values = TGV(shape, alpha0=1.7, alpha1=0.6)(stack)
    expected = [reference(item.numpy().ravel(), shape, 1.7, 0.6)[0] for item in stack]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-12)


def minimum(y: Tensor, alpha0: float, alpha1: float) -> tuple[float, np.ndarray]:
    """min |x - y|^2 / 2 + TGV(x, w) by L-BFGS on ever less smoothed norms."""
    from scipy.optimize import minimize

    shape, flat = tuple(y.shape), y.numpy().ravel()

    def objective(stack: np.ndarray, eps: float):
        value, slope = reference(stack, shape, alpha0, alpha1, eps)
        residual = stack[: flat.size] - flat
        slope[: flat.size] += residual
        return value + 0.5 * residual @ residual, slope

    stack = np.zeros((1 + y.ndim) * flat.size)
    options = {"maxiter": 3000, "maxfun": 10000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 40}
    for eps in 10.0 ** np.arange(0, -6.5, -0.5):
        stack = minimize(objective, stack, (eps,), jac=True, method="L-BFGS-B", options=options).x
    return objective(stack, 0.0)[0], stack[: flat.size].reshape(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pdhg_finds_the_minimum_that_scipy_finds(shape):
    y = uniform(*shape, high=3, seed=len(shape))
    tgv = TGV(shape, alpha0=0.5, alpha1=0.3)
    best, image = minimum(y, 0.5, 0.3)
    solver = PDHG([LeastSquares(y, ndim=len(shape)) @ tgv.image, tgv])
    result = solve(solver, torch.zeros(tgv.image.domain.shape, dtype=F64), tol=1e-6, max_iter=50000, every=200)
    assert result.status == "converged" and result.history[-1]["gap"] >= -1e-12
    assert result.history[-1]["objective"] == pytest.approx(best, rel=1e-5)
    np.testing.assert_allclose(tgv.image(result.x).numpy(), image, atol=5e-3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_affine_images_cost_nothing(shape):
    slopes = torch.linspace(0.5, -0.8, len(shape), dtype=F64)
    axes = torch.meshgrid(*(torch.arange(n, dtype=F64) for n in shape), indexing="ij")
    image = sum(s * axis for s, axis in zip(slopes, axes, strict=True))
    field = slopes.reshape(-1, *(1,) * len(shape)).expand(-1, *shape)
    assert float(TGV(shape)(torch.cat([image[None], field]))) == pytest.approx(0, abs=1e-12)


def test_a_ramp_stays_a_ramp_where_total_variation_flattens_it():
    ramp = torch.linspace(0, 1, 12, dtype=F64).expand(10, 12)
    tgv = TGV((10, 12))
    start = torch.zeros(3, 10, 12, dtype=F64)
    smooth = solve(PDHG([LeastSquares(ramp) @ tgv.image, tgv]), start, tol=0, max_iter=3000, every=3000)
    flat = solve(PDHG([LeastSquares(ramp), TV((10, 12))]), start[0], tol=1e-6, max_iter=20000)
    torch.testing.assert_close(tgv.image(smooth.x), ramp, rtol=0, atol=2e-3)
    assert float((flat.x - ramp).abs().max()) > 0.2


def test_the_gap_bounds_the_distance_to_the_minimum_with_a_bound_on_the_image_alone():
    y = uniform(8, 8, low=-1, seed=5)
    tgv = TGV((8, 8), alpha0=0.4, alpha1=0.2)
    solver = PDHG([LeastSquares(y) @ tgv.image, tgv, Through(NonNegative(), tgv.image)])
    zero = torch.zeros(tgv.image.domain.shape, dtype=F64)
    end = solve(solver, zero, tol=1e-5, max_iter=50000, every=200)
    assert end.status == "converged"
    assert float(tgv.image(end.x).min()) >= 0 and float(end.x[1:].min()) < 0
    state, gaps = solver.init(zero), []
    for k in range(1, 401):
        state = solver.step(state)
        if k in (20, 50, 100, 200, 400):
            c = {name: float(v) for name, v in solver.certificate(state).items()}
            assert c["objective"] - end.history[-1]["objective"] <= c["gap"] * c["objective"]
            gaps.append(c["gap"])
    assert gaps[-1] < 0.1 * gaps[0]


@pytest.mark.parametrize("shape", [(9,), (6, 7), (3, 1, 4)], ids=str)
def test_the_norm_of_the_symmetrised_gradient_is_a_tight_bound(shape):
    E = SymmetrisedGradient(shape)
    basis = torch.eye(E.domain.size, dtype=F64).reshape(-1, *E.domain.shape)
    true = float(torch.linalg.matrix_norm(E(basis).reshape(E.domain.size, -1), ord=2))
    assert true <= E.norm() * (1 + 1e-12) and E.norm() <= 1.15 * true


def test_the_symmetrised_gradient_of_a_gradient_is_the_hessian_of_a_quadratic():
    i, j = torch.meshgrid(torch.arange(6, dtype=F64), torch.arange(7, dtype=F64), indexing="ij")
    bends = SymmetrisedGradient((6, 7))(Gradient((6, 7))(1.5 * i * i - j * j + 0.5 * i * j))[:, 1:-1, 1:-1]
    expected = torch.tensor([3.0, -2.0, 0.5 * 2**0.5], dtype=F64).reshape(3, 1, 1).expand_as(bends)
    torch.testing.assert_close(bends, expected)


def test_bad_arguments_are_said():
    for alphas in ((0.0, 1.0), (-1.0, 1.0), (1.0, float("nan")), (float("inf"), 1.0)):
        with pytest.raises(ValueError, match="TGV takes finite alpha0 > 0 and alpha1 > 0; got alpha0"):
            TGV((4, 5), *alphas)
    for shape in ((), (0, 3)):
        with pytest.raises(ValueError, match="a shape of one or more sizes from 1 on"):
            TGV(shape)
    for index in (3, -4, slice(3, None)):
        with pytest.raises(ValueError, match="an index or a slice of the 3 components"):
            Component((3, 4, 5), index)


@pytest.mark.parametrize("shape", [(5, 4), (1, 6), (40, 3)])
def test_the_kernels_are_the_operators_that_they_stand_for(shape):
    """Of each term the operator, its transpose and the dual step, against the sum of operators and the projection."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.tensor([0.3, 2.0], dtype=torch.float64)
    for term in (0.7 * TGV(shape)).terms:
        x = torch.randn(2, *term.K.domain.shape, generator=generator, dtype=torch.float64)
        u = torch.randn(2, *term.K.codomain.shape, generator=generator, dtype=torch.float64)
        forward = term.K.parts(x)
        torch.testing.assert_close(term.K(x), forward)
        torch.testing.assert_close(term.K.adjoint(u), term.K.parts.adjoint(u))
        torch.testing.assert_close(
            term.ascend(u, x, steps), term.f.conj_prox(u + steps[:, None, None, None] * forward, steps)
        )
