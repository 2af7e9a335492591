"""Orthonormal bases in which convolutions along some axes are diagonal, one for each boundary."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BOUNDARIES = ("periodic", "cosine", "padded")


@dataclass(frozen=True)
class Basis:
    """Coefficients of real tensors along `axes` (negative, ascending) of as many `sizes`; other axes stand still.

    periodic: `torch.fft.rfftn`, orthonormal. cosine: the orthonormal DCT-II, the Fourier series of the even extension
    about both ends. padded: rfftn after as many zeros as there are samples, an isometry; `back` is its adjoint.
    """

    boundary: str
    axes: tuple[int, ...]
    sizes: tuple[int, ...]

    def forward(self, x: Tensor) -> Tensor:
        if self.boundary == "cosine":
            for d, n in zip(self.axes, self.sizes, strict=True):
                x = (torch.fft.rfft(torch.cat([x, x.flip(d)], d), dim=d).narrow(d, 0, n) * self._turn(x, d, n)).real
            return x
        return torch.fft.rfftn(x, s=self._lengths(), dim=self.axes, norm="ortho")

    def back(self, coefficients: Tensor) -> Tensor:
        """The adjoint, and for all but padded ones the inverse."""
        x = coefficients
        if self.boundary == "cosine":
            for d, n in zip(self.axes, self.sizes, strict=True):
                half = torch.cat([x * (1 / self._turn(x, d, n)), torch.zeros_like(x.narrow(d, 0, 1))], d)
                x = torch.fft.irfft(half, 2 * n, dim=d).narrow(d, 0, n)
            return x
        x = torch.fft.irfftn(x, s=self._lengths(), dim=self.axes, norm="ortho")
        for d, n in zip(self.axes, self.sizes, strict=True):
            x = x.narrow(d, 0, n)
        return x

    def squares(self, length: tuple[float, ...], device: torch.device | None = None) -> Tensor:
        """|xi|^2 in radians per unit of `length`, the side of each axis; float64, broadcasts over the coefficients."""
        total = torch.zeros((), dtype=torch.float64, device=device)
        for d, n, m, side in zip(self.axes, self.sizes, self._lengths(), length, strict=True):
            if self.boundary == "cosine":
                k = torch.arange(n, dtype=torch.float64, device=device) / 2
            else:
                k = m * torch.fft.fftfreq(m, dtype=torch.float64, device=device)
                k = k[: m // 2 + 1].abs() if d == self.axes[-1] else k
            xi = 2 * math.pi * k * n / (m * side)
            total = total + xi.square().reshape(-1, *(1,) * (-1 - d))
        return total

    def multiplicity(self, like: Tensor) -> Tensor:
        """How often each coefficient occurs in the whole spectrum: once or, in the half one of rfftn, twice."""
        if self.boundary == "cosine":
            return like.new_ones(())
        m = self._lengths()[-1]
        count = like.new_full((m // 2 + 1,), 2.0)
        count[0] = 1
        if m % 2 == 0:
            count[-1] = 1
        return count.reshape(-1, *(1,) * (-1 - self.axes[-1]))

    def _lengths(self) -> tuple[int, ...]:
        return tuple(2 * n for n in self.sizes) if self.boundary == "padded" else self.sizes

    @staticmethod
    def _turn(x: Tensor, d: int, n: int) -> Tensor:
        """exp(-pi i k / 2n), which moves the centre of symmetry to half a sample before the first, over sqrt(2n)."""
        angle = -math.pi / (2 * n) * torch.arange(n, dtype=torch.float64, device=x.device)
        size = torch.full_like(angle, 1 / math.sqrt(2 * n))
        size[0] /= math.sqrt(2)
        turn = torch.polar(size, angle).reshape(-1, *(1,) * (-1 - d))
        return turn.to(torch.complex64 if x.dtype == torch.float32 else torch.complex128)


def basis(who: str, boundary: str, axes: int | tuple[int, ...], shape: tuple[int, ...], ndim: int) -> Basis:
    """The basis along `axes` of tensors (*batch, *shape) of `ndim` trailing axes. ValueError unless there are such."""
    chosen = tuple(sorted((axes,) if isinstance(axes, int) else axes))
    if boundary not in BOUNDARIES:
        raise ValueError(f"{who} takes boundary {', '.join(map(repr, BOUNDARIES))}; got {boundary!r}")
    if not chosen or len(set(chosen)) < len(chosen) or not -ndim <= chosen[0] <= chosen[-1] < 0:
        raise ValueError(f"{who} takes axes from -{ndim} to -1, counted from the end, each once; got {axes}")
    return Basis(boundary, chosen, tuple(shape[d] for d in chosen))


def bessel(
    who: str, basis: Basis, power: float, alpha: float, length: float | tuple[float, ...], device: torch.device
) -> Tensor:
    """(alpha + |xi|^2)^power over the coefficients, float64; with alpha = 0 the zero frequency has 0 (power 0: 1).

    ValueError unless power is finite, alpha finite and >= 0 and `length` > 0, one for all axes or one for each.
    """
    sides = (length,) * len(basis.axes) if isinstance(length, int | float) else tuple(length)
    if len(sides) != len(basis.axes) or not all(0 < side < math.inf for side in sides):
        raise ValueError(f"{who} takes one length > 0 or one for each of the {len(basis.axes)} axes; got {length}")
    if not 0 <= alpha < math.inf:
        raise ValueError(f"{who} takes a finite alpha >= 0; got {alpha}")
    if not math.isfinite(power):
        raise ValueError(f"{who} takes a finite order; got {power}")
    squares = alpha + basis.squares(sides, device)
    return torch.where(squares > 0, squares.pow(power), 0.0 if power else 1.0)
