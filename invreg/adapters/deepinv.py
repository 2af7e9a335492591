"""deepinv 0.5: its physics, priors and denoisers as operators and functionals, and ours in its algorithms.

Images are (*batch, channel, h, w) with values as deepinv takes them, usually [0, 1] for denoisers. Its sinograms
are (*batch, channel, detector, angle) for Tomography and (*batch, channel, angle, detector) for TomographyWithAstra.
"""

import copy
import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from invreg.core import Functional, Linear, Operator, Space

try:
    import deepinv
except ModuleNotFoundError as error:
    raise ImportError("invreg.adapters.deepinv needs deepinv: pip install 'invreg[interop]'") from error
except RuntimeError as error:  # its torchvision, a CUDA build on PyPI, does not fit a CPU-only torch
    raise ImportError(
        f"deepinv needs a torchvision that fits torch {torch.__version__}; install both from the same index "
        f"(pip install torch torchvision); importing it said: {error}"
    ) from error


class FromPhysics(Operator):
    """The noise-free map A of a deepinv physics; one that is linear comes as `FromLinearPhysics`.

    It is as pure, picklable and precise as the physics itself: none of 0.5 pickles.
    """

    def __init__(self, physics: deepinv.physics.Physics, shape: tuple[int, ...]) -> None:
        held = [t for t in chain(physics.parameters(), physics.buffers()) if t.is_floating_point()]
        with torch.no_grad():
            y = physics.A((held[0] if held else torch.zeros(())).new_zeros(1, *shape))
        if not isinstance(y, Tensor):
            raise TypeError(
                f"from_physics takes a physics that measures one tensor; {type(physics).__name__} gives a "
                f"{type(y).__name__}: wrap its parts and join them by invreg.core.Stack"
            )
        super().__init__(Space(tuple(shape)), Space(tuple(y.shape[1:]), y.is_complex()))
        self.physics = physics

    def _forward(self, x: Tensor) -> Tensor:
        return _on_one_batch_axis(self.physics.A, x, self.domain, self.codomain)


class FromLinearPhysics(FromPhysics, Linear):
    """A linear physics; its adjoint is `physics.A_adjoint`, exact where that is."""

    def _adjoint(self, y: Tensor) -> Tensor:
        return _on_one_batch_axis(self.physics.A_adjoint, y, self.codomain, self.domain)


def from_physics(physics: deepinv.physics.Physics, shape: tuple[int, ...]) -> FromPhysics:
    """The operator of a physics on images of `shape` = (channel, h, w)."""
    linear = isinstance(physics, deepinv.physics.LinearPhysics)
    return (FromLinearPhysics if linear else FromPhysics)(physics, shape)


class _ToPhysics(deepinv.physics.Physics):
    def __init__(self, A: Operator, noise: nn.Module) -> None:
        super().__init__(noise_model=noise)
        self.operator = A

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        return self.operator(x)

    def A_vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.operator.vjp(x, v)


class _ToLinearPhysics(deepinv.physics.LinearPhysics):
    def __init__(self, A: Linear, noise: nn.Module) -> None:
        shape = A.domain.shape
        super().__init__(noise_model=noise, img_size=(1,) * (3 - len(shape)) + shape)
        self.operator = A

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        return self.operator(x)

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        return self.operator.adjoint(y)


def to_physics(A: Operator, noise: nn.Module | None = None) -> deepinv.physics.Physics:
    """A as a physics, a LinearPhysics if it is linear; axes before its domain are deepinv's batch and channel.

    `noise` is a deepinv noise model, default none. A of large norm should be scaled, as (1 / A.norm()) * A:
    deepinv's algorithms start from A^H y and take steps near 1.
    """
    noise = deepinv.physics.ZeroNoise() if noise is None else noise  # its default is shared by all physics
    return _ToLinearPhysics(A, noise) if isinstance(A, Linear) else _ToPhysics(A, noise)


class FromPrior(Functional):
    """A deepinv prior on images (*batch, channel, h, w).

    Each prox starts from a fresh copy, one image at a time: deepinv's iterative ones (TVPrior) remember
    earlier calls and stop on the batch as a whole. `parameter` is the one its methods take after the image, a
    noise level for PnP, RED and ScorePrior.
    """

    ndim = 3

    def __init__(self, prior: deepinv.optim.Prior, parameter: float | None = None) -> None:
        super().__init__()
        self.prior = prior
        self.arguments = () if parameter is None else (parameter,)

    def forward(self, x: Tensor) -> Tensor:
        if not self.prior.explicit_prior:
            raise self._lacks(f"value ({type(self.prior).__name__} is implicit)", "its prox or its gradient")
        batch = x.shape[:-3]
        return self.prior.fn(_one_batch_axis(x, 3), *self.arguments).double().reshape(batch)

    def grad(self, x: Tensor) -> Tensor:
        flat = _one_batch_axis(x, 3).detach().clone()  # deepinv sets requires_grad on what it is given
        return self.prior.grad(flat, *self.arguments).detach().reshape(x.shape)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        steps = torch.as_tensor(step, dtype=torch.float64).expand(x.shape[:-3]).flatten().tolist()
        images = _one_batch_axis(x, 3)
        done = [
            copy.deepcopy(self.prior).prox(image[None], *self.arguments, gamma=t)
            for image, t in zip(images, steps, strict=True)
        ]
        return torch.cat([images[:0], *done]).reshape(x.shape)


def from_prior(prior: deepinv.optim.Prior, parameter: float | None = None) -> FromPrior:
    """The functional of a deepinv prior."""
    return FromPrior(prior, parameter)


class Denoise(Functional):
    """Plug and play: a denoiser for noise of standard deviation `sigma` in the place of a prox, at any step."""

    ndim = 3

    def __init__(self, denoiser: nn.Module, sigma: float) -> None:
        super().__init__()
        self.denoiser, self.sigma = denoiser, sigma

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return self.denoiser(_one_batch_axis(x, 3), self.sigma).reshape(x.shape)


def from_denoiser(denoiser: nn.Module, sigma: float) -> Denoise:
    """A denoiser D(x, sigma), in evaluation mode, as a functional that has only a prox; sigma in the unit of x."""
    return Denoise(denoiser, sigma)


class _ToPrior(deepinv.optim.Prior):
    def __init__(self, f: Functional) -> None:
        super().__init__()
        self.f = f
        self.explicit_prior = True

    def fn(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.f(x).to(x.dtype).reshape(len(x), -1).sum(1)

    def grad(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.f.grad(x)

    def prox(self, x: Tensor, *args: Any, gamma: Tensor | float = 1.0, **kwargs: Any) -> Tensor:
        if isinstance(gamma, Tensor):  # (batch,) or (batch, 1, 1, 1); ours has one axis for each batch axis
            gamma = gamma.reshape(-1, *(1,) * (x.ndim - self.f.ndim - 1))
        return self.f.prox(x, gamma)


def to_prior(f: Functional) -> deepinv.optim.Prior:
    """A functional as a deepinv prior on (batch, channel, h, w); one over (h, w) is summed over the channels."""
    return _ToPrior(f)


def _one_batch_axis(x: Tensor, ndim: int) -> Tensor:
    batch = x.shape[: x.ndim - ndim]
    return x.reshape(math.prod(batch), *x.shape[x.ndim - ndim :])


def _on_one_batch_axis(f: Callable[[Tensor], Tensor], x: Tensor, source: Space, target: Space) -> Tensor:
    return f(_one_batch_axis(x, len(source.shape))).reshape(*source.batch(x), *target.shape)
