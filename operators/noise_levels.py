"""Noise levels, for the parameters of the likelihoods: from flat fields, or from a noisy image itself."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_MEDIAN = 0.6744897501960817  # of the absolute value of a standard normal variable
_BLOCK = 8  # pixels a side over which a mean and a variance are taken
_GROUPS = 16  # of blocks of like mean
_ERROR = 0.1  # relative standard error of the variance of a group
_QUIET = 0.25  # share of each group in which the least happens on the coarser scale


class AffineNoise(NamedTuple):
    """Variance `constant` + `slope` * signal, float64 (*batch,); see `WeightedLeastSquares.from_affine_noise`."""

    constant: Tensor
    slope: Tensor


class DetectorNoise(NamedTuple):
    """gain: units of y an electron; read: standard deviation in units of y; offset (h, w). See `PoissonGaussian`."""

    gain: float
    read: float
    offset: Tensor


def detector_noise(flats: Tensor | Sequence[Tensor], darks: Tensor | None = None) -> DetectorNoise:
    """Gain, read noise and offset of a detector by photon transfer: the variance over frames is read^2 + gain * mean.

    flats: at least two frames (frame, h, w) of an even, steady beam, or several such stacks of different exposures;
    darks: frames without beam, whose mean is the offset (0 without them) and whose variance is read^2. Without two
    darks read^2 is the intercept of the line over the exposures, and 0 where there is only one. The beam may vary
    over the detector and flicker from frame to frame. Pixels of less than a tenth of the median beam and spreads that
    chance does not explain are left out. Source: Janesick, Photon Transfer (2007).
    ValueError for fewer frames, another shape or values that are not finite.
    """
    stacks = [flats] if isinstance(flats, Tensor) else list(flats)
    frames = stacks if darks is None else [*stacks, darks]
    shapes = {tuple(f.shape[1:]) for f in frames}
    if not stacks or len(shapes) != 1 or any(f.ndim != 3 or f.shape[0] < 2 for f in stacks):
        raise ValueError(
            "detector_noise takes flats (frame, h, w) of at least two frames, or several such stacks, and darks of the "
            f"same h, w; got {', '.join(str(tuple(f.shape)) for f in frames) or 'no flats'}"
        )
    if not all(bool(f.isfinite().all()) for f in frames):
        raise ValueError("detector_noise takes finite flats and darks; some values are not")
    offset = torch.zeros_like(stacks[0][0], dtype=torch.float64) if darks is None else darks.double().mean(0)
    read2 = None
    if darks is not None and darks.shape[0] > 1:
        spread = darks.double().var(0)
        read2 = _typical(spread, torch.ones_like(spread), darks.shape[0] - 1)
    points = [_photon_transfer(stack.double() - offset, read2 or 0.0) for stack in stacks]
    mean, variance = (torch.tensor(values, dtype=torch.float64) for values in zip(*points, strict=True))
    if read2 is None and len(stacks) > 1:
        constant, slope = _line(mean, variance, variance.square().reciprocal())
        return DetectorNoise(float(slope), math.sqrt(float(constant)), offset)
    weights = mean / variance.square()
    gain = float((weights * (variance - (read2 or 0.0))).sum() / (weights * mean).sum())
    return DetectorNoise(max(gain, 0.0), math.sqrt(read2 or 0.0), offset)


def _photon_transfer(signal: Tensor, read2: float) -> tuple[float, float]:
    """Mean signal and mean variance over frames of a stack (frame, h, w) above its offset."""
    beam = signal.mean(0)
    good = beam > 0.1 * beam.median()
    if not bool(good.any()):
        raise ValueError("detector_noise takes flats that are brighter than the darks; these are not")
    level = (signal * good).sum((1, 2), keepdim=True)  # the source flickers; a frame's level is not pixel noise
    spread = (signal * (level.mean() / level)).var(0)[good]
    beam = beam[good]
    mean = float(beam.mean())
    # the variance of a pixel goes with its beam, so that they are alike when divided by the share that it expects
    model = torch.ones_like(beam)
    for _ in range(3):
        variance = _typical(spread, model, signal.shape[0] - 1)
        share = min(read2 / variance, 1.0) if variance > 0 else 0.0
        model = share + (1 - share) * beam / mean
    return mean, variance


def _typical(spread: Tensor, model: Tensor, freedom: int) -> float:
    """c where the variances `spread` have the expected values c `model`, from all that chance explains.

    Those over c model (1 + 4 standard deviations) are left out, and what that takes from the mean of a chi-squared
    variable with so many degrees of freedom is given back.
    """
    ratio = spread / model
    half = torch.tensor(freedom / 2, dtype=torch.float64)
    limit = 1 + 4 * (2 / freedom) ** 0.5
    kept = torch.special.gammainc(half + 1, half * limit) / torch.special.gammainc(half, half * limit)
    c = ratio.median()
    for _ in range(10):
        inside = ratio <= c * limit
        c = (ratio * model)[inside].sum() / model[inside].sum() / kept
    return float(c)


def white_noise_std(image: Tensor) -> Tensor:
    """Standard deviation of white Gaussian noise on images (*batch, h, w), in their unit: (*batch,) float64.

    From mixed second differences, which no locally linear image has (the mask of Immerkaer, Comput. Vis. Image
    Underst. 64, 300, 1996), in that quarter of the blocks of 8 x 8 pixels where the image is the most quiet on twice
    the scale; there by the median of absolute values (Donoho and Johnstone, Biometrika 81, 425, 1994). Texture that
    is nowhere quiet counts as noise. ValueError for images under 18 x 18 or with values that are not finite.
    """
    return _quiet_groups(_image("white_noise_std", image, 18), 1)[1].sqrt().squeeze(-1)


def affine_noise(image: Tensor) -> AffineNoise:
    """Noise of variance constant + slope * signal on images (*batch, h, w), in their unit.

    The blocks of `white_noise_std`, in 16 groups of like mean, give as many points of the line (as Foi, Trimeche,
    Katkovnik, Egiazarian, IEEE Trans. Image Process. 17, 1737, 2008, by level sets). It is fitted with the weights
    of relative errors, and points above it, where texture remains, count less the higher they are. Both numbers are
    >= 0. Blocks with the least or the greatest value of the image, where it may be clipped, are left out. An image
    of one grey level has slope 0. ValueError for images under 66 x 66 or with values that are not finite.
    """
    mean, variance = _quiet_groups(_image("affine_noise", image, 66), _GROUPS)
    floor = 1e-6 * variance.mean(-1, keepdim=True) + torch.finfo(torch.float64).tiny
    model, weights = variance.mean(-1, keepdim=True), torch.ones_like(variance)
    for _ in range(20):
        weights = model.clamp(min=floor).square().reciprocal()
        # a point two standard errors above the line has half a say, one on it or below it the whole
        excess = ((variance / model.clamp(min=floor) - 1) / _ERROR).clamp(min=0)
        weights = weights / (1 + (excess / 2).square())
        constant, slope = _line(mean, variance, weights)
        model = constant + slope * mean
    # means that differ by no more than the noise in them tell no slope
    flat = mean.var(-1, keepdim=True) <= 4 * variance.mean(-1, keepdim=True) / _BLOCK**2
    level = (weights * variance).sum(-1, keepdim=True) / weights.sum(-1, keepdim=True)
    constant, slope = torch.where(flat, level, constant), torch.where(flat, 0.0, slope)
    return AffineNoise(constant.squeeze(-1), slope.squeeze(-1))


def _line(x: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted least-squares line constant + slope x with both numbers >= 0, over the last axis, kept."""
    w = weights / weights.sum(-1, keepdim=True)
    mean_x, mean_y = (w * x).sum(-1, keepdim=True), (w * y).sum(-1, keepdim=True)
    spread = (w * (x - mean_x).square()).sum(-1, keepdim=True)
    slope = (w * (x - mean_x) * y).sum(-1, keepdim=True) / spread.clamp(min=torch.finfo(x.dtype).tiny)
    through_zero = (w * x * y).sum(-1, keepdim=True) / (w * x * x).sum(-1, keepdim=True)
    slope = torch.where((mean_y < slope * mean_x) & (mean_x > 0), through_zero, slope).clamp(min=0)
    return (mean_y - slope * mean_x).clamp(min=0), slope


def _quiet_groups(image: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and noise variance, (*batch, group), of the quiet blocks of each of so many groups of like mean."""
    inside = image[..., 1:-1, 1:-1]
    fine, blocks = _tiles(_differences(image), _BLOCK), _tiles(inside, _BLOCK)
    coarse = _tiles(_differences(_edge(_halved(inside))).square(), _BLOCK // 2).mean(-1)
    ends = image.flatten(-2).aminmax(dim=-1)
    clipped = (blocks == ends.min[..., None, None]) | (blocks == ends.max[..., None, None])
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
    return mean, (each.median(-1).values / _MEDIAN).square()


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
