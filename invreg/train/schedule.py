"""Learning rate and moving average as functions of the step."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def rate(step: int, steps: int, warmup: int, largest: float) -> float:
    """The learning rate of a step counted from 0: it rises in equal parts to `largest`, then falls as half a cosine.

    Step `warmup` has the largest rate, and step `steps` would have 0.
    """
    if step < warmup:
        return largest * (step + 1) / (warmup + 1)
    return largest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def decay(step: int, longest: float) -> float:
    """How much of the moving average stays at a step counted from 0: less at first, when the weights are still bad."""
    return min(longest, (1 + step) / (10 + step))


def average(means: Iterable[Tensor], values: Iterable[Tensor], kept: float) -> None:
    """means <- kept * means + (1 - kept) * values, in place."""
    torch._foreach_lerp_(list(means), list(values), 1 - kept)
