"""Orthonormal wavelets: Haar, Daubechies and symlets, several levels, any number of axes."""

import math
from itertools import product
from types import EllipsisType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.core import Space
from invreg.operators.semi_orthogonal import SemiOrthogonal

Filter = npt.NDArray[np.float64]
HIGHEST = 9  # vanishing moments; of higher symlets there is more than one convention


class Wavelet(SemiOrthogonal):
    """The periodic discrete wavelet transform, (*batch, *shape) to itself: orthonormal, so its adjoint inverts it.

    `name`: "haar", "db2" ... "db9" (Daubechies 1988, least phase) or "sym2" ... "sym9" (closest to symmetric); the
    number is that of the vanishing moments, half the length of the filters. Axes: those of `shape`, all transformed
    (for a stack of images that do not belong together leave its axis to the batch). The coefficients stand as Mallat
    (1989) drew them: the approximation in the first corner, a side 2^levels times shorter, and around it the details
    from coarse to fine. Every size must be a multiple of 2^levels. `complex`: of complex images.
    Raises ValueError for names, levels and sizes outside of these.
    """

    def __init__(self, shape: tuple[int, ...], name: str = "db4", levels: int = 3, *, complex: bool = False) -> None:
        super().__init__(*(Space(tuple(shape), complex),) * 2)
        low = scaling_filter(name)
        if not isinstance(levels, int) or levels < 1:
            raise ValueError(f"Wavelet takes a whole number of levels from 1 on; got {levels}")
        if not shape or any(n < 1 or n % 2**levels for n in shape):
            raise ValueError(
                f"Wavelet with {levels} levels takes sizes that are multiples of {2**levels}; got {tuple(shape)}: "
                "take fewer levels, or crop or pad the image"
            )
        self.levels = levels
        self.low = low
        self.high = [(-1) ** m * h for m, h in enumerate(reversed(low))]

    def details(self) -> Tensor:
        """1 at the coefficients of details and 0 at those of the approximation: weights for an L1, (*shape)."""
        weights = torch.ones(self.domain.shape)
        weights[self._corner(self.levels)] = 0
        return weights

    def peak(self) -> float:
        """From sum |h|, the gain of each pass along an axis."""
        low, high = (sum(map(abs, f)) for f in (self.low, self.high))
        return float((low ** (self.levels - 1) * max(low, high)) ** len(self.domain.shape))

    def _forward(self, x: Tensor) -> Tensor:
        out = x.clone()
        for level in range(self.levels):
            part = out[self._corner(level)]
            for axis in range(-len(self.domain.shape), 0):
                part = _analyse(part, axis, self.low, self.high)
            out[self._corner(level)] = part
        return out

    def _adjoint(self, y: Tensor) -> Tensor:
        out = y.clone()
        for level in reversed(range(self.levels)):
            part = out[self._corner(level)]
            for axis in range(-len(self.domain.shape), 0):
                part = _synthesise(part, axis, self.low, self.high)
            out[self._corner(level)] = part
        return out

    def _corner(self, level: int) -> tuple[EllipsisType | slice, ...]:
        return (..., *(slice(n >> level) for n in self.domain.shape))


def scaling_filter(name: str) -> list[float]:
    """The low-pass filter h of a wavelet, of sum sqrt(2) and norm 1.

    |H(w)|^2 = 2 cos(w/2)^2N P(sin(w/2)^2) with P(y) = sum_k C(N-1+k, k) y^k, factored over the roots of P, each of
    which is a pair z, 1/z: Daubechies takes all within the unit circle, a symlet those whose phase is the closest to
    a linear one (Daubechies, Ten Lectures on Wavelets, 1992, sections 6.1 and 8.1).
    """
    family, digits = name.rstrip("0123456789"), name[len(name.rstrip("0123456789")) :]
    moments = 1 if name == "haar" else int(digits or 0)
    if name != "haar" and (family not in ("db", "sym") or not 2 <= moments <= HIGHEST):
        raise ValueError(f"Wavelet takes 'haar', 'db2' to 'db{HIGHEST}' or 'sym2' to 'sym{HIGHEST}'; got {name!r}")
    y = np.roots([math.comb(moments - 1 + k, k) for k in reversed(range(moments))])
    middle = 1 - 2 * y[y.imag >= 0] + 0j  # one of each conjugate pair
    inside = middle - np.sqrt(middle**2 - 1)
    inside = np.where(abs(inside) < 1, inside, 1 / inside)
    choices = product((False, True), repeat=len(inside)) if family == "sym" else [(False,) * len(inside)]
    filters: list[Filter] = [_from_roots(np.where(choice, 1 / inside, inside), moments) for choice in choices]
    best: Filter = min(filters, key=_bend)
    return [float(h) for h in best]


def _from_roots(roots: npt.NDArray[np.complex128], moments: int) -> Filter:
    h: Filter = np.ones(1)
    for root in roots:
        h = np.convolve(h, [1, -root.real] if root.imag == 0 else [1, -2 * root.real, abs(root) ** 2])
    for _ in range(moments):
        h = np.convolve(h, [1, 1])
    return h * (math.sqrt(2) / h.sum())


def _bend(h: Any) -> float:
    """How far the phase of a filter is from a linear one, over all frequencies."""
    w = np.linspace(0, np.pi, 257)[:-1]
    H = np.exp(-1j * np.outer(w, np.arange(h.size))) @ h
    phase = np.unwrap(np.angle(H))
    return float(np.linalg.norm(phase - w * (w @ phase) / (w @ w)))


def _folded(f: list[float], n: int) -> list[float]:
    """A filter on a circle of n points, shorter than itself: its taps add up where they meet, about its middle."""
    if len(f) <= n:
        return f
    return [math.fsum(f[m] for m in range(len(f)) if (m - len(f) // 2 + n // 2 - k) % n == 0) for k in range(n)]


def _analyse(x: Tensor, axis: int, low: list[float], high: list[float]) -> Tensor:
    """x -> (approximation, detail) along an axis, half its length each: sums over every second of its shifts."""
    n = x.shape[axis]
    low, high = _folded(low, n), _folded(high, n)
    side = len(low) // 2 - 1
    wide = torch.cat([x.narrow(axis, n - side, side), x, x.narrow(axis, 0, side)], axis) if side else x
    halves = []
    for taps in (low, high):
        half = taps[0] * _every_second(wide, axis, 0, n)
        for m, h in enumerate(taps[1:], 1):
            half.add_(_every_second(wide, axis, m, n), alpha=h)
        halves.append(half)
    return torch.cat(halves, axis)


def _synthesise(y: Tensor, axis: int, low: list[float], high: list[float]) -> Tensor:
    """The transpose of `_analyse`."""
    n = y.shape[axis]
    low, high = _folded(low, n), _folded(high, n)
    side = len(low) // 2 - 1
    shape = list(y.shape)
    shape[axis] += 2 * side
    wide = y.new_zeros(shape)
    for half, taps in ((y.narrow(axis, 0, n // 2), low), (y.narrow(axis, n // 2, n // 2), high)):
        for m, h in enumerate(taps):
            _every_second(wide, axis, m, n).add_(half, alpha=h)
    x = wide.narrow(axis, side, n)
    if side:
        x = x.clone()
        x.narrow(axis, n - side, side).add_(wide.narrow(axis, 0, side))
        x.narrow(axis, 0, side).add_(wide.narrow(axis, n + side, side))
    return x


def _every_second(x: Tensor, axis: int, first: int, n: int) -> Tensor:
    picked: tuple[EllipsisType | slice, ...] = (..., slice(first, first + n - 1, 2), *(slice(None),) * (-1 - axis))
    return x[picked]
