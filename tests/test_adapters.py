"""Other libraries' objects in our hands and ours in theirs; the wrapped members also run through the contracts."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from members import Cube, Dense, uniform
from phantoms import SHEPP_LOGAN, ellipse_image, ellipse_sinogram, scaled

from invreg.operators import Gradient, LeastSquares, Parallel2D, XRay
from invreg.priors import TV, Box, GroupL1


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


# ODL


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
