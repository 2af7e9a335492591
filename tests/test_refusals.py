"""Problems given wrong: each refused where the solver is made, in a sentence that names the term and a way out."""

import math

import pytest
import torch
from members import FUNCTIONALS, Cube, Term, every, uniform

from invreg.core import ShapeError
from invreg.operators import (
    Blur,
    Gradient,
    HeteroscedasticGaussian,
    LeastSquares,
    PoissonTransmission,
    Saturated,
    StudentT,
)
from invreg.priors import TV, Box, NonNegative
from invreg.solvers import ADMM, CG, CGLS, FISTA, LSQR, PDHG, SPDHG, CondatVu

Y = uniform(5, 4)
FIT, A = LeastSquares(Y), Blur(uniform(3, 3), (5, 4))

CONVEX = {
    "PDHG": PDHG,
    "ADMM": ADMM,
    "FISTA": FISTA,
    "CondatVu": CondatVu,
    "SPDHG": lambda terms: SPDHG(terms, torch.Generator()),
}


# What members say of themselves


@every(FUNCTIONALS, "forward")
def test_convexity_is_what_a_member_says(case: Term, device, generator):
    """The middle of a chord is never above it, or for some chord of many it is."""
    f, worst = case.build(device), -math.inf
    assert f.convex == ("convexity" not in case.lacks)
    for scale in (0.01, 0.3, 1.0, 10.0, 100.0):
        a, b = (
            case.inside(scale * torch.randn(200, *case.shape, generator=generator, dtype=_kind(case))) for _ in range(2)
        )
        ends = 0.5 * (f(a) + f(b))
        above = (f(0.5 * (a + b)) - ends) / (1 + ends.abs())
        worst = max(worst, float(above[ends.isfinite()].max())) if bool(ends.isfinite().any()) else worst
    assert worst <= 1e-12 if f.convex else worst > 1e-6


def _kind(case: Term) -> torch.dtype:
    return torch.complex128 if case.complex else torch.float64


def test_weights_sums_and_linear_maps_keep_convexity():
    bad, cube = StudentT(Y, dof=3.0), Cube((5, 4))
    for f in (2 * bad, FIT + bad, bad @ A, 2 * (bad @ A), Saturated(bad, 0.5), FIT @ cube, 2 * (FIT @ cube)):
        assert not f.convex
    for f in (2 * FIT, FIT + FIT, FIT @ A, 2 * (FIT @ A), Saturated(FIT, 0.5), 0.3 * TV((5, 4))):
        assert f.convex


def test_what_comes_from_deepinv_and_odl_says_whether_it_is_convex():
    deepinv = pytest.importorskip("deepinv", exc_type=ImportError)
    odl = pytest.importorskip("odl")
    from invreg.adapters.deepinv import from_denoiser, from_fidelity, from_prior
    from invreg.adapters.odl import from_functional

    convex = [deepinv.optim.L1Prior(), deepinv.optim.TVPrior(), deepinv.optim.Tikhonov(), deepinv.optim.L12Prior()]
    median = deepinv.models.MedianFilter(kernel_size=3)
    other = [deepinv.optim.PnP(median), deepinv.optim.RED(median)]
    assert all(from_prior(p).convex for p in convex) and not any(from_prior(p).convex for p in other)
    assert not from_denoiser(median, 0.1).convex
    assert from_fidelity(deepinv.optim.L1(), Y).convex and not from_fidelity(deepinv.optim.AmplitudeLoss(), Y).convex
    space, f = odl.rn((5, 4)), odl.functionals
    norm, root = f.L1Norm(space), f.LpNorm(space, 0.5)
    rosenbrock = f.RosenbrockFunctional(odl.rn(2))
    assert all(from_functional(g).convex for g in (norm, 2 * norm, norm + norm, f.LpNorm(space, 2)))
    assert not any(from_functional(g).convex for g in (root, 2 * root, norm + root, -1 * norm, rosenbrock))


# What solvers refuse

NOT_CONVEX = {
    "Student-t": (StudentT(Y, dof=3.0), r"StudentT @ Blur\[.*\] is not convex: use Huber or Laplace"),
    "weighted": (0.5 * StudentT(Y, dof=3.0), r"StudentT @ Blur\[.*\] is not convex: use Huber or Laplace"),
    "saturated": (Saturated(StudentT(Y, dof=3.0), 0.5), r"Saturated @ Blur\[.*\] is not convex: use Huber or Laplace"),
    "heteroscedastic": (
        HeteroscedasticGaussian(Y, 0.3, 0.2),
        r"HeteroscedasticGaussian @ Blur\[.*\] is not convex: use WeightedLeastSquares\.from_affine_noise",
    ),
    "background": (
        PoissonTransmission(Y, incident=2.0, background=0.1),
        r"PoissonTransmission @ Blur\[.*\] is not convex: use it without a background",
    ),
}


@pytest.mark.parametrize("who", CONVEX)
@pytest.mark.parametrize("term", NOT_CONVEX)
def test_a_term_that_is_not_convex_is_named_with_a_convex_one(who, term):
    f, words = NOT_CONVEX[term]
    with pytest.raises(TypeError, match=f"{who} minimises convex objectives, and {words}"):
        CONVEX[who]([f @ A, NonNegative()])


@pytest.mark.parametrize("who", CONVEX)
def test_an_operator_without_adjoint_is_refused(who):
    words = (
        r"takes terms f @ K with a linear K; got LeastSquares @ Cube\[.*\], whose K has no adjoint: use its derivative"
    )
    with pytest.raises(TypeError, match=f"{who} {words}"):
        CONVEX[who]([FIT @ Cube((5, 4)), NonNegative()])
    with pytest.raises(TypeError, match=f"{who} {words}"):
        CONVEX[who](FIT @ Cube((5, 4)) + NonNegative())


@pytest.mark.parametrize("who", CONVEX)
def test_terms_on_different_images_are_refused(who):
    with pytest.raises(
        ShapeError, match=rf"{who}: LeastSquares @ Blur\[.*\] acts on .*\(5, 4\).*, TV on those of .*\(4, 5\)"
    ):
        CONVEX[who]([FIT @ A, TV((4, 5)), NonNegative()])
    with pytest.raises(ShapeError, match=r"LeastSquares holds a measurement of shape \(3, 4\), the image .* \(5, 4\)"):
        CONVEX[who]([FIT @ A, LeastSquares(Y[:3])])


@pytest.mark.parametrize("who", CONVEX)
def test_what_is_no_term_is_refused(who):
    with pytest.raises(TypeError, match=f"{who} takes terms f or f @ K .*; got a Blur"):
        CONVEX[who]([FIT @ A, A])
    with pytest.raises(TypeError, match=f"{who} takes at least one term; got none"):
        CONVEX[who]([])


def test_a_measurement_of_another_shape_than_the_operator_gives_is_refused():
    for f in (FIT, 2 * FIT, Saturated(FIT, 0.5)):
        with pytest.raises(ShapeError, match=r"holds a measurement of shape \(5, 4\), Blur.* gives \(5, 3\)"):
            f @ Blur(torch.ones(2, 1), (6, 3), "valid")
    many = LeastSquares(uniform(3, 2, 5, 4)) @ A  # batch axes are no concern of the operator
    assert many(Y).shape == (3, 2)
    with pytest.raises(ShapeError, match=r"LeastSquares sums over 2 axes, Gradient.* gives 3"):
        FIT @ Gradient((5, 4))
    with pytest.raises(ShapeError, match=r"holds a measurement of complex shape \(5, 4\), Blur.* gives \(5, 4\)"):
        LeastSquares(Y + 1j) @ A


def test_what_is_no_operator_is_refused():
    for K in (Y, lambda x: x, None, torch.nn.Identity()):
        with pytest.raises(TypeError, match=r"LeastSquares @ K takes an operator K; got a .*: derive it from"):
            FIT @ K


@pytest.mark.parametrize("weight", [0, 0.0, -1, -0.5, math.nan, math.inf, torch.tensor([1.0, math.nan])])
@pytest.mark.parametrize("term", ["TV", "LeastSquares", "Box"])
def test_weights_that_are_no_positive_numbers_are_refused(weight, term):
    f = {"TV": TV((5, 4)), "LeastSquares": FIT @ A, "Box": Box(0, 1)}[term]
    with pytest.raises(ValueError, match=rf"the weight of {term}.* must be positive and finite; got .*: leave"):
        weight * f


@pytest.mark.parametrize("weight", ["0.1", None, [1.0]])
def test_weights_that_are_no_numbers_are_refused(weight):
    with pytest.raises(TypeError, match=r"the weight of TV must be a number or a tensor .*; got a"):
        weight * TV((5, 4))


def test_least_squares_by_krylov_methods_refuse_in_words():
    with pytest.raises(TypeError, match=r"CGLS takes a linear A; got Cube.*, which has no adjoint: use"):
        CGLS(Cube((5, 4)), Y)
    with pytest.raises(ShapeError, match=r"y of CGLS, of Blur.* takes real .*\(\*batch, 5, 4\); got .*\(3, 4\)"):
        CGLS(A, Y[:3])
    with pytest.raises(TypeError, match=r"CG takes a symmetric A; got Blur.*: use CGLS, or A.normal"):
        CG(Blur(torch.ones(2, 1), (6, 4), "valid"), Y)


@pytest.mark.parametrize("method", [CGLS, LSQR])
@pytest.mark.parametrize("damping", [-1.0, math.nan, math.inf])
def test_a_damping_that_is_negative_or_no_number_is_refused(method, damping):
    with pytest.raises(ValueError, match=rf"{method.__name__} takes a finite damping >= 0; got"):
        method(A, Y, damping)
