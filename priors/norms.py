"""Norms as priors: of vector fields, their Huber version, and of matrix fields."""

import math
from functools import reduce

import torch
from torch import Tensor

from invreg.core import Functional, over_batch, positive_weight, total


def magnitude(x: Tensor, ndim: int = 3) -> Tensor:
    """|x_i|_2 of a real or complex vector field of `ndim` axes, (*batch, component, *shape) -> (*batch, *shape).

    `torch.linalg.vector_norm` over so short an axis takes 90 times as long.
    """
    parts = (x.abs() if x.is_complex() else x).unbind(-ndim)
    if len(parts) == 1:
        return parts[0].abs()
    if x.requires_grad:  # at the origin, where hypot gives nan, a complex modulus has the gradient 0
        return reduce(lambda a, b: torch.complex(a, b).abs(), parts)
    return reduce(torch.hypot, parts)


class GroupL1(Functional):
    """sum_i w_i |x_i|_2 over vector fields (*batch, component, *shape), |.|_2 taken across the components.

    A field has `ndim` axes: 3 for images (component, h, w), 4 for volumes. Of complex components |.|_2 takes the
    moduli: real and imaginary parts shrink together.

    `weights` (*batch, *shape) or *shape, w >= 0, default 1. Its conjugate is the indicator of |u_i|_2 <= w_i, so
    the map is the radius of the dual balls (Morotti et al., arXiv 2404.16900).
    Raises ValueError for negative or non-finite weights, and for ndim < 2.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None, *, ndim: int = 3) -> None:
        super().__init__()
        who = type(self).__name__
        if weights is not None and not bool(((weights >= 0) & weights.isfinite()).all()):
            raise ValueError(f"{who} takes finite weights >= 0; got some that are negative or not finite")
        if ndim < 2:
            raise ValueError(f"{who} takes fields of a component axis and one or more others: ndim >= 2; got {ndim}")
        self.register_buffer("weights", weights)
        self.ndim = ndim

    def __rmul__(self, weight: Tensor | float) -> "GroupL1":
        """c f as one of the same kind with the weights c w: two passes over the field less than `Weighted`."""
        c = positive_weight(self, weight)
        c = c.reshape(*c.shape, *(1,) * (self.ndim - 1))
        return self._with(c if self.weights is None else c.to(self.weights) * self.weights)

    def _with(self, weights: Tensor) -> "GroupL1":
        return type(self)(weights, ndim=self.ndim)

    def forward(self, x: Tensor) -> Tensor:
        size = magnitude(x, self.ndim)
        return total(self._radius(x) * size, self.ndim - 1)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return x - self._project(x, over_batch(step, x, self.ndim - 1))

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """0 inside the dual balls; outside infinite, or the support value over |x_i|_2 <= bound."""
        excess = total(self._excess(magnitude(u, self.ndim), self._radius(u)), self.ndim - 1)
        return torch.where(excess > 0, excess * bound, 0.0)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        return self._project(u, 1.0)

    @staticmethod
    def _excess(size: Tensor, radius: Tensor | float) -> Tensor:
        """How far |u_i| lies outside the ball; the projection lands on the sphere up to round-off, which is inside."""
        return (size - radius).clamp_(min=0).mul_(size > radius * (1 + 1e-5))

    def _project(self, u: Tensor, scale: Tensor | float) -> Tensor:
        """u_i min(1, r_i / |u_i|_2) with the radius r = scale * weights."""
        radius = scale * self._radius(u)
        size = magnitude(u, self.ndim)
        factor = (radius / size.clamp(min=torch.finfo(u.dtype).tiny)).clamp(max=1.0)
        return u * factor.unsqueeze(-self.ndim)

    def _radius(self, u: Tensor) -> Tensor | float:
        return 1.0 if self.weights is None else self.weights.to(u.real.dtype)


class GroupHuber(GroupL1):
    """sum_i w_i h(|x_i|_2) with h(t) = t^2 / (2 alpha) up to alpha, and t - alpha / 2 beyond, over vector fields.

    `alpha` > 0, in the unit of the field: lengths below it are smoothed as by Tikhonov, those above kept as by
    GroupL1, of which the rest is said there. Conjugate: alpha |u_i|^2 / (2 w_i) inside the same balls.
    Raises ValueError for an alpha that is not positive and finite. Source: Huber (1964).
    """

    def __init__(self, alpha: float, weights: Tensor | None = None, *, ndim: int = 3) -> None:
        super().__init__(weights, ndim=ndim)
        if not 0 < alpha < math.inf:
            raise ValueError(f"GroupHuber takes a finite alpha > 0; got {alpha}")
        self.alpha = float(alpha)

    def _with(self, weights: Tensor) -> "GroupHuber":
        return GroupHuber(self.alpha, weights, ndim=self.ndim)

    def forward(self, x: Tensor) -> Tensor:
        return total(self._radius(x) * self._value(magnitude(x, self.ndim)), self.ndim - 1)

    def grad(self, x: Tensor) -> Tensor:
        factor = self._radius(x) / magnitude(x, self.ndim).clamp(min=self.alpha)
        return x * factor.unsqueeze(-self.ndim)

    def lipschitz(self) -> float:
        return (1.0 if self.weights is None else float(self.weights.max())) / self.alpha

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return x - self._shrink(x, over_batch(step, x, self.ndim - 1) * self._radius(x), self.alpha)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        radius, size = self._radius(u), magnitude(u, self.ndim)
        # the supremum is at |x| = alpha |u| / w inside the ball, at the bound if that is less; outside at the bound,
        # with the slope |u| - w beyond alpha
        ratio = (size / radius).nan_to_num(0.0).clamp(max=1.0)  # 0 / 0 where the weight is 0
        limit = over_batch(bound, u, self.ndim - 1)
        length = (self.alpha * ratio).clamp(max=limit)
        inside = length * size.clamp(max=radius) - radius * length.square() / (2 * self.alpha)
        excess = total(self._excess(size, radius), self.ndim - 1)
        return total(inside, self.ndim - 1) + torch.where(excess > 0, excess * bound, 0.0)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        return self._shrink(u, self._radius(u), over_batch(step, u, self.ndim - 1) * self.alpha)

    def _shrink(self, x: Tensor, radius: Tensor | float, soft: Tensor | float) -> Tensor:
        """x_i r / max(r + soft, |x_i|_2)."""
        size = magnitude(x, self.ndim)
        return x * (
            radius / torch.maximum(size, torch.as_tensor(radius + soft, dtype=size.dtype, device=size.device))
        ).unsqueeze(-self.ndim)

    def _value(self, size: Tensor) -> Tensor:
        short = size.clamp(max=self.alpha)
        return short.square() / (2 * self.alpha) + (size - short)
