"""Space-variant blur against sums of stationary ones."""

import numpy as np
import pytest
import torch
from members import uniform

from invreg.operators import Blur, ProductConvolution, TiledBlur


def _sum(kernels: torch.Tensor, weights: torch.Tensor, x: torch.Tensor, boundary: str) -> torch.Tensor:
    return sum(Blur(k, tuple(x.shape), boundary)(w * x) for k, w in zip(kernels, weights, strict=True))


def _hats(size: int, tiles: int) -> np.ndarray:
    """Linear interpolation between the centres of the tiles, constant beyond the outer ones: (tiles, size)."""
    centres = (np.arange(tiles) + 0.5) * size / tiles - 0.5
    return np.stack([np.interp(np.arange(size), centres, row) for row in np.eye(tiles)])


@pytest.mark.parametrize("boundary", ["zero", "valid"])
@pytest.mark.parametrize("kernel", [(3, 3), (4, 1), (2, 7)], ids=str)
def test_product_convolution_is_the_sum_of_its_documentation(boundary, kernel):
    kernels, weights, x = uniform(4, *kernel), uniform(4, 11, 14, low=-1, seed=1), uniform(11, 14, seed=2)
    expected = _sum(kernels, weights, x, boundary)
    torch.testing.assert_close(ProductConvolution(kernels, weights, boundary)(x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("boundary", ["zero", "valid"])
@pytest.mark.parametrize("tiles", [(1, 1), (2, 3), (5, 4), (11, 16)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (4, 7)], ids=str)
@pytest.mark.parametrize("shape", [(32, 40), (27, 31), (11, 16)], ids=str)
def test_tiled_blur_interpolates_between_the_kernels(boundary, tiles, kernel, shape):
    kernels, x = uniform(*tiles, *kernel), uniform(*shape, seed=2)
    down, across = _hats(shape[0], tiles[0]), _hats(shape[1], tiles[1])
    weights = torch.from_numpy(np.einsum("ih,jw->ijhw", down, across)).flatten(0, 1)
    expected = _sum(kernels.flatten(0, 1), weights, x, boundary)
    torch.testing.assert_close(TiledBlur(kernels, shape, boundary)(x), expected, rtol=0, atol=1e-13)


def test_tiles_with_one_kernel_are_a_stationary_blur():
    kernel, x = uniform(5, 6), uniform(50, 43, seed=1)
    A = TiledBlur(kernel.expand(4, 3, 5, 6), (50, 43))
    torch.testing.assert_close(A(x), Blur(kernel, (50, 43), "zero")(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ProductConvolution(uniform(3, 3), uniform(1, 5, 5)), r"kernels \(columns, kh, kw\)|3 axes"),
        (lambda: ProductConvolution(uniform(2, 3, 3), uniform(3, 5, 5)), r"each of its 2 kernels; got \(3, 5, 5\)"),
        (lambda: ProductConvolution(uniform(1, 3, 3), uniform(1, 5, 5) / 0), "finite weights"),
        (lambda: ProductConvolution(uniform(1, 3, 3), uniform(1, 5, 5), "reflect"), "'zero' or 'valid'; got 'reflect'"),
        (lambda: ProductConvolution(uniform(1, 7, 3), uniform(1, 5, 5), "valid"), r"inside the image \(5, 5\)"),
        (lambda: TiledBlur(uniform(2, 3, 3), (8, 8)), r"4 axes; got torch.float64 \(2, 3, 3\)"),
        (lambda: TiledBlur(uniform(9, 2, 3, 3), (8, 8)), r"at most one kernel a pixel, \(8, 8\); got \(9, 2\)"),
        (lambda: TiledBlur(uniform(2, 2, 3, 3) / 0, (8, 8)), "finite kernels; 36 of the values"),
        (lambda: TiledBlur(uniform(2, 2, 3, 3), (8, -8)), r"shape \(h, w\)"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
