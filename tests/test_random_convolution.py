"""Random convolution against the matrix that it stands for."""

import pytest
import torch
from torch import Tensor

from invreg.operators import RandomConvolution


def _matrix(A: RandomConvolution) -> Tensor:
    basis = torch.eye(A.domain.size, dtype=torch.float64).unflatten(1, A.domain.shape)
    return A(basis).T


def test_its_rows_are_orthonormal_and_spread() -> None:
    A = RandomConvolution((8, 9), 20, torch.Generator().manual_seed(0))
    rows = _matrix(A)
    torch.testing.assert_close(rows @ rows.T, torch.eye(20, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float(rows.abs().max()) < 0.6  # no datum is of one pixel alone
    assert A.peak() == pytest.approx(float(rows.abs().sum(1).max()), rel=1e-12)


def test_without_signs_and_samples_it_is_a_convolution() -> None:
    """All pixels kept: removing the signs leaves a circulant matrix, each row the one before moved by a pixel."""
    A = RandomConvolution((6, 5), 30, torch.Generator().manual_seed(1))
    kernels = (_matrix(A) * A.signs.flatten()).unflatten(1, A.domain.shape)
    first = kernels[0]
    for row, kernel in enumerate(kernels):
        torch.testing.assert_close(kernel, first.roll((row // 5, row % 5), (0, 1)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("count", [0, 31])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"takes 1 to 30 data of an image \\(6, 5\\); got {count}"):
        RandomConvolution((6, 5), count, torch.Generator())
