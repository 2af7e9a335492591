"""Norms and sets against numpy, scipy, ODL, deepinv and dense linear algebra."""

import numpy as np
import pytest
import torch
from members import uniform

from invreg.core import solve
from invreg.operators import Component, Gradient, Laplacian, LeastSquares, Mask
from invreg.priors import L1, Box, NonNegative, NuclearNorm, Simplex, SquaredL2, Through
from invreg.solvers import PDHG

F64 = torch.float64


def test_l1_shrinks_values_and_moduli():
    x = torch.tensor([[3.0, -0.2, -1.5]], dtype=F64)
    assert L1()(x) == pytest.approx(4.7)
    assert L1().prox(x, 0.5).tolist() == [[2.5, 0.0, -1.0]]
    weights = torch.tensor([[0.0, 1.0, 4.0]], dtype=F64)
    assert L1(weights).prox(x, 0.1).tolist() == [pytest.approx([3.0, -0.1, -1.1])]
    z = torch.tensor([[3 + 4j, 0.1j]], dtype=torch.complex128)
    torch.testing.assert_close(L1().prox(z, 1.0), torch.tensor([[2.4 + 3.2j, 0.0]], dtype=torch.complex128))


def test_l1_is_that_of_deepinv_and_odl():
    deepinv = pytest.importorskip("deepinv", reason="compares with deepinv")
    odl = pytest.importorskip("odl", reason="compares with ODL")
    x = uniform(2, 1, 5, 4, low=-1)
    theirs = deepinv.optim.prior.L1Prior()
    torch.testing.assert_close(L1(ndim=3)(x).float(), theirs.fn(x).float())
    torch.testing.assert_close(L1(ndim=3).prox(x, 0.3), theirs.prox(x, gamma=0.3))
    f = odl.functionals.L1Norm(odl.rn(5))
    v = x[0, 0, :, 0]
    np.testing.assert_allclose(
        L1(ndim=1).prox(v, 0.2).numpy(), f.proximal(0.2)(f.domain.element(v.numpy())).data, atol=1e-14
    )


@pytest.mark.parametrize("K", [Gradient((6, 5)), Laplacian((6, 5))], ids=["gradient", "laplacian"])
def test_tikhonov_solves_the_normal_equations(K):
    y, f = uniform(6, 5, low=-1), 0.7 * SquaredL2(ndim=len(K.codomain.shape)) @ K
    normal = torch.stack([K.adjoint(K(e)).flatten() for e in torch.eye(30, dtype=F64).reshape(30, 6, 5)])
    expected = torch.linalg.solve(torch.eye(30, dtype=F64) + 0.7 * normal, y.flatten()).reshape(6, 5)
    result = solve(PDHG([LeastSquares(y), f]), torch.zeros_like(y), tol=1e-10, max_iter=5000)
    assert result.status == "converged"
    torch.testing.assert_close(result.x, expected, rtol=0, atol=1e-4)


def test_the_nuclear_norm_shrinks_singular_values():
    x = uniform(2, 4, 5, 6, low=-1)
    for item, value, p in zip(x, NuclearNorm()(x), NuclearNorm().prox(x, 0.8), strict=True):
        U, s, V = np.linalg.svd(item.numpy().reshape(4, 30), full_matrices=False)
        assert float(value) == pytest.approx(s.sum())
        expected = (U * np.maximum(s - 0.8, 0)) @ V
        np.testing.assert_allclose(p.numpy().reshape(4, 30), expected, atol=1e-12)


def test_the_nuclear_prox_in_single_precision_keeps_its_digits():
    x = uniform(6, 40, 40, low=-1)
    exact = NuclearNorm().prox(x, 23.0)
    assert 0 < torch.linalg.matrix_rank(exact.flatten(1), rtol=1e-9) < 6
    torch.testing.assert_close(NuclearNorm().prox(x.float(), 23.0).double(), exact, rtol=0, atol=2e-6)


def test_a_stack_of_two_mixed_images_is_filled_in():
    """7 frames of 2 images, a third of the values unknown: far better than without the norm."""
    images, mixture = uniform(2, 12, 12, seed=1), uniform(7, 2, seed=2)
    truth = torch.einsum("fk,khw->fhw", mixture, images)
    M = Mask(uniform(7, 12, 12, seed=3) > 0.33)
    solver = PDHG([LeastSquares(M(truth), ndim=3) @ M, 0.02 * NuclearNorm()])
    result = solve(solver, torch.zeros_like(truth), tol=1e-3, max_iter=5000)
    assert result.status == "converged"
    assert float((result.x - truth).norm()) < 0.05 * float((M(truth) - truth).norm())


@pytest.mark.parametrize("size", [1.0, 2.5])
def test_the_simplex_projection_is_that_of_a_quadratic_program(size):
    from scipy.optimize import minimize

    x = uniform(5, 2, 3, low=-1, high=2)
    p = Simplex(size).prox(x, 1.0)
    assert float(Simplex(size)(p)) == 0 and bool((p.sum(0) - size).abs().max() < 1e-14)
    for at in np.ndindex(2, 3):
        point = x[(slice(None), *at)].numpy()
        best = minimize(
            lambda v, point=point: ((v - point) @ (v - point) / 2, v - point),
            np.full(5, size / 5),
            jac=True,
            bounds=[(0, None)] * 5,
            constraints={"type": "eq", "fun": lambda v: v.sum() - size, "jac": np.ones_like},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 300},
        )
        np.testing.assert_allclose(p[(slice(None), *at)].numpy(), best.x, atol=1e-6)


def test_the_simplex_keeps_its_points_and_knows_what_is_outside():
    x = torch.tensor([[0.2, 1.0], [0.8, 0.0]])[..., None]
    torch.testing.assert_close(Simplex().prox(x, 3.0), x, rtol=0, atol=1e-7)
    assert float(Simplex()(x)) == 0
    for outside in (x + 0.01, x - torch.tensor([0.3, -0.3])[:, None, None]):
        assert float(Simplex()(outside)) == float("inf")
    f32 = Simplex().prox(100 * uniform(8, 50, 50, low=-1).float(), 1.0)
    assert float(Simplex()(f32)) == 0


def test_boxes_of_volumes_and_of_one_component():
    v = torch.tensor([-1.0, 0.5, 2.0])
    assert Box(0, 1, ndim=1).prox(v, 1.0).tolist() == [0.0, 0.5, 1.0]
    assert Box(0, 1, ndim=3)(uniform(2, 3, 4, 5)).tolist() == [0.0, 0.0]
    assert NonNegative(ndim=1)(torch.stack([v, v.abs()])).tolist() == [float("inf"), 0.0]
    stack = torch.tensor([[[-1.0]], [[-2.0]]])
    assert Through(NonNegative(), Component((2, 1, 1), 0)).prox(stack, 1.0).tolist() == [[[0.0]], [[-2.0]]]


def test_bad_arguments_are_said():
    for bad in (torch.tensor([[-1.0]]), torch.tensor([[float("nan")]]), torch.tensor([[float("inf")]])):
        with pytest.raises(ValueError, match=r"L1 takes finite weights >= 0 with at least its 2 axes; .* not finite"):
            L1(bad)
    with pytest.raises(ValueError, match=r"at least its 2 axes; got \(3,\)$"):
        L1(torch.ones(3))
    for size in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Simplex takes a finite size > 0"):
            Simplex(size)
    with pytest.raises(ValueError, match="NuclearNorm takes ndim from 2 on"):
        NuclearNorm(ndim=1)
