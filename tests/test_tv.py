"""The total variation family: its values, symmetries and limits, against closed forms and dense references."""

import math

import numpy as np
import pytest
import torch
from members import uniform

from invreg.core import Precomposed, solve
from invreg.operators import Gradient, LeastSquares
from invreg.priors import (
    TV,
    DirectionalTV,
    GroupHuber,
    GroupL1,
    GroupNuclear,
    Jacobian,
    SpaceVariantTV,
    tv_denoise,
)
from invreg.solvers import PDHG

F64 = torch.float64
FAMILY = {
    "signal": (TV((9,), 0.5), (9,)),
    "image": (TV((7, 6), (1.0, 2.0)), (7, 6)),
    "anisotropic": (TV((7, 6), (1.0, 2.0), norm="anisotropic"), (7, 6)),
    "Huber": (TV((7, 6), huber=0.2), (7, 6)),
    "Huber, anisotropic": (TV((7, 6), huber=0.2, norm="anisotropic", channels=2), (2, 7, 6)),
    "volume": (TV((3, 5, 4), (2.0, 1.0, 0.5)), (3, 5, 4)),
    "volume, channels": (TV((3, 5, 4), channels=2), (2, 3, 5, 4)),
    "channels": (TV((7, 6), channels=3), (3, 7, 6)),
    "nuclear": (TV((7, 6), norm="nuclear", channels=3), (3, 7, 6)),
    "space-variant": (SpaceVariantTV(uniform(7, 6)), (7, 6)),
    "space-variant, anisotropic": (SpaceVariantTV(uniform(2, 7, 6), norm="anisotropic"), (2, 7, 6)),
    "space-variant volume": (SpaceVariantTV(uniform(3, 5, 4), ndim=3, channels=2, huber=0.1), (2, 3, 5, 4)),
    "directional": (DirectionalTV.from_image(uniform(7, 6), 0.3, channels=2), (2, 7, 6)),
}


def lengths(x, spacing=None):
    """|D x| over the last two axes of an image by numpy."""
    ny, nx = spacing or (1.0, 1.0)
    x = np.asarray(x)
    down = np.diff(x, axis=-2, append=x[..., -1:, :]) / ny
    across = np.diff(x, axis=-1, append=x[..., -1:]) / nx
    return down, across


@pytest.mark.parametrize(("f", "shape"), FAMILY.values(), ids=FAMILY)
def test_the_dual_step_is_that_of_separate_operations(f, shape):
    """The kernels against the gradient and the projection in torch, item by item with steps of their own."""
    x, step = uniform(2, *shape, low=-1), torch.tensor([0.3, 2.0], dtype=F64)
    if f.f.weights is not None and f.f.weights.shape[0] == 2:  # a map for each of the two items
        x = x[0]
    u = uniform(*f.K.domain.batch(x), *f.K.codomain.shape, low=-1, seed=1)
    kept = u.clone(), x.clone()
    got = (0.7 * f).ascend(u, x, step)
    torch.testing.assert_close(got, Precomposed.ascend(0.7 * f, u, x, step), rtol=1e-13, atol=1e-14)
    assert torch.equal(u, kept[0]) and torch.equal(x, kept[1])
    single = (0.7 * f).float().ascend(u.float(), x.float(), step)
    torch.testing.assert_close(single.double(), got, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shape", "spacing"), [((9,), 0.5), ((7, 6), (1.0, 2.0)), ((3, 5, 4), 0.7), ((1, 5, 1), 1.0)])
def test_the_kernels_of_the_differences_are_the_gradient(shape, spacing, threads):
    threads(2)
    x, D = uniform(2, *shape), Gradient(shape, spacing)
    u = uniform(2, len(shape), *shape, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(Jacobian(shape, spacing)(x), D(x), rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(Jacobian(shape, spacing).adjoint(u), D.adjoint(u), rtol=1e-14, atol=1e-14)
        both = Jacobian(shape, spacing, 2)
        torch.testing.assert_close(both(x), D(x).flatten(0, 1), rtol=1e-14, atol=1e-14)
    assert both.norm() == D.norm()


def test_values_of_the_family():
    x = uniform(3, 7, 6, low=-1).numpy()
    down, across = lengths(x, (0.5, 2.0))
    t, size = torch.from_numpy(x), np.hypot(down, across)
    spacing = (0.5, 2.0)
    expected = {
        TV((7, 6), spacing): size.sum((1, 2)),
        TV((7, 6), spacing, norm="anisotropic"): (abs(down) + abs(across)).sum((1, 2)),
        TV((7, 6), spacing, channels=3): np.sqrt((size**2).sum(0)).sum(),
        TV((7, 6), spacing, norm="anisotropic", channels=3): sum(np.sqrt((d**2).sum(0)).sum() for d in (down, across)),
        TV((7, 6), spacing, huber=0.4): np.where(size < 0.4, size**2 / 0.8, size - 0.2).sum((1, 2)),
        TV((7, 6), spacing, norm="nuclear", channels=3): np.linalg.svd(
            np.stack((down, across), -1).transpose(1, 2, 0, 3), compute_uv=False
        ).sum(),
    }
    for f, value in expected.items():
        np.testing.assert_allclose(f(t), value, rtol=1e-12)


@pytest.mark.parametrize("norm", ["isotropic", "anisotropic"])
def test_a_volume_that_is_constant_along_an_axis_is_an_image(norm):
    y, options = uniform(7, 6), {"tol": 1e-10, "max_iter": 20000}
    flat = tv_denoise(y, 0.2, prior=TV((7, 6), norm=norm), **options)[0]
    for axis in range(3):
        stack = torch.stack([y] * 4, axis)
        prior = TV(tuple(stack.shape), norm=norm)
        x, gap = tv_denoise(stack, 0.2, prior=prior, **options)
        objective = float((x - stack).square().sum() / 2 + 0.2 * prior(x))
        assert float(gap) <= 1e-10
        # |x - x*|^2 / 2 is at most the gap, for both
        bound = 2 * math.sqrt(2e-10 * objective)
        assert float((x - torch.stack([flat] * 4, axis)).norm()) < bound


def test_one_channel_is_the_image_and_equal_channels_share_an_edge():
    y = uniform(7, 6)
    x = tv_denoise(y, 0.2, tol=1e-12)[0]
    for norm in ("isotropic", "nuclear"):
        one = tv_denoise(y[None], 0.2, prior=TV((7, 6), norm=norm, channels=1), tol=1e-12)[0][0]
        torch.testing.assert_close(one, x, rtol=0, atol=1e-6)
        # |(a, a, a, a)| = 2 |a|: four equal channels count as one of twice the height
        four = tv_denoise(y.expand(4, 7, 6), 0.4, prior=TV((7, 6), norm=norm, channels=4), tol=1e-12)[0]
        torch.testing.assert_close(four, x.expand(4, 7, 6), rtol=0, atol=1e-6)


def test_symmetries():
    """A transposed image has the transposed solution; turned by 180 degrees only the anisotropic one is the same."""
    y = uniform(7, 6)
    options = {"tol": 1e-13, "max_iter": 20000}
    for norm in ("isotropic", "anisotropic"):
        x = tv_denoise(y, 0.2, prior=TV((7, 6), norm=norm), **options)[0]
        turned = tv_denoise(y.T.contiguous(), 0.2, prior=TV((6, 7), norm=norm), **options)[0]
        torch.testing.assert_close(turned.T, x, rtol=0, atol=1e-6)
    turned = tv_denoise(y.rot90(), 0.2, prior=TV((6, 7), norm="anisotropic"), **options)[0]
    torch.testing.assert_close(turned.rot90(-1), x, rtol=0, atol=1e-6)


def test_huber_lies_between_total_variation_and_tikhonov():
    y = uniform(7, 6)
    x = tv_denoise(y, 0.2, tol=1e-13)[0]
    near = tv_denoise(y, 0.2, prior=TV((7, 6), huber=1e-6), tol=1e-12, max_iter=20000)[0]
    torch.testing.assert_close(near, x, rtol=0, atol=1e-4)
    alpha, weight = 100.0, 20.0  # no difference is as large: weight |D x|^2 / (2 alpha), a linear system
    D = Gradient((7, 6))(torch.eye(42, dtype=F64).reshape(42, 7, 6)).reshape(42, -1).T
    linear = torch.linalg.solve(torch.eye(42, dtype=F64) + weight / alpha * D.T @ D, y.reshape(42)).reshape(7, 6)
    smooth = tv_denoise(y, weight, prior=TV((7, 6), huber=alpha), tol=1e-14)[0]
    torch.testing.assert_close(smooth, linear, rtol=0, atol=1e-8)


def test_parallel_edges_are_free_and_others_are_not():
    reference = torch.zeros(8, 8, dtype=F64)
    reference[:, 4:] = 1.0
    prior = DirectionalTV.from_image(reference, eta=1e-9)
    assert float(prior(3 * reference)) < 1e-12
    assert float(prior(reference.T)) == 8.0
    nowhere = DirectionalTV(torch.zeros(2, 8, 8, dtype=F64))
    x = uniform(8, 8)
    torch.testing.assert_close(nowhere(x), TV((8, 8))(x))
    torch.testing.assert_close(nowhere.prox(x, 0.1), TV((8, 8)).prox(x, 0.1), rtol=0, atol=1e-3)
    half = DirectionalTV.from_image(reference, eta=1.0)  # |xi|^2 = 1 / 2 on the edge, which so costs half
    torch.testing.assert_close(half(reference), torch.tensor(4.0, dtype=F64))


def test_weights_of_volumes_and_channels_follow_the_formula():
    x0 = uniform(2, 3, 5, 4)
    size = Gradient((3, 5, 4), 0.5)(x0).square().sum((0, 1)).sqrt()
    prior = SpaceVariantTV.from_image(x0, 0.4, 0.5, 0.5, ndim=3, channels=2)
    torch.testing.assert_close(prior.f.weights, (0.4 / (0.16 + size**2).sqrt()).sqrt())
    torch.testing.assert_close(prior(x0), (prior.f.weights * size).sum())


@pytest.mark.parametrize(("f", "shape"), FAMILY.values(), ids=FAMILY)
def test_pdhg_finds_the_proximal_map(f, shape):
    """Two algorithms that share no loop, each with a certificate of its own."""
    y = uniform(*shape)
    result = solve(PDHG([LeastSquares(y, ndim=f.ndim), 0.1 * f]), torch.zeros_like(y), tol=1e-9, max_iter=20000).check()
    x, gap = tv_denoise(y, 0.1, prior=f, tol=1e-11, max_iter=20000)
    assert float(gap.max()) < 1e-10
    torch.testing.assert_close(x, result.x, rtol=0, atol=1e-3 * math.sqrt(0.1))


def test_senseless_arguments_are_refused_in_one_sentence():
    nan = float("nan")
    for make, match in [
        (lambda: TV((4, 5), norm="l1"), r"takes norm 'isotropic', 'anisotropic', 'nuclear'; got 'l1'"),
        (lambda: TV((4, 5), huber=-1.0), "finite huber >= 0; got -1"),
        (lambda: TV((4, 5), huber=nan), "finite huber >= 0; got nan"),
        (lambda: TV((4, 5), channels=0), "one or more channels; got 0"),
        (lambda: TV((4, 5), tol=nan), "tol >= 0 of its proximal map; got nan"),
        (lambda: TV((4, 5), (1.0, 0.0)), "one spacing > 0 or one for each of the 2 axes"),
        (lambda: TV((2, 4, 5), norm="nuclear", channels=3), "got 3 axes, channels=3"),
        (lambda: TV((4, 5), norm="nuclear"), "with channels="),
        (lambda: SpaceVariantTV(-torch.ones(4, 5)), "finite weights >= 0"),
        (lambda: SpaceVariantTV(torch.full((4, 5), nan)), "finite weights >= 0"),
        (lambda: SpaceVariantTV(torch.ones(4), ndim=2), r"ndim=2 trailing axes, from 1 on; got \(4,\)"),
        (lambda: DirectionalTV(torch.ones(2, 4, 5)), "lengths up to 1"),
        (lambda: DirectionalTV(torch.full((2, 4, 5), nan)), "lengths up to 1"),
        (lambda: DirectionalTV(torch.zeros(3, 4, 5)), r"directions \(\*batch, 2, \*shape\)"),
        (lambda: DirectionalTV.from_image(torch.zeros(4, 5), eta=0.0), "eta > 0; got 0"),
        (lambda: GroupHuber(0.0), "finite alpha > 0; got 0"),
        (lambda: GroupL1(ndim=1), "ndim >= 2; got 1"),
        (lambda: tv_denoise(torch.zeros(4, 5), -1.0), "finite weight > 0; got -1"),
        (lambda: tv_denoise(torch.zeros(4, 5), nan), "finite weight > 0; got nan"),
        (lambda: tv_denoise(torch.zeros(4), 1.0), r"takes an image \(\*batch, h, w\), or a prior"),
        (lambda: tv_denoise(torch.zeros(4, 5), 1.0, tol=-1.0), "tol >= 0 and max_iter >= 0; got tol=-1"),
        (lambda: tv_denoise(torch.zeros(4, 5), 1.0, prior=TV((5, 5))), r"tv_denoise takes real .*\(4, 5\)"),
        (lambda: SpaceVariantTV(torch.ones(3, 4, 5)).prox(torch.zeros(2, 4, 5), 1.0), "of the same batch and size"),
    ]:
        with pytest.raises(ValueError, match=match):
            make()
    with pytest.raises(TypeError, match="GroupNuclear takes real fields"):
        GroupNuclear()(torch.zeros(2, 2, 4, 5, dtype=torch.complex64))
