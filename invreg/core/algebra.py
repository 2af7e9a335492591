"""Algebra of operators: adjoint, composition, sum, scaling, stacking."""

from collections.abc import Sequence

import torch
from torch import Tensor

from invreg.core.operator import Linear, Operator
from invreg.core.space import ShapeError, Space


def _compatible(first: Operator, second: Operator) -> None:
    if second.codomain != first.domain:
        raise ShapeError(
            f"{first} @ {second}: the right one gives {second.codomain}, the left one takes {first.domain}"
        )


class Adjoint(Linear):
    """A^H of a linear A; `A.H.H is A`."""

    def __init__(self, A: Linear) -> None:
        super().__init__(A.codomain, A.domain)
        self.A = A

    @property
    def H(self) -> Linear:
        return self.A

    def _forward(self, x: Tensor) -> Tensor:
        return self.A.adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.A(y)

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        return self.A.norm(device, dtype)


class Composed(Operator):
    """x -> A(B(x))."""

    def __init__(self, A: Operator, B: Operator) -> None:
        _compatible(A, B)
        super().__init__(B.domain, A.codomain)
        self.A, self.B = A, B

    def _forward(self, x: Tensor) -> Tensor:
        return self.A(self.B(x))


class ComposedLinear(Linear):
    """x -> A B x of two linear operators."""

    def __init__(self, A: Linear, B: Linear) -> None:
        _compatible(A, B)
        super().__init__(B.domain, A.codomain)
        self.A, self.B = A, B

    def _forward(self, x: Tensor) -> Tensor:
        return self.A(self.B(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.B.adjoint(self.A.adjoint(y))


class Scaled(Linear):
    """x -> c A x with a real number c."""

    def __init__(self, scale: float, A: Linear) -> None:
        super().__init__(A.domain, A.codomain)
        self.scale, self.A = scale, A

    def _forward(self, x: Tensor) -> Tensor:
        return self.scale * self.A(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.scale * self.A.adjoint(y)

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        return abs(self.scale) * self.A.norm(device, dtype)


class SumOf(Linear):
    """x -> A x + B x."""

    def __init__(self, A: Linear, B: Linear) -> None:
        if A.domain != B.domain or A.codomain != B.codomain:
            raise ShapeError(f"{A} + {B}: the two act between different spaces")
        super().__init__(A.domain, A.codomain)
        self.A, self.B = A, B

    def _forward(self, x: Tensor) -> Tensor:
        return self.A(x) + self.B(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.A.adjoint(y) + self.B.adjoint(y)


class Stack(Linear):
    """x -> (A_1 x, ..., A_n x) concatenated along `axis` of the codomain (a negative number)."""

    parts: Sequence[Linear]

    def __init__(self, *operators: Linear, axis: int = -1) -> None:
        first = operators[0].codomain
        for A in operators:
            trimmed = list(A.codomain.shape), list(first.shape)
            for shape in trimmed:
                shape[axis] = 0
            if A.domain != operators[0].domain or trimmed[0] != trimmed[1]:
                raise ShapeError(f"Stack along {axis}: {A} does not fit {operators[0]}")
        self_sizes = [A.codomain.shape[axis] for A in operators]
        shape = list(first.shape)
        shape[axis] = sum(self_sizes)
        super().__init__(operators[0].domain, Space(tuple(shape), first.complex))
        self.parts = torch.nn.ModuleList(operators)  # type: ignore[assignment]
        self.sizes, self.axis = self_sizes, axis

    def _forward(self, x: Tensor) -> Tensor:
        return torch.cat([A(x) for A in self.parts], dim=self.axis)

    def _adjoint(self, y: Tensor) -> Tensor:
        pieces = torch.split(y, self.sizes, dim=self.axis)
        return torch.stack([A.H(piece) for A, piece in zip(self.parts, pieces, strict=True)]).sum(0)
