"""Algebra of operators: adjoint, composition, sum, scaling, stacking, blocks."""

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
        self.local = A.local

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
    """x -> (A_1 x, ..., A_n x) concatenated along `axis` of the codomain (a negative number).

    With `axis` None the codomains may differ: each is flattened, in row-major order, and the whole is a vector.
    """

    parts: Sequence[Linear]

    def __init__(self, *operators: Linear, axis: int | None = -1) -> None:
        first = operators[0].codomain
        for A in operators:
            trimmed = list(A.codomain.shape), list(first.shape)
            for shape in trimmed:
                shape[axis or 0] = 0
            fits = axis is None or trimmed[0] == trimmed[1]
            if A.domain != operators[0].domain or A.codomain.complex != first.complex or not fits:
                raise ShapeError(f"Stack along {axis}: {A} does not fit {operators[0]}")
        sizes = [A.codomain.size if axis is None else A.codomain.shape[axis] for A in operators]
        shape = [1] if axis is None else list(first.shape)
        shape[-1 if axis is None else axis] = sum(sizes)
        super().__init__(operators[0].domain, Space(tuple(shape), first.complex))
        self.parts = torch.nn.ModuleList(operators)  # type: ignore[assignment]
        self.sizes, self.axis = sizes, axis

    def _forward(self, x: Tensor) -> Tensor:
        if self.axis is None:
            return torch.cat([A(x).flatten(-len(A.codomain.shape)) for A in self.parts], dim=-1)
        return torch.cat([A(x) for A in self.parts], dim=self.axis)

    def _adjoint(self, y: Tensor) -> Tensor:
        pieces = list(torch.split(y, self.sizes, dim=-1 if self.axis is None else self.axis))
        if self.axis is None:
            pieces = [p.reshape(*p.shape[:-1], *A.codomain.shape) for A, p in zip(self.parts, pieces, strict=True)]
        return torch.stack([A.adjoint(piece) for A, piece in zip(self.parts, pieces, strict=True)]).sum(0)


class BlockDiagonal(Linear):
    """(x_1, ..., x_n) -> (A_1 x_1, ..., A_n x_n): an operator for each channel, (*batch, n, *domain) to codomain.

    All have one domain and one codomain.
    """

    parts: Sequence[Linear]

    def __init__(self, *operators: Linear) -> None:
        first = operators[0]
        for A in operators:
            if A.domain != first.domain or A.codomain != first.codomain:
                raise ShapeError(f"BlockDiagonal: {A} does not fit {first}")
        domain, codomain = (Space((len(operators), *s.shape), s.complex) for s in (first.domain, first.codomain))
        super().__init__(domain, codomain)
        self.parts = torch.nn.ModuleList(operators)  # type: ignore[assignment]

    def _forward(self, x: Tensor) -> Tensor:
        axis = -len(self.domain.shape)
        parts = [A(part) for A, part in zip(self.parts, x.unbind(axis), strict=True)]
        return torch.stack(parts, dim=-len(self.codomain.shape))

    def _adjoint(self, y: Tensor) -> Tensor:
        axis = -len(self.codomain.shape)
        parts = [A.adjoint(part) for A, part in zip(self.parts, y.unbind(axis), strict=True)]
        return torch.stack(parts, dim=-len(self.domain.shape))

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        return max(A.norm(device, dtype) for A in self.parts)
