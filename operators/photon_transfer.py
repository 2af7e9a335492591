"""Gain, read noise and offset of a detector from its flat fields: the parameters of `PoissonGaussian`."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.operators.noise_levels import nonnegative_line


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
        read2, _ = _typical(spread, torch.ones_like(spread), darks.shape[0] - 1)
    points = [_photon_transfer(stack.double() - offset, read2 or 0.0) for stack in stacks]
    mean, variance = (torch.tensor(values, dtype=torch.float64) for values in zip(*points, strict=True))
    # the relative errors are alike; simulated frames may have no noise at all
    weights = (variance / variance.max().clamp(min=1e-100)).clamp(min=1e-6).square().reciprocal()
    if read2 is None and len(stacks) > 1:
        constant, slope = nonnegative_line(mean, variance, weights)
        return DetectorNoise(float(slope), math.sqrt(float(constant)), offset)
    gain = float((weights * mean * (variance - (read2 or 0.0))).sum() / (weights * mean * mean).sum())
    return DetectorNoise(max(gain, 0.0), math.sqrt(read2 or 0.0), offset)


def _photon_transfer(signal: Tensor, read2: float) -> tuple[float, float]:
    """Mean signal and mean variance over frames of a stack (frame, h, w) above its offset."""
    beam, spread = signal.mean(0), signal.var(0)
    good = beam > 0.1 * beam.median()
    if not bool((beam > 0).any()) or not bool(good.any()):
        raise ValueError("detector_noise takes flats that are brighter than the darks; these are not")
    # the source flickers, and a frame's level is not pixel noise; nor does it hang on pixels hit by a stray photon
    calm = good & (spread <= spread[good].kthvalue(max(int(0.99 * int(good.sum())), 1)).values)
    level = (signal * calm).sum((1, 2), keepdim=True)
    spread = (signal * (level.mean() / level)).var(0)[good]
    beam = beam[good]
    # the variance of a pixel goes with its beam, so that they are alike when divided by the share that it expects
    mean, model = float(beam.median()), torch.ones_like(beam)
    for _ in range(4):
        variance, calm = _typical(spread, model, signal.shape[0] - 1)
        mean = float(beam[calm].mean())
        share = min(read2 / variance, 1.0) if variance > 0 else 0.0
        model = share + (1 - share) * beam / mean
    return mean, variance


def _typical(spread: Tensor, model: Tensor, freedom: int) -> tuple[float, Tensor]:
    """c where the variances `spread` have the expected values c `model`, and which of them chance explains.

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
        c = spread[inside].sum() / model[inside].sum() / kept
    return float(c), inside
