"""The ramp filter of back-projection and its windows."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Filter = Literal["ramp", "shepp-logan", "cosine", "hann"]


def filtered(x: Tensor, response: Tensor, axis: int = -1) -> Tensor:
    """x filtered along an axis by the response of `ramp`, zeros beyond its ends; the shape stays."""
    n = 2 * (response.shape[-1] - 1)
    x = x.movedim(axis, -1)
    if x.numel() == 0:  # MKL refuses an empty batch
        return x.clone().movedim(-1, axis)
    y = torch.fft.irfft(torch.fft.rfft(x, n=n) * response.to(x), n=n)[..., : x.shape[-1]]
    return y.movedim(-1, axis)


def length_for(bins: int) -> int:
    """A power of two that lets `bins` values be filtered without wrapping around."""
    return 2 ** math.ceil(math.log2(max(2, 2 * bins)))


def ramp(n: int, filter: Filter = "ramp", fan_step: float = 0.0) -> Tensor:
    """Response of the ramp filter with a window on `n` samples of unit distance, float64, (n // 2 + 1,).

    It is the transform of the band-limited ramp's samples, not |f|, so that the mean is kept (Kak and Slaney 1988,
    eq. 61). For samples at equal fan angles give their step: the kernel at angle g is then (g / sin g)^2 times that
    at equal distances (section 3.4.2). Raises ValueError for an unknown filter.
    """
    k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    odd = k.long() % 2 == 1
    kernel = torch.where(odd, -1 / (math.pi * k) ** 2, 0.0)
    kernel[0] = 0.25
    # angles beyond a right angle are those of rays that no fan has
    kernel = kernel / torch.sinc((k * fan_step / math.pi).clamp(-0.5, 0.5)) ** 2
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
