"""The contract of functionals: laws that hold for every member."""

import pickle

import pytest
import torch
from members import FUNCTIONALS, Term, every, uniform
from torch import Tensor

from invreg.core import Likelihood, Linear, Precomposed, Space, Sum, inner
from invreg.operators import Gradient, LeastSquares, WeightedLeastSquares
from invreg.priors import TV, Box, GroupL1, NonNegative, SpaceVariantTV

BATCH = (2, 3)
STEPS = (0.05, 1.0, 20.0)
SCALES = (1e-3, 1e-2, 0.1, 1.0, 10.0)
METHODS = {
    "forward": lambda f, x: f(x),
    "grad": lambda f, x: f.grad(x),
    "prox": lambda f, x: f.prox(x, 1.0),
    "conj": lambda f, x: f.conj(x),
    "conj_prox": lambda f, x: f.conj_prox(x, 1.0),
    "lipschitz": lambda f, x: f.lipschitz(),
}


def _random(case: Term, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    return Space(case.shape, case.complex).random(*BATCH, generator=generator, dtype=dtype)


def _square(x: Tensor, ndim: int) -> Tensor:
    return inner(x, x, ndim)


def _competitors(point: Tensor, anchor: Tensor, feasible, generator: torch.Generator):
    """Points to compare a minimiser with: random ones, ones along lines, single pixels, and feasible ones."""
    for scale in SCALES:
        noise = scale * torch.randn(point.shape, generator=generator, dtype=point.dtype, device=point.device)
        pixel = torch.zeros_like(point)
        pixel[..., 0, 1] = scale
        direction = scale * (anchor - point)
        for move in (noise, -noise, pixel, -pixel, direction, -direction):
            yield point + move
            yield feasible(point + move)


def _is_minimiser(value, point: Tensor, anchor: Tensor, step: float, competitors, ndim: int, convex=True) -> None:
    """value + |. - anchor|^2 / (2 step) grows from `point`, as fast as strong convexity demands if it is `convex`."""
    scale = (_square(point, ndim) + _square(anchor, ndim)) / step + 1
    best = value(point) + _square(point - anchor, ndim) / (2 * step)
    assert bool(best.isfinite().all())
    for v in competitors:
        other = value(v) + _square(v - anchor, ndim) / (2 * step)
        growth = _square(v - point, ndim) / (2 * step) if convex else 0.0
        assert bool((other - best - growth >= -1e-10 * (scale + growth)).all())


@every(FUNCTIONALS, "forward", "prox")
@pytest.mark.parametrize("step", STEPS)
def test_prox_minimises(case: Term, step, device, generator):
    f, x, step = case.build(device), _random(case, generator), case.step(step)
    p = f.prox(x, step)
    rivals = _competitors(p, x, lambda v: f.prox(v, step), generator)
    _is_minimiser(f, p, x, step, rivals, f.ndim, "convexity" not in case.lacks)


@every(FUNCTIONALS, "conj", "conj_prox")
@pytest.mark.parametrize("step", STEPS)
def test_conj_prox_minimises_the_conjugate(case: Term, step, device, generator):
    f, u = case.build(device), _random(case, generator)
    p = f.conj_prox(u, step)
    rivals = _competitors(p, u, lambda v: f.conj_prox(v, step), generator)
    _is_minimiser(f.conj, p, u, step, rivals, f.ndim)


@every(FUNCTIONALS, "prox", "firmness")
@pytest.mark.parametrize("step", STEPS)
def test_prox_is_firmly_nonexpansive(case: Term, step, device, generator):
    f = case.build(device)
    x, y = _random(case, generator), _random(case, generator)
    difference = f.prox(x, step) - f.prox(y, step)
    assert bool((inner(difference, x - y, f.ndim) >= _square(difference, f.ndim) * (1 - 1e-12)).all())


@every(FUNCTIONALS, "prox", "conj_prox", "moreau")
@pytest.mark.parametrize("step", STEPS)
def test_moreau(case: Term, step, device, dtype, generator):
    f, x = case.build(device, dtype), _random(case, generator, dtype)
    rebuilt = f.prox(x, step) + step * f.conj_prox(x / step, 1 / step)
    tol = 1e-5 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(rebuilt, x, rtol=tol, atol=tol * (1 + step))


@every(FUNCTIONALS, "forward", "conj")
def test_fenchel_young(case: Term, device, generator):
    f = case.build(device)
    for scale in SCALES:
        x, u = scale * _random(case, generator), _random(case, generator)
        for v in (u, f.conj_prox(u, 1.0)):
            assert bool((f(x) + f.conj(v) - inner(x, v, f.ndim) >= -1e-12).all())


@every(FUNCTIONALS, "forward", "conj", "prox")
@pytest.mark.parametrize("step", STEPS)
def test_fenchel_young_is_an_equality_at_subgradients(case: Term, step, device, generator):
    f, x = case.build(device), _random(case, generator)
    p = f.prox(x, step)
    u = (x - p) / step
    torch.testing.assert_close(f(p) + f.conj(u), inner(p, u, f.ndim), rtol=1e-9, atol=1e-9)


@every(FUNCTIONALS, "forward", "conj", "grad")
def test_fenchel_young_is_an_equality_at_the_gradient(case: Term, device, generator):
    f, x = case.build(device), case.inside(_random(case, generator))
    u = f.grad(x)
    torch.testing.assert_close(f(x) + f.conj(u), inner(x, u, f.ndim), rtol=1e-9, atol=1e-9)


@every(FUNCTIONALS, "forward", "conj")
def test_conjugate_with_a_bound_is_an_upper_bound_over_the_bounded_points(case: Term, device, generator):
    f, u = case.build(device), _random(case, generator)
    bounds = torch.tensor([[0.1, 0.5, 1.0], [2.0, 5.0, 0.3]], dtype=torch.float64, device=device)
    bounded = f.conj(u, bounds)
    assert bounded.shape == BATCH
    for _ in range(50):
        x = 2 * _random(case, generator)
        size = x.abs() if f.ndim == 2 else torch.linalg.vector_norm(x, dim=tuple(range(-f.ndim, -2)), keepdim=True)
        x = x * (bounds.reshape(*BATCH, *(1,) * f.ndim) / size.clamp(min=1e-12)).clamp(max=1)
        assert bool((inner(x, u, f.ndim) - f(x) <= bounded + 1e-12).all())


@every(FUNCTIONALS, "grad")
def test_grad_against_central_differences(case: Term, device, generator):
    f, x = case.build(device), case.inside(_random(case, generator))
    for _ in range(5):
        u = _random(case, generator)
        h = 1e-6
        slope = (f(x + h * u) - f(x - h * u)) / (2 * h)
        torch.testing.assert_close(inner(f.grad(x), u, f.ndim), slope, rtol=1e-6, atol=1e-6)


@every(FUNCTIONALS, "grad", "lipschitz")
def test_lipschitz_bounds_the_gradient(case: Term, device, generator):
    f = case.build(device)
    for scale in SCALES:
        x, y = (case.inside(size * _random(case, generator)) for size in (1.0, scale))
        change = _square(f.grad(x) - f.grad(y), f.ndim).sqrt()
        assert bool((change <= f.lipschitz() * _square(x - y, f.ndim).sqrt() * (1 + 1e-9)).all())


def _answers(case: Term, f, x: Tensor, step) -> dict[str, Tensor]:
    calls = {
        "forward": lambda: f(x),
        "grad": lambda: f.grad(x),
        "prox": lambda: f.prox(x, case.step(step)),
        "conj": lambda: f.conj(x),
        "conj_prox": lambda: f.conj_prox(x, step),
    }
    return {name: call() for name, call in calls.items() if name not in case.lacks}


@every(FUNCTIONALS)
def test_items_of_a_batch_are_independent(case: Term, device, dtype, generator):
    f, x = case.build(device, dtype), _random(case, generator, dtype)
    steps = torch.tensor([[0.1, 0.5, 1.0], [2.0, 5.0, 0.3]], dtype=dtype, device=device)
    tol = 1e-5 if dtype == torch.float32 else 1e-13
    together = _answers(case, f, x, steps)
    for i in range(BATCH[0]):
        for j in range(BATCH[1]):
            for name, alone in _answers(case, f, x[i, j], float(steps[i, j])).items():
                torch.testing.assert_close(together[name][i, j], alone, rtol=tol, atol=tol)


@every(FUNCTIONALS)
def test_kinds_of_answers(case: Term, device, dtype, generator):
    f, x = case.build(device, dtype), _random(case, generator, dtype)
    assert f.ndim == len(case.shape)
    for name, answer in _answers(case, f, x, 0.7).items():
        assert answer.device == x.device
        if name in ("forward", "conj"):
            assert (answer.dtype, answer.shape) == (torch.float64, BATCH)
        else:
            assert (answer.dtype, answer.shape) == (x.dtype, x.shape)


@every(FUNCTIONALS)
def test_purity(case: Term, device, dtype, generator):
    f, x = case.build(device, dtype), _random(case, generator, dtype)
    before = {name: value.clone() for name, value in f.state_dict().items()}
    kept = x.clone()
    first = {name: value.clone() for name, value in _answers(case, f, x, 0.7).items()}
    _answers(case, f, 5 * x + 1, 3.0)  # no warm start may hide in the object
    for name, value in _answers(case, f, x, 0.7).items():
        assert torch.equal(value, first[name]) and not value.requires_grad
    assert torch.equal(x, kept) and not x.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in f.state_dict().items())


@every(FUNCTIONALS, "pickling")
def test_pickling(case: Term, device, generator):
    f, x = case.build(device), _random(case, generator)
    copy = _answers(case, pickle.loads(pickle.dumps(f)), x, 0.7)
    assert all(torch.equal(value, copy[name]) for name, value in _answers(case, f, x, 0.7).items())


@every(FUNCTIONALS)
def test_what_is_lacking_says_what_to_use(case: Term, device, generator):
    f, x = case.build(device), _random(case, generator)
    for name in set(case.lacks) & set(METHODS):
        with pytest.raises(TypeError, match=r"\w+ has no .*; use "):
            METHODS[name](f, x)


# Calculus and what single members promise beyond the laws.


@every([t for t in FUNCTIONALS if "prox" not in t.lacks])
def test_weights_for_each_item(case: Term, device, generator):
    f, x = case.build(device), _random(case, generator)
    weights = case.step(torch.tensor([[0.1, 0.5, 1.0], [2.0, 5.0, 0.3]], dtype=torch.float64))
    together = _answers(case, (weights * f).to(device), x, 0.7)
    for i in range(BATCH[0]):
        for j in range(BATCH[1]):
            for name, alone in _answers(case, float(weights[i, j]) * f, x[i, j], 0.7).items():
                torch.testing.assert_close(together[name][i, j], alone, rtol=1e-12, atol=1e-12)


def test_weights_must_be_positive():
    for bad in (0.0, -1.0, float("nan"), torch.tensor([1.0, -2.0])):
        with pytest.raises(ValueError, match="weight of GroupL1 must be positive"):
            bad * GroupL1()


def test_sum_takes_sums_apart_and_weighs_each_term():
    a, b, c = (LeastSquares(uniform(5, 4, seed=s)) for s in range(3))
    x = uniform(3, 5, 4, seed=9)
    both = 2.0 * (a + b + c)
    assert isinstance(both, Sum) and len(both.terms) == 3
    torch.testing.assert_close(both(x), 2 * (a(x) + b(x) + c(x)))
    torch.testing.assert_close(both.grad(x), 2 * (a.grad(x) + b.grad(x) + c.grad(x)))
    assert both.lipschitz() == pytest.approx(6.0)


def test_precomposed_takes_a_weight_inside_and_checks_axes():
    scaled = 0.5 * TV((5, 4))
    x = uniform(5, 4)
    assert isinstance(scaled, Precomposed)
    torch.testing.assert_close(scaled(x), 0.5 * TV((5, 4))(x))
    with pytest.raises(ValueError, match="sums over 2 axes"):
        LeastSquares(uniform(5, 4)) @ Gradient((5, 4))


def test_lipschitz_of_a_composition_is_not_below_the_true_one():
    f = LeastSquares(uniform(2, 5, 4), ndim=3) @ Gradient((5, 4))
    assert isinstance(f.K, Linear)
    hessian = torch.autograd.functional.hessian(lambda x: f(x), uniform(5, 4)).reshape(20, 20)
    true = float(torch.linalg.eigvalsh(hessian)[-1])
    assert true * (1 - 1e-12) <= f.lipschitz() <= 1.05 * true


def test_tv_is_the_sum_of_gradient_magnitudes():
    x = torch.zeros(2, 6, 7, dtype=torch.float64)
    x[0, 2:5, 1:4] = 2.0  # a 3 x 3 block: 10 pixels see one jump of 2, one sees a jump along both axes
    x[1, :, 3:] = -1.5  # a straight edge of 6 pixels
    expected = torch.tensor([10 * 2 + 8**0.5, 6 * 1.5], dtype=torch.float64)
    torch.testing.assert_close(TV((6, 7))(x), expected)
    weights = torch.ones(6, 7, dtype=torch.float64)
    weights[:, 2] = 0.5
    torch.testing.assert_close(SpaceVariantTV(weights)(x[1]), expected[1] / 2)


def test_space_variant_weights_follow_their_formula():
    x0 = torch.zeros(4, 6, dtype=torch.float64)
    x0[:, 3:] = 0.3
    weights = SpaceVariantTV.from_image(x0, eta=0.4).f.weights
    assert weights[0, 0] == 1
    torch.testing.assert_close(weights[0, 2], torch.tensor(0.4 / 0.5, dtype=torch.float64))
    half = SpaceVariantTV.from_image(x0, eta=0.4, p=0.5).f.weights
    torch.testing.assert_close(half[0, 2], torch.tensor(0.8**0.5, dtype=torch.float64))
    assert bool((SpaceVariantTV.from_image(x0, eta=0.4, p=1.0).f.weights == 1).all())
    for eta, p in ((0.0, 0.0), (-1.0, 0.5), (0.1, 1.5), (float("nan"), 0.0)):
        with pytest.raises(ValueError, match="eta > 0 and 0 <= p <= 1"):
            SpaceVariantTV.from_image(x0, eta=eta, p=p)


def test_sets_and_norms_refuse_senseless_arguments():
    for low, high in ((1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="low < high"):
            Box(low, high)
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite weights"):
            GroupL1(torch.tensor([[1.0, bad]]))
    with pytest.raises(ValueError, match="weights >= 0 of the shape"):
        WeightedLeastSquares(torch.zeros(3, 4), torch.ones(4, 4))
    with pytest.raises(ValueError, match="weights >= 0 of the shape"):
        WeightedLeastSquares(torch.zeros(3, 4), -torch.ones(3, 4))


def test_nonnegative_is_infinite_below_zero():
    x = torch.tensor([[[0.0, 1.0]], [[-1e-30, 1.0]]])
    assert NonNegative()(x).tolist() == [0.0, float("inf")]


@pytest.mark.parametrize("make", [
    lambda p: LeastSquares(p, std=torch.full(p.shape[:1], 0.3)),
    lambda p: WeightedLeastSquares(p, torch.full_like(p, 1 / 0.3**2)),
], ids=["LeastSquares", "WeightedLeastSquares"])  # fmt: skip
def test_samples_have_the_stated_noise_and_the_expected_value(make, generator, device):
    clean = uniform(3, 80, 90).to(device)
    f = make(clean)
    assert isinstance(f, Likelihood)
    noisy = f.sample(clean, generator)
    noise = noisy - clean
    assert float(noise.std()) == pytest.approx(0.3, rel=0.02) and abs(float(noise.mean())) < 0.01
    # E f at the truth is n / 2, with a relative spread of sqrt(2 / n)
    torch.testing.assert_close(f(noisy), f.expected().expand(3), rtol=0.06, atol=0)
    assert not torch.equal(noisy, f.sample(clean, generator))


@pytest.mark.parametrize("make", [LeastSquares, lambda y: WeightedLeastSquares(y, 0.5 + y.abs())])
def test_each_item_of_a_batch_has_its_own_measurement(make, generator):
    y, x = (torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    case = Term("", make)
    together = _answers(case, make(y), x, 0.7)
    for i in range(2):
        for j in range(3):
            for name, alone in _answers(case, make(y[i, j]), x[i, j], 0.7).items():
                torch.testing.assert_close(together[name][i, j], alone, rtol=1e-13, atol=1e-13)


def test_a_likelihood_without_a_noise_level_says_so():
    f = LeastSquares(uniform(5, 4))
    assert f.expected() is None
    with pytest.raises(TypeError, match=r"LeastSquares has no noise level; use the argument `std`"):
        f.sample(uniform(5, 4), torch.Generator())


def test_a_dead_pixel_has_no_say():
    y, weights = uniform(5, 4), uniform(5, 4, low=0.5)
    weights[2, 2] = 0
    f = WeightedLeastSquares(y, weights)
    x = uniform(5, 4, seed=7)
    moved = x.clone()
    moved[2, 2] = 1e6
    assert f(moved) == f(x) and f.grad(moved)[2, 2] == 0 and f.prox(moved, 1.0)[2, 2] == 1e6
    assert f.sample(x, torch.Generator().manual_seed(0))[2, 2] == x[2, 2]
    assert float(f.expected()) == pytest.approx(19 / 2)


def test_the_prox_of_the_group_norm_has_a_gradient():
    """Unrolled solvers need it."""
    x = uniform(2, 3, 4, low=-1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: GroupL1().prox(x, 0.3), x)


@pytest.mark.parametrize("complex", [False, True])
def test_total_variation_has_a_subgradient_where_the_image_is_flat(complex):
    """So does every image in its last corner, where the differences beyond the edge are 0."""
    f, x = TV((6, 7), complex=complex), torch.zeros(6, 7, dtype=torch.complex128 if complex else torch.float64)
    x[:, 3:] = -1.5  # a straight edge: +1 and -1 for its two sides
    (slope,) = torch.autograd.grad(f(x.requires_grad_()), x)
    expected = torch.zeros_like(x)
    expected[:, 2], expected[:, 3] = 1, -1
    torch.testing.assert_close(slope, expected)
    unrolled = f.f.prox(f.K(x), 0.3).abs().square().sum()
    assert bool(torch.autograd.grad(unrolled, x)[0].isfinite().all())
