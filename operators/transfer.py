"""Transfer functions of kernels, and real FFTs that put up with empty batches."""

import torch
from torch import Tensor

Grid = tuple[int, ...]


def fast_size(n: int) -> int:
    """The smallest even size from n on without a prime factor above 5, for which FFTs are fast."""
    odd = (3**a * 5**b for a in range(12) for b in range(8))
    return min(2 * m << max(0, -(-n // (2 * m)) - 1).bit_length() for m in odd)


def transfer_of(kernels: Tensor, grid: Grid, centre: Grid = (0, 0)) -> Tensor:
    """The real FFT of kernels (..., kh, kw) on a periodic grid with `centre` at its corner: (..., gh, gw // 2 + 1, 2).

    Computed in float64 and given as pairs of reals: `.to(dtype)` of a module would drop the imaginary part.
    """
    placed = kernels.double()
    for axis, size, c in zip((-2, -1), grid, centre, strict=True):
        index = (torch.arange(placed.shape[axis], device=placed.device) - c) % size  # what is beyond wraps
        shape = list(placed.shape)
        shape[axis] = size
        placed = placed.new_zeros(shape).index_add_(axis, index, placed)
    return torch.view_as_real(torch.fft.rfft2(placed)).to(kernels.dtype)


def complex_like(transfer: Tensor, spectrum: Tensor) -> Tensor:
    """A transfer function kept as pairs, in the precision of a spectrum."""
    return torch.view_as_complex(transfer).to(spectrum.dtype)


def to_spectrum(x: Tensor, grid: Grid) -> Tensor:
    """Real FFT of images (..., h, w) continued by zeros to the grid: (..., gh, gw // 2 + 1)."""
    if not x.numel():  # refused by the FFT
        kind = torch.complex64 if x.dtype == torch.float32 else torch.complex128
        return x.new_zeros(*x.shape[:-2], grid[0], grid[1] // 2 + 1, dtype=kind)
    return torch.fft.rfft2(x, s=grid)


def to_image(spectrum: Tensor, grid: Grid) -> Tensor:
    """The inverse of `to_spectrum`: (..., gh, gw)."""
    return (
        torch.fft.irfft2(spectrum, s=grid) if spectrum.numel() else spectrum.real.new_zeros(*spectrum.shape[:-2], *grid)
    )
