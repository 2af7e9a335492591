"""Modulation transfer functions against closed forms and quadratures, and their point spread functions."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from invreg.operators import MTF
from invreg.operators.mtf import Box, Decay, Diffusion, Optics, ground_sampling

ZERO = torch.zeros(1, dtype=torch.float64)
SOFT = MTF.from_nyquist(0.15, 0.25)
SHARP = MTF.from_instrument(1.1, 15.92, 0.625e-6, 8e-6, obscuration=0.3, smear=1.0, diffusion=0.15)


def line(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def grid(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float64)


def oneill(nu: np.ndarray, e: float) -> np.ndarray:
    """O'Neill (1956): the annulus as A + B + C, in another form than ours."""
    clear = np.arccos(nu) - nu * np.sqrt(1 - nu**2)
    t = np.clip(nu / e, 0, 1)
    hole = np.where(nu <= e, e**2 * (np.arccos(t) - t * np.sqrt(1 - t**2)), 0)
    phi = np.arccos(np.clip((1 + e**2 - 4 * nu**2) / (2 * e), -1, 1))
    tangent = np.arctan((1 + e) / (1 - e) * np.tan(phi / 2))
    middle = e * np.sin(phi) + phi / 2 * (1 + e**2) - (1 - e**2) * tangent - np.pi * e**2
    cross = np.where(nu <= (1 - e) / 2, -np.pi * e**2, np.where(nu <= (1 + e) / 2, middle, 0))
    return 2 / np.pi * (clear + hole + cross) / (1 - e**2)


@pytest.mark.parametrize("obscuration", [0.2, 0.5])
def test_annulus_in_focus(obscuration):
    nu = np.linspace(0, 1, 200)
    ours = Optics(0.8, obscuration)(torch.from_numpy(0.8 * nu), ZERO)
    assert_allclose(ours.numpy(), oneill(nu, obscuration), atol=1e-8)


def test_clear_pupil_and_cutoff():
    nu = np.linspace(0, 1, 50)
    expected = 2 / np.pi * (np.arccos(nu) - nu * np.sqrt(1 - nu**2))
    assert_allclose(Optics(1.3)(torch.from_numpy(1.3 * nu), ZERO), expected, atol=1e-12)
    assert_allclose(Optics(1.3, 1e-6)(torch.from_numpy(1.3 * nu), ZERO), expected, atol=1e-9)
    assert_allclose(Optics(1.3, 0.4)(line(1.3, 1.31, 50), line(0.001, 0, 0)), 0, atol=1e-12)
    assert float(Optics(1.3)(line(0.5), line(1.1))) == float(Optics(1.3)(line(1.1), line(0.5)))  # isotropic


@pytest.mark.parametrize("defocus", [0.25, 0.8])
def test_defocus_against_the_autocorrelation_of_the_pupil(defocus):
    """The sum over a fine grid of both shifted pupils, each with its quadratic phase."""
    x = (grid(1200) + 0.5) / 600 - 1
    shifts = np.array([0.1, 0.4, 0.8, 1.3])

    def overlap(s: float) -> complex:
        left, right = ((x[None] + t) ** 2 + x[:, None] ** 2 for t in (s / 2, -s / 2))
        inside = (left < 1) & (right < 1) & (left >= 0.35**2) & (right >= 0.35**2)
        return (np.exp(2j * np.pi * defocus * left[inside]) * np.exp(-2j * np.pi * defocus * right[inside])).sum()

    expected = np.array([overlap(s) for s in shifts]) / overlap(0.0)
    ours = Optics(1.0, 0.35, defocus)(torch.from_numpy(shifts / 2), ZERO)
    assert_allclose(ours, expected.real, atol=2e-4)
    assert_allclose(expected.imag, 0, atol=2e-4)


def test_defocus_vanishes():
    nu = torch.linspace(0, 1, 60, dtype=torch.float64)
    assert_allclose(Optics(1.0, 0.3, 1e-9)(nu, ZERO), Optics(1.0, 0.3)(nu, ZERO), atol=1e-4)


def test_box_and_diffusion():
    assert_allclose(Box(2.0, 0.0)(line(0.25, 0.5, 1.0), line(9, 9, 9)), [2 / math.pi, 0, 0], atol=1e-15)
    assert_allclose(Box()(line(0.5, 1.0), line(0.0, 0.3)), [2 / math.pi, 0], atol=1e-15)
    x, f = np.linspace(-60, 60, 240001), 0.37
    step, profiles = x[1] - x[0], {"gaussian": np.exp(-((x / 0.4) ** 2) / 2), "exponential": np.exp(-np.abs(x) / 0.4)}
    for profile, spread in profiles.items():
        expected = (spread * np.cos(2 * np.pi * f * x)).sum() * step / (spread.sum() * step)
        assert_allclose(Diffusion(0.4, profile)(line(f), ZERO), expected, rtol=1e-5)
        assert_allclose(Diffusion(0.4, profile)(line(f * 0.6), line(f * 0.8)), expected, rtol=1e-5)


def test_values_at_nyquist():
    assert_allclose(SOFT.nyquist, (0.15, 0.25), rtol=1e-14)
    assert_allclose(MTF.from_nyquist(0.6, 0.7, detector=0.8).nyquist, (0.6, 0.7), rtol=1e-14)
    cutoff = 1.1 * 8e-6 / (0.625e-6 * 15.92)
    optics = oneill(np.array([0.5 / cutoff]), 0.3)[0]
    charge = math.exp(-2 * (math.pi * 0.15 * 0.5) ** 2)
    assert_allclose(SHARP.nyquist, (optics * (2 / math.pi) ** 2 * charge, optics * 2 / math.pi * charge), rtol=1e-7)


@pytest.mark.parametrize("mtf", [SOFT, SHARP], ids=["nyquist", "instrument"])
@pytest.mark.parametrize("factor, radius", [(1, 4), (2, 8), (3, 5)])
def test_psf_has_the_mtf_where_it_says(mtf, factor, radius):
    psf = mtf.psf(factor, radius).numpy()
    n = 2 * radius * factor
    f = np.arange(0, n // 2 + 1) / (2 * radius)  # up to the Nyquist frequency of the fine grid
    wave = np.exp(-2j * np.pi * np.outer(f, np.arange(-n // 2, n // 2 + 1)) / factor)
    transfer = wave @ psf @ wave.T
    expected = mtf(torch.from_numpy(f)[:, None], torch.from_numpy(f)[None, :])
    assert psf.shape == (n + 1, n + 1)
    assert_allclose(psf.sum(), 1, rtol=1e-13)
    assert_allclose(transfer, expected, atol=1e-13)
    assert_allclose(psf, psf[::-1, ::-1], atol=1e-15)


def test_second_moments_of_the_psf_add_up():
    chain = MTF({"detector": Box(1.0, 1.0), "smear": Box(0.7, 0.0), "rest": Decay(0.9, 0.6), "charge": Diffusion(0.25)})
    psf = chain.psf(4, 10).numpy()
    x = (grid(81) - 40) / 4
    for axis, box, decay in ((1, 1 + 0.7**2, 0.9), (0, 1.0, 0.6)):
        expected = box / 12 + 2 * decay / math.pi**2 + 0.25**2
        assert_allclose((psf.sum(axis) * x**2).sum(), expected, rtol=2e-4)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: MTF.from_nyquist(1.2, 0.2), r"MTF at Nyquist along track must lie in \(0, 0.6366\].*got 1.2"),
        (lambda: MTF.from_nyquist(0.2, 0.0), "MTF at Nyquist across track.*got 0.0"),
        (lambda: MTF.from_nyquist(0.2, math.nan), "MTF at Nyquist across track.*got nan"),
        (lambda: MTF({}), "at least one stage"),
        (lambda: MTF({"odd": lambda f, g: f + 0.5}), "stage 'odd'.*must be 1 at zero; got 0.5"),
        (lambda: MTF({"odd": lambda f, g: 1 + f / g}), "stage 'odd'.*must be 1 at zero; got nan"),
        (lambda: MTF({"odd": lambda f, g: 1 + 0 / (f - 0.25)}).psf(1, 2), "MTF must be finite; got NaN"),
        (lambda: Optics(0.0), "cutoff of the optics must be positive"),
        (lambda: Optics(1.0, 1.0), r"obscuration.*\[0, 1\).*got 1.0"),
        (lambda: Optics(1.0, 0.2, math.inf), "defocus must be a finite number of wavelengths"),
        (lambda: Box(-1.0), "along track.*at least 0.*pixels.*got -1.0"),
        (lambda: Diffusion(math.nan), "diffusion length.*got nan"),
        (lambda: Diffusion(0.1, "round"), "'gaussian' or 'exponential'; got 'round'"),
        (lambda: MTF.from_instrument(1.1, 16.0, 600, 8e-6), "wavelength must be below the pitch.*in metres; got 600"),
        (lambda: MTF.from_instrument(-1.1, 16.0, 6e-7, 8e-6), "aperture.*positive number of metres; got -1.1"),
        (lambda: ground_sampling(0.0, 16.0, 8e-6), "altitude.*positive number of metres; got 0.0"),
        (lambda: SOFT.psf(0), "factor and radius of a PSF must be whole numbers from 1; got 0"),
        (lambda: SOFT.psf(2, 8, (9.0, 0.0)), "a shift is two numbers of pixels, at most the radius of the PSF, 8"),
    ],
)
def test_wrong_input(make, words):
    with pytest.raises(ValueError, match=words) as error:
        make()
    assert "\n" not in str(error.value)
