"""Filtered back-projection and its filters."""

import math
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from invreg.core import Space
from invreg.operators.tomography.geometry import Parallel2D
from invreg.operators.tomography.xray import XRay

Filter = Literal["ramp", "shepp-logan", "cosine", "hann"]


def fbp(
    sinogram: Tensor,
    geometry: Parallel2D,
    shape: tuple[int, int],
    pixel_size: float | None = None,
    *,
    filter: Filter = "ramp",
    A: XRay | None = None,
) -> Tensor:
    """Filtered back-projection of line integrals, (*batch, angle, detector) -> (*batch, h, w).

    The result is in the unit of the sinogram per `geometry.unit` (attenuation per length). Views are weighted by
    the angle they stand for, so uneven angles are allowed; a missing wedge gets no weight. `A`, the ray
    transform of the same geometry and image, saves making it again. Raises ValueError for an unknown filter.
    Source: Kak and Slaney (1988), chapter 3.
    """
    A = XRay(geometry, shape, pixel_size) if A is None else A
    Space(geometry.shape).check(sinogram, "fbp")
    n = 2 ** math.ceil(math.log2(2 * geometry.detectors))
    # the adjoint is sharpened to the width of a bin; back-projectors interpolate linearly between bins, which is
    # an average over one bin more and leaves less of the ramp's ringing at edges
    response = ramp(n, filter) * torch.sinc(torch.fft.rfftfreq(n, dtype=torch.float64))
    response = response.to(sinogram.device, sinogram.dtype)
    # the adjoint spreads a value over the pixel's area: pixel_size^2 / pitch for each unit of the sinogram,
    # and the ramp of unit sampling is per pitch
    weights = torch.as_tensor(angle_weights(geometry.angles) / A.pixel_size**2)
    scaled = sinogram * weights.to(sinogram.device, sinogram.dtype)[:, None]
    filtered = torch.fft.irfft(torch.fft.rfft(scaled, n=n) * response, n=n)[..., : geometry.detectors]
    return A.adjoint(filtered)


def ramp(n: int, filter: Filter = "ramp") -> Tensor:
    """Response of the ramp filter with a window on `n` samples of unit distance, float64, (n // 2 + 1,).

    It is the transform of the band-limited ramp's samples, not |f|, so that the mean is kept (Kak and Slaney,
    eq. 61).
    """
    k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    odd = k.long() % 2 == 1
    kernel = torch.where(odd, -1 / (math.pi * k) ** 2, 0.0)
    kernel[0] = 0.25
    f = torch.fft.rfftfreq(n, dtype=torch.float64)
    windows = {
        "ramp": torch.ones_like(f),
        "shepp-logan": torch.sinc(f),
        "cosine": torch.cos(math.pi * f),
        "hann": 0.5 + 0.5 * torch.cos(2 * math.pi * f),
    }
    if filter not in windows:
        raise ValueError(f"unknown filter {filter!r}; known are {', '.join(get_args(Filter))}")
    return torch.fft.rfft(kernel).real * windows[filter]


def angle_weights(angles: np.ndarray) -> np.ndarray:
    """The angle in radians for which each view stands: half the gaps to its neighbours modulo pi.

    A gap of more than ten degrees and three times the median is a missing wedge and counts as one median gap.
    (Random angles, and ranges that are sampled more finely than others, have gaps far above the median too.)
    """
    theta = np.mod(angles, np.pi)
    order = np.argsort(theta, kind="stable")
    gaps = np.diff(theta[order], append=theta[order[0]] + np.pi)
    typical = np.median(gaps[gaps > 1e-9]) if (gaps > 1e-9).any() else np.pi
    gaps = np.where(gaps > max(3 * typical, np.deg2rad(10)), typical, gaps)
    weights = np.empty_like(theta)
    weights[order] = (gaps + np.roll(gaps, 1)) / 2
    return weights
