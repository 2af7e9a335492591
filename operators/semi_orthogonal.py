"""Semi-orthogonal operators, A A^H = 1: through them a proximal map stays in closed form."""

from abc import abstractmethod

import torch
from torch import Tensor

from invreg.core import Linear, Space


class SemiOrthogonal(Linear):
    """A linear operator with A A^H = 1; orthonormal (A^H A = 1 too) where domain and codomain have one size."""

    @abstractmethod
    def peak(self) -> float:
        """A bound on the largest |A x|_i of an x of values up to 1."""

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        return 1.0


class Component(SemiOrthogonal):
    """One component of a stack, (*batch, n, ...) -> (*batch, ...), or with a slice some, -> (*batch, m, ...).

    `shape` is that of the stack, (n, ...). Where the unknowns are several images in one tensor,
    `A @ Component(shape, 0)` measures the first.
    Raises ValueError for an index that is not in the stack or a slice without components.
    """

    def __init__(self, shape: tuple[int, ...], index: int | slice, *, complex: bool = False) -> None:
        count = shape[0] if shape else 0
        picked = range(count)[index] if isinstance(index, slice) else range(-count, count)
        if not len(picked) or (isinstance(index, int) and index not in picked):
            raise ValueError(f"Component takes an index or a slice of the {count} components of {shape}; got {index}")
        rest = tuple(shape[1:])
        codomain = (len(picked), *rest) if isinstance(index, slice) else rest
        super().__init__(Space(tuple(shape), complex), Space(codomain, complex))
        self.index = (..., index, *(slice(None),) * len(rest))

    def _forward(self, x: Tensor) -> Tensor:
        return x[self.index].clone()  # not a view: what is done to the one must not show in the other

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = y.shape[: y.ndim - len(self.codomain.shape)]
        x = y.new_zeros(*batch, *self.domain.shape)
        x[self.index] = y
        return x

    def peak(self) -> float:
        return 1.0
