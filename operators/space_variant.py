"""Blur by kernels that vary over the image: product-convolution and tiles."""

from typing import Any

import torch
from torch import Tensor

from invreg.core import Linear, Space
from invreg.operators.arguments import checked_kernels, image_shape
from invreg.operators.transfer import complex_like, fast_size, to_image, to_spectrum, transfer_of

BOUNDARIES = ("zero", "valid")


class ProductConvolution(Linear):
    """x -> sum_k h_k * (w_k x): kernels h (K, kh, kw) and weights w (K, h, w), each pixel spread by sum_k w_k h_k.

    (*batch, h, w) -> (*batch, h, w) with 0 beyond the image ("zero"), or (*batch, h - kh + 1, w - kw + 1), the part
    that the outside does not reach ("valid"). Centres, precision and units are those of `Blur`. K + 1 real FFTs a
    call: for a few kernels with weights over the whole image (a low-rank fit of a measured field); for many local
    ones there is `TiledBlur`. The kernel varies with the place that light comes from; for one that varies with the
    place that it reaches, take the adjoint with kernels turned by 180 degrees.
    Raises ValueError where kernels and weights do not fit. Source: Escande & Weiss, J. Math. Imaging Vis. 58 (2017).
    """

    transfer: Tensor
    weights: Tensor

    def __init__(self, kernels: Any, weights: Any, boundary: str = "zero") -> None:
        kernels = checked_kernels(kernels, 3, "ProductConvolution")
        weights = torch.as_tensor(weights).to(kernels)
        if weights.ndim != 3 or len(weights) != len(kernels) or not bool(weights.isfinite().all()):
            raise ValueError(
                f"ProductConvolution takes finite weights (K, h, w), one map for each of its {len(kernels)} kernels; "
                f"got {tuple(weights.shape)}"
            )
        shape = image_shape(weights.shape[1:], "ProductConvolution")
        kept, corner = _range(shape, kernels, boundary, "ProductConvolution")
        super().__init__(Space(shape), Space(kept))
        self.corner = corner
        self.grid = tuple(fast_size(n + k - 1) for n, k in zip(shape, kernels.shape[1:], strict=True))
        self.register_buffer("weights", weights)
        self.register_buffer("transfer", transfer_of(kernels, self.grid))

    def _forward(self, x: Tensor) -> Tensor:
        parts = (self._part(x, *pair) for pair in zip(self.weights, self.transfer, strict=True))
        spectrum = next(parts)
        for part in parts:  # one by one they stay in the cache
            spectrum += part
        (top, left), (h, w) = self.corner, self.codomain.shape
        return to_image(spectrum, self.grid)[..., top : top + h, left : left + w]

    def _part(self, x: Tensor, weight: Tensor, transfer: Tensor) -> Tensor:
        spectrum = to_spectrum(weight.to(x.dtype) * x, self.grid)
        return spectrum.mul_(complex_like(transfer, spectrum))

    def _adjoint(self, y: Tensor) -> Tensor:
        h, w = self.domain.shape
        (top, left), (rows, columns) = self.corner, self.codomain.shape
        below, right = self.grid[0] - top - rows, self.grid[1] - left - columns
        spectrum = to_spectrum(torch.nn.functional.pad(y, (left, right, top, below)), self.grid)
        x = y.new_zeros(*y.shape[:-2], h, w)
        for weight, transfer in zip(self.weights, self.transfer, strict=True):
            part = to_image(spectrum * complex_like(transfer, spectrum).conj(), self.grid)[..., :h, :w]
            x += weight.to(x.dtype) * part
        return x


class TiledBlur(Linear):
    """Blur by a field of kernels (rows, columns, kh, kw), interpolated bilinearly between the centres of its tiles.

    The image is cut into rows x columns equal tiles; a kernel holds at the centre of its tile, and each pixel is
    spread by the mean of the four nearest kernels (beyond the outer centres, of the nearest two or one), weighted by
    its distances along the axes. The weights sum to 1, so kernels of sum 1 keep the light. Boundaries, centres,
    precision and adjoint as of `ProductConvolution`, to which it is equal with K = rows columns weights, by small
    FFTs of each tile's neighbourhood, all in one batch. Source: Hirsch et al., CVPR 2010 (efficient filter flow).
    """

    transfer: Tensor
    down: Tensor
    across: Tensor

    def __init__(self, kernels: Any, shape: tuple[int, int], boundary: str = "zero") -> None:
        kernels = checked_kernels(kernels, 4, "TiledBlur")
        shape = image_shape(shape, "TiledBlur")
        if any(tiles > n for tiles, n in zip(kernels.shape, shape, strict=False)):
            raise ValueError(f"TiledBlur takes at most one kernel a pixel, {shape}; got {tuple(kernels.shape[:2])}")
        kept, corner = _range(shape, kernels, boundary, "TiledBlur")
        super().__init__(Space(shape), Space(kept))
        axes = [_Axis(n, tiles, k) for n, tiles, k in zip(shape, kernels.shape[:2], kernels.shape[2:], strict=True)]
        self.axes, self.corner = axes, corner
        self.grid = (axes[0].window, axes[1].window)
        for name, axis in zip(("down", "across"), axes, strict=True):
            self.register_buffer(name, axis.weights().to(kernels))
        self.register_buffer("transfer", transfer_of(kernels, self.grid))

    def _forward(self, x: Tensor) -> Tensor:
        starts = [axis.before for axis in self.axes]
        canvas = self._add(self._filter(self._weigh(self._windows(x, starts)), conj=False))
        places = [start + c for start, c in zip(starts, self.corner, strict=True)]
        return _crop(canvas, places, self.codomain.shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        starts = [axis.before for axis in self.axes]
        places = [start + c for start, c in zip(starts, self.corner, strict=True)]
        canvas = self._add(self._weigh(self._filter(self._windows(y, places), conj=True)))
        return _crop(canvas, starts, self.domain.shape)

    def _windows(self, x: Tensor, places: list[int]) -> Tensor:
        """Overlapping windows (*batch, rows, columns, *grid) of an image that starts at `places` of the canvas."""
        (a, b), (top, left), (h, w) = self.axes, places, x.shape[-2:]
        margins = (left, b.canvas - left - w, top, a.canvas - top - h)
        tiles = torch.nn.functional.pad(x, margins).unfold(-2, a.window, a.step).unfold(-2, b.window, b.step)
        return tiles[..., : a.tiles, : b.tiles, :, :]

    def _weigh(self, windows: Tensor) -> Tensor:
        return windows * self.down.to(windows.dtype)[:, None, :, None] * self.across.to(windows.dtype)[:, None, :]

    def _filter(self, windows: Tensor, conj: bool) -> Tensor:
        spectra = to_spectrum(windows, self.grid)
        transfer = complex_like(self.transfer, spectra)
        return to_image(spectra.mul_(transfer.conj() if conj else transfer), self.grid)

    def _add(self, windows: Tensor) -> Tensor:
        """The transpose of cutting windows: (*batch, rows, columns, *grid) -> the canvas."""
        a, b = self.axes
        canvas = windows.new_zeros(*windows.shape[:-4], a.canvas // a.step, a.step, b.canvas // b.step, b.step)
        for i in range(0, a.window, a.step):
            for j in range(0, b.window, b.step):
                part = windows[..., i : i + a.step, j : j + b.step].transpose(-3, -2)
                top, left = i // a.step, j // b.step
                rows, columns = slice(top, top + a.tiles), slice(left, left + b.tiles)
                canvas[..., rows, : part.shape[-3], columns, : part.shape[-1]] += part
        return canvas.flatten(-4, -3).flatten(-2)


class _Axis:
    """Tiles along one axis: windows of one size at a whole step that hold the support of each hat and the blur."""

    def __init__(self, size: int, tiles: int, kernel: int) -> None:
        self.size, self.tiles = size, tiles
        self.step = max(1, round(size / tiles))
        hats = self._hats()
        first = [int(hat.nonzero()[0]) - i * self.step for i, hat in enumerate(hats)]
        last = [int(hat.nonzero()[-1]) - i * self.step for i, hat in enumerate(hats)]
        self.before = -min(first)
        self.window = fast_size(max(last) + self.before + kernel)
        self.canvas = self.step * (tiles - 1 + -(-self.window // self.step))

    def _hats(self) -> Tensor:
        """Piecewise linear weights (tiles, size), 1 at the centre of a tile and 0 at those of the others."""
        place = (torch.arange(self.size, dtype=torch.float64) + 0.5) * self.tiles / self.size - 0.5
        place = place.clamp(0, self.tiles - 1)
        return (1 - (place - torch.arange(self.tiles)[:, None]).abs()).clamp(min=0)

    def weights(self) -> Tensor:
        """The hats as each window sees them, (tiles, window)."""
        padded = torch.nn.functional.pad(self._hats(), (self.before, self.canvas))
        return torch.stack([hat[i * self.step :][: self.window] for i, hat in enumerate(padded)])


def _range(shape: tuple[int, int], kernels: Tensor, boundary: str, who: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape of the range and the corner at which it starts in the full convolution."""
    sizes = kernels.shape[-2:]
    if boundary not in BOUNDARIES:
        raise ValueError(f"{who} takes boundary 'zero' or 'valid'; got {boundary!r}")
    if boundary == "zero":
        return shape, tuple(k // 2 for k in sizes)
    if any(k > n for k, n in zip(sizes, shape, strict=True)):
        raise ValueError(f"{who} with boundary 'valid' takes kernels inside the image {shape}; got {tuple(sizes)}")
    return tuple(n - k + 1 for n, k in zip(shape, sizes, strict=True)), tuple(k - 1 for k in sizes)


def _crop(canvas: Tensor, places: list[int], shape: tuple[int, ...]) -> Tensor:
    return canvas[..., places[0] : places[0] + shape[0], places[1] : places[1] + shape[1]]
