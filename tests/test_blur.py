"""Blur against sums written out, and bad input."""

import numpy as np
import pytest
import torch
from members import uniform
from scipy import ndimage

from invreg.operators import Blur
from invreg.operators.transfer import fast_size

PADS = {"periodic": {"mode": "wrap"}, "zero": {"mode": "constant"}, "reflect": {"mode": "symmetric"}}


def _direct(x: np.ndarray, kernel: np.ndarray, boundary: str) -> np.ndarray:
    """The sum of the documentation, tap by tap over an image that numpy extends."""
    (kh, kw), (h, w) = kernel.shape, x.shape
    before, after = (kh - 1 - kh // 2, kw - 1 - kw // 2), (kh // 2, kw // 2)
    if boundary != "valid":
        x = np.pad(x, list(zip(before, after, strict=True)), **PADS[boundary])
    else:
        h, w = h - kh + 1, w - kw + 1
    y = np.zeros((h, w))
    for m in range(kh):
        for n in range(kw):
            y += kernel[m, n] * x[kh - 1 - m :, kw - 1 - n :][:h, :w]
    return y


@pytest.mark.parametrize("boundary", ["periodic", "zero", "reflect", "valid"])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (4, 3), (5, 8), (2, 11)], ids=str)
@pytest.mark.parametrize("shape", [(13, 16), (11, 31)], ids=str)
def test_blur_is_the_sum_of_its_documentation(boundary, kernel, shape):
    kernel, x = uniform(*kernel, low=-1), uniform(*shape, seed=1)
    expected = _direct(x.numpy(), kernel.numpy(), boundary)
    torch.testing.assert_close(Blur(kernel, shape, boundary)(x), torch.from_numpy(expected), rtol=0, atol=1e-13)


@pytest.mark.parametrize("boundary", ["periodic", "zero", "reflect"])
@pytest.mark.parametrize("kernel", [(9, 9), (40, 3)], ids=str)
def test_kernels_larger_than_the_image(boundary, kernel):
    kernel, x = uniform(*kernel, low=-1), uniform(4, 5, seed=1)
    expected = _direct(x.numpy(), kernel.numpy(), boundary)
    torch.testing.assert_close(Blur(kernel, (4, 5), boundary)(x), torch.from_numpy(expected), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("boundary", "mode"), [("periodic", "wrap"), ("zero", "constant"), ("reflect", "reflect")])
def test_boundaries_are_those_of_scipy(boundary, mode):
    kernel, x = uniform(5, 7), uniform(20, 17, seed=1)
    expected = ndimage.convolve(x.numpy(), kernel.numpy(), mode=mode)
    torch.testing.assert_close(Blur(kernel, (20, 17), boundary)(x), torch.from_numpy(expected), rtol=0, atol=1e-13)


def test_a_numpy_kernel_and_float32_images():
    kernel, x = np.random.default_rng(0).random((3, 3)), uniform(8, 9, seed=1)
    y = Blur(kernel, (8, 9), "reflect")(x.float())  # a kernel in float64 does not raise the precision of the image
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double(), torch.from_numpy(_direct(x.numpy(), kernel, "reflect")), rtol=0, atol=1e-6)


@pytest.mark.parametrize("boundary", ["periodic", "zero", "reflect", "valid"])
def test_gradients_reach_the_kernel(boundary):
    kernel, x = uniform(3, 4).requires_grad_(), uniform(6, 7, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda k, x: Blur(k, (6, 7), boundary)(x), (kernel, x))


def test_fast_sizes_are_the_smallest_even_5_smooth_ones():
    smooth = sorted(2 * 2**a * 3**b * 5**c for a in range(14) for b in range(9) for c in range(6))
    assert [fast_size(n) for n in range(1, 5000)] == [next(s for s in smooth if s >= n) for n in range(1, 5000)]


@pytest.mark.parametrize(
    ("kernel", "shape", "boundary", "message"),
    [
        (torch.ones(3), (8, 8), "zero", r"takes float32 or float64 kernels \(kh, kw\).*got torch.float32 \(3,\)"),
        (torch.ones(3, 3, dtype=torch.int64), (8, 8), "zero", r"got torch.int64"),
        (torch.ones(0, 3), (8, 8), "zero", r"got torch.float32 \(0, 3\)"),
        (torch.tensor([[1.0, torch.nan]]), (8, 8), "zero", "finite kernels; 1 of the values"),
        (torch.ones(3, 3), (8, 8), "same", "boundary 'periodic', 'zero', 'reflect', 'valid'; got 'same'"),
        (torch.ones(3, 9), (8, 8), "valid", r"kernel inside the image \(8, 8\); got one of \(3, 9\)"),
        (torch.ones(3, 3), (0, 8), "zero", r"shape \(h, w\).*got \(0, 8\)"),
        (torch.ones(3, 3), (1, 8, 8), "zero", r"shape \(h, w\).*got \(1, 8, 8\)"),
    ],
)
def test_bad_input(kernel, shape, boundary, message):
    with pytest.raises(ValueError, match=message):
        Blur(kernel, shape, boundary)
