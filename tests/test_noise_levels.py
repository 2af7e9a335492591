"""Noise levels against the known parameters of synthetic frames and of noise added to a photograph."""

import numpy as np
import pytest
import torch

from invreg.operators import HeteroscedasticGaussian, PoissonGaussian, affine_noise, detector_noise, white_noise_std

F64 = torch.float64


def photograph() -> torch.Tensor:
    from skimage import data

    return torch.tensor(data.camera(), dtype=F64)


def ramp(*batch: int) -> torch.Tensor:
    """0 to 250 across 256 columns, with a step of 40 halfway down."""
    image = torch.linspace(0, 210, 256, dtype=F64).expand(256, 256).clone()
    image[128:] += 40
    return image.expand(*batch, 256, 256)


def noisy(image: torch.Tensor, constant: float, slope: float, seed: int = 0) -> torch.Tensor:
    f = HeteroscedasticGaussian(image, constant, slope)
    return f.sample(image, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("std", [0.01, 1.0, 300.0])
def test_white_noise_on_smooth_images_is_the_true_one(std):
    found = white_noise_std(noisy(ramp(12) * min(std, 1.0), std**2, 0.0))
    assert found.shape == (12,) and found.dtype == F64
    assert float(found.mean()) == pytest.approx(std, rel=0.015)
    assert float(found.std()) < 0.03 * std


@pytest.mark.parametrize(("std", "bias"), [(5.0, 0.05), (10.0, 0.03), (20.0, 0.03), (40.0, 0.03)])
def test_white_noise_on_a_photograph_is_nearly_the_true_one(std, bias):
    assert float(white_noise_std(noisy(photograph(), std**2, 0.0))) == pytest.approx(std, rel=bias)


@pytest.mark.parametrize(("constant", "slope"), [(1.0, 0.1), (4.0, 1.0), (100.0, 0.2), (25.0, 0.0), (0.01, 1.0)])
def test_affine_noise_on_smooth_images_is_the_true_one(constant, slope):
    found = affine_noise(noisy(ramp(8), constant, slope))
    assert found.constant.shape == found.slope.shape == (8,)
    for signal in (10.0, 125.0, 240.0):
        std = (found.constant + found.slope * signal).sqrt()
        assert float(std.mean()) == pytest.approx((constant + slope * signal) ** 0.5, rel=0.04)
    assert bool((found.constant >= 0).all()) and bool((found.slope >= 0).all())


@pytest.mark.parametrize(("constant", "slope"), [(4.0, 1.0), (100.0, 0.0), (50.0, 2.0)])
def test_affine_noise_on_a_photograph_is_nearly_the_true_one(constant, slope):
    found = affine_noise(noisy(photograph(), constant, slope))
    for signal in (30.0, 100.0, 200.0):
        std = float(found.constant + found.slope * signal) ** 0.5
        assert std == pytest.approx((constant + slope * signal) ** 0.5, rel=0.12)


def test_images_of_one_grey_level_have_no_slope_and_items_of_a_batch_are_independent():
    flat = noisy(torch.full((128, 128), 50.0, dtype=F64), 9.0, 0.0)
    found = affine_noise(flat)
    assert float(found.slope) == 0 and float(found.constant) == pytest.approx(9, rel=0.1)
    nothing = affine_noise(torch.zeros(70, 70))
    assert float(nothing.constant) == float(nothing.slope) == float(white_noise_std(torch.zeros(20, 20))) == 0
    both = torch.stack([noisy(ramp(), 1.0, 0.3), noisy(ramp(), 4.0, 2.0)])
    for i in range(2):
        assert white_noise_std(both)[i] == white_noise_std(both[i])
        torch.testing.assert_close(affine_noise(both).slope[i], affine_noise(both[i]).slope, rtol=1e-9, atol=0)


def test_clipped_areas_do_not_read_as_free_of_noise():
    image = ramp(4).clone()
    image[..., 160:] = 250.0
    clipped = noisy(image, 4.0, 0.5).clamp(0, 200)
    found = affine_noise(clipped)
    for signal in (20.0, 150.0):
        std = (found.constant + found.slope * signal).sqrt().mean()
        assert float(std) == pytest.approx((4 + 0.5 * signal) ** 0.5, rel=0.06)


def frames(count: int, level: float, gain: float, read: float, seed: int) -> torch.Tensor:
    """An uneven, flickering beam, an uneven offset of about 100, and a few frames' pixels hit by a stray photon."""
    g = torch.Generator().manual_seed(seed)
    beam = level * torch.linspace(0.4, 1, 120, dtype=F64).expand(count, 90, 120)
    beam = beam * (1 + 0.03 * torch.randn(count, 1, 1, generator=g, dtype=F64))
    offset = torch.linspace(95, 105, 90, dtype=F64)[:, None].expand_as(beam)
    camera = PoissonGaussian(beam, gain=gain, read=read, offset=offset)
    y = camera.sample(beam, g)
    y.view(-1)[torch.randint(0, y.numel(), (10,), generator=g)] += 5000 * gain
    return y


@pytest.mark.parametrize(("gain", "read", "level"), [(0.5, 3.0, 300.0), (2.0, 10.0, 1000.0), (5.0, 2.0, 20.0)])
@pytest.mark.parametrize("count", [2, 5, 20])
def test_gain_read_noise_and_offset_of_a_detector_are_the_true_ones(gain, read, level, count):
    darks = frames(count, 0.0, gain, read, 1)
    for flats in (
        frames(count, level, gain, read, 2),
        [frames(count, level * share, gain, read, 3) for share in (0.1, 0.3, 1.0)],
    ):
        found = detector_noise(flats, darks)
        assert found.gain == pytest.approx(gain, rel=0.05 if count == 2 else 0.03)
        assert found.read == pytest.approx(read, rel=0.03)
    assert float(found.offset.median()) == pytest.approx(100, abs=0.5)


def test_without_darks_the_read_noise_is_the_intercept_over_exposures():
    stacks = [frames(20, level, 2.0, 10.0, 5) - 100 for level in (10.0, 30.0, 100.0, 1000.0)]
    found = detector_noise(stacks)
    assert found.gain == pytest.approx(2, rel=0.03) and found.read == pytest.approx(10, rel=0.05)
    alone = detector_noise(stacks[-1])
    assert alone.read == 0 and alone.gain > 2 and bool((alone.offset == 0).all())


def test_frames_without_noise_have_none():
    flats, darks = torch.full((3, 8, 9), 7.1), torch.full((2, 8, 9), 2.0)
    for found in (detector_noise(flats, darks), detector_noise(flats), detector_noise([flats, 2 * flats])):
        assert found.gain == pytest.approx(0, abs=1e-12) and found.read == pytest.approx(0, abs=1e-6)


def test_noise_levels_refuse_what_they_cannot_tell():
    for function, least in ((white_noise_std, 18), (affine_noise, 66)):
        with pytest.raises(ValueError, match=f"at least {least} x {least}; got \\(3, 10, 90\\)"):
            function(torch.ones(3, 10, 90))
        with pytest.raises(ValueError, match="takes finite images; 1 values are not: crop or fill them"):
            image = torch.ones(99, 99)
            image[3, 4] = np.nan
            function(image)
    with pytest.raises(ValueError, match=r"at least two frames.*got \(1, 5, 5\)"):
        detector_noise(torch.ones(1, 5, 5))
    with pytest.raises(ValueError, match=r"of the same h, w; got \(2, 5, 5\), \(2, 5, 6\)"):
        detector_noise(torch.ones(2, 5, 5), torch.ones(2, 5, 6))
    with pytest.raises(ValueError, match="finite flats and darks"):
        detector_noise(torch.full((2, 5, 5), np.nan))
    with pytest.raises(ValueError, match="brighter than the darks"):
        detector_noise(torch.ones(2, 5, 5), 3 * torch.ones(2, 5, 5))
    with pytest.raises(ValueError, match="got no flats"):
        detector_noise([])
