"""Polychromatic X-rays against the sum in numpy, the monochromatic limit and finite differences."""

import math

import numpy as np
import pytest
import torch

from invreg.core import Space
from invreg.operators import FanBeam2D, Mask, PolychromaticXRay, XRay

ENERGY = np.linspace(20.0, 100.0, 17)  # keV
SPECTRUM = (100.5 - ENERGY) / ENERGY  # Kramers' law
# photoelectric, as E^-3, and nearly constant scatter: the shapes of water and bone, cm^2/g
ATTENUATION = np.stack([0.5 * (20 / ENERGY) ** 3 + 0.17, 3.5 * (20 / ENERGY) ** 3 + 0.16], 1)


def rays() -> XRay:
    angles = np.linspace(0, 2 * math.pi, 7, endpoint=False)
    return XRay(FanBeam2D(angles, 16, 0.9, None, "cm", 20.0, 30.0), shape=(8, 9), pixel_size=0.7).double()


def densities(*batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 1.5 * torch.rand(*batch, 2, 8, 9, generator=generator, dtype=torch.float64)


def test_the_sum_over_energies_is_that_of_numpy():
    A, x = rays(), densities(3)
    p = A(x).numpy()
    left = np.einsum("e,ebij->bij", SPECTRUM / SPECTRUM.sum(), np.exp(-np.einsum("em,bmij->ebij", ATTENUATION, p)))
    measured = PolychromaticXRay(A, torch.from_numpy(SPECTRUM), torch.from_numpy(ATTENUATION))(x)
    np.testing.assert_allclose(measured.numpy(), -np.log(left), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("spectrum", [[3.0], [0.0, 2.0, 0.0]])
def test_one_energy_is_linear(spectrum):
    """However the others that have no photons attenuate."""
    mu = torch.from_numpy(ATTENUATION[: len(spectrum)])
    used = mu[spectrum.index(max(spectrum))]
    A, x = rays(), densities()
    measured = PolychromaticXRay(A, torch.tensor(spectrum, dtype=torch.float64), mu)(x)
    torch.testing.assert_close(measured, A(torch.tensordot(used, x, 1)), rtol=1e-13, atol=1e-13)


def test_beams_harden():
    """Thin objects attenuate by the mean of the spectrum, thick ones by its hardest energy, monotonically between."""
    B = PolychromaticXRay(
        Mask(torch.ones(1, dtype=torch.bool)), torch.from_numpy(SPECTRUM), torch.from_numpy(ATTENUATION[:, :1])
    )
    thickness = torch.tensor([1e-6, 0.1, 1.0, 10.0, 100.0, 1e5], dtype=torch.float64)
    slope = B(thickness[:, None, None])[:, 0] / thickness
    assert bool((slope.diff() < 0).all())
    assert float(slope[0]) == pytest.approx(SPECTRUM @ ATTENUATION[:, 0] / SPECTRUM.sum(), rel=1e-5)
    assert float(slope[-1]) == pytest.approx(ATTENUATION[:, 0].min(), rel=1e-3)  # exp(-20000): not finite without care


def test_gradients_of_first_and_second_order():
    B = PolychromaticXRay(rays(), torch.from_numpy(SPECTRUM), torch.from_numpy(ATTENUATION))
    assert B.domain == Space((2, 8, 9)) and B.codomain == Space((7, 16))
    x = densities().requires_grad_()
    assert torch.autograd.gradcheck(B, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(B, x, fast_mode=True)


@pytest.mark.parametrize(
    ("spectrum", "attenuation", "message"),
    [
        (torch.ones(3), torch.ones(4, 2), r"\(energy,\) and attenuation \(energy, material\); got \(3,\) and \(4, 2\)"),
        (torch.ones(3), torch.ones(3), r"got \(3,\) and \(3,\)"),
        (torch.ones(0), torch.ones(0, 2), r"got \(0,\) and \(0, 2\)"),
        (torch.tensor([1.0, -1.0]), torch.ones(2, 1), "a finite real spectrum >= 0"),
        (torch.ones(1), torch.full((1, 1), math.nan), "a finite real attenuation >= 0; got torch.float32, .*nan"),
        (torch.ones(1, dtype=torch.int64), torch.ones(1, 1), "a finite real spectrum >= 0; got torch.int64"),
        (torch.zeros(2), torch.ones(2, 1), "somewhere positive; all of it is 0"),
    ],
)
def test_senseless_arguments_get_one_sentence(spectrum, attenuation, message):
    with pytest.raises(ValueError, match=message):
        PolychromaticXRay(rays(), spectrum, attenuation)
