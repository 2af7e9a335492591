"""Sobolev misfits: Gaussian noise whose power follows a power law of the frequency."""

import math

import torch
from torch import Tensor

from invreg.core import over_batch
from invreg.operators.likelihoods.arguments import half_of_the_data, measurement
from invreg.operators.likelihoods.correlated import CorrelatedGaussian
from invreg.operators.spectral import basis, bessel

# where the extension of a function of H^s beyond the ends is in H^s (Lions and Magenes, 1972, chapter 1, section 11)
LIMITS = {"periodic": math.inf, "cosine": 1.5, "padded": 0.5}
_ENDS = {"cosine": "kinks of the even extension", "padded": "jumps to zero"}


class Sobolev(CorrelatedGaussian):
    """|P (p - y)|^2 / 2 with P = (alpha - Laplacian)^(s / 2) along `axes` (default all `ndim`) of y (*batch, *shape).

    Each frequency xi, in radians per unit of `length` (the side of the data, one for all axes or one for each), has
    the weight (alpha + |xi|^2)^s: noise of spectrum (alpha + |xi|^2)^-s. s is any real number; s = 0 is least squares,
    s < 0 fits low frequencies first and is for blue noise, s > 0 is for red noise. sqrt(alpha) is the frequency beyond
    which s matters; alpha = 0 is the homogeneous norm, in which the mean of the data along `axes` weighs nothing.
    `normalise` divides the weights by their mean over all frequencies: white noise, and so a weight of a prior
    beside it, then counts as much as in `LeastSquares`.

    `boundary`: "periodic"; "cosine", where the residual is reflected at both ends (Neumann); "padded", where it is
    zero beyond them. A cosine misfit needs s < 3/2 and a padded one s < 1/2, for otherwise what the extension does
    at the ends outweighs the data the more the finer they are sampled. A padded one has a value and a gradient only.

    `std`, the standard deviation of a datum of this noise in the unit of y (root mean square over the data; a number
    or (*batch,)), is needed only by `sample` and `expected`. Raises ValueError on arguments outside of these.
    Source: Zhu, Hu, Lou, Yang, arXiv 2109.06255.
    """

    white: Tensor | None  # standard deviation of P n, which is white

    def __init__(
        self,
        y: Tensor,
        s: float,
        *,
        length: float | tuple[float, ...] = 1.0,
        alpha: float = 1.0,
        boundary: str = "periodic",
        axes: int | tuple[int, ...] | None = None,
        normalise: bool = False,
        std: Tensor | float | None = None,
        ndim: int = 2,
    ) -> None:
        super(CorrelatedGaussian, self).__init__()
        y = measurement("Sobolev", y, ndim)
        along = basis("Sobolev", boundary, tuple(range(-ndim, 0)) if axes is None else axes, y.shape, ndim)
        if s >= LIMITS[boundary]:
            raise ValueError(
                f"Sobolev with boundary {boundary!r} takes s < {LIMITS[boundary]:g}, else the {_ENDS[boundary]} at "
                f"the ends of the data outweigh them; got {s:g}"
            )
        weights = bessel("Sobolev", along, s, alpha, length, y.device)
        share = along.multiplicity(weights).expand_as(weights)
        share = share / share.sum()
        weights = (weights / (weights * share).sum() if normalise else weights).to(y)
        known = weights >= torch.finfo(y.dtype).tiny
        if not bool(weights.isfinite().all()) or int((~known).sum()) > (alpha == 0):
            raise ValueError(f"Sobolev takes s whose weights are in the range of {y.dtype}; at {s:g} they are not")
        self._set(y, ndim, along, weights)
        self.known = float((known * share).sum())
        variance = float((share / weights.double())[known].sum())  # of a datum, where P n is of variance 1
        white = None if std is None else torch.as_tensor(std, dtype=torch.float64) / math.sqrt(variance)
        self.register_buffer("white", white)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        self._needs_a_basis("proximal map")
        return super().prox(x, step)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        self._needs_a_basis("conjugate")
        return super().conj(u, bound)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        self._needs_a_basis("proximal map of its conjugate")
        return super().conj_prox(u, step)

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        """Noise of covariance proportional to (alpha - Laplacian)^-s; with alpha = 0 of mean zero along `axes`."""
        self._needs_a_basis("closed-form samples")
        if self.white is None:
            raise self._lacks("noise level", "the argument `std` when it is made")
        noise = super().sample(torch.zeros_like(prediction), generator)
        return prediction + over_batch(self.white, prediction, self.ndim) * noise

    def expected(self) -> Tensor | None:
        if self.white is None or self.basis.boundary == "padded":
            return None
        return self.known * half_of_the_data(self.y, self.ndim) * self.white.double().square()

    def _needs_a_basis(self, what: str) -> None:
        """A padded one is not diagonal: its weights act on more frequencies than there are data."""
        if self.basis.boundary == "padded":
            raise self._lacks(f"{what} with boundary 'padded'", "'cosine' or 'periodic', or a solver by its gradient")
