"""Total variation denoising: against closed forms, other libraries and its own certificate."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from members import uniform

from invreg.priors import TV, DirectionalTV, GroupL1, SpaceVariantTV, tv_denoise
from invreg.priors.tv import _Variation

F64 = torch.float64


def exact_1d(y: np.ndarray, weight: float) -> np.ndarray:
    """argmin sum (x - y)^2 / 2 + weight sum |x_i+1 - x_i| by enumeration of the signs of all jumps."""
    best, value = y, np.inf
    for signs in itertools.product((-1, 0, 1), repeat=len(y) - 1):
        parts = np.split(np.arange(len(y)), 1 + np.flatnonzero(signs))
        edges = [0, *(s for s in signs if s), 0]  # each plateau is its mean, moved by the signs at its two ends
        x = np.concatenate([
            np.full(len(p), y[p].mean() + weight * (edges[i + 1] - edges[i]) / len(p)) for i, p in enumerate(parts)
        ])  # fmt: skip
        objective = ((x - y) ** 2).sum() / 2 + weight * np.abs(np.diff(x)).sum()
        if objective < value:
            best, value = x, objective
    return best


@pytest.mark.parametrize("weight", [0.05, 0.3, 5.0])
def test_signals_have_their_exact_solution(weight):
    y = uniform(8)
    expected = exact_1d(y.numpy(), weight)
    got, _ = tv_denoise(y, weight, prior=TV((8,)), tol=1e-14, max_iter=20000)
    np.testing.assert_allclose(got, expected, atol=1e-7)
    column = tv_denoise(y[:, None], weight, tol=1e-14, max_iter=20000)[0]
    np.testing.assert_allclose(column[:, 0], expected, atol=1e-7)


def test_a_step_loses_height_and_flattens_at_last():
    y = torch.zeros(6, 10, dtype=F64)
    y[:, 4:] = 1.0
    x = tv_denoise(y, 0.6, tol=1e-14)[0]  # each side moves by the weight over its length
    np.testing.assert_allclose(x, np.tile([0.15] * 4 + [0.9] * 6, (6, 1)), atol=1e-8)
    x = tv_denoise(y, 3.0, tol=1e-14)[0]
    np.testing.assert_allclose(x, 0.6, atol=1e-8)


def test_the_certificate_bounds_the_true_excess_and_the_steps_stop_on_it():
    y = uniform(2, 12, 9)
    reference = tv_denoise(y, 0.2, tol=1e-14, max_iter=20000)[0]
    f = TV((12, 9))

    def objective(x):
        return (x - y).square().sum((1, 2)) / 2 + 0.2 * f(x)

    for tol in (1e-1, 1e-3, 1e-5):
        x, gap = tv_denoise(y, 0.2, tol=tol)
        excess = objective(x) / objective(reference) - 1
        assert bool((gap <= tol).all() and (excess <= gap * (1 + 1e-9)).all() and (excess > 0).all())
    x, gap = tv_denoise(y, 0.2, tol=0.0, max_iter=3)
    assert bool((gap > 1e-4).all())  # says that it has not arrived


def test_dense_reference():
    """The dual problem as bounded least squares of scipy, where each dual is a number: the anisotropic norm."""
    from scipy.optimize import lsq_linear

    from invreg.operators import Gradient

    y, weight = uniform(5, 4), 0.15
    D = Gradient((5, 4))(torch.eye(20, dtype=F64).reshape(20, 5, 4)).reshape(20, -1).T.numpy()
    D = D[np.abs(D).sum(1) > 0]
    u = lsq_linear(D.T, y.reshape(-1).numpy(), (-weight, weight), tol=1e-14).x
    x = tv_denoise(y, weight, prior=TV((5, 4), norm="anisotropic"), tol=1e-14, max_iter=20000)[0]
    np.testing.assert_allclose(x.reshape(-1), y.reshape(-1).numpy() - D.T @ u, atol=1e-6)


@pytest.mark.parametrize("peer", ["skimage", "deepinv", "odl"])
def test_other_libraries_find_the_same_image(peer):
    y, weight = uniform(12, 10), 0.1
    x = tv_denoise(y, weight, tol=1e-10, max_iter=20000)[0]
    if peer == "skimage":
        from skimage.restoration import denoise_tv_chambolle

        other = denoise_tv_chambolle(y.numpy(), weight=weight, eps=0, max_num_iter=4000)
    elif peer == "deepinv":
        deepinv = pytest.importorskip("deepinv", exc_type=ImportError)
        other = deepinv.models.TVDenoiser(n_it_max=3000, crit=0.0)(y[None, None], ths=weight)[0, 0].numpy()
    else:
        odl = pytest.importorskip("odl", exc_type=ImportError)
        space = odl.uniform_discr([0, 0], y.shape, y.shape)
        D = odl.Gradient(space, pad_mode="symmetric")
        data = 0.5 * odl.functionals.L2NormSquared(space).translated(space.element(y.numpy()))
        other, step = space.element(y.numpy().copy()), 8**-0.5
        odl.solvers.pdhg(
            other,
            data,
            weight * odl.functionals.GroupL1Norm(D.range),
            D,
            niter=1500,
            tau=step,
            sigma=step,
            gamma_primal=1.0,
        )
        other = other.asarray()
    np.testing.assert_allclose(other, x, atol=2e-3)
    assert np.abs(y.numpy() - other).max() > 0.05


@pytest.mark.parametrize("shape", [(6, 5), (40, 500), (5, 4, 3)])
def test_kernels_and_separate_operations_walk_the_same_way(shape):
    """In place on the CPU, block by block of rows, against plain torch operations, which a GPU and autograd take."""
    weights = uniform(*shape, seed=1)
    y, prior = uniform(2, *shape), SpaceVariantTV(weights, ndim=len(shape), huber=0.05)
    x = tv_denoise(y, 0.3, prior=prior, tol=0.0, max_iter=60)[0]
    recorded = tv_denoise(y.requires_grad_(), 0.3, prior=prior, tol=0.0, max_iter=60)[0]
    torch.testing.assert_close(recorded.detach(), x, rtol=0, atol=1e-10)
    assert recorded.requires_grad


def test_steps_under_autograd_have_their_derivative():
    y = uniform(3, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda y: tv_denoise(y, 0.05, prior=TV((3, 3), huber=0.3), tol=0.0, max_iter=7)[0], y
    )


def test_large_images_are_shared_by_threads(threads):
    y = uniform(260, 256)
    threads(1)
    one = tv_denoise(y, 0.2, max_iter=10)[0]
    threads(2)
    torch.testing.assert_close(tv_denoise(y, 0.2, max_iter=10)[0], one, rtol=0, atol=0)


def test_complex_images_are_two_channels_under_one_length():
    y = torch.complex(uniform(6, 5), uniform(6, 5, seed=1))
    x = tv_denoise(y, 0.2, tol=1e-12)[0]
    parts = tv_denoise(torch.stack((y.real, y.imag)), 0.2, prior=TV((6, 5), channels=2), tol=1e-12)[0]
    torch.testing.assert_close(torch.stack((x.real, x.imag)), parts, rtol=0, atol=1e-12)
    turned = tv_denoise(y * 1j, 0.2, tol=1e-12)[0]
    torch.testing.assert_close(turned, x * 1j, rtol=0, atol=1e-5)


def test_what_cannot_be_denoised_comes_back():
    nan = torch.full((4, 5), float("nan"))
    x, gap = tv_denoise(nan, 0.1)
    assert bool(x.isnan().all()) and bool(gap.isnan())
    flat = torch.full((2, 4, 5), 0.7)
    x, gap = tv_denoise(flat, 0.1)
    assert torch.equal(x, flat) and gap.tolist() == [0.0, 0.0]
    assert tv_denoise(torch.zeros(0, 4, 5), 0.1)[0].shape == (0, 4, 5)
    free = DirectionalTV(torch.zeros(2, 4, 5)).prox(flat, 1.0)
    assert torch.equal(free, flat)
    y = uniform(4, 5)
    assert torch.equal(tv_denoise(y, 0.1, prior=SpaceVariantTV(torch.zeros(4, 5, dtype=F64)))[0], y)
    own = _Variation(GroupL1(), TV((4, 5)).K, 1e-9)
    assert float(own(y)) == float(TV((4, 5))(y))


def test_the_kernel_of_a_gpu_in_the_interpreter():
    """In a process of its own: Triton reads the variable once, when it is imported."""
    triton = pytest.importorskip("triton", exc_type=ImportError)
    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 8):
        pytest.skip("the interpreter of Triton before 3.8 does not know numpy 2.4")
    file = Path(__file__).parent / "interpreted_triton_tv.py"
    command = [sys.executable, "-m", "pytest", "-q", "-x", str(file)]
    run = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
