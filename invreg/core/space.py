"""Spaces: the trailing axes an operator acts on; every axis before them is a batch axis."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class ShapeError(ValueError):
    """A tensor does not fit an operator: the message says who, what it takes and what it got."""


class Space(NamedTuple):
    """Trailing `shape` of a tensor, real (float32, float64) or complex (complex64, complex128)."""

    shape: tuple[int, ...]
    complex: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def batch(self, x: Tensor) -> tuple[int, ...]:
        """The batch axes of `x`: all but the trailing ones."""
        return tuple(x.shape[: x.ndim - len(self.shape)])

    def check(self, x: Tensor, who: object, what: str = "") -> None:
        """Raise `ShapeError` unless `x` is (*batch, *shape) of the right kind."""
        right_kind = x.is_complex() if self.complex else x.is_floating_point()
        if not right_kind or tuple(x.shape[x.ndim - len(self.shape) :]) != self.shape or x.ndim < len(self.shape):
            kind = "complex" if self.complex else "real floating-point"
            takes = ", ".join(["*batch", *map(str, self.shape)])
            raise ShapeError(f"{what}{who} takes {kind} ({takes}); got {x.dtype} {tuple(x.shape)}")

    def random(self, *batch: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal element of the space on the generator's device; `dtype` is the real precision."""
        if self.complex:
            dtype = torch.complex64 if dtype == torch.float32 else torch.complex128
        return torch.randn(*batch, *self.shape, generator=generator, dtype=dtype, device=generator.device)


def total(x: Tensor, ndim: int) -> Tensor:
    """Sum of a real x over the last `ndim` axes, accumulated in float64: (*batch, ...) -> (*batch,)."""
    # converting first is three times as fast as summing with dtype=float64
    return x.flatten(-ndim).double().sum(-1) if ndim else x.double()


def inner(x: Tensor, y: Tensor, ndim: int) -> Tensor:
    """Real inner product Re <x, y> over the last `ndim` axes, accumulated in float64: (*batch,)."""
    return total((x.conj() * y).real if x.is_complex() else x * y, ndim)


def over_batch(value: Tensor | float, x: Tensor, ndim: int) -> Tensor | float:
    """A per-item `value` (*batch,) with `ndim` singleton axes and the dtype of `x`, to broadcast against it."""
    if isinstance(value, Tensor) and value.ndim == 0 and value.requires_grad:
        return value  # a weight that is being learned
    if not isinstance(value, Tensor) or value.ndim == 0:
        return float(value)
    return value.to(x.device, x.real.dtype).reshape(*value.shape, *(1,) * ndim)
