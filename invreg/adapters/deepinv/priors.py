"""Priors and denoisers as functionals, and functionals as priors and denoisers."""

import copy
from typing import Any

import deepinv
from torch import Tensor, nn

from invreg.adapters.deepinv.axes import item_by_item, one_batch_axis, step_sizes
from invreg.core import Functional


class FromPrior(Functional):
    """A deepinv prior on images (*batch, channel, h, w).

    Each prox starts from a fresh copy, one image at a time: deepinv's iterative ones (TVPrior) remember
    earlier calls and stop on the batch as a whole. `parameter` is the one its methods take after the image, a
    noise level for PnP, RED and ScorePrior. Learned and implicit priors and a WaveletPrior of p != 1 do not count as
    convex; a prior of your own does.
    """

    ndim = 3
    instead = "TV, L1Prior, L12Prior or WaveletPrior of p = 1, or an algorithm of deepinv with `to_physics`"

    def __init__(self, prior: deepinv.optim.Prior, parameter: float | None = None) -> None:
        super().__init__()
        learned = isinstance(prior, deepinv.optim.PatchPrior | deepinv.optim.PatchNR)
        self.convex = prior.explicit_prior and not learned and getattr(prior, "p", 1) == 1
        self.prior = prior
        self.arguments = () if parameter is None else (parameter,)

    def forward(self, x: Tensor) -> Tensor:
        if not self.prior.explicit_prior:
            raise self._lacks(f"value ({type(self.prior).__name__} is implicit)", "its prox or its gradient")
        batch = x.shape[:-3]
        return self.prior.fn(one_batch_axis(x, 3), *self.arguments).double().reshape(batch)

    def grad(self, x: Tensor) -> Tensor:
        flat = one_batch_axis(x, 3).detach().clone()  # deepinv sets requires_grad on what it is given
        return self.prior.grad(flat, *self.arguments).detach().reshape(x.shape)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        def fresh(image: Tensor, _: Tensor, t: float) -> Tensor:
            return copy.deepcopy(self.prior).prox(image, *self.arguments, gamma=t)

        return item_by_item(fresh, x, x, step, 3)


def from_prior(prior: deepinv.optim.Prior, parameter: float | None = None) -> FromPrior:
    """The functional of a deepinv prior."""
    return FromPrior(prior, parameter)


class _ToPrior(deepinv.optim.Prior):
    def __init__(self, f: Functional) -> None:
        super().__init__()
        self.f = f
        self.explicit_prior = True

    def fn(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.f(x).to(x.real.dtype).reshape(len(x), -1).sum(1)

    def grad(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.f.grad(x)

    def prox(self, x: Tensor, *args: Any, gamma: Tensor | float = 1.0, **kwargs: Any) -> Tensor:
        return self.f.prox(x, step_sizes(gamma, x, self.f.ndim))


def to_prior(f: Functional) -> deepinv.optim.Prior:
    """A functional as a deepinv prior on (batch, channel, h, w); one over (h, w) is summed over the channels."""
    return _ToPrior(f)


class Denoise(Functional):
    """Plug and play: a denoiser for noise of standard deviation `sigma` in the place of a prox, at any step."""

    ndim = 3
    convex = False
    instead = "a prior with a value, or a plug-and-play algorithm of deepinv with `to_physics`"

    def __init__(self, denoiser: nn.Module, sigma: float) -> None:
        super().__init__()
        self.denoiser, self.sigma = denoiser, sigma

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return self.denoiser(one_batch_axis(x, 3), self.sigma).reshape(x.shape)


def from_denoiser(denoiser: nn.Module, sigma: float) -> Denoise:
    """A denoiser D(x, sigma), in evaluation mode, as a functional that has only a prox; sigma in the unit of x."""
    return Denoise(denoiser, sigma)


class _ToDenoiser(deepinv.models.Denoiser):
    def __init__(self, f: Functional) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor, sigma: Tensor | float, **kwargs: Any) -> Tensor:
        return self.f.prox(x, step_sizes(sigma, x, self.f.ndim) ** 2)


def to_denoiser(f: Functional) -> deepinv.models.Denoiser:
    """The denoiser D(x, sigma) = argmin_u f(u) + |u - x|^2 / (2 sigma^2), the prox of f at the step sigma^2.

    It is the most probable image under white noise of standard deviation sigma (a number or (batch,), in the
    unit of x) and the prior exp(-f); f needs a prox.
    """
    return _ToDenoiser(f)
