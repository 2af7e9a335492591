"""A ball around the measurement: the noise as a constraint instead of a penalty."""

import math

import torch
from torch import Tensor

from invreg.core import Likelihood, inner, over_batch, total
from invreg.operators.likelihoods.arguments import measurement, normal


class Ball(Likelihood):
    """0 where |p - y|_2 <= radius, infinite elsewhere; radius > 0 in the unit of y (*batch, *shape), or (*batch,).

    `std` is known after `from_noise` and needed only by `sample`. The square root of the machine precision times the
    radius is forgiven, as iterates come to the sphere from outside. Raises ValueError for radius <= 0.
    """

    radius: Tensor
    std: Tensor | None

    def __init__(self, y: Tensor, radius: Tensor | float, *, ndim: int = 2) -> None:
        super().__init__()
        self.ndim = ndim
        self.register_buffer("y", measurement("Ball", y, ndim))
        r = torch.as_tensor(radius, dtype=torch.float64, device=y.device)
        batch = y.shape[: y.ndim - ndim]
        if r.shape not in ((), batch) or not bool((r.isfinite() & (r > 0)).all()):
            raise ValueError(f"Ball takes a finite radius > 0, one or for each batch item {tuple(batch)}; got {radius}")
        self.register_buffer("radius", r)
        self.register_buffer("std", None)

    @classmethod
    def from_noise(cls, y: Tensor, std: Tensor | float, *, ndim: int = 2) -> "Ball":
        """Radius std sqrt(n + 2 sqrt(2 n)): white noise of that `std` on n data is inside but for one case in 40.

        Two standard deviations of |noise|^2 above its mean (Candes, Romberg, Tao, 2006).
        """
        n = math.prod(y.shape[y.ndim - ndim :])
        ball = cls(y, torch.as_tensor(std, dtype=torch.float64) * math.sqrt(n + 2 * math.sqrt(2 * n)), ndim=ndim)
        ball.std = torch.as_tensor(std, dtype=torch.float64, device=y.device)
        return ball

    def forward(self, x: Tensor) -> Tensor:
        slack = 1 + torch.finfo(x.dtype).eps ** 0.5
        return torch.where(self._norm(x - self.y) <= self.radius * slack, 0.0, math.inf).double()

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        r = x - self.y
        shrink = self._spread(self.radius / self._norm(r).clamp(min=1e-300), x)
        return torch.where(shrink < 1, self.y + shrink * r, x)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        return inner(u, self.y, self.ndim) + self.radius * self._norm(u)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        r = u - over_batch(step, u, self.ndim) * self.y
        excess = 1 - self.radius * step / self._norm(r).clamp(min=1e-300)
        return self._spread(excess.clamp(min=0), u) * r

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        if self.std is None:
            raise self._lacks("noise level", "Ball.from_noise to make it")
        noise = normal(prediction, generator)
        return prediction + over_batch(self.std, noise, self.ndim) * noise

    def expected(self) -> Tensor:
        """0: the truth is inside."""
        return torch.zeros(self.y.shape[: self.y.ndim - self.ndim], dtype=torch.float64, device=self.y.device)

    def _spread(self, value: Tensor, x: Tensor) -> Tensor:
        """A (*batch,) tensor in the precision of x, with axes to broadcast against it."""
        return value.to(x.dtype).reshape(*value.shape, *(1,) * self.ndim)

    def _norm(self, x: Tensor) -> Tensor:
        return total(x.square(), self.ndim).sqrt()
