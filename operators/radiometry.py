"""From radiance to digital numbers: noise, gain, offset, quantisation and saturation, band by band."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Point = tuple[float, float]


def noise_from_snr(first: Point, second: Point) -> tuple[float, float]:
    """(a, b) of a noise variance a + b L through two points (radiance L, signal-to-noise ratio at L).

    A ratio S at L means the variance (L / S)^2. a is in the square of the unit of L, b in that unit. Raises ValueError
    on a radiance or a ratio that is not positive, on equal radiances and on points that give a negative a or b.
    """
    for radiance, ratio in (first, second):
        if not (0 < radiance < math.inf and 0 < ratio < math.inf):
            raise ValueError(
                "a signal-to-noise point is (radiance, ratio), both positive and finite; "
                f"got radiance {radiance} with ratio {ratio}"
            )
    (low, low_ratio), (high, high_ratio) = sorted((first, second))
    if low == high:
        raise ValueError(f"two signal-to-noise points need two different radiances; got {low} twice")
    low_variance, high_variance = (low / low_ratio) ** 2, (high / high_ratio) ** 2
    b = (high_variance - low_variance) / (high - low)
    a = low_variance - b * low
    if b < 0:
        raise ValueError(
            f"the ratios {low_ratio:g} at {low:g} and {high_ratio:g} at {high:g} mean less noise where there is more "
            f"light (b = {b:.3g}); the ratio may grow at most as the radiance, so one point must be wrong"
        )
    if a < -1e-12 * low_variance:
        raise ValueError(
            f"the ratios {low_ratio:g} at {low:g} and {high_ratio:g} at {high:g} mean a negative variance in the dark "
            f"(a = {a:.3g}); the ratio must grow at least as the square root of the radiance, so one must be wrong"
        )
    return max(a, 0.0), b


class Radiometry(nn.Module):
    """Digital numbers round(gain L + offset), kept within 0 and 2^bits - 1, of a radiance L with noise of a + b L.

    gain in digital numbers per unit of radiance, offset in digital numbers. One gain and one pair `noise` = (a, b) are
    for images (*batch, h, w); sequences of them for images (*batch, channels, h, w). All methods are pure. Raises
    ValueError on a gain that is not positive, a negative a or b, another number of bits than 1 to 24, or images of
    another number of channels.
    """

    gain: Tensor
    a: Tensor
    b: Tensor

    def __init__(
        self,
        gain: float | Sequence[float],
        noise: tuple[float, float] | Sequence[tuple[float, float]],
        *,
        bits: int,
        offset: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(bits, int) or not 1 <= bits <= 24:
            raise ValueError(f"bits must be a whole number from 1 to 24, which float32 holds exactly; got {bits}")
        gains, noises = torch.as_tensor(gain, dtype=torch.float64), torch.as_tensor(noise, dtype=torch.float64)
        if gains.ndim > 1 or not gains.numel() or noises.shape != (*gains.shape, 2):
            raise ValueError(
                "Radiometry takes one gain and one pair (a, b) of noise, or sequences of as many; "
                f"got shapes {tuple(gains.shape)} and {tuple(noises.shape)}"
            )
        if not bool(((gains > 0) & gains.isfinite()).all()):
            raise ValueError(f"gains must be positive digital numbers per unit of radiance; got {gain}")
        if not bool(((noises >= 0) & noises.isfinite()).all()):
            raise ValueError(f"the noise variance a + b L takes a and b from 0 on; got {noise}")
        self.bits, self.top = bits, 2**bits - 1
        if not 0 <= offset < self.top:
            raise ValueError(f"the offset must lie in [0, {self.top}) digital numbers; got {offset}")
        columns = {"gain": gains, "a": noises[..., 0], "b": noises[..., 1]}
        for name, values in columns.items():
            self.register_buffer(name, values.reshape(*values.shape, 1, 1))
        self.offset = float(offset)

    def _checked(self, signal: Tensor) -> Tensor:
        channels = tuple(self.gain.shape[:-2])
        fits = signal.ndim >= 2 + len(channels) and (not channels or signal.shape[-3] == channels[0])
        if not fits or not signal.is_floating_point():
            takes = ", ".join(["*batch", *map(str, channels), "h", "w"])
            raise ValueError(
                f"Radiometry takes real floating-point ({takes}); got {signal.dtype} {tuple(signal.shape)}"
            )
        return signal

    def noise(self) -> tuple[Tensor, Tensor]:
        """(a, b) of the variance a + b L of a measured radiance, rounding included, to broadcast against images.

        Rounding adds a twelfth of the square of a step: what a heteroscedastic likelihood takes.
        """
        return self.a + 1 / (12 * self.gain.square()), self.b

    def variance(self, signal: Tensor) -> Tensor:
        """The variance of the measured radiance about `signal`, in the square of its unit; that of 0 below 0."""
        a, b = (t.to(signal) for t in self.noise())
        return a + b * self._checked(signal).clamp(min=0)

    def digitise(self, signal: Tensor) -> Tensor:
        """Digital numbers of a radiance, whole numbers in the dtype of `signal`. Its gradient is 0 everywhere."""
        return torch.round(self._checked(signal) * self.gain.to(signal) + self.offset).clamp(0, self.top)

    def radiance(self, numbers: Tensor) -> Tensor:
        """The radiance that digital numbers stand for, (numbers - offset) / gain."""
        return (self._checked(numbers) - self.offset) / self.gain.to(numbers)

    def saturated(self, numbers: Tensor) -> Tensor:
        """Where the signal was at or above full scale, as booleans: there the number is a lower bound only."""
        return self._checked(numbers) >= self.top

    def simulate(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """Digital numbers of a noise-free radiance: Gaussian noise of variance a + b L, then `digitise`."""
        a, b = self.a.to(signal), self.b.to(signal)
        std = torch.addcmul(a, self._checked(signal).clamp(min=0), b).sqrt_()
        noise = torch.randn(signal.shape, generator=generator, dtype=signal.dtype, device=signal.device)
        return self.digitise(torch.addcmul(signal, std, noise))
