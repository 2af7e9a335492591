"""deepinv's one batch axis against our many, and its two channels against our complex numbers."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from invreg.core import ShapeError, Space


def one_batch_axis(x: Tensor, ndim: int) -> Tensor:
    """(*batch, *shape) with `ndim` axes of shape -> (item, *shape)."""
    batch = x.shape[: x.ndim - ndim]
    return x.reshape(math.prod(batch), *x.shape[x.ndim - ndim :])


def step_sizes(gamma: Tensor | float, x: Tensor, ndim: int) -> Tensor | float:
    """deepinv's step, a number, (batch,) or (batch, 1, 1, 1), with one axis for each of our batch axes of x."""
    return gamma.reshape(-1, *(1,) * (x.ndim - ndim - 1)) if isinstance(gamma, Tensor) else gamma


def item_by_item(
    f: Callable[[Tensor, Tensor, float], Tensor], x: Tensor, y: Tensor, step: Tensor | float, ndim: int
) -> Tensor:
    """f(item of x, item of y, its step) for each item of the batch, given to f as a batch of one."""
    steps = torch.as_tensor(step, dtype=torch.float64).expand(x.shape[: x.ndim - ndim]).flatten().tolist()
    xs, ys = one_batch_axis(x, ndim), one_batch_axis(y.expand_as(x), ndim)
    done = [f(a[None], b[None], t) for a, b, t in zip(xs, ys, steps, strict=True)]
    return torch.cat([xs[:0], *done]).reshape(x.shape)


def to_channels(x: Tensor, space: Space) -> Tensor:
    """An element of a complex space with real and imaginary part as an axis of two before the others."""
    return torch.stack([x.real, x.imag], -len(space.shape) - 1) if space.complex else x


def from_channels(x: Tensor, space: Space, who: object) -> Tensor:
    """The inverse of `to_channels`."""
    if not space.complex:
        return x
    axis = -len(space.shape) - 1
    if x.ndim < -axis or x.shape[axis] != 2 or x.is_complex():
        takes = ", ".join(["*batch", "2", *map(str, space.shape)])
        raise ShapeError(f"{who} takes complex numbers as two real channels ({takes}); got {x.dtype} {tuple(x.shape)}")
    return torch.complex(*x.unbind(axis))
