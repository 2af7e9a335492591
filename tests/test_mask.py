"""Masks, and Fourier sampling against numpy."""

import numpy as np
import pytest
import torch
from members import uniform

from invreg.operators import FourierSampling, Mask, random_lines, random_mask


def test_a_compact_mask_holds_the_pixels_of_the_filled_one():
    mask, x = uniform(3, 6, 5) > 0.5, uniform(2, 3, 6, 5, seed=1)
    filled, compact = Mask(mask), Mask(mask, compact=True)
    assert torch.equal(filled(x), x * mask) and torch.equal(compact(x), x[:, mask])
    assert torch.equal(compact.adjoint(compact(x)), filled(x))


def test_values_that_are_not_numbers_do_not_pass_a_compact_mask():
    x = torch.tensor([1.0, torch.nan, torch.inf])
    assert Mask(torch.tensor([True, False, False]), compact=True)(x).tolist() == [1]


def test_random_masks_have_the_fraction_asked_for(generator):
    mask = random_mask((40, 50), 0.3, generator)
    assert mask.dtype == torch.bool and int(mask.sum()) == 600
    assert not torch.equal(mask, random_mask((40, 50), 0.3, generator))
    again = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    assert torch.equal(*(random_mask((9,), 0.5, g) for g in again))


def _complex(*shape: int, seed: int) -> torch.Tensor:
    return torch.complex(uniform(*shape, low=-1, seed=seed), uniform(*shape, low=-1, seed=seed + 1))


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("shape", [(8, 6), (7, 6), (5, 9), (4, 3, 5), (10,)], ids=str)
@pytest.mark.parametrize("coils", [0, 3])
def test_fourier_sampling_is_the_unitary_transform_of_numpy(centred, shape, coils):
    mask, x, s = uniform(*shape), _complex(2, *shape, seed=1), _complex(coils, *shape, seed=3)
    axes = tuple(range(-len(shape), 0))
    image = x.numpy()[:, None] * s.numpy() if coils else x.numpy()
    if centred:
        image = np.fft.ifftshift(image, axes)
    expected = np.fft.fftn(image, axes=axes, norm="ortho")
    if centred:
        expected = np.fft.fftshift(expected, axes)
    A = FourierSampling(mask, s if coils else None, centred=centred)
    torch.testing.assert_close(A(x), torch.from_numpy(expected * mask.numpy()), rtol=0, atol=1e-13)


def test_fourier_sampling_agrees_with_deepinv():
    physics = pytest.importorskip("invreg.adapters.deepinv", exc_type=ImportError).deepinv.physics
    mask, s, x = uniform(9, 8) > 0.5, _complex(3, 9, 8, seed=1).to(torch.complex64), _complex(9, 8, seed=5)
    x = x.to(torch.complex64)
    for ours, theirs in [
        (FourierSampling(mask), physics.MRI(mask=mask.float(), img_size=(2, 9, 8))),
        (FourierSampling(mask, s), physics.MultiCoilMRI(mask=mask.float(), coil_maps=s, img_size=(2, 9, 8))),
    ]:
        y = theirs.A(torch.view_as_real(x).movedim(-1, 0)[None])[0]
        torch.testing.assert_close(ours(x), torch.complex(y[0], y[1]), rtol=0, atol=1e-6)


def test_random_lines_keep_the_centre_and_the_number(generator):
    mask = random_lines((30, 64), 4.0, generator, centre=0.1)
    assert mask.shape == (30, 64) and bool((mask == mask[0]).all())
    assert int(mask[0].sum()) == 16 and bool(mask[0, 29:35].all())
    assert bool(random_lines((4, 7), 1.0, generator).all())
    assert not torch.equal(mask, random_lines((30, 64), 4.0, generator, centre=0.1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mask(torch.ones(3, 3)), r"boolean tensor.*got torch.float32 \(3, 3\) with 9 kept"),
        (lambda: Mask(torch.zeros(3, 3, dtype=torch.bool)), "with 0 kept"),
        (lambda: random_mask((3, 3), 0.0, torch.Generator()), r"fraction in \(0, 1\].*got 0.0"),
        (lambda: FourierSampling(torch.ones(3, 3) + 0j), "real mask.*complex64"),
        (lambda: FourierSampling(torch.ones(3, 3) / 0), "finite real mask"),
        (lambda: FourierSampling(torch.ones(3, 3), torch.ones(2, 3, 3)), "complex sensitivities.*float32"),
        (lambda: FourierSampling(torch.ones(3, 3), torch.ones(2, 3, 4) + 0j), r"got torch.complex64 \(2, 3, 4\)"),
        (lambda: random_lines((8, 8), 0.5, torch.Generator()), "acceleration from 1 on.*got 0.5"),
        (lambda: random_lines((8, 8), 4.0, torch.Generator(), centre=0.5), "at most 1 / acceleration of the 8 columns"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
