"""Other libraries' objects in our hands and ours in theirs; the wrapped members also run through the contracts."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from members import Cube, Dense, Fourier, convex_network, uniform
from phantoms import SHEPP_LOGAN, ellipse_image, ellipse_sinogram, scaled

from invreg.core import Likelihood, ShapeError
from invreg.operators import Gradient, LeastSquares, Parallel2D, WeightedLeastSquares, XRay
from invreg.priors import LPN, TV, Box, GroupL1, ImagePotential


def _rays(views: int = 40, size: int = 64) -> XRay:
    angles = np.linspace(0, np.pi, views, endpoint=False)
    return XRay(Parallel2D(angles, detectors=96, pitch=0.7, centre=45.3), (size, size))


@pytest.fixture
def dinv():
    return pytest.importorskip("invreg.adapters.deepinv", exc_type=ImportError)


@pytest.fixture
def odl_():
    return pytest.importorskip("invreg.adapters.odl", exc_type=ImportError)


# deepinv


def test_to_physics_passes_deepinvs_own_adjoint_test(dinv):
    physics = dinv.to_physics(_rays())
    assert physics.img_size == (1, 64, 64)
    assert abs(float(physics.adjointness_test(torch.rand(2, 1, 64, 64)))) < 1e-5


def test_deepinvs_least_squares_runs_on_our_operator(dinv):
    A = 0.1 * Dense(9, 4)
    physics = dinv.to_physics(A).to(torch.float64)
    truth = uniform(1, 4)
    for solver in ("lsqr", "minres"):
        solution = physics.A_dagger(A(truth), solver=solver, max_iter=100, tol=1e-10)
        torch.testing.assert_close(solution, truth, rtol=1e-5, atol=1e-5)


def test_deepinvs_pgd_with_a_learned_prior_takes_it_at_the_step_one(dinv):
    """deepinv's prox is at stepsize * lambda_reg; its denoiser at sigma^2, which the weight 1 / sigma^2 makes 1."""
    import deepinv

    f = LPN(convex_network(ImagePotential(1, (4,), (), kernel=3)).float())
    A, step, start = Gradient((6, 5)), 0.1, uniform(2, 1, 6, 5).float()
    y = A(start)
    pgd = deepinv.optim.PGD(
        data_fidelity=deepinv.optim.L2(), prior=dinv.to_prior(f), stepsize=step, lambda_reg=1 / step, max_iter=3
    )
    x = start.square()
    found = pgd(y, dinv.to_physics(A), init=x)
    for _ in range(3):
        x = f.prox(x - step * A.adjoint(A(x) - y), 1.0)
    torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dinv.to_prior(f).fn(start), f(start).float()[:, 0])
    torch.testing.assert_close(dinv.to_denoiser((1 / 0.2**2) * f)(start, 0.2), f.prox(start, 1.0))


def test_deepinvs_pgd_with_our_operator_and_prior_is_the_textbook_iteration(dinv):
    import deepinv

    A, prior = Gradient((6, 5)), Box(0.1, 0.6)
    y = A(uniform(2, 1, 6, 5)).float()
    step = 1 / A.norm() ** 2
    pgd = deepinv.optim.PGD(
        data_fidelity=deepinv.optim.L2(), prior=dinv.to_prior(0.3 * prior), stepsize=step, lambda_reg=1.0, max_iter=30
    )
    start = torch.zeros(2, 1, 6, 5)
    x = start
    for _ in range(30):
        x = prior.prox(x - step * A.adjoint(A(x) - y), step)
    torch.testing.assert_close(pgd(y, dinv.to_physics(A), init=start), x, rtol=1e-5, atol=1e-6)


def test_nonlinear_operators_become_physics_with_our_derivative(dinv):
    physics = dinv.to_physics(Cube((4, 5)))
    x, v = uniform(2, 1, 4, 5), uniform(2, 1, 4, 5, seed=1)
    torch.testing.assert_close(physics.A_vjp(x, v), (3 * x**2 + 1) * v)
    assert physics.noise_model is not dinv.to_physics(Cube((4, 5))).noise_model  # deepinv's default is shared


def test_noise_models_are_those_given(dinv):
    import deepinv

    physics = dinv.to_physics(Gradient((20, 20)), deepinv.physics.GaussianNoise(0.5))
    x = torch.zeros(1, 1, 20, 20)
    assert float((physics(x) - physics.A(x)).std()) == pytest.approx(0.5, rel=0.1)


def test_complex_operators_have_two_real_channels(dinv):
    F = Fourier((4, 5))
    physics = dinv.to_physics(F)
    x, v = uniform(3, 2, 4, 5), uniform(3, 2, 4, 5, seed=1)
    z, w = (torch.complex(t[:, 0], t[:, 1]) for t in (x, v))
    for theirs, ours in [
        (physics.A(x), F(z)),
        (physics.A_adjoint(v), F.adjoint(w)),
        (physics.A_vjp(x, v), F.adjoint(w)),
    ]:
        torch.testing.assert_close(theirs, torch.stack([ours.real, ours.imag], 1))
    for wrong in (x[:, :1], z):
        with pytest.raises(
            ShapeError, match=r"Fourier.* takes complex numbers as two real channels \(\*batch, 2, 4, 5\)"
        ):
            physics.A(wrong)


def test_physics_of_one_channel_take_images_without_it(dinv):
    import deepinv

    physics = deepinv.physics.Downsampling(img_size=(1, 20, 16), filter="gaussian", factor=2).double()
    flat, channelled = dinv.from_physics(physics, (20, 16)), dinv.from_physics(physics, (1, 20, 16))
    x = uniform(2, 3, 20, 16)
    assert (flat.domain.shape, flat.codomain.shape) == ((20, 16), (10, 8))
    assert torch.equal(flat(x)[..., None, :, :], channelled(x[..., None, :, :]))
    y = flat(x)
    assert torch.equal(flat.adjoint(y)[..., None, :, :], channelled.adjoint(y[..., None, :, :]))
    pixels = deepinv.physics.CompressedSensing(m=7, img_size=(1, 8, 6)).double()
    assert dinv.from_physics(pixels, (8, 6)).codomain.shape == (7,)  # no channel to drop


def test_stacked_physics_are_refused_in_words(dinv):
    import deepinv

    part = deepinv.physics.LinearPhysics(A=lambda x, **_: x, A_adjoint=lambda y, **_: y)
    with pytest.raises(TypeError, match=r"gives a TensorList: wrap its parts"):
        dinv.from_physics(part.stack(part), (1, 4, 4))


def test_our_functionals_as_deepinv_priors_have_one_value_an_image(dinv):
    x = uniform(3, 2, 6, 5)
    over_images, over_fields = dinv.to_prior(TV((6, 5))), dinv.to_prior(GroupL1())
    torch.testing.assert_close(over_images.fn(x, 0.1), TV((6, 5))(x).sum(1))
    torch.testing.assert_close(over_fields.fn(x), GroupL1()(x))
    steps = torch.tensor([0.1, 0.2, 0.3])
    for gamma in (steps, steps.reshape(3, 1, 1, 1)):
        torch.testing.assert_close(over_fields.prox(x, gamma=gamma), GroupL1().prox(x, steps))
    smooth = LeastSquares(torch.zeros(6, 5, dtype=torch.float64))
    torch.testing.assert_close(dinv.to_prior(smooth).prox(x, gamma=steps)[2], x[2] / 1.3)
    torch.testing.assert_close(dinv.to_prior(smooth).grad(x), x)


def test_deepinvs_tv_forgets_and_keeps_items_apart(dinv):
    import deepinv

    f = dinv.from_prior(deepinv.optim.TVPrior(def_crit=1e-5, n_it_max=60))
    x = torch.cat([uniform(1, 1, 12, 10), 100 * uniform(1, 1, 12, 10, seed=1)])
    steps = torch.tensor([0.1, 30.0], dtype=torch.float64)
    first = f.prox(x, steps)
    f.prox(7 - x, 3.0)
    assert torch.equal(f.prox(x, steps), first)
    assert torch.equal(f.prox(x[0], 0.1), first[0])


def test_deepinvs_tv_is_our_tv(dinv):
    import deepinv

    x = uniform(2, 1, 12, 10)
    torch.testing.assert_close(dinv.from_prior(deepinv.optim.TVPrior())(x), TV((12, 10))(x).sum(1))


def test_denoisers_and_implicit_priors_have_what_they_have(dinv):
    import deepinv

    median = deepinv.models.MedianFilter(kernel_size=3)
    x = uniform(2, 3, 1, 8, 8)
    plug = dinv.from_denoiser(median, sigma=0.1)
    torch.testing.assert_close(plug.prox(x, 5.0)[1], median(x[1], 0.1))

    class Shrink(torch.nn.Module):
        def forward(self, x, sigma):
            return (1 - sigma) * x

    pnp = dinv.from_prior(deepinv.optim.PnP(Shrink()), 0.25)
    red = dinv.from_prior(deepinv.optim.RED(Shrink()), 0.25)
    torch.testing.assert_close(pnp.prox(x, 1.0), 0.75 * x)
    torch.testing.assert_close(red.grad(x), 0.25 * x)
    with pytest.raises(TypeError, match=r"FromPrior has no value \(PnP is implicit\)"):
        pnp(x)


def test_functionals_become_denoisers_of_their_most_probable_image(dinv):
    import deepinv

    x = uniform(2, 3, 6, 5, low=-1)
    smooth = dinv.to_denoiser(LeastSquares(torch.zeros(6, 5, dtype=torch.float64)))
    torch.testing.assert_close(smooth(x, 0.5), x / 1.25)
    torch.testing.assert_close(smooth(x, torch.tensor([0.5, 2.0]))[1], x[1] / 5)
    pnp = deepinv.optim.PnP(dinv.to_denoiser(Box(0.0, 0.4)))
    torch.testing.assert_close(pnp.prox(x, 0.1, gamma=3.0), x.clamp(0, 0.4))
    with pytest.raises(TypeError, match="no closed-form proximal map"):
        dinv.to_denoiser(LeastSquares(torch.zeros(2, 6, 5), ndim=3) @ Gradient((6, 5)))(x, 0.1)


# deepinv: likelihoods


def _scene() -> tuple[Gradient, torch.Tensor, torch.Tensor, torch.Tensor]:
    """An operator, images, measurements and weights, two items of one channel."""
    return Gradient((6, 5)), uniform(2, 1, 6, 5), uniform(2, 1, 2, 6, 5, seed=1), uniform(2, 1, 2, 6, 5, seed=2)


def test_our_likelihood_is_a_deepinv_fidelity(dinv):
    A, x, y, weights = _scene()
    f = WeightedLeastSquares(y, weights, ndim=3)
    physics, steps = dinv.to_physics(A), torch.tensor([0.5, 3.0], dtype=torch.float64)
    for fidelity in (dinv.to_fidelity(f), dinv.to_fidelity(lambda y: WeightedLeastSquares(y, weights, ndim=3))):
        torch.testing.assert_close(fidelity(x, y, physics), f(A(x)).sum(1))
        torch.testing.assert_close(fidelity.grad(x, y, physics), A.adjoint(f.grad(A(x))))
        u = A(x)
        torch.testing.assert_close(fidelity.d(u, y), f(u).sum(1))
        torch.testing.assert_close(fidelity.grad_d(u, y), f.grad(u))
        for gamma in (steps, steps.reshape(2, 1, 1, 1, 1)):
            torch.testing.assert_close(fidelity.prox_d(u, y, gamma=gamma), f.prox(u, steps[:, None]))
            torch.testing.assert_close(fidelity.prox_d_conjugate(u, y, gamma=gamma), f.conj_prox(u, steps[:, None]))
        conjugate = fidelity.prox_d_conjugate(u, y, gamma=0.7, lamb=2.0)
        torch.testing.assert_close(conjugate, (2.0 * f).conj_prox(u, 0.7))


def test_the_prox_of_a_fidelity_solves_its_normal_equations(dinv):
    """(I + t A^T W A) u = x + t A^T W y, with a step for each item, small and large."""
    A, x, y, weights = _scene()
    physics = dinv.to_physics(A)
    fidelity = dinv.to_fidelity(lambda y: WeightedLeastSquares(y, weights, ndim=3))
    for low, high in ((0.5, 3.0), (40.0, 100.0)):
        gamma = torch.tensor([low, high], dtype=torch.float64).reshape(2, 1, 1, 1)
        u = fidelity.prox(x, y, physics, gamma=gamma)
        torch.testing.assert_close(u + gamma * A.adjoint(weights * (A(u) - y)), x, rtol=1e-10, atol=1e-10)
        conjugate = fidelity.prox_conjugate(x, y, physics, gamma=high, lamb=low)
        torch.testing.assert_close(conjugate, x - high * fidelity.prox(x / high, y, physics, gamma=low / high))
    single = fidelity.prox(x.float(), y.float(), physics, gamma=torch.tensor(3.0))
    torch.testing.assert_close(single.double(), fidelity.prox(x, y, physics, gamma=3.0), rtol=1e-5, atol=1e-5)


def test_the_prox_of_a_fidelity_says_what_it_needs(dinv):
    import deepinv

    x = uniform(1, 1, 4, 5)
    fidelity = dinv.to_fidelity(LeastSquares)
    identity = deepinv.physics.Denoising()
    torch.testing.assert_close(fidelity.prox(x, 2 * x, identity, gamma=3.0), LeastSquares(2 * x).prox(x, 3.0))
    with pytest.raises(TypeError, match="takes a linear physics; got ToPhysics"):
        fidelity.prox(x, x, dinv.to_physics(Cube((4, 5))))
    with pytest.raises(TypeError, match="GroupL1 has no Lipschitz gradient"):
        dinv.to_fidelity(lambda y: GroupL1()).prox(x, x, dinv.to_physics(Gradient((4, 5)).normal()))


def test_a_likelihood_refuses_another_measurement(dinv):
    A, x, y, _ = _scene()
    fidelity, physics = dinv.to_fidelity(LeastSquares(y, ndim=3)), dinv.to_physics(A)
    fidelity(x, y.clone(), physics)
    for other in (y + 1, y[:1]):
        with pytest.raises(
            ValueError, match=r"LeastSquares given to to_fidelity was made for another measurement.*from y"
        ):
            fidelity.grad(x, other, physics)
    one = dinv.to_fidelity(LeastSquares(y[0, 0], ndim=3))  # the batch and channel axes are deepinv's
    torch.testing.assert_close(one(x[:1], y[:1], physics), fidelity(x, y, physics)[:1])
    for wrong in (0.5 * LeastSquares(y), y):
        with pytest.raises(TypeError, match="takes a likelihood or a function that makes one from y; got a"):
            dinv.to_fidelity(wrong)


def test_deepinvs_fidelities_are_likelihoods_of_the_prediction(dinv):
    import deepinv

    p, y = uniform(2, 3, 1, 4, 5, low=0.1), uniform(3, 1, 4, 5, low=0.1, seed=1)
    gauss = dinv.from_fidelity(deepinv.optim.L2(sigma=0.2), y)
    torch.testing.assert_close(gauss(p), 12.5 * (p - y).square().sum((-3, -2, -1)))
    assert isinstance(gauss, Likelihood) and bool(gauss.expected().eq(10).all())  # half the number of pixels
    absolute = dinv.from_fidelity(deepinv.optim.L1(), y)
    torch.testing.assert_close(absolute(p), (p - y).abs().sum((-3, -2, -1)))
    steps = uniform(2, 3)
    shrunk = (p - y).sign() * ((p - y).abs() - steps[..., None, None, None]).clamp(min=0)
    torch.testing.assert_close(absolute.prox(p, steps), y + shrunk)
    counts = dinv.from_fidelity(deepinv.optim.LogPoissonLikelihood(), y)
    with pytest.raises(TypeError, match="no closed-form proximal map"):
        counts.prox(p, 1.0)
    torch.testing.assert_close(counts.grad(p), 20.48 * ((-y / 50).exp() - (-p / 50).exp()))
    assert not p.requires_grad


def test_deepinvs_poisson_likelihood_is_refused_for_what_it_does(dinv):
    """Once deepinv has mended it this test fails and the refusal can go."""
    import deepinv

    x, y = torch.tensor([1.5, 3.0]).reshape(2, 1, 1, 1), torch.full((2, 1, 1, 1), 2.0)
    d = deepinv.optim.PoissonLikelihood(gain=2.0).d
    slope = (d(x[:1] + 0.01, y[:1]) - d(x[:1] - 0.01, y[:1])) / 0.02
    assert float(d.grad(x, y)[0]) == pytest.approx(4 * float(slope), rel=1e-3)
    assert float(d(x, y)[0]) != pytest.approx(float(d(x[:1], y[:1])), rel=0.1)
    plain = deepinv.optim.PoissonLikelihood().d
    assert float(plain.prox(x, y, gamma=1.0)[0]) < 0  # where the value is not even defined
    with pytest.raises(TypeError, match="does not take PoissonLikelihood, whose prox, gradient"):
        dinv.from_fidelity(deepinv.optim.PoissonLikelihood(), y)


def test_a_fidelity_comes_back_as_it_went(dinv):
    p, y = uniform(2, 3, 1, 4, 5), uniform(3, 1, 4, 5, seed=1)
    f = LeastSquares(y, ndim=3)
    back = dinv.from_fidelity(dinv.to_fidelity(lambda y: LeastSquares(y, ndim=3)), y)
    torch.testing.assert_close(back(p), f(p))
    torch.testing.assert_close(back.grad(p), f.grad(p))
    torch.testing.assert_close(back.prox(p, 0.3), f.prox(p, 0.3))


def test_noise_goes_both_ways(dinv):
    import deepinv

    x = uniform(2, 1, 2, 20, 20)
    f = LeastSquares(torch.zeros(2, 20, 20, dtype=torch.float64), ndim=3, std=0.5)
    noise = dinv.to_noise(f, torch.Generator().manual_seed(3))
    first = noise(x, seed=1)
    assert torch.equal(first, f.sample(x, torch.Generator().manual_seed(1))) and not torch.equal(noise(x), first)
    assert torch.equal(noise(x, seed=1), first)
    back = dinv.from_noise(deepinv.physics.GaussianNoise(torch.tensor([0.5, 2.0])), x)
    assert back.expected().tolist() == [[100], [1600]]
    drawn = back.sample(x, torch.Generator().manual_seed(1)) - x
    assert drawn.std((1, 2, 3, 4)).tolist() == pytest.approx([0.5, 2.0], rel=0.1)
    assert bool(back(x + 1).allclose(torch.full((2, 1), 400.0, dtype=torch.float64)))
    one = dinv.from_noise(deepinv.physics.GaussianNoise(0.5), x).sample(x, torch.Generator().manual_seed(1))
    torch.testing.assert_close(one, first)
    with pytest.raises(TypeError, match="from_noise takes GaussianNoise; got PoissonNoise"):
        dinv.from_noise(deepinv.physics.PoissonNoise(), x)
    wide = LeastSquares(torch.zeros(20, 20, dtype=torch.float64), std=0.5)
    physics = dinv.to_physics(Gradient((20, 20)).H, dinv.to_noise(wide, torch.Generator().manual_seed(3)))
    assert float((physics(x) - physics.A(x)).std()) == pytest.approx(0.5, rel=0.1)


# ODL


def test_our_functionals_in_odl_follow_the_weights_of_the_space(odl_):
    """Gradient, prox and conjugate belong to the inner product c <x, u>, so ODL's own of the same function agree."""
    import odl

    space = odl.rn((5, 4), weighting=2.5)
    y, x, u = (uniform(5, 4, low=-1, seed=i) for i in range(3))
    ours = odl_.to_functional(2.5 * LeastSquares(y), space)
    theirs = 0.5 * odl.functionals.L2NormSquared(space).translated(space.element(y.numpy()))
    at, dual = space.element(x.numpy()), space.element(u.numpy())
    for f, g in ((ours, theirs), (ours.convex_conj, theirs.convex_conj)):
        assert f(dual) == pytest.approx(g(dual), rel=1e-12)
        np.testing.assert_allclose(f.proximal(0.7)(at).asarray(), g.proximal(0.7)(at).asarray(), rtol=1e-12)
    np.testing.assert_allclose(ours.gradient(at).asarray(), theirs.gradient(at).asarray(), rtol=1e-12)
    assert ours.derivative(at)(dual) == pytest.approx(theirs.derivative(at)(dual), rel=1e-12)
    assert ours.grad_lipschitz == 1 and ours.convex_conj.convex_conj is ours
    assert np.isnan(odl_.to_functional(GroupL1(), odl.rn((2, 5, 4))).grad_lipschitz)
    batch = odl_.to_functional(LeastSquares(y), odl.rn((3, 5, 4)))
    assert batch(batch.domain.zero()) == pytest.approx(1.5 * float(y.square().sum()), rel=1e-12)
    with pytest.raises(ValueError, match=r"GroupL1 sums over 3 axes; the ODL space .* has 2"):
        odl_.to_functional(GroupL1(), space)


def test_odls_functionals_are_ours(odl_):
    import odl

    space = odl.rn((5, 4), weighting=2.5)
    y, x = uniform(5, 4, low=-1), uniform(3, 5, 4, low=-1, seed=1)
    f = odl_.from_functional(odl.functionals.L2NormSquared(space).translated(space.element(y.numpy())))
    same, steps = 5.0 * LeastSquares(y), torch.tensor([0.1, 1.0, 7.0], dtype=torch.float64)
    for ours, theirs in [
        (same(x), f(x)),
        (same.grad(x), f.grad(x)),
        (same.prox(x, steps), f.prox(x, steps)),
        (same.conj(x), f.conj(x)),
        (same.conj_prox(x, steps), f.conj_prox(x, steps)),
    ]:
        torch.testing.assert_close(theirs, ours)
    box = odl_.from_functional(odl.functionals.IndicatorBox(space, 0, 1))
    with pytest.raises(TypeError, match="FromODLFunctional has no gradient"):
        box.grad(x)
    with pytest.raises(TypeError, match="FromODLFunctional has no conjugate"):
        box.conj(x)
    with pytest.raises(TypeError, match="FromODLFunctional has no proximal map"):
        odl_.from_functional(odl.functionals.RosenbrockFunctional(odl.rn(2))).prox(x[0, 0, :2], 1.0)


def test_geometries_survive_the_way_there_and_back(odl_):
    g = Parallel2D(np.array([-0.4, 0.0, 0.7, 2.9]), detectors=9, pitch=0.3, centre=3.7, unit="mm")
    back = odl_.from_geometry(odl_.to_geometry(g), unit="mm")
    np.testing.assert_allclose(back.angles, g.angles)
    np.testing.assert_allclose(back.positions, g.positions, atol=1e-12)
    assert (back.shape, back.unit) == (g.shape, "mm")


def test_geometries_odl_cannot_have_are_refused(odl_):
    import odl

    with pytest.raises(ValueError, match="increasing angles; sort them"):
        odl_.to_geometry(Parallel2D(np.array([1.0, 0.0]), 5))
    tomo, angles = odl.applications.tomo, odl.uniform_partition(0, 3, 4)
    panel = odl.uniform_partition([-0.1, -0.1], [0.1, 0.1], (4, 4))
    with pytest.raises(ValueError, match="takes flat detectors and arcs about the source; got a SphericalDetector"):
        odl_.from_geometry(tomo.ConeBeamGeometry(angles, panel, 5, 5, det_curvature_radius=(10, 10)))
    with pytest.raises(ValueError, match="arcs about the source, which is at 10; the radius of this detector is 7"):
        odl_.from_geometry(tomo.FanBeamGeometry(angles, odl.uniform_partition(-0.1, 0.1, 4), 5, 5, 7))
    with pytest.raises(ValueError, match="evenly spaced bins"):
        odl_.from_geometry(tomo.Parallel2dGeometry(angles, odl.nonuniform_partition([0.0, 1.0, 3.0])))


def test_odl_sees_the_same_rays(odl_):
    """ODL over ASTRA, our transform and the exact integrals agree on an object without symmetry."""
    import odl

    pytest.importorskip("astra", exc_type=ImportError)
    n, pitch = 96, 0.5
    angles = np.linspace(0.05, np.pi, 30, endpoint=False)
    geometry = Parallel2D(angles, detectors=150, pitch=pitch)  # the back end ignores an offset
    phantom = scaled(SHEPP_LOGAN, 0.8 * n * pitch / 2) + np.array([0, 2.0, 1.0, 0, 0, 0.0])
    image = ellipse_image(phantom, (n, n), pitch).astype(np.float32)
    half = n * pitch / 2
    space = odl.uniform_discr([-half, -half], [half, half], (n, n), dtype="float32")
    R = odl_.from_operator(odl.applications.tomo.RayTransform(space, odl_.to_geometry(geometry), impl="astra_cpu"))
    theirs = R(torch.from_numpy(np.rot90(image, -1).copy())).numpy()
    ours = XRay(geometry, (n, n))(torch.from_numpy(image)).numpy()
    exact = ellipse_sinogram(phantom, geometry)
    size = np.linalg.norm(exact)
    assert np.linalg.norm(theirs - exact) < 0.05 * size
    assert np.linalg.norm(ours - ellipse_sinogram(phantom, geometry, average_bins=True)) < 0.04 * size
    assert np.linalg.norm(ours - theirs) < 0.03 * size


def test_our_operators_are_adjoint_in_odls_inner_products(odl_):
    import odl

    domain = odl.uniform_discr([0, 0], [3, 2], (7, 5))
    D = odl_.to_operator(Gradient((7, 5)), domain, odl.uniform_discr([0, 0, 0], [1, 1, 9], (2, 7, 5)))
    x, u = (s.element(uniform(*s.shape, seed=i).numpy()) for i, s in enumerate((D.domain, D.range)))
    assert D(x).inner(u) == pytest.approx(x.inner(D.adjoint(u)), rel=1e-12)
    assert D.adjoint.adjoint(x).inner(u) == pytest.approx(D(x).inner(u), rel=1e-12)


def test_odls_conjugate_gradients_run_on_our_operator(odl_):
    import odl

    A = Dense(9, 4)
    operator = odl_.to_operator(A, odl.rn((4,)), odl.rn((9,)))
    y = np.random.default_rng(5).standard_normal(9)
    x = operator.domain.zero()
    odl.solvers.conjugate_gradient_normal(operator, x, operator.range.element(y), niter=20)
    np.testing.assert_allclose(x.asarray(), np.linalg.lstsq(A.matrix, y, rcond=None)[0], rtol=1e-8)


def test_odl_operators_that_do_not_fit_are_refused(odl_):
    import odl

    with pytest.raises(TypeError, match="takes a linear ODL operator; PowerOperator is not"):
        odl_.from_operator(odl.PowerOperator(odl.rn(3), 2))
    with pytest.raises(ValueError, match=r"got the ODL space .* of shape \(7, 4\)"):
        odl_.to_operator(Gradient((7, 5)), odl.rn((7, 4)))
    uneven = odl.rn(3, weighting=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="only constant weights are taken"):
        odl_.from_operator(odl.IdentityOperator(uneven))


def test_odl_spaces_of_torch_tensors_are_taken(odl_):
    import odl

    A = odl_.from_operator(odl.ScalingOperator(odl.rn((3, 4), dtype="float64", impl="pytorch"), 2.5))
    x = uniform(2, 3, 4)
    torch.testing.assert_close(A(x), 2.5 * x)
    torch.testing.assert_close(A.adjoint(x), 2.5 * x)


# without them


@pytest.mark.parametrize(
    ("library", "body", "said"),
    [
        ("deepinv", None, "invreg.adapters.deepinv needs deepinv: pip install 'invreg[interop]'"),
        ("odl", None, "invreg.adapters.odl needs odl: pip install 'invreg[interop]'"),
        (
            "deepinv",
            "raise RuntimeError('operator torchvision::nms does not exist')",
            "deepinv needs a torchvision that fits torch",
        ),
    ],
    ids=["no deepinv", "no odl", "CPU-only torch"],
)
def test_a_missing_library_is_named_with_the_remedy(library, body, said, tmp_path):
    if body is None:
        body = f"raise ModuleNotFoundError('No module named {library}')"
    (tmp_path / f"{library}.py").write_text(body)
    run = subprocess.run(
        [sys.executable, "-c", f"import invreg.adapters.{library}"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(f"ImportError: {said}")
