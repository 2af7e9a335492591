"""Functionals through semi-orthogonal operators, with their proximal maps."""

import math

import torch
from torch import Tensor

from invreg.core import Functional, total
from invreg.operators import SemiOrthogonal


class Through(Functional):
    """f(K x) for a K with K K^H = 1: what f has, a proximal map too (Combettes and Pesquet 2007, proposition 11).

    Where `f @ K` becomes a dual block in PDHG, this is the term with a proximal map: `Through(NonNegative(),
    Component(shape, 0))` holds at every step. Raises TypeError for a K of another kind and ValueError where the axes
    of f are not those of the codomain of K.
    """

    def __init__(self, f: Functional, K: SemiOrthogonal) -> None:
        super().__init__()
        if not isinstance(K, SemiOrthogonal):
            raise TypeError(f"Through takes a semi-orthogonal operator (Component, Wavelet); got {K}: use f @ K")
        if len(K.codomain.shape) != f.ndim:
            raise ValueError(f"{type(f).__name__} sums over {f.ndim} axes, {K} gives {len(K.codomain.shape)}")
        self.f, self.K = f, K
        self.ndim = len(K.domain.shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(self.K(x))

    def grad(self, x: Tensor) -> Tensor:
        return self.K.adjoint(self.f.grad(self.K(x)))

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        forward = self.K(x)
        near = self.f.prox(forward, step)
        return self.K.adjoint(near) if self._orthonormal() else x + self.K.adjoint(near - forward)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """f^*(K u) where u is in the range of K^H; elsewhere infinite, or an upper bound over |x_i| <= bound."""
        forward = self.K(u)
        inside = self.f.conj(forward, bound * self.K.peak())
        if self._orthonormal():
            return inside
        beyond = total((u - self.K.adjoint(forward)).abs(), self.ndim)
        return inside + torch.where(beyond > 0, beyond * bound, 0.0)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        return self.K.adjoint(self.f.conj_prox(self.K(u), step))

    def lipschitz(self) -> float:
        return self.f.lipschitz()

    def _orthonormal(self) -> bool:
        return self.K.domain.size == self.K.codomain.size
