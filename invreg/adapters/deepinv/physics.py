"""Physics as operators, and operators as physics."""

import math
from itertools import chain
from typing import Any

import deepinv
import torch
from torch import Tensor, nn

from invreg.adapters.deepinv.axes import from_channels, to_channels
from invreg.core import Linear, Operator, Space


class FromPhysics(Operator):
    """The noise-free map A of a deepinv physics; one that is linear comes as `FromLinearPhysics`.

    It is as pure, picklable and precise as the physics itself: none of 0.5 pickles.
    """

    def __init__(self, physics: deepinv.physics.Physics, shape: tuple[int, ...]) -> None:
        image = (1, *shape) if len(shape) == 2 else tuple(shape)
        held = [t for t in chain(physics.parameters(), physics.buffers()) if t.is_floating_point()]
        with torch.no_grad():
            y = physics.A((held[0] if held else torch.zeros(())).new_zeros(1, *image))
        if not isinstance(y, Tensor):
            raise TypeError(
                f"from_physics takes a physics that measures one tensor; {type(physics).__name__} gives a "
                f"{type(y).__name__}: wrap its parts and join them by invreg.core.Stack"
            )
        measured = tuple(y.shape[1:])
        one_channel = len(shape) == 2 and len(measured) > 2 and measured[0] == 1
        super().__init__(Space(tuple(shape)), Space(measured[1:] if one_channel else measured, y.is_complex()))
        self.physics, self.image, self.measured = physics, image, measured

    def _forward(self, x: Tensor) -> Tensor:
        batch = self.domain.batch(x)
        return self.physics.A(x.reshape(math.prod(batch), *self.image)).reshape(*batch, *self.codomain.shape)


class FromLinearPhysics(FromPhysics, Linear):
    """A linear physics; its adjoint is `physics.A_adjoint`, exact where that is."""

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = self.codomain.batch(y)
        return self.physics.A_adjoint(y.reshape(math.prod(batch), *self.measured)).reshape(*batch, *self.domain.shape)


def from_physics(physics: deepinv.physics.Physics, shape: tuple[int, ...]) -> FromPhysics:
    """The operator of a physics on images of `shape` = (channel, h, w), or (h, w) for one channel.

    With (h, w) a channel axis of one is dropped from the measurement too, so that terms over (h, w) such as TV
    join it in one objective.
    """
    linear = isinstance(physics, deepinv.physics.LinearPhysics)
    return (FromLinearPhysics if linear else FromPhysics)(physics, shape)


class ToPhysics(deepinv.physics.Physics):
    """An operator as a physics."""

    def __init__(self, A: Operator, noise: nn.Module) -> None:
        super().__init__(noise_model=noise)
        self.operator = A

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        return _in_channels(self.operator, self.operator, x)

    def A_vjp(self, x: Tensor, v: Tensor) -> Tensor:
        A = self.operator
        return to_channels(A.vjp(from_channels(x, A.domain, A), from_channels(v, A.codomain, A)), A.domain)


class ToLinearPhysics(deepinv.physics.LinearPhysics):
    """A linear operator as a physics, with its exact adjoint."""

    def __init__(self, A: Linear, noise: nn.Module) -> None:
        shape = (2, *A.domain.shape) if A.domain.complex else A.domain.shape
        super().__init__(noise_model=noise, img_size=(1,) * (3 - len(shape)) + shape)
        self.operator = A

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        return _in_channels(self.operator, self.operator, x)

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        return _in_channels(self.operator, self.operator.H, y)


def _in_channels(who: Operator, A: Operator, x: Tensor) -> Tensor:
    return to_channels(A(from_channels(x, A.domain, who)), A.codomain)


def to_physics(A: Operator, noise: nn.Module | None = None) -> deepinv.physics.Physics:
    """A as a physics, a LinearPhysics if it is linear; axes before its domain are deepinv's batch and channel.

    Complex numbers are two real channels (real, imaginary) before the other axes, as in deepinv's MRI.
    `noise` is a deepinv noise model, default none; `to_noise` makes one of a likelihood. A of large norm should be
    scaled, as (1 / A.norm()) * A: deepinv's algorithms start from A^H y and take steps near 1, and where that
    diverges they return NaN without a word.
    """
    noise = deepinv.physics.ZeroNoise() if noise is None else noise  # its default is shared by all physics
    return ToLinearPhysics(A, noise) if isinstance(A, Linear) else ToPhysics(A, noise)
