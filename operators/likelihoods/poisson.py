"""Counted photons, emission: the Kullback-Leibler divergence, also for a camera with read noise."""

import math

import torch
from torch import Tensor

from invreg.core import Likelihood, over_batch, total
from invreg.operators.likelihoods.arguments import half_of_the_data, measurement, normal, parameter


def divergence(counts: Tensor, rate: Tensor) -> Tensor:
    """q - k + k log(k / q) of counts k and rates q, datum by datum and in float64; infinite where q < 0."""
    k, q = counts.double(), rate.double()
    seen = k > 0
    excess = (q - k) / torch.where(seen, k, 1.0)
    # k (e - log(1 + e)) with e = q / k - 1 keeps its digits where q is close to k
    value = torch.where(seen, k * (excess - torch.log1p(excess.clamp(min=-1))), q)
    return torch.where(q < 0, math.inf, value)


class _KullbackLeibler(Likelihood):
    """sum_i q_i - k_i log q_i + (a constant) of the rates q = p + b, least and 0 at q = k: what Poisson terms share.

    Not for use by itself: a member registers `counts` k >= 0 and `background` b >= 0 and can `sample`.
    """

    counts: Tensor
    background: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return total(divergence(self.counts, x.double() + self.background), self.ndim)

    def grad(self, x: Tensor) -> Tensor:
        rate = x + self.background
        return torch.where(self.counts > 0, (rate - self.counts) / rate, 1.0)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        """q^2 - (x + b - t) q - t k = 0, by the root that does not cancel."""
        t = over_batch(step, x, self.ndim)
        c = x + self.background - t
        root = torch.hypot(c, 2 * (t * self.counts).sqrt())
        small = 2 * t * self.counts / (root - c).clamp(min=torch.finfo(x.dtype).tiny)
        return torch.where(c > 0, 0.5 * (c + root), small) - self.background

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """-b u - k log(1 - u), infinite for u > 1, or there its value at the rate b + bound."""
        v, k = u.double(), self.counts.double()
        value = torch.where(k > 0, -k * torch.log1p(-v.clamp(max=1)), 0.0) - self.background * v
        outside = (v > 1) | ((k > 0) & (v == 1))
        if not bool(outside.any()):
            return total(value, self.ndim)
        limit = torch.as_tensor(over_batch(bound, v, self.ndim), dtype=v.dtype, device=v.device)
        last = torch.where(limit.isinf(), math.inf, v * limit - divergence(self.counts, self.background + limit))
        return total(torch.where(outside, last, value), self.ndim)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        s = over_batch(step, u, self.ndim)
        d = u + s * self.background - 1
        root = torch.hypot(d, 2 * (s * self.counts).sqrt())
        v = 1 - torch.where(d > 0, 2 * s * self.counts / (root + d), 0.5 * (root - d))
        # 1 itself is in the domain of the conjugate only where nothing was counted
        return torch.where(self.counts > 0, v.clamp(max=1 - torch.finfo(u.dtype).eps / 2), v)

    def lipschitz(self) -> float:
        """The greatest k / b^2: a Lipschitz constant over predictions p >= 0."""
        curvature = torch.where(self.counts > 0, self.counts / self.background.square(), 0.0)
        if not bool(curvature.isfinite().all()):
            raise self._lacks("Lipschitz gradient without a background", "its prox, as PDHG does")
        return float(curvature.max())

    def expected(self) -> Tensor:
        """n / 2, the limit of many counts (Bertero et al., Inverse Problems 26, 105004, 2010).

        The mean of a datum is 0.52 at 5 counts, 0.57 at 1, at most 0.58, and 0.24 at 0.1.
        """
        return half_of_the_data(self.y, self.ndim)


class Poisson(_KullbackLeibler):
    """sum_i p_i + b_i - y_i log(p_i + b_i) for counts y ~ Poisson(p + b), shifted so that its minimum is 0.

    y >= 0 (*batch, *shape) of `ndim` axes and p are in counts. `background` b >= 0, the mean of what is counted
    besides (scatter, randoms, sky, dark counts): a number, (*batch,) or of the shape of y. Infinite where
    p + b < 0, and where p + b = 0 < y. Source: Shepp and Vardi (1982); the proximal map is a quadratic equation.
    Raises ValueError for negative or non-finite counts and backgrounds.
    """

    def __init__(self, y: Tensor, *, background: Tensor | float = 0.0, ndim: int = 2) -> None:
        super().__init__()
        self.ndim = ndim
        self.register_buffer("y", measurement("Poisson", y, ndim, low=0.0))
        self.register_buffer("background", parameter("Poisson", "background", background, y, ndim, low=0.0))

    @property
    def counts(self) -> Tensor:  # type: ignore[override]
        return self.y

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        """Counts of mean p + b; a rate below 0 counts nothing."""
        return torch.poisson((prediction + self.background).clamp(min=0), generator)


class PoissonGaussian(_KullbackLeibler):
    """A camera: y = gain Poisson(p) + offset + read * (standard normal), by the shifted Poisson model.

    p is in electrons (counts), y (*batch, *shape), gain > 0 (units of y an electron), offset and read >= 0 (its
    standard deviation) in the unit of y: numbers, (*batch,) or maps of the shape of y. With s = read / gain,
    k = (y - offset) / gain + s^2 has the mean and the variance p + s^2 and is taken for a Poisson variable (Snyder,
    Hammoud, White, J. Opt. Soc. Am. A 10, 1014, 1993; k < 0 is taken for 0), which makes the term convex with a
    proximal map in closed form. `sample` draws from the exact model. docs/likelihoods.md says how far it is from
    the exact likelihood. Raises ValueError for senseless parameters.
    """

    def __init__(
        self,
        y: Tensor,
        *,
        gain: Tensor | float,
        read: Tensor | float,
        offset: Tensor | float = 0.0,
        ndim: int = 2,
    ) -> None:
        super().__init__()
        self.ndim = ndim
        self.register_buffer("y", measurement("PoissonGaussian", y, ndim))
        self.register_buffer("gain", parameter("PoissonGaussian", "gain", gain, y, ndim, above=0.0))
        self.register_buffer("read", parameter("PoissonGaussian", "read", read, y, ndim, low=0.0))
        self.register_buffer("offset", parameter("PoissonGaussian", "offset", offset, y, ndim))
        self.register_buffer("background", (self.read / self.gain).square())
        self.register_buffer("counts", ((y - self.offset) / self.gain + self.background).clamp(min=0))

    gain: Tensor
    read: Tensor
    offset: Tensor

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        electrons = torch.poisson(prediction.clamp(min=0), generator)
        return self.gain * electrons + self.offset + self.read * normal(prediction, generator)
