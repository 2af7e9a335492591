"""Orthonormal wavelets against published filters, sums written out, PyWavelets where it is there, and a closed form."""

import math

import numpy as np
import pytest
import torch
from members import uniform

from invreg.core import solve
from invreg.operators import Component, LeastSquares, Mask, Wavelet
from invreg.operators.wavelet import scaling_filter
from invreg.priors import L1, NonNegative, Simplex, Through
from invreg.solvers import PDHG

NAMES = ["haar", *(f"{family}{n}" for family in ("db", "sym") for n in range(2, 10))]
F64 = torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_filters_are_orthonormal_with_their_vanishing_moments(name):
    h = np.array(scaling_filter(name))
    moments = h.size // 2
    for k in range(moments):
        assert h[: h.size - 2 * k] @ h[2 * k :] == pytest.approx(float(k == 0), abs=1e-12)
    g = (-1.0) ** np.arange(h.size) * h
    places = np.arange(h.size) - (h.size - 1) / 2
    for power in range(moments):  # relative to what a filter without them would give
        assert abs(g @ places**power) < 1e-9 * (abs(g) @ abs(places) ** power)


def test_filters_are_the_published_ones():
    """Daubechies, Orthonormal bases of compactly supported wavelets (1988), table 1, and the closed form of db2."""
    root = math.sqrt(3)
    assert scaling_filter("haar") == pytest.approx([math.sqrt(0.5)] * 2)
    db2 = np.array([1 + root, 3 + root, 3 - root, 1 - root]) / (4 * math.sqrt(2))
    np.testing.assert_allclose(scaling_filter("db2"), db2, atol=1e-14)
    db4 = [0.230377813309, 0.714846570553, 0.630880767930, -0.027983769417]
    db4 += [-0.187034811719, 0.030841381836, 0.032883011667, -0.010597401785]
    np.testing.assert_allclose(scaling_filter("db4"), db4, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_filters_are_those_of_pywavelets(name):
    pywt = pytest.importorskip("pywt", reason="compares with PyWavelets")
    h, theirs = np.array(scaling_filter(name)), np.array(pywt.Wavelet(name).rec_lo)
    assert min(abs(h - theirs).max(), abs(h[::-1] - theirs).max()) < 1e-11  # a symlet may come mirrored


@pytest.mark.parametrize("name", ["haar", "db3", "sym7"])
def test_coefficients_are_those_of_pywavelets_but_for_signs_and_shifts(name):
    pywt = pytest.importorskip("pywt", reason="compares with PyWavelets")
    x = uniform(32, 32, low=-1)
    ours = Wavelet((32, 32), name, 1)(x).numpy()
    low, (across, down, both) = pywt.dwt2(x.numpy(), name, "periodization")
    for (i, j), band in {(0, 0): low, (1, 0): across, (0, 1): down, (1, 1): both}.items():
        mine = ours[16 * i : 16 * (i + 1), 16 * j : 16 * (j + 1)]
        np.testing.assert_allclose(np.sort(abs(mine), None), np.sort(abs(band), None), atol=1e-10)


def written_out(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """One level along the first axis: sums over a circle, (approximation, detail)."""
    n, side = len(x), h.size // 2 - 1
    g = [(-1) ** m * h[h.size - 1 - m] for m in range(h.size)]
    return np.stack(
        [sum(f[m] * x[(2 * k + m - side) % n] for m in range(h.size)) for f in (h, g) for k in range(n // 2)]
    )


@pytest.mark.parametrize(("name", "shape", "levels"), [
    ("db3", (16,), 2), ("sym4", (4,), 2), ("db2", (8, 12), 2), ("haar", (4, 8, 6), 1),
], ids=str)  # fmt: skip
def test_the_transform_is_the_sum_written_out(name, shape, levels):
    x = uniform(*shape, low=-1)
    expected, h = x.numpy().copy(), np.array(scaling_filter(name))
    for level in range(levels):
        corner = tuple(slice(n >> level) for n in shape)
        for axis in range(len(shape)):
            moved = np.moveaxis(expected[corner], axis, 0)
            expected[corner] = np.moveaxis(written_out(moved, h), 0, axis)
    torch.testing.assert_close(Wavelet(shape, name, levels)(x), torch.from_numpy(expected), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["haar", "db9", "sym8"])
def test_the_adjoint_inverts_and_lengths_are_kept(name):
    W, x = Wavelet((16, 24), name, 3), uniform(3, 16, 24, low=-1)
    torch.testing.assert_close(W.adjoint(W(x)), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(W(W.adjoint(x)), x, rtol=0, atol=1e-12)


def test_flat_images_have_no_details_and_smooth_ones_hardly_any():
    W = Wavelet((32, 32), "db4", 3)
    y = W(torch.full((32, 32), 2.0, dtype=F64))
    torch.testing.assert_close(y[:4, :4], torch.full((4, 4), 16.0, dtype=F64))
    assert float((W.details() * y).abs().max()) < 1e-12 and float(W.details().sum()) == 32 * 32 - 16
    t = torch.arange(32, dtype=F64) * 2 * math.pi / 32
    wave = t.cos()[:, None] * t.sin()
    fine = Wavelet((32, 32), "db4", 1)
    assert float((fine.details() * fine(wave)).norm()) < 1e-3 * float(wave.norm())


@pytest.mark.parametrize("name", ["haar", "db4", "sym8"])
def test_peak_bounds_the_largest_coefficient(name):
    W = Wavelet((16, 16), name, 2)
    rows = W.adjoint(torch.eye(256, dtype=F64).reshape(256, 16, 16)).abs().flatten(1).sum(1)
    assert float(rows.max()) <= W.peak() * (1 + 1e-12) and W.peak() <= 3 * float(rows.max())


def test_shrinking_coefficients_is_the_minimiser_that_pdhg_finds():
    """Donoho and Johnstone (1994): soft thresholds, but not of the approximation."""
    W, y = Wavelet((16, 16), "sym4", 2), uniform(16, 16, low=-1)
    f = 0.4 * L1(W.details())
    c = W(y)
    shrunk = torch.where(W.details() > 0, c.sign() * (c.abs() - 0.4).clamp(min=0), c)
    closed = W.adjoint(shrunk)
    torch.testing.assert_close(Through(f, W).prox(y, 1.0), closed, rtol=0, atol=1e-12)
    result = solve(PDHG([LeastSquares(y), f @ W]), torch.zeros_like(y), tol=1e-10, max_iter=5000)
    assert result.status == "converged"
    torch.testing.assert_close(result.x, closed, rtol=0, atol=1e-4)


def test_a_wavelet_term_with_a_proximal_map_certifies_in_single_precision():
    """Beside a block of another kind: its conjugate is finite through the bound on the image."""
    W, y = Wavelet((16, 16), "db2", 2), uniform(16, 16, low=-1).float()
    solver = PDHG([LeastSquares(y) @ Mask(uniform(16, 16) > 0.3), 0.1 * Through(L1(W.details()), W)])
    result = solve(solver, torch.zeros(16, 16), tol=1e-3, max_iter=2000)
    assert result.status == "converged" and 0 <= result.history[-1]["gap"] <= 1e-3


def test_bad_arguments_are_said():
    for name in ("db1", "db10", "sym", "coif2", "", "haar2"):
        with pytest.raises(ValueError, match=r"Wavelet takes 'haar', 'db2' to 'db9' or 'sym2' to 'sym9'; got"):
            Wavelet((8, 8), name, 1)
    with pytest.raises(ValueError, match=r"with 3 levels takes sizes that are multiples of 8; got \(8, 12\): take"):
        Wavelet((8, 12), "haar", 3)
    for levels in (0, -1, 1.5):
        with pytest.raises(ValueError, match="a whole number of levels from 1 on"):
            Wavelet((8, 8), "haar", levels)
    with pytest.raises(TypeError, match=r"Through takes a semi-orthogonal operator .* use f @ K"):
        Through(L1(), 2 * Wavelet((8, 8), "haar", 1))
    with pytest.raises(ValueError, match=r"Simplex sums over 3 axes, .* gives 2"):
        Through(Simplex(), Component((3, 8, 8), 0))
    with pytest.raises(ValueError, match="NonNegative sums over 2 axes"):
        Through(NonNegative(), Component((3, 8, 8), slice(0, 2)))
