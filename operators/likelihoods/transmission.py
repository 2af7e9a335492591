"""Counted photons, transmission: what is left of a beam, as in X-ray tomography at low dose."""

import math

import torch
from torch import Tensor

from invreg.core import Likelihood, over_batch, total
from invreg.operators.likelihoods.arguments import half_of_the_data, measurement, parameter
from invreg.operators.likelihoods.poisson import divergence


def wright_omega(z: Tensor) -> Tensor:
    """The w > 0 with w + log w = z, that is W(exp z) of Lambert's function, as well as the rounding of z allows.

    Three steps of Fritsch, Shafer and Crowley, of fourth order, from a start within 0.4 of it (Lawrence, Corless,
    Jeffrey, ACM Trans. Math. Softw. 38, 20, 2012).
    """
    c = z.clamp(min=-20)
    small = c.clamp(max=1).exp()
    w = torch.where(c > 1, c - c.clamp(min=1).log(), small / (1 + small * (1 - math.exp(-1))))
    for _ in range(3):
        a = (c - w - w.log()) / (1 + w)
        b, d = 1 + 2 / 3 * a, a / (1 + w)
        w = w * (1 + a * (b - 0.5 * d) / (b - d))
    tail = z.clamp(max=-20).exp()
    return torch.where(z < -20, tail * (1 - tail), w)


class PoissonTransmission(Likelihood):
    """sum_i q_i - y_i log q_i, q = I exp(-p) + b, for counts y ~ Poisson(q), shifted so that no value is below 0.

    p are line integrals (attenuation times length, 1); y >= 0 (*batch, *shape) of `ndim` axes are counts;
    `incident` I > 0 are the counts without an object and `background` b >= 0 those of scatter and dark current:
    numbers, (*batch,) or of the shape of y. Without a background the term is convex, its proximal map is Lambert's
    W (`wright_omega`) and its conjugate is in closed form. With one its curvature I exp(-p) (1 - y b / q^2) may be
    negative (Erdogan and Fessler, Phys. Med. Biol. 44, 2835, 1999, whose surrogates it would take), and it has a
    value and a gradient only. Raises ValueError for negative or non-finite counts and senseless parameters.
    """

    instead = "it without a background, which is taken off the counts (and cut at 0), or WeightedLeastSquares"
    incident: Tensor
    background: Tensor

    def __init__(self, y: Tensor, *, incident: Tensor | float, background: Tensor | float = 0.0, ndim: int = 2) -> None:
        super().__init__()
        self.ndim = ndim
        self.register_buffer("y", measurement("PoissonTransmission", y, ndim, low=0.0))
        self.register_buffer("incident", parameter("PoissonTransmission", "incident", incident, y, ndim, above=0.0))
        self.register_buffer("background", parameter("PoissonTransmission", "background", background, y, ndim, low=0.0))
        self.convex = not bool(self.background.any())

    def forward(self, x: Tensor) -> Tensor:
        k, i, p = self.y.double(), self.incident.double(), x.double()
        left = i * (-p).exp()
        if not self.convex:
            return total(divergence(k, left + self.background), self.ndim)
        # y (exp(d) - 1 - d) with exp(d) = I exp(-p) / y keeps its digits at the minimum and is finite far from it
        seen = k > 0
        d = i.log() - p - torch.where(seen, k, 1.0).log()
        return total(torch.where(seen, k * (torch.expm1(d) - d), left), self.ndim)

    def grad(self, x: Tensor) -> Tensor:
        left = self.incident * (-x).exp()
        if self.convex:
            return self.y - left
        rate = left + self.background
        return left * torch.where(self.y > 0, (self.y - rate) / rate, -1.0)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        """p - z = w with w + log w = log(t I) - z, z = x - t y: no iteration but the fixed three of W."""
        self._needs_convexity("proximal map")
        t = over_batch(step, x, self.ndim)
        z, size = x - t * self.y, (t * self.incident).log()
        w = wright_omega(size - z)
        return torch.where(w > 1, size - w.log(), z + w)  # the same number, by the way that does not cancel

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """w log(w / I) - y log(y / I) + u with w = y - u, infinite where u > y, or there at p = bound."""
        self._needs_convexity("conjugate")
        v, k, i = u.double(), self.y.double(), self.incident.double()
        w = k - v
        value = torch.xlogy(w.clamp(min=0), w.clamp(min=0) / i) - torch.xlogy(k, k / i) + v
        outside = w < 0
        if not bool(outside.any()):
            return total(value, self.ndim)
        limit = torch.as_tensor(over_batch(bound, v, self.ndim), dtype=v.dtype, device=v.device)
        # sup (u - y) p - I exp(-p) + (the constant of the shift) over |p| <= bound, an increasing function of p
        last = -w * limit - i * (-limit).exp() - torch.xlogy(k, k / i) + k
        return total(torch.where(outside, torch.where(limit.isinf(), math.inf, last), value), self.ndim)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        self._needs_convexity("conjugate")
        s = over_batch(step, u, self.ndim)
        return self.y - s * wright_omega((self.incident / s).log() + (self.y - u) / s)

    def lipschitz(self) -> float:
        """The greatest I, over predictions p >= 0; with a background the greater of that and y / 4."""
        least = self.incident if self.convex else torch.maximum(self.incident, self.y / 4)
        return float(least.max())

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        return torch.poisson(self.incident * (-prediction).exp() + self.background, generator)

    def expected(self) -> Tensor:
        """n / 2, the limit of many counts, as for `Poisson`."""
        return half_of_the_data(self.y, self.ndim)

    def _needs_convexity(self, what: str) -> None:
        if not self.convex:
            raise self._lacks(f"{what} with a background, where it is not convex", "its gradient, or subtract b")
