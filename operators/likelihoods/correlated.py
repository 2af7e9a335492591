"""Correlated Gaussian noise, stationary and periodic: its covariance is diagonal in the Fourier domain."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from invreg.core import Likelihood, over_batch, total
from invreg.operators.likelihoods.arguments import measurement, normal
from invreg.operators.spectral import Basis, basis


class CorrelatedGaussian(Likelihood):
    """(p - y)^T C^-1 (p - y) / 2 for noise of covariance C, periodic over the `ndim` axes of y (*batch, *shape).

    `spectrum` is the power spectral density of the noise in the square of the unit of y: the eigenvalues of C,
    > 0, even, so that white noise has the constant std^2. Either a tensor that broadcasts against the grid of
    `torch.fft.rfftn`, (..., h, w // 2 + 1), with batch axes before it or none, or a function of the frequencies,
    one tensor for each axis in cycles a sample, that returns it. Where it is infinite that frequency is unknown
    and weighs nothing. `Sobolev` is the case of a power law. Raises ValueError for a spectrum of another shape, not
    positive, or not even.
    """

    quadratic = True
    basis: Basis
    weights: Tensor  # 1 / spectrum
    multiplicity: Tensor  # how often a frequency of the half grid occurs in the whole one

    def __init__(self, y: Tensor, spectrum: Tensor | Callable[..., Tensor], *, ndim: int = 2) -> None:
        super().__init__()
        y = measurement("CorrelatedGaussian", y, ndim)
        *rest, last = y.shape[y.ndim - ndim :]
        grid = (*rest, last // 2 + 1)
        if not isinstance(spectrum, Tensor):
            axes = [torch.fft.fftfreq(n, dtype=torch.float64, device=y.device) for n in rest]
            axes.append(torch.fft.rfftfreq(last, dtype=torch.float64, device=y.device))
            spectrum = spectrum(*torch.meshgrid(*axes, indexing="ij"))
        whole = (*y.shape[: y.ndim - ndim], *grid)
        if spectrum.ndim > len(whole) or any(
            n not in (1, m) for n, m in zip(reversed(spectrum.shape), reversed(whole), strict=False)
        ):
            raise ValueError(
                f"CorrelatedGaussian takes a spectrum on the grid {grid} of rfftn; got {tuple(spectrum.shape)}"
            )
        spectrum = spectrum.to(y).expand(*spectrum.shape[: max(spectrum.ndim - ndim, 0)], *grid)
        if not bool((spectrum > 0).all()):
            raise ValueError(f"CorrelatedGaussian takes a spectrum > 0; the least is {float(spectrum.min()):g}")
        self._set(y, ndim, basis("CorrelatedGaussian", "periodic", tuple(range(-ndim, 0)), y.shape, ndim), 1 / spectrum)
        for k in {0, last // 2} if last % 2 == 0 else {0}:  # the columns whose mirror images are on the grid too
            column = self.weights[..., k]
            over = tuple(range(-ndim + 1, 0))
            mirrored = column.flip(over).roll((1,) * len(over), over) if over else column
            if not torch.allclose(column, mirrored, rtol=1e-4):
                raise ValueError("CorrelatedGaussian takes an even spectrum, the same at f and -f; this one is not")

    def _set(self, y: Tensor, ndim: int, basis: Basis, weights: Tensor) -> None:
        self.ndim, self.basis = ndim, basis
        self.register_buffer("y", y)
        self.register_buffer("weights", weights)
        self.register_buffer("multiplicity", basis.multiplicity(y))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * total(self.weights * self._power(self.basis.forward(x - self.y)), self.ndim)

    def grad(self, x: Tensor) -> Tensor:
        return self.basis.back(self.weights * self.basis.forward(x - self.y))

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        t = over_batch(step, x, self.ndim)
        return self.y + self.basis.back(self.basis.forward(x - self.y) / (1 + t * self.weights))

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        power = self._power(self.basis.forward(u))
        # where w = 0 the conjugate is the indicator of no power there, up to the round-off of the transform
        round_off = (32 * torch.finfo(u.dtype).eps) ** 2 * total(power, self.ndim)
        outside = torch.where(power <= over_batch(round_off, power, self.ndim), 0.0, math.inf)
        known = self.weights > 0
        half = torch.where(known, 0.5 * power / torch.where(known, self.weights, 1.0), outside)
        return total(u * self.y, self.ndim) + total(half, self.ndim)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        s = over_batch(step, u, self.ndim)
        return self.basis.back(self.basis.forward(u - s * self.y) * (self.weights / (self.weights + s)))

    def lipschitz(self) -> float:
        return float(self.weights.max())

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        """Coloured noise of that spectrum; none at the frequencies where it is infinite."""
        std = torch.where(self.weights > 0, self.weights.rsqrt(), 0.0)
        return prediction + self.basis.back(std * self.basis.forward(normal(prediction, generator)))

    def expected(self) -> Tensor | None:
        known = ((self.weights > 0) * self.multiplicity).double()
        batch = self.y.shape[: self.y.ndim - self.ndim]
        return 0.5 * total(known, self.ndim).expand(batch)

    def _power(self, transformed: Tensor) -> Tensor:
        """|x_k|^2 times the number of times that k occurs, so that it sums to |x|^2."""
        power = transformed.real.square()
        if transformed.is_complex():
            power = power + transformed.imag.square()
        return power * self.multiplicity
