"""Blur by one kernel: a true convolution through real FFTs."""

from typing import Any

import torch
from torch import Tensor

from invreg.core import Linear, Space
from invreg.operators.arguments import checked_kernels, image_shape
from invreg.operators.transfer import complex_like, fast_size, to_image, to_spectrum, transfer_of

BOUNDARIES = ("periodic", "zero", "reflect", "valid")


class Blur(Linear):
    """Convolution with a real kernel (kh, kw) whose centre is at (kh // 2, kw // 2), the same for each image.

    y[i, j] = sum_{m, n} k[m, n] x[i + kh // 2 - m, j + kw // 2 - n], (*batch, h, w) -> (*batch, h, w). Beyond its
    edge the image is
    - "periodic": repeated (a kernel larger than the image is wrapped);
    - "zero": 0;
    - "reflect": mirrored about the outer edge of its last pixel, d c b a | a b c d | d c b a, which is "reflect" in
      scipy.ndimage and "symmetric" in NumPy and MATLAB (not "reflect" of torch, which does not repeat the edge);
    - "valid": not asked for: y is (*batch, h - kh + 1, w - kw + 1), the part that the outside does not reach.

    A kernel of sum 1 keeps the unit of the image. The adjoint is exact for each. The transfer function is kept in the
    precision of the kernel; move the operator to that of the images (`.to(dtype)`) to spare a conversion a call.
    Raises ValueError on a kernel that is not a finite (kh, kw) array or, for "valid", larger than the image.
    """

    transfer: Tensor

    def __init__(self, kernel: Any, shape: tuple[int, int], boundary: str = "periodic") -> None:
        kernel = checked_kernels(kernel, 2, "Blur")
        if boundary not in BOUNDARIES:
            raise ValueError(f"Blur takes boundary {', '.join(map(repr, BOUNDARIES))}; got {boundary!r}")
        sizes = tuple(kernel.shape)
        shape = image_shape(shape, "Blur")
        if boundary == "valid" and any(k > n for k, n in zip(sizes, shape, strict=True)):
            raise ValueError(f"Blur with boundary 'valid' takes a kernel inside the image {shape}; got one of {sizes}")
        kept = tuple(n - k + 1 for k, n in zip(sizes, shape, strict=True)) if boundary == "valid" else shape
        super().__init__(Space(shape), Space(kept))
        self.boundary = boundary
        centre = tuple(k // 2 for k in sizes)
        if boundary == "periodic":
            self.grid = shape
        elif boundary == "zero":  # what wraps around lands beyond the image
            self.grid = _grid(n + max(c, k - 1 - c) for n, k, c in zip(shape, sizes, centre, strict=True))
        else:  # the part of the (mirrored) image that the kernel covers wholly, moved to the corner
            more = 0 if boundary == "valid" else 1
            self.grid = _grid(n + more * (k - 1) for n, k in zip(shape, sizes, strict=True))
            centre = tuple(k - 1 for k in sizes)
        self.margins = [(k - 1 - k // 2, k // 2) if boundary == "reflect" else (0, 0) for k in sizes]
        self.register_buffer("transfer", transfer_of(kernel, self.grid, centre))

    def _forward(self, x: Tensor) -> Tensor:
        for axis, margin in zip((-2, -1), self.margins, strict=True):
            x = _mirror(x, axis, *margin)
        h, w = self.codomain.shape
        return self._filter(x, conj=False)[..., :h, :w]

    def _adjoint(self, y: Tensor) -> Tensor:
        size = [n + sum(margin) for n, margin in zip(self.domain.shape, self.margins, strict=True)]
        x = self._filter(y, conj=True)[..., : size[0], : size[1]]
        for axis, margin in zip((-2, -1), self.margins, strict=True):
            x = _fold(x, axis, *margin)
        return x

    def _filter(self, x: Tensor, conj: bool) -> Tensor:
        spectrum = to_spectrum(x, self.grid)
        transfer = complex_like(self.transfer, spectrum)
        return to_image(spectrum.mul_(transfer.conj() if conj else transfer), self.grid)

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        """Closed form for "periodic": the largest modulus of the transfer function."""
        if self.boundary != "periodic":
            return super().norm(device, dtype)
        return float(torch.linalg.vector_norm(self.transfer.double(), dim=-1).max())


def _grid(sizes: Any) -> tuple[int, int]:
    rows, columns = (fast_size(n) for n in sizes)
    return rows, columns


def _mirror(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Extend an axis by mirroring about its outer edges, as often as it takes."""
    if not before + after:
        return x
    n = x.shape[axis]
    index = torch.arange(-before, n + after, device=x.device) % (2 * n)
    return x.index_select(axis, torch.minimum(index, 2 * n - 1 - index))


def _fold(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """The transpose of `_mirror`."""
    if not before + after:
        return x
    n = x.shape[axis] - before - after
    index = torch.arange(-before, n + after, device=x.device) % (2 * n)
    index = torch.minimum(index, 2 * n - 1 - index)
    folded = x.narrow(axis, before, n).clone()
    folded.index_add_(axis, index[:before], x.narrow(axis, 0, before))
    return folded.index_add_(axis, index[before + n :], x.narrow(axis, before + n, after))
