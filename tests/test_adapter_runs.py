"""Whole algorithms across the border: theirs on our operators and ours on theirs, each compared with the native run."""

import numpy as np
import pytest
import torch
from members import FUNCTIONALS, LINEAR, Member, Term, every, uniform
from torch import Tensor

from invreg.core import Linear, solve
from invreg.operators import Gradient, LeastSquares, Parallel2D, XRay
from invreg.priors import TV, GroupL1, NonNegative
from invreg.solvers import PDHG

LAM = 0.02


@pytest.fixture
def dinv():
    return pytest.importorskip("invreg.adapters.deepinv", exc_type=ImportError)


@pytest.fixture
def odl_():
    return pytest.importorskip("invreg.adapters.odl", exc_type=ImportError)


def _rays(size: int = 12) -> Linear:
    """A ray transform of norm 1."""
    A = XRay(Parallel2D(np.linspace(0, np.pi, 9, endpoint=False), detectors=17), (size, size)).double()
    return (1 / A.norm()) * A


def _matrix(A: Linear) -> Tensor:
    basis = torch.eye(A.domain.size, dtype=torch.float64).reshape(-1, *A.domain.shape)
    return A(basis).flatten(1).T


def _dense_physics(A: Linear):
    """The same operator as deepinv knows it best: two products with a matrix."""
    import deepinv

    M = _matrix(A)
    return deepinv.physics.LinearPhysics(
        A=lambda x, **_: (x.flatten(2) @ M.T).unflatten(2, A.codomain.shape),
        A_adjoint=lambda y, **_: (y.flatten(2) @ M).unflatten(2, A.domain.shape),
        max_iter=100,
        tol=1e-10,
    )


def _noisy(y: Tensor, std: float) -> Tensor:
    return y + std * torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)


# adjointness, by their own helpers


@every(LINEAR)
def test_deepinvs_adjointness_test_passes(case: Member, dinv, device, dtype):
    if dtype == torch.float64 and "float64" in case.lacks:
        pytest.skip(case.lacks["float64"])
    physics = dinv.to_physics(case.build(device, dtype))
    error = physics.adjointness_test(num_samples=3, device=device, dtype=dtype)
    assert float(error) < (1e-5 if dtype == torch.float32 else 1e-12)


@every(LINEAR)
def test_odls_operator_tests_pass(case: Member, odl_, capsys):
    """ODL's linearity and adjoint tests, in spaces whose weights the adjoint has to see."""
    import odl
    from odl.core.diagnostics import OperatorTest

    A = case.build(torch.device("cpu"), torch.float32)
    if A.domain.complex != A.codomain.complex:
        pytest.skip("ODL compares a real with a complex inner product")
    kinds = {False: (odl.rn, "float32"), True: (odl.cn, "complex64")}
    space, precision = kinds[A.domain.complex]
    domain = space(A.domain.shape, dtype=precision, weighting=2.0)
    image = space(A.codomain.shape, dtype=precision, weighting=5.0)
    OperatorTest(odl_.to_operator(A, domain, image), operator_norm=A.norm(), tol=1e-5).run_tests()
    said = capsys.readouterr().out
    assert said.count("Completed all test cases") == 4 and "***" not in said


# every functional of ours, through theirs

SAME = {
    "forward": lambda f, x: f(x),
    "grad": lambda f, x: f.grad(x),
    "prox": lambda f, x: f.prox(x, 0.7),
    "conj_prox": lambda f, x: f.conj_prox(x, 0.7),
    "conj": lambda f, x: f.conj(f.conj_prox(x, 0.7)),
}


def argument(case: Term) -> torch.Tensor:
    real, imaginary = (uniform(*case.shape, low=-1, seed=seed) for seed in (5, 6))
    return torch.complex(real, imaginary) if case.complex else real


@every(FUNCTIONALS)
def test_functionals_come_back_from_odl_as_they_went(case: Term, odl_):
    """By way of a space of weight 2.5, whose gradients, proximal maps and conjugates are others."""
    import odl

    f, x = case.build(torch.device("cpu")), argument(case)
    space = (odl.cn if case.complex else odl.rn)(case.shape, weighting=2.5)
    back = odl_.from_functional(odl_.to_functional(f, space))
    for name, answer in SAME.items():
        if not {name, "conj_prox" if name == "conj" else name} & set(case.lacks):
            torch.testing.assert_close(answer(back, x), answer(f, x), rtol=1e-9, atol=1e-9)


@every(FUNCTIONALS)
def test_functionals_are_deepinv_priors(case: Term, dinv):
    f, x = case.build(torch.device("cpu")), argument(case)
    prior, batch = dinv.to_prior(f), x.expand(3, 1, *case.shape)
    steps = case.step(torch.tensor([0.1, 0.7, 5.0], dtype=torch.float64))
    if "forward" not in case.lacks:
        torch.testing.assert_close(prior(batch, None), f(x).expand(3))
    if "grad" not in case.lacks:
        torch.testing.assert_close(prior.grad(batch, None), f.grad(x).expand_as(batch))
    if "prox" not in case.lacks:
        apart = torch.stack([f.prox(x, float(step)) for step in steps])
        torch.testing.assert_close(prior.prox(batch, None, gamma=steps)[:, 0], apart)


# deepinv's algorithms on our operators


def _algorithms():
    import deepinv

    optim, weight = deepinv.optim, {"lambda_reg": LAM}

    def pdcp(f, g, physics, y, zero):
        # deepinv takes f(K x) as the fidelity of K x under the identity, but its cost as that of x, of another shape
        maps = {"K": physics.A, "K_adjoint": physics.A_adjoint, "cost_fn": lambda x, *_: x.flatten(1).norm(dim=1)}
        algorithm = optim.PDCP(
            data_fidelity=f, prior=g, stepsize=3, stepsize_dual=1 / 3, max_iter=100, **weight, **maps
        )
        return algorithm(y, deepinv.physics.Denoising(), init=(zero, zero, torch.zeros_like(y)))

    return {
        "PGD": lambda f, g, physics, y, zero: optim.PGD(f, g, max_iter=100, **weight)(y, physics, init=zero),
        "FISTA": lambda f, g, physics, y, zero: optim.FISTA(f, g, max_iter=60, **weight)(y, physics, init=(zero, zero)),
        "ADMM": lambda f, g, physics, y, zero: optim.ADMM(f, g, max_iter=20, **weight)(y, physics, init=(zero, zero)),
        "PDCP": pdcp,
    }


@pytest.mark.parametrize("name", ["PGD", "FISTA", "ADMM", "PDCP"])
def test_deepinvs_optimisers_on_our_terms_do_what_they_do_on_its_own(name, dinv):
    """Joint sparsity of two channels: ours is XRay, LeastSquares and GroupL1; the native run has a matrix, L2, L12."""
    import deepinv

    A, run = _rays(), _algorithms()[name]
    truth = uniform(2, 2, 12, 12) * (uniform(2, 1, 12, 12, seed=3) < 0.3)
    y, zero = _noisy(A(truth), 0.01), torch.zeros_like(truth)
    with torch.no_grad():
        ours = run(dinv.to_fidelity(LeastSquares), dinv.to_prior(GroupL1()), dinv.to_physics(A), y, zero)
        native = run(deepinv.optim.L2(), deepinv.optim.L12Prior(l2_axis=1), _dense_physics(A), y, zero)
    assert float(native.norm()) > 1
    assert bool((zero == 0).all()) and not zero.requires_grad and not y.requires_grad
    # ADMM's prox is deepinv's conjugate gradients in the native run, which stop at 2e-5 of the solution
    torch.testing.assert_close(ours, native, rtol=0, atol=1e-4 if name == "ADMM" else 1e-7)


def test_deepinvs_unfolded_networks_learn_through_our_terms(dinv):
    """The gradient of a loss in the step sizes and weights of ten unfolded iterations is that of the native run."""
    import deepinv

    A = _rays()
    truth = uniform(2, 2, 12, 12)
    y, zero = _noisy(A(truth), 0.01), torch.zeros_like(truth)

    def slopes(f, g, physics):
        learned = {"unfold": True, "trainable_params": ["stepsize", "lambda"]}
        network = deepinv.optim.PGD(f, g, lambda_reg=LAM, stepsize=0.8, max_iter=10, **learned).double()
        (network(y, physics, init=zero) - truth).square().sum().backward()
        return {name: parameter.grad for name, parameter in network.named_parameters()}

    ours = slopes(dinv.to_fidelity(LeastSquares), dinv.to_prior(LeastSquares(zero)), dinv.to_physics(A))
    native = slopes(deepinv.optim.L2(), deepinv.optim.Tikhonov(), _dense_physics(A))
    assert len(ours) == 2 and all(float(slope.abs().max()) > 0.1 for slope in ours.values())
    torch.testing.assert_close(ours, native, rtol=1e-6, atol=1e-6)


def test_deepinvs_fista_reaches_the_minimum_that_our_certificate_bounds(dinv):
    import deepinv

    A = _rays().float()
    y = _noisy(A(uniform(1, 12, 12).float()), 0.1)
    f, zero = LeastSquares(y), torch.zeros(1, 1, 12, 12)
    least = solve(PDHG([f @ A, NonNegative()]), zero[0], max_iter=4000, tol=1e-4).check()
    fista = deepinv.optim.FISTA(dinv.to_fidelity(f), dinv.to_prior(NonNegative()), max_iter=500)
    with torch.no_grad():
        x = fista(y[None], dinv.to_physics(A), init=(zero, zero))[0]
    assert bool((x >= 0).all())
    least_value = float(f(A(least.x)))
    assert -least.history[-1]["gap"] <= (float(f(A(x))) - least_value) / least_value <= 1e-4


def test_deepinvs_langevin_sampler_on_our_terms(dinv):
    """Step for step the native chain, and the posterior that linear algebra gives."""
    import deepinv

    A, std, step = _rays(4), 0.5, 0.05
    y = _noisy(A(uniform(1, 1, 4, 4)), std)
    M = _matrix(A)
    precision = M.T @ M / std**2 + torch.eye(16, dtype=torch.float64)
    mean = torch.linalg.solve(precision, M.T @ y.flatten() / std**2).reshape(1, 1, 4, 4)

    def moments(f, g, physics, chains, steps):
        # deepinv counts the start as a sample, so the chains start in the middle of the posterior
        sampler = deepinv.sampling.sampling_builder(
            "ULA", f, g, {"step_size": step, "alpha": 1.0, "sigma": 1.0}, max_iter=steps, thinning=1
        )
        start, data = mean.expand(chains, -1, -1, -1), y.expand(chains, -1, -1, -1)
        powers = [lambda state: state["x"], lambda state: state["x"] ** 2]
        return sampler.sample(data, physics, x_init=start, seed=0, g_statistics=powers)[0]

    ours = dinv.to_fidelity(lambda y: std**-2 * LeastSquares(y)), dinv.to_prior(LeastSquares(torch.zeros_like(mean)))
    native = deepinv.optim.L2(std), deepinv.optim.Tikhonov()
    pairs = zip(moments(*ours, dinv.to_physics(A), 2, 100), moments(*native, _dense_physics(A), 2, 100), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    first, second = (m.mean(0, keepdim=True) for m in moments(*ours, dinv.to_physics(A), 100, 500))
    # Euler's chain of step h on exp(-x' P x / 2) has the covariance (P - h P^2 / 2)^-1
    variance = torch.linalg.inv(precision - step / 2 * precision @ precision).diagonal().reshape(mean.shape)
    assert float(((second - first**2) / variance - 1).abs().mean()) < 0.1
    assert float(((first - mean) / variance.sqrt()).abs().max()) < 0.2


# our PDHG on deepinv's physics


def _physics_and_terms(name: str, n: int):
    """A physics in float64, the shape of its images, our prior and the same of deepinv."""
    import deepinv

    P = deepinv.physics
    if name == "MRI":
        mask = torch.zeros(1, n, n, dtype=torch.float64)
        mask[..., ::2] = 1
        physics = P.MRI(mask=mask, img_size=(2, n, n)).double()
        return physics, (2, n, n), LAM * GroupL1(), deepinv.optim.L12Prior(l2_axis=1)
    physics = {
        "BlurFFT": lambda: P.BlurFFT(img_size=(1, n, n), filter=P.functional.blur.gaussian_blur(sigma=1.0)),
        "Inpainting": lambda: P.Inpainting(img_size=(1, n, n), mask=(uniform(1, n, n) < 0.5).double()),
        "Downsampling": lambda: P.Downsampling(img_size=(1, n, n), filter="gaussian", factor=2),
    }[name]()
    return physics.double(), (n, n), LAM * TV((n, n)), deepinv.optim.TVPrior(def_crit=1e-8, n_it_max=60)


@pytest.mark.parametrize("name", ["BlurFFT", "Inpainting", "Downsampling", "MRI"])
def test_our_pdhg_on_deepinvs_physics_finds_its_minimum(name, dinv):
    """Least squares and TV, or complex sparsity for MRI; the native run is FISTA with L2 and TVPrior, or L12Prior."""
    import deepinv

    physics, shape, g, prior = _physics_and_terms(name, 16)
    A = dinv.from_physics(physics, shape)
    truth = uniform(*shape[:-2], 16, 16) + (torch.arange(16.0, dtype=torch.float64) > 7)
    y = _noisy(A(truth), 0.05)
    f = LeastSquares(y, ndim=y.ndim)
    ours = solve(PDHG([f @ A, g]), torch.zeros_like(truth), max_iter=4000, tol=1e-4).check()
    zero = torch.zeros(1, *A.image, dtype=torch.float64)
    algorithm = deepinv.optim.FISTA(
        deepinv.optim.L2(), prior, lambda_reg=LAM, stepsize=0.99 / A.norm() ** 2, max_iter=100
    )
    with torch.no_grad():
        native = algorithm(y.reshape(1, *A.measured), physics, init=(zero, zero)).reshape(shape)

    def objective(x):
        return float(f(A(x)) + g(x))

    excess = (objective(ours.x) - objective(native)) / objective(ours.x)
    assert excess <= ours.history[-1]["gap"]  # what the certificate promises of any other image
    assert excess >= -1e-4  # and the native run is at the minimum as well, so this is one problem


# ODL


def test_our_pdhg_and_odls_agree_on_total_variation(odl_):
    """Its solver on our operators and functionals in its weighted spaces, ours on the same."""
    import odl

    n = 12
    A, D = _rays(n), Gradient((n, n))
    y = _noisy(A(uniform(n, n)), 0.05)
    f, r = LeastSquares(y), LAM * GroupL1()
    ours = solve(PDHG([f @ A, r @ D]), torch.zeros(n, n, dtype=torch.float64), max_iter=4000, tol=1e-5).check()
    image = odl.uniform_discr([0, 0], [3, 4], (n, n))  # a cell of 1/12
    measured, field = odl.rn(A.codomain.shape, weighting=0.25), odl.rn(D.codomain.shape, weighting=2.0)
    K = odl.BroadcastOperator(odl_.to_operator(A, image, measured), odl_.to_operator(D, image, field))
    terms = odl.functionals.SeparableSum(odl_.to_functional(f, measured), odl_.to_functional(r, field))
    x = image.zero()
    step = 0.99 / odl.power_method_opnorm(K, maxiter=50)
    odl.solvers.pdhg(x, odl.functionals.ZeroFunctional(image), terms, K, niter=600, tau=step, sigma=step)
    theirs = torch.as_tensor(x.asarray())

    def objective(x):
        return float(f(A(x)) + r(D(x)))

    excess = (objective(ours.x) - objective(theirs)) / objective(ours.x)
    assert -1e-5 <= excess <= ours.history[-1]["gap"]
    torch.testing.assert_close(theirs, ours.x, rtol=0, atol=1e-3)


def test_our_pdhg_takes_odls_operators_and_functionals(odl_):
    """The same problem written in ODL's words, whose gradient has ODL's boundary and weights."""
    import odl

    n = 12
    image = odl.uniform_discr([0, 0], [n, n], (n, n))
    gradient = odl.Gradient(image, pad_mode="symmetric")
    y = image.element(_noisy(uniform(n, n), 0.05).numpy())
    f = 0.5 * odl.functionals.L2NormSquared(image).translated(y)
    D, r = odl_.from_operator(gradient), LAM * odl_.from_functional(odl.functionals.GroupL1Norm(gradient.range))
    ours = solve(
        PDHG([odl_.from_functional(f), r @ D]), torch.zeros(n, n, dtype=torch.float64), max_iter=3000, tol=1e-6
    )
    x = image.zero()
    g = LAM * odl.functionals.GroupL1Norm(gradient.range)
    odl.solvers.pdhg(x, f, g, gradient, niter=500, tau=0.35, sigma=0.35)
    torch.testing.assert_close(ours.x, torch.as_tensor(x.asarray()), rtol=0, atol=1e-4)
    assert ours.status == "converged"
