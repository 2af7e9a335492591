"""Learned proximal networks: a prior that is known by its exact proximal map, the gradient of a convex network."""

import copy
import math
import warnings
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from invreg.core import Functional, ShapeError, inner, over_batch, total
from invreg.priors.lpn_inverse import invert


class Potential(Protocol):
    """A convex psi of items (batch, *shape) -> (batch,): what `priors.icnn` makes.

    `shape` is (channel, h, w), with None for sizes that are free, or (d,); `modulus` m >= 0 is that of its strong
    convexity: psi - m |.|^2 / 2 is convex.
    """

    shape: tuple[int | None, ...]
    modulus: float

    def __call__(self, x: Tensor) -> Tensor: ...


class Inversion(NamedTuple):
    """How an inversion went, (*batch,): |f(y) - x| in the unit of the images, where it failed, Newton's steps."""

    residual: Tensor
    failed: Tensor
    iterations: Tensor


class LPN(Functional):
    """R with prox_R = f = grad psi for a convex network psi, of images (*batch, h, w) or (*batch, channel, h, w)."""

    convex = False
    instead = "PnPPGD or PnPADMM, which take a learned prior by its proximal map"

    def __init__(self, psi: nn.Module, sigma: float | None = None, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        self.psi, self.sigma, self.low, self.high = psi, sigma, low, high
        self.ndim = 1 if len(psi.shape) == 1 else 2 if psi.shape[0] == 1 else 3

    def forward(self, x: Tensor) -> Tensor:
        """R(x) through the preimage of x; NaN, with a warning, where there is none to be found."""
        raise NotImplementedError

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        """f(x) at the step 1."""
        raise NotImplementedError

    def potential(self, x: Tensor) -> Tensor:
        """psi(x), (*batch,) in float64."""
        raise NotImplementedError

    def inverse(self, x: Tensor, tol: float = 1e-8, max_iter: int = 100) -> tuple[Tensor, Inversion]:
        """y with f(y) = x, in float64, and how it went."""
        raise NotImplementedError

    def value_after(self, y: Tensor) -> Tensor:
        """R(f(y)) in one pass, without an inversion: what solvers log, which have y."""
        raise NotImplementedError

    def relaxed(self, t: float) -> "LPN":
        """The prior whose proximal map at the step 1 is x + t (f(x) - x), 0 < t <= 1."""
        raise NotImplementedError
