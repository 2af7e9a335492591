"""The misfit for noise that is correlated along the detector."""

from typing import TYPE_CHECKING

from torch import Tensor

from invreg.io import InputError
from invreg.operators import Sobolev, sobolev_order
from invreg.recipes.base import Order

if TYPE_CHECKING:
    from invreg.recipes.config import Config

# of the Nyquist frequency: below it signal that the model leaves may be as strong as the noise
BAND = (0.25, 1.0)


def sobolev(y: Tensor, s: float, std: Tensor | None = None) -> Sobolev:
    """Of line integrals (row, angle, detector), with frequencies in radians per bin and weights of mean 1."""
    return Sobolev(y, s, length=float(y.shape[-1]), boundary="cosine", axes=-1, normalise=True, std=std)


def order_of(config: "Config", residual: Tensor | None, y: Tensor) -> Order | None:
    """The order that the settings give, or that of a residual (row, angle, detector), at most 0.

    For red noise, s > 0, the matched misfit gave no better images than least squares beside total variation, which
    smooths what it would weigh more (docs/sobolev.md). None where y is not finite.
    """
    if not bool(y.isfinite().all()):
        return None  # least squares goes on to say so
    if config.misfit.s != "auto":
        return Order(config.misfit.s, "given")
    assert residual is not None
    try:
        found = sobolev_order(residual, length=float(y.shape[-1]), boundary="cosine", band=BAND)
    except ValueError as error:
        raise InputError(f"misfit.s = auto finds no colour of the noise ({error}); give --s a number") from None
    reason = f"{found.s:.2f} +- {found.error:.2f} from the spectrum of a least-squares residual along the detector"
    if found.s > 0:
        return Order(0.0, f"least squares, which serves red noise as well: {reason}")
    return Order(found.s, reason)
