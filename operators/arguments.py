"""Checks of what operators are made from, each with one sentence when it fails."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def image_shape(shape: Sequence[int], who: str) -> tuple[int, int]:
    """`shape` as (h, w); ValueError unless it is two numbers from 1 on."""
    if len(shape) != 2 or any(int(n) != n or n < 1 for n in shape):
        raise ValueError(f"{who} takes the shape (h, w) of an image, two whole numbers from 1 on; got {tuple(shape)}")
    return int(shape[0]), int(shape[1])


def checked_kernels(kernels: Any, ndim: int, who: str) -> Tensor:
    """`kernels` as a tensor; ValueError unless it is real, finite and not empty with `ndim` axes."""
    kernels = torch.as_tensor(kernels)
    if kernels.ndim != ndim or not kernels.numel() or kernels.dtype not in (torch.float32, torch.float64):
        axes = ", ".join(["rows", "columns", "kh", "kw"][-ndim:])
        raise ValueError(
            f"{who} takes float32 or float64 kernels ({axes}), an array of {ndim} axes; "
            f"got {kernels.dtype} {tuple(kernels.shape)}"
        )
    if not bool(kernels.isfinite().all()):
        raise ValueError(f"{who} takes finite kernels; {int((~kernels.isfinite()).sum())} of the values are not")
    return kernels


def refuse_not_finite(x: Tensor, who: str, name: str) -> None:
    """Raise ValueError unless all values of `x`, the argument `name` of `who`, are finite."""
    if not bool(x.isfinite().all()):
        raise ValueError(
            f"{who} takes finite {name}; {int((~x.isfinite()).sum())} of the {x.numel()} values are not: fill them in, "
            "as one of them would spread over the whole image"
        )
