"""Likelihoods as data fidelities and noise models, and data fidelities as likelihoods.

A likelihood of ours knows its measurement; deepinv passes the measurement at every call. So deepinv gets a function
that makes the likelihood from y, or one likelihood, which refuses every other y.
"""

import math
from collections.abc import Callable
from typing import Any

import deepinv
import torch
from deepinv.optim.potential import Potential
from torch import Tensor

from invreg.adapters.deepinv.axes import item_by_item, one_batch_axis, step_sizes
from invreg.adapters.deepinv.physics import ToLinearPhysics, from_physics
from invreg.core import Functional, Likelihood
from invreg.operators import LeastSquares, WeightedLeastSquares


class _ToDistance(deepinv.optim.Distance):
    def __init__(self, likelihood: Likelihood | Callable[[Tensor], Functional]) -> None:
        super().__init__()
        self.likelihood = likelihood

    def of(self, y: Tensor) -> Functional:
        f = self.likelihood if isinstance(self.likelihood, Likelihood) else self.likelihood(y)
        own = getattr(f, "y", y)
        if own is not y and not (own.shape == y.shape[y.ndim - own.ndim :] and bool((own == y).all())):
            raise ValueError(
                f"the {type(f).__name__} given to to_fidelity was made for another measurement, of shape "
                f"{tuple(own.shape)}, than deepinv passes, of shape {tuple(y.shape)}; give to_fidelity a function "
                "that makes the likelihood from y, such as LeastSquares"
            )
        return f

    def fn(self, x: Tensor, y: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.of(y)(x).to(x.real.dtype).reshape(len(x), -1).sum(1)

    def grad(self, x: Tensor, y: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.of(y).grad(x)

    def prox(self, x: Tensor, y: Tensor, *args: Any, gamma: Tensor | float = 1.0, **kwargs: Any) -> Tensor:
        f = self.of(y)
        return f.prox(x, step_sizes(gamma, x, f.ndim))

    def prox_conjugate(
        self, x: Tensor, y: Tensor, *args: Any, gamma: Tensor | float = 1.0, lamb: Tensor | float = 1.0, **kwargs: Any
    ) -> Tensor:
        f = self.of(y)
        return (step_sizes(lamb, x, f.ndim) * f).conj_prox(x, step_sizes(gamma, x, f.ndim))


class _ToFidelity(deepinv.optim.DataFidelity):
    d: _ToDistance

    def __init__(self, likelihood: Likelihood | Callable[[Tensor], Functional]) -> None:
        super().__init__()
        self.d = _ToDistance(likelihood)

    def prox(
        self,
        x: Tensor,
        y: Tensor,
        physics: deepinv.physics.Physics,
        *args: Any,
        gamma: Tensor | float = 1.0,
        **kwargs: Any,
    ) -> Tensor:
        if isinstance(physics, deepinv.physics.Denoising):
            return self.d.prox(x, y, gamma=gamma)
        if not isinstance(physics, deepinv.physics.LinearPhysics):
            raise TypeError(
                f"the prox of a fidelity takes a linear physics; got {type(physics).__name__}: use an algorithm that "
                "takes the gradient, such as PGD"
            )
        step = torch.as_tensor(gamma, dtype=x.dtype, device=x.device).reshape(-1, *(1,) * (x.ndim - 1))
        # one of ours may know its norm; of another it takes forty products with A and its adjoint
        A = physics.operator if isinstance(physics, ToLinearPhysics) else from_physics(physics, tuple(x.shape[1:]))
        curvature = 1 + step * self.d.of(y).lipschitz() * A.norm(x.device, x.dtype) ** 2
        return _minimise(lambda u: step * self.grad(u, y, physics) + u - x, x, curvature)


def to_fidelity(likelihood: Likelihood | Callable[[Tensor], Functional]) -> deepinv.optim.DataFidelity:
    """A likelihood f as the fidelity x -> f(A x), its distance `d` with our gradient, prox and conjugate prox.

    `likelihood` makes f from the measurement that deepinv passes at every call: `LeastSquares`, or
    `lambda y: WeightedLeastSquares(y, weights)`. A likelihood that is made already serves its own measurement alone;
    any other raises ValueError. The prox of f(A x) is computed by accelerated gradient steps and needs a convex f with
    a Lipschitz gradient (TypeError without one), unless the physics is Denoising, where it is that of f.
    """
    if not isinstance(likelihood, Likelihood) and (isinstance(likelihood, Functional) or not callable(likelihood)):
        raise TypeError(
            f"to_fidelity takes a likelihood or a function that makes one from y; got a {type(likelihood).__name__}: "
            "write lambda y: 0.5 * LeastSquares(y), say"
        )
    return _ToFidelity(likelihood)


class FromFidelity(Likelihood):
    """The distance d(., y) of a deepinv fidelity for a measurement y (*batch, *shape) of `ndim` axes.

    It has a prox where deepinv has one in closed form; what deepinv computes by fifty gradient steps is refused.
    """

    def __init__(self, fidelity: deepinv.optim.DataFidelity, y: Tensor, *, ndim: int = 3) -> None:
        super().__init__()
        self.ndim = ndim
        self.distance = fidelity.d
        self.convex = not isinstance(fidelity, deepinv.optim.AmplitudeLoss)
        self.register_buffer("y", y)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - self.ndim]
        return self.distance(*self._flat(x)).double().reshape(batch)

    def grad(self, x: Tensor) -> Tensor:
        flat, y = self._flat(x)
        # deepinv sets requires_grad on what it is given
        return self.distance.grad(flat.detach().clone(), y).detach().reshape(x.shape)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        if type(self.distance).prox is Potential.prox:
            raise self._lacks(f"closed-form proximal map ({type(self.distance).__name__})", "its gradient")
        return item_by_item(lambda p, y, t: self.distance.prox(p, y, gamma=t), x, self.y, step, self.ndim)

    def _flat(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return one_batch_axis(x, self.ndim), one_batch_axis(self.y.expand_as(x), self.ndim)


def from_fidelity(fidelity: deepinv.optim.DataFidelity, y: Tensor, *, ndim: int = 3) -> Likelihood:
    """The likelihood of the prediction for a measurement y (*batch, *shape) of `ndim` axes.

    L2(sigma) comes as `WeightedLeastSquares` with its conjugate, so that PDHG can state its gap; every other as
    `FromFidelity`. PoissonLikelihood raises TypeError: in deepinv 0.5.0 its value mixes the items of a batch, its
    gradient is off by the square of the gain and its prox is not that of its value.
    """
    if isinstance(fidelity.d, deepinv.optim.distance.PoissonLikelihoodDistance):
        raise TypeError(
            f"from_fidelity does not take {type(fidelity).__name__}, whose prox, gradient (unless the gain is 1) and "
            "value (of a batch) are wrong in deepinv 0.5.0; use a Poisson likelihood of invreg.operators"
        )
    if type(fidelity) is deepinv.optim.L2:
        return WeightedLeastSquares(y, torch.full_like(y, fidelity.norm), ndim=ndim)
    return FromFidelity(fidelity, y, ndim=ndim)


class _ToNoise(deepinv.physics.NoiseModel):
    def __init__(self, likelihood: Likelihood, rng: torch.Generator) -> None:
        super().__init__(rng=rng)
        self.likelihood = likelihood

    def forward(self, x: Tensor, seed: int | None = None, **kwargs: Any) -> Tensor:
        self.rng_manual_seed(seed)
        return self.likelihood.sample(x, self.rng)


def to_noise(likelihood: Likelihood, generator: torch.Generator) -> deepinv.physics.NoiseModel:
    """The noise of a likelihood, which `sample` draws, as a noise model; `generator` on the device of the images."""
    return _ToNoise(likelihood, generator)


def from_noise(noise: deepinv.physics.NoiseModel, y: Tensor, *, ndim: int = 3) -> Likelihood:
    """The likelihood of a measurement y (*batch, *shape) of `ndim` axes under GaussianNoise, `LeastSquares`.

    Raises TypeError for every other noise model: deepinv's know how to draw and not how likely a draw is.
    """
    if type(noise) is not deepinv.physics.GaussianNoise:
        raise TypeError(
            f"from_noise takes GaussianNoise; got {type(noise).__name__}: make its likelihood from invreg.operators"
        )
    sigma = noise.sigma  # a number, (batch,) or (batch, 1, 1, 1)
    return LeastSquares(y, ndim=ndim, std=sigma.reshape(()) if sigma.numel() == 1 else step_sizes(sigma, y, ndim))


def _minimise(grad: Callable[[Tensor], Tensor], x: Tensor, curvature: Tensor) -> Tensor:
    """The zero of the gradient of a function with strong convexity 1 and Lipschitz constant `curvature`, from x.

    Nesterov's method with constant momentum (2004, scheme 2.2.11). |grad(z)| bounds the distance of z from the
    minimiser; the steps end where the gradient is its own round-off, or after as many as the theorem asks for.
    """
    root = curvature.sqrt()
    largest = float(curvature.max())
    precision = 2 * largest * torch.finfo(x.dtype).eps
    momentum = (root - 1) / (root + 1)
    u = z = x
    for _ in range(1 + math.ceil(2 * largest**0.5 * math.log(largest / precision))):
        slope = grad(z)
        previous, u = u, z - slope / curvature
        if bool(slope.abs().max() <= precision * z.abs().max()):
            break
        z = u + momentum * (u - previous)
    return u
