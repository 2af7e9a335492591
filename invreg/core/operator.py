"""Operators: differentiable maps between spaces; linear ones add an exact adjoint."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from invreg.core.space import Space, inner


class Operator(nn.Module, ABC):
    """A differentiable map x -> A(x) from `domain` to `codomain`, (*batch, *domain) -> (*batch, *codomain).

    A member writes `_forward`; shapes are checked once, here. Nothing writes to `self` after `__init__`.
    Raises `ShapeError` on a tensor that is not in the domain.
    """

    def __init__(self, domain: Space, codomain: Space) -> None:
        super().__init__()
        self.domain = domain
        self.codomain = codomain

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor: ...

    def forward(self, x: Tensor) -> Tensor:
        self.domain.check(x, self)
        return self._forward(x)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """J(x)^H v: the adjoint of the derivative at `x`, applied to `v` in the codomain."""
        pull: Callable[[Tensor], Any] = torch.func.vjp(self, x)[1]
        return pull(v)[0]

    def __matmul__(self, other: Any) -> "Operator":
        from invreg.core.algebra import Composed

        return Composed(self, other) if isinstance(other, Operator) else NotImplemented

    def __repr__(self) -> str:
        return f"{type(self).__name__}[{self.domain.shape} -> {self.codomain.shape}]"

    __str__ = __repr__


class Linear(Operator):
    """A linear operator with its exact transpose (conjugate transpose when complex).

    A member writes `_forward` and `_adjoint`; both must be differentiable by autograd, or the member
    derives from `External`, which makes each the backward pass of the other. `local`: it costs a few passes over
    memory (finite differences), and solvers may apply it many times for one use of an operator that is not.
    """

    local: bool = False

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor: ...

    def adjoint(self, y: Tensor) -> Tensor:
        """A^H y, (*batch, *codomain) -> (*batch, *domain)."""
        self.codomain.check(y, self, "adjoint of ")
        return self._adjoint(y)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.adjoint(v)

    @property
    def H(self) -> "Linear":
        from invreg.core.algebra import Adjoint

        return Adjoint(self)

    def normal(self) -> "Linear":
        """The normal operator A^H A."""
        return self.H @ self

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        """An upper estimate of the largest singular value: 1.005 times that of 40 Lanczos steps on A^H A.

        Lanczos approaches the norm from below, far faster than power iteration (whose ten steps give 5 % too
        little on a gradient); members with a closed form override this. Computed where and in the precision that
        the operator's own tensors have, unless told otherwise.
        """
        held = [t for t in chain(self.parameters(), self.buffers()) if t.is_floating_point()]
        like = held[0] if held else torch.zeros(())
        device, dtype = device or like.device, dtype or like.dtype
        v = self.domain.random(generator=torch.Generator(device).manual_seed(0), dtype=dtype)
        n = len(self.domain.shape)
        v = v / inner(v, v, n).sqrt()
        v = v.to(v.dtype if v.is_complex() else dtype)
        diagonal: list[Tensor] = []
        off: list[Tensor] = []
        previous, beta = torch.zeros_like(v), torch.zeros((), dtype=torch.float64, device=v.device)
        for _ in range(min(40, self.domain.size)):
            w = self.adjoint(self(v)) - beta.to(v.dtype) * previous
            alpha = inner(v, w, n)
            w = w - alpha.to(v.dtype) * v
            diagonal.append(alpha)
            beta = inner(w, w, n).sqrt()
            if beta <= 1e-6 * max(diagonal):
                break
            off.append(beta)
            previous, v = v, w / beta.to(v.dtype)
        T = torch.diag(torch.stack(diagonal))
        if len(diagonal) > 1:
            side = torch.stack(off[: len(diagonal) - 1])
            T = T + torch.diag(side, 1) + torch.diag(side, -1)
        return 1.005 * float(torch.linalg.eigvalsh(T)[-1].clamp(min=0)) ** 0.5

    def __matmul__(self, other: Any) -> Any:
        from invreg.core.algebra import Composed, ComposedLinear

        if isinstance(other, Linear):
            return ComposedLinear(self, other)
        return Composed(self, other) if isinstance(other, Operator) else NotImplemented

    def __add__(self, other: "Linear") -> "Linear":
        from invreg.core.algebra import SumOf

        return SumOf(self, other) if isinstance(other, Linear) else NotImplemented

    def __rmul__(self, scale: float) -> "Linear":
        from invreg.core.algebra import Scaled

        return Scaled(float(scale), self) if isinstance(scale, int | float) else NotImplemented

    def __neg__(self) -> "Linear":
        return -1.0 * self

    def __sub__(self, other: "Linear") -> "Linear":
        return self + (-other)


class External(Linear):
    """A linear operator whose pair is computed outside torch (numba, ASTRA, ODL).

    The autograd backward of the forward is the adjoint, and the other way round, to any order.
    `_forward` and `_adjoint` get detached tensors.
    """

    def forward(self, x: Tensor) -> Tensor:
        self.domain.check(x, self)
        # torch binds the arguments of `apply` by their signature, which takes as long as a small projection
        return _Pair.apply(x, self, False) if torch.is_grad_enabled() else self._forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        self.codomain.check(y, self, "adjoint of ")
        return _Pair.apply(y, self, True) if torch.is_grad_enabled() else self._adjoint(y)


class _Pair(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, A: External, transposed: bool) -> Tensor:
        x = x.detach()
        return A._adjoint(x) if transposed else A._forward(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.A, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None]:
        return _Pair.apply(v, ctx.A, not ctx.transposed), None, None

    @staticmethod
    def jvp(ctx: Any, x: Tensor, *_: None) -> Tensor:
        return _Pair.apply(x, ctx.A, ctx.transposed)
