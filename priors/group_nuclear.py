"""The nuclear norm of the matrix at each pixel: what couples the channels of a colour image."""

import math

import torch
from torch import Tensor

from invreg.core import total
from invreg.priors.norms import GroupL1


class GroupNuclear(GroupL1):
    """sum_i w_i |X_i|_* over fields of matrices (*batch, rows, 2, h, w), |.|_* the sum of the two singular values.

    Of the Jacobian of an image with `rows` channels it asks for few edges, and for edges along one direction in all
    channels. Real fields; `weights` (*batch, 1, h, w), errors as in GroupL1. Its conjugate is the indicator of spectral
    norms of at most w_i. Source: Lefkimmiatis, Roussos, Maragos, Unser, SIAM J. Imaging Sci. 8 (2015).
    """

    def __init__(self, weights: Tensor | None = None) -> None:
        super().__init__(weights, ndim=4)

    def _with(self, weights: Tensor) -> "GroupNuclear":
        return GroupNuclear(weights)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = _gram(x)
        # (s1 + s2)^2 = s1^2 + s2^2 + 2 s1 s2
        return total(self._radius(x) * (a + c + 2 * _determinant(a, b, c)).sqrt(), 3)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """0 where no singular value is above w_i; else infinite, or the support value over |x_i|_F <= bound."""
        radius = self._radius(u)
        excess = [self._excess(square.sqrt(), radius) for square in _squares(*_gram(u))]
        outside = total(torch.hypot(*excess), 3)
        return torch.where(outside > 0, outside * bound, 0.0)

    def _project(self, u: Tensor, scale: Tensor | float) -> Tensor:
        """Each singular value s becomes min(s, r), r = scale * weights: U times a function of its Gram matrix."""
        a, b, c = _gram(u)
        high, low = _squares(a, b, c)
        radius = scale * self._radius(u)
        least = torch.finfo(u.dtype).tiny
        f, g = ((radius / square.clamp(min=least).sqrt()).clamp(max=1.0) for square in (high, low))
        # the function of the Gram matrix G with values f, g at its eigenvalues: g + (f - g) (G - low) / (high - low)
        # equal ones differ by round-off, by which nothing may be divided that is not as small
        apart = torch.maximum(high - low, torch.finfo(u.dtype).eps * high)
        slope = (f - g) / apart.clamp(min=least)
        first, second = u.narrow(-3, 0, 1), u.narrow(-3, 1, 1)
        mixed = (slope * b).unsqueeze(-4)
        own = [(g + slope * (square - low)).unsqueeze(-4) for square in (a, c)]
        return torch.cat((first * own[0] + second * mixed, first * mixed + second * own[1]), dim=-3)


def _gram(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The entries 00, 01 and 11 of X^T X at each pixel, (*batch, 1, h, w) each."""
    if x.is_complex():
        raise TypeError("GroupNuclear takes real fields; got a complex one: use GroupL1")
    first, second = x.narrow(-3, 0, 1), x.narrow(-3, 1, 1)
    return first.square().sum(-4), (first * second).sum(-4), second.square().sum(-4)


def _determinant(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The square root of the determinant, the product of the singular values."""
    return (a * c - b * b).clamp(min=0).sqrt()


def _squares(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The squares of the singular values, the larger first."""
    high = (a + c) / 2 + torch.hypot((a - c) / 2, b)
    low = (a * c - b * b).clamp(min=0) / high.clamp(min=torch.finfo(a.dtype).tiny)  # no difference of large numbers
    return high, low
