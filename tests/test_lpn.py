"""Learned proximal networks: what makes the gradient of a network a proximal map, and the prior behind it."""

import warnings

import numpy as np
import pytest
import torch
from members import convex_network
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from invreg.core import ShapeError, inner
from invreg.priors import LPN, ConvPotential, DensePotential, ImagePotential, PatchPotential, Potential

DOUBLE = torch.float64


def _image(alpha: float = 0.05, channels: int = 1) -> Potential:
    return convex_network(ImagePotential(channels, (4, 6), (2,), kernel=3, beta=4.0, alpha=alpha))


def _fixed() -> Potential:
    return convex_network(ConvPotential((1, 4, 4), 4, (2, 1), beta=4.0, alpha=0.05))


def _dense() -> Potential:
    return convex_network(DensePotential(5, 8, 2, beta=4.0, alpha=0.05))


POTENTIALS = {
    "image": (_image, (1, 5, 4)),
    "fixed": (_fixed, (1, 4, 4)),
    "dense": (_dense, (5,)),
    "patches": (lambda: PatchPotential(_image(), 2, 1, chunk=20_000), (1, 2, 3)),
}
every = pytest.mark.parametrize("name", POTENTIALS)


def _made(name: str) -> tuple[Potential, tuple[int, ...]]:
    make, shape = POTENTIALS[name]
    return make(), shape


def _prior(name: str) -> tuple[LPN, tuple[int, ...]]:
    psi, shape = _made(name)
    return LPN(psi), shape if len(shape) == 1 else shape[1:]


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def _jacobian(f, x: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(f, x).reshape(x.numel(), x.numel())


class Sigmoids(Potential):
    """sum_i log(1 + exp(x_i)): its gradient takes the values in (0, 1) and no others."""

    shape, modulus = (2,), 0.0

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x).sum(1)


# The network and its gradient


@every
def test_the_potential_is_convex_with_its_modulus(name):
    psi, shape = _made(name)
    for scale in (0.1, 1.0, 30.0):
        a, b = scale * _normal(300, *shape), scale * _normal(300, *shape, seed=1)
        t = torch.linspace(0.01, 0.99, 300, dtype=DOUBLE)
        mix = t.reshape(-1, *(1,) * len(shape))
        below = t * psi(a) + (1 - t) * psi(b) - psi(mix * a + (1 - mix) * b)
        least = psi.modulus / 2 * t * (1 - t) * (a - b).flatten(1).square().sum(1)
        assert bool((below - least >= -1e-10 * (1 + psi(a).abs())).all())


@every
def test_the_jacobian_is_symmetric_and_has_no_eigenvalue_below_the_modulus(name):
    prior, shape = _prior(name)
    J = _jacobian(lambda x: prior.prox(x, 1.0), _normal(*shape))
    torch.testing.assert_close(J, J.T, rtol=0, atol=1e-12)
    assert float(torch.linalg.eigvalsh(J)[0]) >= prior.psi.modulus - 1e-12


def test_the_prox_is_the_gradient_of_the_potential_by_differences():
    prior, x, u = LPN(_image(), low=-0.5, high=1.5), _normal(5, 4), _normal(5, 4, seed=1)
    slope = (prior.potential(x + 1e-6 * u) - prior.potential(x - 1e-6 * u)) / 2e-6
    torch.testing.assert_close(inner(prior.prox(x, 1.0), u, 2), slope, rtol=1e-8, atol=1e-8)


def test_autograd_follows_the_prox_and_leaves_the_argument_alone():
    prior, x = LPN(_image()), _normal(2, 5, 4)
    assert not prior.prox(x, 1.0).requires_grad and not x.requires_grad
    with torch.no_grad():
        plain = prior.prox(x, 1.0)
    with torch.inference_mode():
        assert torch.equal(prior.prox(x.clone(), 1.0), plain)
        assert torch.equal(prior.value_after(x.clone()), prior.value_after(x))
    assert torch.autograd.gradcheck(lambda x: prior.prox(x, 1.0), x.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda x: prior(x), 0.3 * x[0].clone().requires_grad_(), atol=1e-5)


# The prior


@every
@pytest.mark.parametrize("step", [0.3, 1.0])
def test_the_prox_beats_a_thousand_competitors(name, step):
    """Values by inversion, of which the prox at the step 1 knows nothing."""
    prior, shape = _prior(name)
    x = _normal(*shape)
    p = prior.prox(x, step)
    size = torch.logspace(-4, 1, 1000, dtype=DOUBLE).reshape(-1, *(1,) * len(shape))
    rivals = torch.cat([p[None], p + size * _normal(1000, *shape, seed=1)])
    value = prior(rivals) + inner(rivals - x, rivals - x, len(shape)) / (2 * step)
    assert bool((value[1:] > value[0]).all())


@every
def test_fenchel_gap_of_an_inversion_is_zero(name):
    """R + |.|^2 / 2 is the conjugate of psi, and y is where it is attained: no other point gives more."""
    prior, shape = _prior(name)
    x = _normal(4, *shape)
    y, info = prior.inverse(x)
    n = len(shape)
    conjugate = prior(x) + inner(x, x, n) / 2
    assert not bool(info.failed.any()) and bool((info.residual <= 1e-8 * x[0].numel() ** 0.5).all())
    torch.testing.assert_close(prior.potential(y) + conjugate, inner(x, y, n), rtol=1e-10, atol=1e-10)
    others = y + _normal(50, 4, *shape, seed=3)
    assert bool((prior.potential(others) + conjugate >= inner(x.expand_as(others), others, n)).all())


@every
def test_moreau_envelope(name):
    """M(y) = R(f(y)) + |f(y) - y|^2 / 2 is |y|^2 / 2 - psi(y), of the gradient y - f(y)."""
    prior, shape = _prior(name)
    y, n = _normal(3, *shape), len(shape)
    f = prior.prox(y, 1.0)
    envelope = prior(f) + inner(f - y, f - y, n) / 2
    torch.testing.assert_close(envelope, inner(y, y, n) / 2 - prior.potential(y), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(prior(f), prior.value_after(y), rtol=1e-9, atol=1e-9)
    u, h = _normal(3, *shape, seed=5), 1e-4
    moved = [prior.prox(y + s * h * u, 1.0) for s in (1, -1)]
    ends = [prior(g) + inner(g - y - s * h * u, g - y - s * h * u, n) / 2 for g, s in zip(moved, (1, -1), strict=True)]
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * h), inner(y - f, u, n), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (0.3, 5.0)])
def test_the_range_of_the_images_changes_the_unit_alone(low, high):
    """R in the unit of the images is s^2 R((x - low) / s), with the same minimiser at every step."""
    plain, scaled, s = LPN(_image()), LPN(_image(), low=low, high=high), high - low
    u = _normal(2, 5, 4)
    x = low + s * u
    for step in (0.4, 1.0):
        torch.testing.assert_close(scaled.prox(x, step), low + s * plain.prox(u, step))
    torch.testing.assert_close(scaled(x), s**2 * plain(u))
    torch.testing.assert_close(scaled.value_after(x), s**2 * plain.value_after(u))
    p = scaled.prox(x, 1.0)
    rivals = p + 0.1 * _normal(100, 2, 5, 4, seed=1)
    best = scaled(p) + inner(p - x, p - x, 2) / 2
    assert bool((scaled(rivals) + inner(rivals - x, rivals - x, 2) / 2 > best).all())
    torch.testing.assert_close(
        scaled(p), inner(p, x, 2) - inner(p, p, 2) / 2 - scaled.potential(x), rtol=1e-9, atol=1e-9
    )


def test_a_quadratic_potential_in_closed_form():
    """psi = a |x|^2 / 2 gives R = (1 / a - 1) |x|^2 / 2 and its proximal maps."""

    class Quadratic(Potential):
        shape, modulus = (1, None, None), 0.4

        def forward(self, x: Tensor) -> Tensor:
            return 0.2 * x.square().sum((1, 2, 3))

    prior, x = LPN(Quadratic()), _normal(3, 5, 4)
    torch.testing.assert_close(prior(x), 0.75 * inner(x, x, 2))
    torch.testing.assert_close(prior.grad(x), 1.5 * x)
    for step in (0.2, 1.0):
        torch.testing.assert_close(prior.prox(x, step), x / (1 + 1.5 * step))
    torch.testing.assert_close((0.5 * prior).prox(x, 2.0), 0.4 * x)
    # the Moreau envelope of the relaxed R is t times 0.6 |x|^2 / 2
    relaxed = prior.relaxed(0.25)
    torch.testing.assert_close(relaxed.prox(x, 1.0), x + 0.25 * (0.4 * x - x))
    torch.testing.assert_close(relaxed(x), (1 / 0.85 - 1) / 2 * inner(x, x, 2))


def test_relaxed_moreau_envelope_is_t_times_that_of_the_prior():
    prior, y, t = LPN(_image()), _normal(3, 5, 4), 0.6
    relaxed = prior.relaxed(t)
    torch.testing.assert_close(relaxed.prox(y, 1.0), y + t * (prior.prox(y, 1.0) - y))
    envelopes = []
    for each in (prior, relaxed):
        f = each.prox(y, 1.0)
        envelopes.append(each(f) + inner(f - y, f - y, 2) / 2)
    torch.testing.assert_close(envelopes[1], t * envelopes[0], rtol=1e-9, atol=1e-9)


# Inversion


def test_batched_inversion_against_scipy_for_each_item():
    prior, x = LPN(_image()), 2 * _normal(2, 3, 5, 4)
    y, info = prior.inverse(x)
    assert not bool(info.failed.any()) and info.residual.shape == (2, 3) and y.shape == x.shape

    for item, found in zip(x.reshape(-1, 5, 4), y.reshape(-1, 5, 4), strict=True):

        def objective(v: np.ndarray, item: Tensor = item) -> tuple[float, np.ndarray]:
            y = torch.from_numpy(v).reshape(5, 4)
            gradient = prior.prox(y, 1.0) - item
            return float(prior.potential(y) - (item * y).sum()), gradient.numpy().ravel()

        best = minimize(objective, item.numpy().ravel(), jac=True, method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(found.numpy().ravel(), best.x, rtol=0, atol=1e-6)


def test_an_item_does_not_depend_on_its_batch():
    prior, x = LPN(_image()), torch.stack([s * _normal(5, 4, seed=s) for s in (1, 2, 30)])
    y, info = prior.inverse(x)
    for i in range(3):
        alone, one = prior.inverse(x[i])
        torch.testing.assert_close(alone, y[i], rtol=1e-10, atol=1e-10)
        assert int(one.iterations) == int(info.iterations[i])


def test_what_has_no_preimage_is_flagged_and_becomes_nan_with_a_warning():
    """Without strong convexity: inside, outside, and on the edge of (0, 1), where residuals vanish as y diverges."""
    prior = LPN(Sigmoids())
    x = torch.tensor([[0.3, 0.9], [0.3, 1.5], [0.3, 1.0], [float("nan"), 0.5], [0.3, 1 - 1e-6]], dtype=DOUBLE)
    y, info = prior.inverse(x, tol=1e-6)
    assert info.failed.tolist() == [False, True, True, True, False]
    assert float(info.residual[2]) < 1e-5  # which is why residuals alone do not do
    torch.testing.assert_close(y[0], torch.logit(x[0]), rtol=1e-6, atol=1e-6)
    with pytest.warns(UserWarning, match="3 of 5 items have no preimage that was found; they are NaN"):
        value = prior(x)
    assert value.isnan().tolist() == [False, True, True, True, False]
    entropy = (x[0] * x[0].log() + (1 - x[0]) * (1 - x[0]).log()).sum()  # the conjugate of log(1 + exp)
    torch.testing.assert_close(value[0], entropy - x[0].square().sum() / 2)


def test_too_few_iterations_are_a_failure():
    prior, x = LPN(_image()), 3 * _normal(2, 5, 4)
    assert prior.inverse(x, max_iter=1)[1].failed.all() and not prior.inverse(x)[1].failed.any()
    for bad in ({"tol": 0.0}, {"max_iter": 0}):
        with pytest.raises(ValueError, match="takes tol > 0 and max_iter >= 1"):
            prior.inverse(x, **bad)


def test_nan_passes_through_the_prox():
    prior, x = LPN(_image()), _normal(2, 5, 4)
    x[0, 2, 2] = float("nan")
    p = prior.prox(x, 1.0)
    assert bool(p[0].isnan().any()) and bool(p[1].isfinite().all())
    with pytest.warns(UserWarning, match="1 of 2 items did not converge"):
        half = prior.prox(x, 0.5)
    assert bool(half[0].isnan().all()) and bool(half[1].isfinite().all())


def test_single_precision_is_near_double_and_its_values_are_double():
    prior = LPN(_image().float())
    x = _normal(2, 5, 4)
    near = prior.prox(x.float(), 1.0)
    assert near.dtype == torch.float32 and prior.psi.first.weight.dtype == torch.float32
    torch.testing.assert_close(near.double(), prior.prox(x, 1.0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(prior(x.float()), prior(x), rtol=1e-5, atol=1e-5)
    assert prior.prox(x.float(), 0.5).dtype == torch.float32 and prior(x.float()).dtype == DOUBLE


# Patches


def test_patches_cover_every_pixel_equally_often():
    """psi = |x|^2 / 2 has the gradient x on each patch: so has the average, if and only if the coverage is equal."""

    class Energy(Potential):
        shape, modulus = (1, None, None), 1.0

        def forward(self, x: Tensor) -> Tensor:
            return x.square().sum((1, 2, 3)) / 2

    for patch, stride, h, w in ((4, 2, 4, 4), (4, 2, 7, 9), (6, 2, 11, 6), (4, 4, 5, 10), (3, 1, 5, 4)):
        prior = LPN(PatchPotential(Energy(), patch, stride, chunk=5))
        x = _normal(2, h, w)
        torch.testing.assert_close(prior.prox(x, 1.0), x)


def test_patch_average_against_patches_one_by_one():
    """Also of sizes that are no multiples of the stride; the loop takes every patch that touches the image."""
    psi, x = _fixed(), _normal(2, 1, 7, 9)
    sums = torch.zeros_like(x)
    wide = F.pad(x, (8, 8, 8, 8))
    for i in range(0, 7 + 12, 1):
        for j in range(0, 9 + 12, 1):
            if (i - 8) % 2 == 0 and (j - 8) % 2 == 0 and i + 4 > 8 and j + 4 > 8 and i < 15 and j < 17:
                part = wide[..., i : i + 4, j : j + 4].clone().requires_grad_()
                (g,) = torch.autograd.grad(psi(part).sum(), part)
                there = torch.zeros_like(wide)
                there[..., i : i + 4, j : j + 4] = g
                sums += there[..., 8:15, 8:17] / 4
    torch.testing.assert_close(LPN(PatchPotential(psi, 4, 2, chunk=7)).prox(x[:, 0], 1.0), sums[:, 0])


def test_the_number_of_patches_at_a_time_does_not_matter():
    x = _normal(2, 7, 9)
    few, many = (LPN(PatchPotential(_fixed(), 4, 2, chunk=n)) for n in (2, 1000))
    torch.testing.assert_close(few.prox(x, 1.0), many.prox(x, 1.0))
    torch.testing.assert_close(few.potential(x), many.potential(x))


# Bad input


def test_images_that_do_not_fit_are_refused_in_words():
    fixed, colour, patches = LPN(_fixed()), LPN(_image(channels=3)), LPN(PatchPotential(_fixed(), 4, 2))
    for call in (
        lambda f, x: f(x),
        lambda f, x: f.prox(x, 1.0),
        lambda f, x: f.inverse(x),
        lambda f, x: f.potential(x),
    ):
        with pytest.raises(ShapeError, match=r"LPN takes real floating-point \(\*batch, 4, 4\); got .*\(5, 4\)"):
            call(fixed, torch.zeros(5, 4))
        with pytest.raises(ShapeError, match=r"\(\*batch, 3, h, w\); got torch.float32 \(2, 5, 4\)"):
            call(colour, torch.zeros(2, 5, 4))
        with pytest.raises(ShapeError, match=r"patches of 4 x 4 take images no smaller; got \(1, 1, 3, 9\)"):
            call(patches, torch.zeros(3, 9))
        with pytest.raises(ShapeError, match="real floating-point"):
            call(fixed, torch.zeros(4, 4, dtype=torch.complex64))
    with pytest.raises(ShapeError, match=r"\(\*batch, 5\); got torch.float64 \(4,\)"):
        LPN(_dense()).prox(_normal(4), 1.0)


def test_senseless_arguments_are_refused():
    for bad in ({"low": 1.0, "high": 1.0}, {"high": float("inf")}, {"sigma": 0.0}, {"sigma": float("nan")}):
        with pytest.raises(ValueError, match="finite low < high and sigma > 0"):
            LPN(_image(), **bad)
    with pytest.raises(TypeError, match=r"such as those of invreg.priors.icnn; got a Linear"):
        LPN(torch.nn.Linear(3, 3))
    for patch, stride in ((4, 3), (4, 8), (4, 0)):
        with pytest.raises(ValueError, match="a stride that divides the patch"):
            PatchPotential(_image(), patch, stride)
    with pytest.raises(ValueError, match="takes a psi of that size"):
        PatchPotential(_fixed(), 8, 4)
    for t in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"t in \(0, 1\]"):
            LPN(_image()).relaxed(t)


def test_steps_beyond_one_are_refused_and_autograd_stops_below():
    prior, x = LPN(_image()), _normal(2, 5, 4)
    for step in (1.1, 0.0, -1.0, float("nan"), torch.tensor([0.5, 2.0])):
        with pytest.raises(ValueError, match=r"weight \* step in \(0, 1\]"):
            prior.prox(x, step)
    with pytest.raises(ValueError, match=r"weight \* step in \(0, 1\]"):
        (3.0 * prior).prox(x, 0.5)
    with pytest.raises(ValueError, match="autograd follows LPN"):
        prior.prox(x.clone().requires_grad_(), 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = prior.prox(x, torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(together[1], prior.prox(x[1], 1.0))
    torch.testing.assert_close(together[0], prior.prox(x[0], 0.5))


def test_it_needs_a_solver_that_takes_a_learned_prior():
    from invreg.operators import LeastSquares
    from invreg.solvers import FISTA

    with pytest.raises(TypeError, match="PnPPGD or PnPADMM"):
        FISTA([LeastSquares(_normal(5, 4)), LPN(_image())])
