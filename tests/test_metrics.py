"""Metrics against closed forms and scikit-image."""

import math

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from invreg.metrics import psnr, relative_error, ssim


@pytest.fixture
def images():
    truth = data.camera().astype(np.float64)[:128, :96]
    return truth + np.random.default_rng(0).normal(0, 10, truth.shape), truth


def test_closed_forms():
    truth = np.full((16, 16), 2.0)
    # an error of 0.1 at full scale 1 is 20 dB, at full scale 10 it is 40 dB
    assert psnr(truth + 0.1, truth, data_range=1.0) == pytest.approx(20.0)
    assert psnr(truth + 0.1, truth, data_range=10.0) == pytest.approx(40.0)
    assert psnr(truth, truth, data_range=1.0) == math.inf
    assert relative_error(1.25 * truth, truth) == pytest.approx(0.25)
    assert ssim(truth, truth, data_range=1.0) == pytest.approx(1.0)


def test_against_scikit_image(images):
    x, truth = images
    assert psnr(x, truth, data_range=255) == pytest.approx(peak_signal_noise_ratio(truth, x, data_range=255))
    whole = structural_similarity(x, truth, data_range=255, full=True)[1].mean()
    assert ssim(x, truth, data_range=255) == pytest.approx(whole)


def test_tensors_are_taken(images):
    x, truth = (torch.from_numpy(a) for a in images)
    assert psnr(x, truth, data_range=255) == pytest.approx(psnr(*images, data_range=255))


def test_the_mask_leaves_the_rest_out(images):
    x, truth = images
    mask = np.zeros(truth.shape, bool)
    mask[20:60, 20:60] = True
    outside = np.where(mask, x, 1e6)
    assert psnr(outside, truth, data_range=255, mask=mask) == pytest.approx(psnr(x[mask], truth[mask], data_range=255))
    assert relative_error(outside, truth, mask=mask) == pytest.approx(relative_error(x[mask], truth[mask]))
    inner = np.zeros(truth.shape, bool)
    inner[24:56, 24:56] = True  # windows of 7 pixels about these see nothing of the outside
    assert ssim(outside, truth, data_range=255, mask=inner) == pytest.approx(ssim(x, truth, data_range=255, mask=inner))


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_the_data_range_has_no_default(measure, images):
    with pytest.raises(TypeError, match="data_range"):
        measure(*images)


def test_what_does_not_fit_is_refused(images):
    x, truth = images
    with pytest.raises(ValueError, match="must agree"):
        psnr(x[1:], truth, data_range=1)
    with pytest.raises(ValueError, match="hold a pixel"):
        relative_error(x, truth, mask=np.zeros(truth.shape, bool))
