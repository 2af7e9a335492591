"""Learned proximal networks: a prior that is known by its exact proximal map, the gradient of a convex network."""

import copy
import math
import warnings

import torch
from torch import Tensor

from invreg.core import Functional, ShapeError, inner, total
from invreg.priors.icnn import Potential
from invreg.priors.lpn_inverse import Inversion, invert, value_and_gradient

TOL, MAX_ITER = 1e-8, 100  # of the inversion
ROUND_OFF = 1e-6  # steps that close to 1 are 1: weight * step in floating point


class LPN(Functional):
    """R with prox_R = f = grad psi for a convex network psi, of images (*batch, h, w) or (*batch, channel, h, w).

    psi (item, *shape) -> (item,) is a module as those of `priors.icnn`: `shape` (channel, h, w) of an item, None for
    sizes that are free, or (d,) for vectors (*batch, d); `modulus` m of strong convexity, psi - m |.|^2 / 2 being
    convex. One channel has no axis. The gradient of a convex function is the proximal map of some R, and
    R + |.|^2 / 2 is the conjugate of psi: R is 1-weakly convex, not convex, known up to a constant, and finite where
    f has a preimage, which is everywhere if m > 0. A network trained by proximal matching at noise of standard
    deviation sigma has R = -sigma^2 log p, in the unit of its range.

    Images in [low, high] are [0, 1] to the network: with s = high - low, f(x) = low + s grad psi((x - low) / s) is
    the proximal map of s^2 R((x - low) / s), which is R in the unit of the images. `sigma`: the standard deviation
    that the network was trained at, of [0, 1]; kept for those who choose weights by it.

    `prox(x, 1)` is one pass of the network and autograd follows it. Steps below 1 are the proximal maps of step R,
    by a convex problem that takes tens of passes; those above 1 need not be single-valued and are refused.
    A weight counts as step: (c * prior).prox(x, t) is that at c t. Values are in float64 whatever the images are in.

    Raises TypeError for a psi without `shape` and `modulus`, ValueError for senseless numbers, `ShapeError` for
    images of another shape. Sources: Fang, Buchanan, Sulam, ICLR 2024; Gribonval and Nikolova, J. Math. Imaging Vis.
    62, 773, 2020, for what is a proximal map.
    """

    convex = False
    instead = "PnPPGD or PnPADMM, which take a learned prior by its proximal map"
    psi: Potential

    def __init__(self, psi: Potential, sigma: float | None = None, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        if not hasattr(psi, "shape") or not hasattr(psi, "modulus") or len(psi.shape) not in (1, 3):
            raise TypeError(
                "LPN takes a convex psi with `shape`, (channel, h, w) or (d,), and `modulus`, such as those of "
                f"invreg.priors.icnn; got a {type(psi).__name__}"
            )
        if not (math.isfinite(high - low) and low < high) or (sigma is not None and not 0 < sigma < math.inf):
            raise ValueError(f"LPN takes finite low < high and sigma > 0; got low={low}, high={high}, sigma={sigma}")
        self.psi, self.sigma, self.low, self.high = psi, sigma, low, high
        self.ndim = 1 if len(psi.shape) == 1 else 2 if psi.shape[0] == 1 else 3

    def forward(self, x: Tensor) -> Tensor:
        """R(x) through the preimage of x, about as long as fifty to some hundred passes; autograd follows x.

        NaN, with a warning, for items whose preimage was not found: see `inverse`.
        """
        u = self._items(x, torch.float64)
        y = self._solved(u, torch.zeros(len(u), dtype=u.dtype, device=u.device), "have no preimage that was found")
        return self._image_unit(self._gap(u, y, value_and_gradient(self._psi(torch.float64), y)[0]), x)

    def grad(self, x: Tensor) -> Tensor:
        """f^-1(x) - x, of one inversion; NaN where that failed."""
        u = self._items(x.detach(), torch.float64)
        y = self._solved(u, torch.zeros(len(u), dtype=u.dtype, device=u.device), "have no preimage that was found")
        return self._images(y, x).to(x.dtype) - x.detach()

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        """f(x) at the step 1, of one pass that autograd follows where x requires it.

        At steps t in (0, 1), exact too, f(y) with t y + (1 - t) f(y) = x. They take tens of passes in float64; items
        that do not converge are NaN, with a warning, and autograd stops with a ValueError. So do steps above 1:
        R is 1-weakly convex, its proximal map is sure to be single-valued up to the step 1.
        """
        tau = torch.as_tensor(step, dtype=torch.float64)
        if not bool(((tau > 0) & (tau <= 1 + ROUND_OFF)).all()):
            raise ValueError(
                f"LPN.prox takes weight * step in (0, 1]: beyond 1 the proximal map of a learned R need not be "
                f"single-valued; got {step}: lower the weight or the step"
            )
        if bool((tau >= 1 - ROUND_OFF).all()):
            return self._pass(x)
        if torch.is_grad_enabled() and x.requires_grad:
            raise ValueError(f"autograd follows LPN.prox at weight * step = 1 only; got {step}: detach x")
        u = self._items(x, torch.float64)
        each = tau.to(u.device).clamp(max=1).expand(self._batch(x)).reshape(-1)
        y = self._solved(u, each, f"did not converge in the proximal map at weight * step {step}")
        return self._images(value_and_gradient(self._psi(torch.float64), y)[1], x).to(x.dtype)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        raise self._lacks("conjugate, as it is not convex", self.instead)

    def potential(self, x: Tensor) -> Tensor:
        """The psi whose gradient is f, in the unit of the images: (*batch,). The Moreau envelope of R is |x|^2/2 - it.

        That is s^2 psi((x - low) / s) + low sum(x) - n low^2 / 2 for n values, R(f(x)) being <x, f(x)> - |f(x)|^2 / 2
        less this.
        """
        u = self._items(x, torch.float64)
        size = u[0].numel() if len(u) else 0
        shift = self.low * total(x, self.ndim) - size * self.low**2 / 2
        return self._image_unit(self._psi(torch.float64)(u), x) + shift

    def value_after(self, y: Tensor) -> Tensor:
        """R(f(y)), of one pass and no inversion: what solvers log, who have the y that they gave to `prox`."""
        u = self._items(y.detach(), torch.float64)
        psi, f = value_and_gradient(self._psi(torch.float64), u)
        return self._image_unit(self._gap(f, u, psi), y)

    def inverse(self, x: Tensor, tol: float = TOL, max_iter: int = MAX_ITER) -> tuple[Tensor, Inversion]:
        """The y with f(y) = x, argmin psi(y) - <x, y>, in float64, and how it went: `residual`, `failed`, `iterations`.

        `tol`: of the root mean square of f(y) - x against high - low. An item that failed holds what was reached: its
        x lies outside of what f takes (which is all images if the modulus of psi is positive), on its edge, where
        residuals vanish but y diverges, holds NaN, or wants more than `max_iter` steps.
        """
        if not tol > 0 or max_iter < 1:
            raise ValueError(f"LPN.inverse takes tol > 0 and max_iter >= 1; got tol={tol}, max_iter={max_iter}")
        u = self._items(x.detach(), torch.float64)
        zero = torch.zeros(len(u), dtype=u.dtype, device=u.device)
        y, residual, failed, iterations = invert(self._psi(torch.float64), u, zero, tol, max_iter)
        batch = self._batch(x)
        residual = residual.reshape(batch) * (self.high - self.low)
        return self._images(y, x), Inversion(residual, failed.reshape(batch), iterations.reshape(batch))

    def relaxed(self, t: float) -> "LPN":
        """The prior with the proximal map x + t (f(x) - x) at the step 1, 0 < t <= 1: a pass, and less of a change.

        It is the gradient of t psi + (1 - t) |x|^2 / 2. The Moreau envelope of its R is t times that of this one; the
        R itself is another than t R, whose proximal map is `prox(x, t)`. Source: Hurault et al., SSVM 2023.
        """
        if not 0 < t <= 1:
            raise ValueError(f"LPN.relaxed takes t in (0, 1]; got {t}")
        return LPN(_Relaxed(self.psi, t), self.sigma, self.low, self.high)

    def _pass(self, x: Tensor) -> Tensor:
        recorded = torch.is_grad_enabled() and x.requires_grad
        u, psi = self._items(x, x.dtype), self._psi(x.dtype)
        if not recorded:
            return self._images(value_and_gradient(psi, u)[1], x)
        return self._images(torch.autograd.grad(psi(u).sum(), u, create_graph=True)[0], x)

    def _solved(self, u: Tensor, tau: Tensor, what: str) -> Tensor:
        """The y with (1 - tau) f(y) + tau y = u, NaN where it was not found."""
        y, _, failed, _ = invert(self._psi(torch.float64), u.detach(), tau, TOL, MAX_ITER)
        if bool(failed.any()):
            warnings.warn(f"{self.name}: {int(failed.sum())} of {len(failed)} items {what}; they are NaN", stacklevel=3)
        return torch.where(failed.reshape(-1, *(1,) * (y.ndim - 1)), torch.nan, y)

    @staticmethod
    def _gap(x: Tensor, y: Tensor, psi: Tensor) -> Tensor:
        return inner(x, y, x.ndim - 1) - inner(x, x, x.ndim - 1) / 2 - psi

    def _psi(self, dtype: torch.dtype) -> Potential:
        """The network in a precision: itself, or a copy."""
        if all(p.dtype == dtype for p in self.psi.parameters()):
            return self.psi
        with torch.inference_mode(False):
            return copy.deepcopy(self.psi).to(dtype)

    def _batch(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape[: x.ndim - self.ndim])

    def _items(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Images as the network takes them, (item, *psi.shape) in its range. Raises ShapeError for others."""
        takes = self.psi.shape[1:] if self.ndim == 2 else self.psi.shape
        found = x.shape[max(x.ndim - self.ndim, 0) :]
        fits = len(found) == self.ndim and all(n in (None, m) for n, m in zip(takes, found, strict=True))
        if not fits or not x.is_floating_point():
            names = ("channel", "h", "w")[-self.ndim :]
            sizes = ", ".join(str(n or name) for n, name in zip(takes, names, strict=True))
            raise ShapeError(f"{self.name} takes real floating-point (*batch, {sizes}); got {x.dtype} {tuple(x.shape)}")
        axes = found if self.ndim != 2 else (1, *found)
        return ((x.to(dtype) - self.low) / (self.high - self.low)).reshape(math.prod(self._batch(x)), *axes)

    def _images(self, u: Tensor, like: Tensor) -> Tensor:
        return (self.low + (self.high - self.low) * u).reshape(like.shape)

    def _image_unit(self, value: Tensor, x: Tensor) -> Tensor:
        return (self.high - self.low) ** 2 * value.reshape(self._batch(x))


class _Relaxed(Potential):
    """t psi + (1 - t) |x|^2 / 2."""

    def __init__(self, psi: Potential, t: float) -> None:
        super().__init__()
        self.psi, self.t = psi, t
        self.shape, self.modulus = psi.shape, t * psi.modulus + 1 - t

    def forward(self, x: Tensor) -> Tensor:
        return self.t * self.psi(x) + (1 - self.t) * x.flatten(1).square().sum(1) / 2
