"""Acoustic waves against the closed form of a uniform medium, a larger domain, finite differences and reciprocity."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from invreg.operators import AcousticWave2D, ricker, wave_steps


def uniform_medium(wavelet: float, c: float, r: float, times: np.ndarray) -> np.ndarray:
    """(1 / 2 pi) int s(t - (r / c) cosh a) da: s convolved with 1 / (2 pi sqrt(t^2 - r^2 / c^2))."""
    delay, frequency = 1.5 / wavelet, wavelet
    out = np.zeros_like(times)
    for i, t in enumerate(times):
        if t > r / c:
            a = np.linspace(0, math.acosh(t * c / r), 4001)
            q = (math.pi * frequency * (t - r / c * np.cosh(a) - delay)) ** 2
            late = t - r / c * np.cosh(a) >= 0
            out[i] = np.trapezoid((1 - 2 * q) * np.exp(-q) * late, a) / (2 * math.pi)
    return out


def uniform_error(refine: int) -> float:
    c, spacing, dt, steps = 2000.0, 10.0 / refine, 2e-3 / refine, 300 * refine
    shape = (61 * refine, 101 * refine)
    source, receivers = (30 * refine, 20 * refine), [(30 * refine, 60 * refine), (54 * refine, 38 * refine)]
    A = AcousticWave2D(shape, spacing, dt, ricker(10.0, dt, steps), [source], receivers)
    traces = A(torch.full(shape, c, dtype=torch.float64))[0].numpy()
    times = np.arange(steps) * dt
    exact = np.stack([uniform_medium(10.0, c, spacing * math.dist(source, r), times) for r in receivers])
    return float(np.linalg.norm(traces - exact) / np.linalg.norm(exact))


def test_a_uniform_medium_has_the_closed_form_and_the_error_is_of_second_order():
    coarse, fine = uniform_error(1), uniform_error(2)
    assert coarse < 0.03
    assert 3.2 < coarse / fine < 5


def medium(*shape: int, seed: int = 0) -> Tensor:
    """1800 to 2400 m/s, smooth within a few nodes."""
    noise = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2, count_include_pad=False)[0, 0]
    return 2100 + 300 * smooth / smooth.abs().max()


def test_source_and_receiver_may_change_places():
    a, b, wavelet = (8, 7), (31, 40), ricker(12.0, 2e-3, 300)
    there, back = (AcousticWave2D((40, 50), 10.0, 2e-3, wavelet, [s], [r])(medium(40, 50)) for s, r in ((a, b), (b, a)))
    assert float((there - back).abs().max()) < 1e-3 * float(there.abs().max())


@pytest.mark.parametrize("frequency", [4.0, 12.0])
def test_the_layers_reflect_less_than_a_hundredth(frequency):
    """Against a domain so large that nothing comes back; the receivers lie at the edge, up to grazing incidence."""
    traces = []
    for more in (0, 150):
        shape = (50 + 2 * more, 70 + 2 * more)
        receivers = [(more + 1, more + k) for k in range(0, 70, 6)] + [(more + k, more + 68) for k in range(0, 50, 6)]
        wavelet = ricker(frequency, 2e-3, 400)
        A = AcousticWave2D(shape, 10.0, 2e-3, wavelet, [(more + 4, more + 5)], receivers)
        traces.append(A(torch.full(shape, 2000.0, dtype=torch.float64)))
    worst = (traces[0] - traces[1]).abs().amax(-1) / traces[1].abs().amax(-1)
    assert float(worst.max()) < 0.01


def test_steps_stay_bounded_up_to_the_stated_velocity():
    wavelet = torch.zeros(4000, dtype=torch.float64)
    wavelet[0] = 1.0  # every frequency of the grid
    A = AcousticWave2D((20, 24), 10.0, 2e-3, wavelet, [(10, 12)], [(9, 11), (1, 1)])
    traces = A(torch.full((20, 24), 0.999 * A.fastest, dtype=torch.float64))
    assert float(traces[..., -200:].abs().max()) < 0.1 * float(traces.abs().max())
    with pytest.raises(ValueError, match=r"stable for finite velocities up to 3061\.9 m/s; the greatest is 3100"):
        A(torch.full((20, 24), 3100.0))
    with pytest.raises(ValueError, match="the greatest is nan"):
        A(torch.full((20, 24), math.nan))


def small(**options: int) -> AcousticWave2D:
    sources, receivers = [(2, 3), (5, 5)], [(1, 1), (9, 6), (9, 6)]  # one receiver twice
    return AcousticWave2D((12, 9), 10.0, 1e-3, ricker(30.0, 1e-3, 80), sources, receivers, **options)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # torch's own, on its first jvp
def test_derivatives_against_finite_differences():
    A, c = small(absorbing=4), medium(12, 9)
    v = torch.randn(2, 3, 80, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradient = A.vjp(c, v)
    u = torch.randn(12, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step = 1e-3
    difference = (A(c + step * u) - A(c - step * u)) / (2 * step)
    derivative = torch.func.jvp(A, (c,), (u,))[1]
    assert float((derivative - difference).norm()) < 1e-7 * float(difference.norm())
    assert float((derivative * v).sum()) == pytest.approx(float((gradient * u).sum()), rel=1e-12)
    for node in ((0, 0), (6, 8), (2, 3)):  # a corner, whose velocity goes on in the layers, an edge, a source
        e = torch.zeros_like(c)
        e[node] = step
        change = float(((A(c + e) - A(c - e)) * v).sum()) / (2 * step)
        assert float(gradient[node]) == pytest.approx(change, rel=1e-6)


@pytest.mark.parametrize("kept", [1, 7, 79, 1000])
def test_segments_do_not_change_the_gradient(kept, monkeypatch):
    A, c = small(), medium(12, 9)
    v = A(c)
    whole = A.vjp(c, v)
    monkeypatch.setattr(wave_steps, "MEMORY", kept * 8 * (12 + 24) * (9 + 24))
    assert torch.equal(A.vjp(c, v), whole)


@pytest.mark.parametrize("kept", [7, 1000])
def test_torch_and_numba_take_the_same_steps(kept, device, monkeypatch):
    monkeypatch.setattr(wave_steps, "MEMORY", kept * 8 * 20 * 17)
    A = small(absorbing=4)
    setup = A.setup()
    m = 0.05 + 0.01 * medium(20, 17).div(2100)[None].repeat(2, 1, 1) * torch.tensor([1.0, 2.0])[:, None, None]
    dm, v = torch.rand_like(m), torch.rand(2, 2, 3, 80, dtype=torch.float64)
    on_device = setup._replace(**{k: t.to(device) for k, t in setup._asdict().items() if isinstance(t, Tensor)})
    fields = wave_steps.Fields(m.to(device), on_device)
    pairs = [
        (wave_steps.traces(m, setup), fields.run()),
        (wave_steps.derivative(m, dm, setup), fields.run(dm.to(device))),
        (wave_steps.transposed(m, v, setup), fields.run_transposed(v.to(device))),
    ]
    for numba, torch_ in pairs:
        assert float((numba - torch_.cpu()).norm()) < 1e-12 * float(numba.norm())


def test_second_derivatives_are_refused_in_words():
    A, c = small(), medium(12, 9).requires_grad_()
    (gradient,) = torch.autograd.grad(A(c).square().sum(), c, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        torch.autograd.grad(gradient.sum(), c)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (3, 9)}, r"a grid of at least 4 x 4 nodes; got \(3, 9\)"),
        ({"spacing": -1.0}, r"a positive spacing; got -1\.0"),
        ({"dt": math.nan}, "a positive dt; got nan"),
        ({"absorbing": 0}, "one or more absorbing nodes, a whole number; got 0"),
        ({"wavelet": torch.full((5,), math.nan)}, "a wavelet of two or more finite real values"),
        ({"wavelet": torch.ones(3, 5)}, r"got torch.float32 \(3, 5\)"),
        (
            {"sources": [(12, 1)]},
            r"sources \(n, 2\), whole numbers .* within \(12, 9\); got \[\[12, 1\]\]",
        ),
        ({"receivers": [(1.5, 1)]}, r"receivers \(n, 2\), whole numbers .*; got \[\[1\.5, 1\.0\]\]"),
        ({"sources": np.zeros((0, 2), int)}, r"sources \(n, 2\)"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_senseless_arguments_get_one_sentence(change, message):
    arguments = {"shape": (12, 9), "spacing": 10.0, "dt": 1e-3, "wavelet": ricker(30.0, 1e-3, 80)}
    arguments |= {"sources": [(2, 3)], "receivers": [(1, 1)]} | change
    with pytest.raises(ValueError, match=message):
        AcousticWave2D(**arguments)
