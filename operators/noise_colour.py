"""The colour of noise, from its power spectrum: the order of a Sobolev misfit."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.operators.likelihoods.arguments import measurement
from invreg.operators.spectral import basis, bessel

_FEWEST = 8  # frequencies in the band from which a slope is taken


class SobolevOrder(NamedTuple):
    """The order s that fits the noise, and its standard error."""

    s: float
    error: float


def sobolev_order(
    residual: Tensor,
    *,
    length: float | tuple[float, ...] = 1.0,
    alpha: float = 1.0,
    boundary: str = "periodic",
    axes: int | tuple[int, ...] = -1,
    band: tuple[float, float] = (0.25, 1.0),
) -> SobolevOrder:
    """The s of the `Sobolev` misfit of the same arguments that makes a residual white.

    s is minus the slope of the logarithm of the power spectrum of `residual` along `axes`, averaged over all other
    ones, against that of alpha + |xi|^2, by least squares with the variances that the powers of Gaussian noise
    have. `band`: the frequencies used, as fractions of the Nyquist frequency (of the coarsest axis); what the model
    leaves of the signal must be negligible there. The error is that of independent lines, or what the points scatter
    about the line if that is more; it does not know of a signal in the band. Raises ValueError for values that are not
    finite, fewer than 8 frequencies in the band or no power at some of them. Source: Geweke and Porter-Hudak (1983).
    """
    x = measurement("sobolev_order", residual, 1).double()
    if boundary == "padded":
        raise ValueError("sobolev_order takes boundary 'periodic' or 'cosine'; got 'padded'")
    along = basis("sobolev_order", boundary, axes, x.shape, x.ndim)
    low, high = band
    if not 0 <= low < high <= 1:
        raise ValueError(f"sobolev_order takes a band 0 <= low < high <= 1; got {band}")
    scale = bessel("sobolev_order", along, 1.0, alpha, length, x.device)
    frequency = along.squares(tuple(float(n) for n in along.sizes), x.device).sqrt() / math.pi
    coefficients = along.forward(x)
    power = coefficients.real.square() + (coefficients.imag.square() if coefficients.is_complex() else 0.0)
    others = tuple(d for d in range(-x.ndim, 0) if d not in along.axes)
    power = power.mean(others) if others else power
    use = (frequency >= low) & (frequency <= high) & (frequency > 0)
    if int(use.sum()) < _FEWEST:
        raise ValueError(f"sobolev_order needs {_FEWEST} frequencies in the band {band}; there are {int(use.sum())}")
    lines = x.numel() / math.prod(along.sizes)
    freedom = (lines * along.multiplicity(scale)).expand_as(scale)[use]  # a complex coefficient has two parts
    points = power.reshape(scale.shape)[use]
    if not bool((points > 0).all()):
        raise ValueError(f"sobolev_order finds no power at {int((points <= 0).sum())} of {points.numel()} frequencies")
    # mean and variance of the logarithm of a chi-squared variable
    logarithm = points.log() - torch.digamma(freedom / 2) + (freedom / 2).log()
    weight = 1 / torch.polygamma(1, freedom / 2)
    at = scale[use].log()
    at = at - (weight * at).sum() / weight.sum()
    spread = (weight * at.square()).sum()
    slope = (weight * at * logarithm).sum() / spread
    level = (weight * logarithm).sum() / weight.sum()
    scatter = (weight * (logarithm - level - slope * at).square()).sum() / (points.numel() - 2)
    return SobolevOrder(-float(slope), float((scatter.clamp(min=1) / spread).sqrt()))
