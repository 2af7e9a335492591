"""Noise with outliers: Laplace, Huber and Student-t, which give single wrong data less and less of a say."""

import math

import torch
from torch import Tensor

from invreg.core import Likelihood, over_batch, total
from invreg.operators.likelihoods.arguments import half_of_the_data, measurement, parameter, uniform

_ROUND_OFF = 1 + 1e-5  # by which a dual may leave its bounds without being infeasible


class Laplace(Likelihood):
    """sum_i |p_i - y_i| / b for noise of density exp(-|r| / b) / (2 b) on y (*batch, *shape) of `ndim` axes.

    `scale` b > 0 in the unit of y: a number, (*batch,) or of the shape of y; its standard deviation is sqrt(2) b.
    """

    scale: Tensor

    def __init__(self, y: Tensor, *, scale: Tensor | float = 1.0, ndim: int = 2) -> None:
        super().__init__()
        self.ndim = ndim
        self.register_buffer("y", measurement("Laplace", y, ndim))
        self.register_buffer("scale", parameter("Laplace", "scale", scale, y, ndim, above=0.0))

    def forward(self, x: Tensor) -> Tensor:
        return total((x - self.y).abs() / self.scale, self.ndim)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        r, reach = x - self.y, over_batch(step, x, self.ndim) / self.scale
        return self.y + (r - torch.maximum(torch.minimum(r, reach), -reach))

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        excess = (u.abs() - 1 / self.scale) * (u.abs() * self.scale > _ROUND_OFF)
        return total(u * self.y, self.ndim) + _beyond(excess, self.y, bound, self.ndim)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        limit = 1 / self.scale
        return torch.maximum(torch.minimum(u - over_batch(step, u, self.ndim) * self.y, limit), -limit)

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        """The difference of two exponential variables."""
        return prediction + self.scale * (uniform(prediction, generator) / uniform(prediction, generator)).log()

    def expected(self) -> Tensor:
        return 2 * half_of_the_data(self.y, self.ndim)


class Huber(Likelihood):
    """sum_i h((p_i - y_i) / std) with h(z) = z^2 / 2 for |z| <= delta, else delta |z| - delta^2 / 2.

    The negative logarithm, but for a constant, of the density exp(-h) that is normal in the middle and Laplace in
    the tails (Huber, Ann. Math. Statist. 35, 73, 1964): least squares for `delta` -> infinity, Laplace of scale
    std / delta for delta -> 0. delta = 1.345 loses 5 % where the noise is normal after all. `std` > 0, the
    standard deviation of the normal part in the unit of y (*batch, *shape), and delta > 0, in units of std: numbers,
    (*batch,) or of the shape of y.
    """

    std: Tensor
    delta: Tensor

    def __init__(self, y: Tensor, *, std: Tensor | float = 1.0, delta: Tensor | float = 1.345, ndim: int = 2) -> None:
        super().__init__()
        self.ndim = ndim
        self.register_buffer("y", measurement("Huber", y, ndim))
        self.register_buffer("std", parameter("Huber", "std", std, y, ndim, above=0.0))
        self.register_buffer("delta", parameter("Huber", "delta", delta, y, ndim, above=0.0))

    def forward(self, x: Tensor) -> Tensor:
        z = ((x - self.y) / self.std).abs()
        inner = torch.minimum(z, self.delta)
        return total(inner * (z - 0.5 * inner), self.ndim)

    def grad(self, x: Tensor) -> Tensor:
        return self._limited((x - self.y) / self.std) / self.std

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        t, r = over_batch(step, x, self.ndim), x - self.y
        variance = self.std.square()
        return x - self._limited(r * self.std / (variance + t)) * (t / self.std)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        v = self._limited(u * self.std)
        excess = (u.abs() - self.delta / self.std) * (u.abs() * self.std > self.delta * _ROUND_OFF)
        return total(u * self.y + 0.5 * v * v, self.ndim) + _beyond(excess, self.y, bound, self.ndim)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        s = over_batch(step, u, self.ndim)
        return self._limited(self.std * (u - s * self.y) / (1 + s * self.std.square())) / self.std

    def lipschitz(self) -> float:
        return float((1 / self.std.square()).max())

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        """By the inverse of the distribution function, on each side of 0."""
        share, delta = self._normal_share().to(prediction.dtype), self.delta
        u, side = uniform(prediction, generator), uniform(prediction, generator) - 0.5
        inside = (u / share * torch.erf(delta / math.sqrt(2))).clamp(max=1 - torch.finfo(u.dtype).eps)
        middle = math.sqrt(2) * torch.erfinv(inside)
        tail = delta - ((1 - u).clamp(min=torch.finfo(u.dtype).tiny) / (1 - share)).log() / delta
        return prediction + self.std * torch.where(u <= share, middle, tail) * side.sign()

    def expected(self) -> Tensor:
        """1/2 for a datum of the normal part, 1 for one of the tails, on average over the density."""
        return total((1 - 0.5 * self._normal_share()).expand_as(self.y), self.ndim)

    def _limited(self, z: Tensor) -> Tensor:
        return torch.maximum(torch.minimum(z, self.delta), -self.delta)

    def _normal_share(self) -> Tensor:
        """Probability of |z| <= delta under exp(-h)."""
        delta = self.delta.double()
        middle = math.sqrt(2 * math.pi) * torch.erf(delta / math.sqrt(2))
        return middle / (middle + 2 * (-0.5 * delta.square()).exp() / delta)


class StudentT(Likelihood):
    """sum_i (dof + 1) / 2 log(1 + (p_i - y_i)^2 / (dof scale^2)): Student's t, which forgets gross outliers.

    `scale` > 0 in the unit of y (*batch, *shape) and `dof` > 0, its degrees of freedom (1 is Cauchy's density,
    infinity the normal one): numbers, (*batch,) or of the shape of y. Not convex: its gradient falls off
    again beyond sqrt(dof) scale. It has a proximal map, the global minimiser, which jumps where two tie; no conjugate.
    """

    convex = False
    instead = "Huber or Laplace"
    scale: Tensor
    dof: Tensor

    def __init__(self, y: Tensor, *, dof: Tensor | float, scale: Tensor | float = 1.0, ndim: int = 2) -> None:
        super().__init__()
        self.ndim = ndim
        self.register_buffer("y", measurement("StudentT", y, ndim))
        self.register_buffer("scale", parameter("StudentT", "scale", scale, y, ndim, above=0.0))
        self.register_buffer("dof", parameter("StudentT", "dof", dof, y, ndim, above=0.0))

    def forward(self, x: Tensor) -> Tensor:
        z = (x.double() - self.y) / self.scale
        return total(0.5 * (self.dof + 1) * torch.log1p(z.square() / self.dof), self.ndim)

    def grad(self, x: Tensor) -> Tensor:
        z = (x - self.y) / self.scale
        return (self.dof + 1) * z / (self.dof + z.square()) / self.scale

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        """The best root of (r - z)(1 + r^2) + k r = 0, r and z in units of scale sqrt(dof), in float64."""
        unit = (self.scale * self.dof.sqrt()).double()
        z = (x.double() - self.y) / unit
        k = (self.dof + 1) * over_batch(step, z, self.ndim) / unit.square()
        return (self.y + _best_root(z.abs(), k).copysign(z) * unit).to(x.dtype)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        raise self._lacks("conjugate that says anything about it, as it is not convex", "its prox or gradient")

    def lipschitz(self) -> float:
        return float(((self.dof + 1) / (self.dof * self.scale.square())).max())

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        """By the polar method (Bailey, Math. Comp. 62, 779, 1994)."""
        u, angle = uniform(prediction, generator), 2 * math.pi * uniform(prediction, generator)
        radius = (self.dof * torch.expm1(-2 * u.log() / self.dof)).sqrt()
        return prediction + self.scale * radius * angle.cos()

    def expected(self) -> Tensor:
        half = 0.5 * self.dof.double()
        each = (half + 0.5) * (torch.digamma(half + 0.5) - torch.digamma(half))
        return total(each.expand_as(self.y), self.ndim)


def _beyond(excess: Tensor, y: Tensor, bound: Tensor | float, ndim: int) -> Tensor:
    """sum_i max(excess_i, 0) (bound + |y_i|): what a dual beyond its limit adds to a conjugate over |x_i| <= bound."""
    over = excess.clamp(min=0)
    return torch.where(total(over, ndim) > 0, total(over, ndim) * bound + total(over * y.abs(), ndim), 0.0)


def _best_root(z: Tensor, k: Tensor) -> Tensor:
    """argmin_r (r - z)^2 / 2 + (k / 2) log(1 + r^2) for z >= 0, the best real root of r^3 - z r^2 + (1 + k) r - z."""
    p, q = 1 + k - z.square() / 3, z * ((k - 2) / 3 - 2 / 27 * z.square())  # s^3 + p s + q = 0 with r = s + z / 3
    discriminant = (q / 2).square() + (p / 3) ** 3
    # one real root: Cardano; three: the least and the greatest by Viete's cosines, between them is a maximum
    a = (0.5 * q.abs() + discriminant.clamp(min=0).sqrt()).pow(1 / 3).clamp(min=1e-300)
    only = (p / (3 * a) - a).copysign(-q) + z / 3
    m = (-p / 3).clamp(min=1e-300).sqrt()
    angle = (-q / (2 * m**3)).clamp(-1, 1).arccos() / 3
    least, greatest = (2 * m * (angle + turn).cos() + z / 3 for turn in (2 * math.pi / 3, 0.0))
    costs = [(r - z).square() + k * torch.log1p(r.square()) for r in (least, greatest)]
    better = torch.where(costs[0] < costs[1], least, greatest)
    return _polished(torch.where(discriminant > 0, only, better), z, k)


def _polished(r: Tensor, z: Tensor, k: Tensor) -> Tensor:
    """Newton's steps that bring a root within round-off, each taken only where it helps."""
    for _ in range(3):
        value = (r - z) * (1 + r.square()) + k * r
        moved = (r - value / (3 * r.square() - 2 * z * r + 1 + k)).clamp(min=0)
        better = ((moved - z) * (1 + moved.square()) + k * moved).abs() < value.abs()
        r = torch.where(better, moved, r)
    return r
