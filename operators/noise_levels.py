"""Noise levels of an image, from itself: parameters of the Gaussian likelihoods."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_MEDIAN = 0.6744897501960817  # of the absolute value of a standard normal variable
_BLOCK = 8  # pixels a side over which a mean and a variance are taken
_GROUPS = 16  # of blocks of like mean
_ERROR = 3.1  # relative standard error of the variance of a group, times the root of its number of pixels
_QUIET = 0.25  # share of each group in which the least happens on the coarser scale


class AffineNoise(NamedTuple):
    """Variance `constant` + `slope` * signal, float64 (*batch,); see `WeightedLeastSquares.from_affine_noise`."""

    constant: Tensor
    slope: Tensor


def white_noise_std(image: Tensor) -> Tensor:
    """Standard deviation of white Gaussian noise on images (*batch, h, w), in their unit: (*batch,) float64.

    From mixed second differences, which no locally linear image has (the mask of Immerkaer, Comput. Vis. Image
    Underst. 64, 300, 1996), in that quarter of the blocks of 8 x 8 pixels where the image is the most quiet on twice
    the scale; there by the median of absolute values (Donoho and Johnstone, Biometrika 81, 425, 1994). Texture that
    is nowhere quiet counts as noise. ValueError for images under 18 x 18 or with values that are not finite.
    """
    _, variance, _ = _quiet_groups(_image("white_noise_std", image, 18), 1)
    return variance.sqrt().squeeze(-1)


def affine_noise(image: Tensor) -> AffineNoise:
    """Noise of variance constant + slope * signal on images (*batch, h, w), in their unit.

    The blocks of `white_noise_std`, in 16 groups of like mean, give as many points of the line (as Foi, Trimeche,
    Katkovnik, Egiazarian, IEEE Trans. Image Process. 17, 1737, 2008, by level sets). It is fitted with the weights
    of relative errors, and points above it, where texture remains, count less the higher they are. Both numbers are
    >= 0. Blocks with the least or the greatest value of the image, where it may be clipped, are left out. An image
    of one grey level has slope 0. ValueError for images under 66 x 66 or with values that are not finite.
    """
    image = _image("affine_noise", image, 66)
    error = _ERROR / math.sqrt(_QUIET * image.shape[-1] * image.shape[-2] / _GROUPS)
    rough = _fitted(*_quiet_groups(image, _GROUPS), error)
    # within a group the noise varies too, and by how much is known now
    constant, slope = _fitted(*_quiet_groups(image, _GROUPS, rough), error)
    return AffineNoise(constant.squeeze(-1), slope.squeeze(-1))


def _fitted(mean: Tensor, variance: Tensor, clear: Tensor, error: float) -> tuple[Tensor, Tensor]:
    """constant, slope (*batch, 1) of the line through points (*batch, group), robust against those above it."""
    clear = clear | ~clear.any(-1, keepdim=True)
    floor = (1e-6 * variance.mean(-1, keepdim=True)).clamp(min=1e-100)
    model, weights = variance.mean(-1, keepdim=True), torch.ones_like(variance)
    for _ in range(20):
        weights = clear / model.clamp(min=floor).square()
        # a point two standard errors above the line has half a say, one on it or below it the whole
        excess = ((variance / model.clamp(min=floor) - 1) / error).clamp(min=0)
        weights = weights / (1 + (excess / 2).square())
        constant, slope = nonnegative_line(mean, variance, weights)
        model = constant + slope * mean
    # means that differ by no more than the noise in them tell no slope
    flat = mean.var(-1, keepdim=True) <= 4 * variance.mean(-1, keepdim=True) / _BLOCK**2
    level = (weights * variance).sum(-1, keepdim=True) / weights.sum(-1, keepdim=True)
    return torch.where(flat, level, constant), torch.where(flat, 0.0, slope)


def nonnegative_line(x: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted least-squares line constant + slope x with both numbers >= 0, over the last axis, kept."""
    w = weights / weights.sum(-1, keepdim=True)
    mean_x, mean_y = (w * x).sum(-1, keepdim=True), (w * y).sum(-1, keepdim=True)
    spread = (w * (x - mean_x).square()).sum(-1, keepdim=True)
    slope = (w * (x - mean_x) * y).sum(-1, keepdim=True) / spread.clamp(min=torch.finfo(x.dtype).tiny)
    through_zero = (w * x * y).sum(-1, keepdim=True) / (w * x * x).sum(-1, keepdim=True)
    slope = torch.where((mean_y < slope * mean_x) & (mean_x > 0), through_zero, slope).clamp(min=0)
    return (mean_y - slope * mean_x).clamp(min=0), slope


def _quiet_groups(
    image: Tensor, groups: int, line: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and noise variance, (*batch, group), of the quiet blocks of each of so many groups of like mean.

    And whether none of them is clipped. `line`: what is known of the variance already, constant and slope (*batch, 1).
    """
    inside = image[..., 1:-1, 1:-1]
    fine, blocks = _tiles(_differences(image), _BLOCK), _tiles(inside, _BLOCK)
    coarse = _tiles(_differences(_edge(_halved(inside))).square(), _BLOCK // 2).mean(-1)
    ends = image.flatten(-2).aminmax(dim=-1)
    clipped = (blocks == ends.min[..., None, None]) | (blocks == ends.max[..., None, None])
    if line is not None:
        model = line[0] + line[1] * blocks.mean(-1).clamp(min=0)
        model = model / model.mean(-1, keepdim=True).clamp(min=1e-100)
        model = model.clamp(min=1e-3)
        fine, coarse = fine / model.sqrt()[..., None], coarse / model
    coarse = torch.where(clipped.any(-1), math.inf, coarse)
    size = blocks.shape[-2] // groups
    order = blocks.mean(-1).argsort(-1)[..., : size * groups]
    order = order.reshape(*order.shape[:-1], groups, size)

    def of_group(values: Tensor) -> Tensor:
        return values.gather(-1, order.flatten(-2)).reshape(order.shape)

    quiet = of_group(coarse).topk(max(round(_QUIET * size), 1), largest=False).indices
    chosen = order.gather(-1, quiet)
    mean = of_group(blocks.mean(-1)).gather(-1, quiet).mean(-1)
    noise = fine.gather(-2, chosen.flatten(-2)[..., None].expand(*chosen.shape[:-2], -1, fine.shape[-1]))
    each = noise.reshape(*chosen.shape[:-1], -1).abs()
    variance = (each.median(-1).values / _MEDIAN).square()
    if line is not None:
        variance = variance * of_group(model).gather(-1, quiet).mean(-1)
    clear = of_group(coarse).gather(-1, quiet).isfinite().all(-1)
    return mean, variance, clear


def _tiles(x: Tensor, size: int) -> Tensor:
    """(*batch, h, w) -> (*batch, tile, pixel), whole tiles from the first corner."""
    return x.unfold(-2, size, size).unfold(-2, size, size).flatten(-2).flatten(-3, -2)


def _halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 pixels."""
    return _tiles(x, 2).mean(-1).reshape(*x.shape[:-2], x.shape[-2] // 2, x.shape[-1] // 2)


def _edge(x: Tensor) -> Tensor:
    """One more pixel on each side, a copy of the nearest."""
    rows = torch.cat([x[..., :1, :], x, x[..., -1:, :]], -2)
    return torch.cat([rows[..., :1], rows, rows[..., -1:]], -1)


def _differences(image: Tensor) -> Tensor:
    """(1, -2, 1) along both axes, / 6: (*batch, h - 2, w - 2), of the noise's variance where that is white."""
    rows = image[..., 2:, :] - 2 * image[..., 1:-1, :] + image[..., :-2, :]
    return (rows[..., 2:] - 2 * rows[..., 1:-1] + rows[..., :-2]) / 6


def _image(who: str, image: Tensor, least: int) -> Tensor:
    if image.ndim < 2 or min(image.shape[-2:]) < least:
        raise ValueError(f"{who} takes images (*batch, h, w) of at least {least} x {least}; got {tuple(image.shape)}")
    if not bool(image.isfinite().all()):
        raise ValueError(
            f"{who} takes finite images; {int((~image.isfinite()).sum())} values are not: crop or fill them"
        )
    return image.double()
