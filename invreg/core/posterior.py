"""Posteriors: what a Bayesian solver returns."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Posterior(Protocol):
    """A distribution over images (*batch, *shape), in the units of the image."""

    @property
    def mean(self) -> Tensor: ...

    @property
    def std(self) -> Tensor: ...

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` draws, (n, *batch, *shape)."""
        ...

    def interval(self, p: float) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds that hold each pixel with probability `p` in (0, 1)."""
        ...
