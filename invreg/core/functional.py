"""Functionals: the terms f(x) of an objective, with their gradients, proximal maps and conjugates."""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from invreg.core.operator import Linear, Operator
from invreg.core.space import ShapeError, Space, over_batch


class Functional(nn.Module):
    """A term f: (*batch, ...) -> (*batch,), summed over the last `ndim` axes, one float64 value a batch item.

    A member defines what it has of `forward`, `grad`, `prox`, `conj`, `conj_prox` and `lipschitz`; asking for
    what it lacks raises `TypeError`, which says what to use instead. A `step` is a number or a (*batch,) tensor.

    A member that is not convex says so by `convex` = False and names by `instead` what convex solvers take. One whose
    gradient is affine, hence known from two products, says so by `quadratic`.
    """

    ndim: int = 2
    convex: bool = True
    quadratic: bool = False
    instead: str = "a convex term"

    def forward(self, x: Tensor) -> Tensor:
        """f(x)."""
        raise self._lacks("value", "a term with one for stopping rules and reports")

    def grad(self, x: Tensor) -> Tensor:
        """The gradient of f at x, of the shape of x."""
        raise self._lacks("gradient", "a solver that takes its prox, such as PDHG")

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        """argmin_u f(u) + |u - x|^2 / (2 step)."""
        raise self._lacks("proximal map", "a solver that takes its gradient, or f @ K in PDHG")

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        """The convex conjugate sup_x <x, u> - f(x) over the x with |x_i| <= bound.

        With an infinite bound it may be infinite; a finite one keeps certificates finite where f does not
        bound x by itself.
        """
        raise self._lacks("conjugate", "a solver that stops without a primal-dual gap")

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        """The proximal map of step * f^*, by Moreau's identity u - step prox_{f/step}(u/step)."""
        scale = over_batch(step, u, self.ndim)
        return u - scale * self.prox(u / scale, 1.0 / step)

    def lipschitz(self) -> float:
        """A Lipschitz constant of the gradient."""
        raise self._lacks("Lipschitz gradient", "a solver that takes its prox")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Functional":
        """As in torch, but that `.to(dtype)` with a real precision keeps the imaginary part of complex buffers."""

        def by_parts(t: Tensor) -> Tensor:
            return torch.view_as_complex(fn(torch.view_as_real(t.resolve_conj()))) if t.is_complex() else fn(t)

        return super()._apply(by_parts, recurse)  # type: ignore[no-untyped-call]

    @property
    def name(self) -> str:
        """What messages call the term."""
        return type(self).__name__

    def _lacks(self, what: str, instead: str) -> TypeError:
        return TypeError(f"{type(self).__name__} has no {what}; use {instead}")

    def __rmul__(self, weight: Tensor | float) -> "Functional":
        return Weighted(weight, self)

    def __add__(self, other: Any) -> "Sum":
        return Sum(self, other) if isinstance(other, Functional) else NotImplemented

    def __matmul__(self, K: Any) -> "Precomposed":
        return Precomposed(self, K)


class Likelihood(Functional):
    """A functional of the predicted measurement that knows the measurement `y` (*batch, *shape).

    `ndim` of its axes are one measurement. `expected` is E f at the truth, the target of the discrepancy
    principle, and is None while the noise level is unknown.
    """

    y: Tensor

    def sample(self, prediction: Tensor, generator: torch.Generator) -> Tensor:
        """A measurement drawn from the noise model at the noise-free `prediction`."""
        raise self._lacks("noise level", "the argument `std` when it is made")

    def expected(self) -> Tensor | None:
        """E f(A x_true), (*batch,), or None."""
        return None


class Weighted(Functional):
    """c f with a finite weight c > 0: a number or one for each batch item, (*batch,).

    Raises ValueError for any other number, NaN included, and TypeError for what is no number.
    """

    weight: Tensor

    def __init__(self, weight: Tensor | float, f: Functional) -> None:
        super().__init__()
        self.register_buffer("weight", positive_weight(f, weight))
        self.f = f
        self.ndim, self.convex, self.quadratic, self.instead = f.ndim, f.convex, f.quadratic, f.instead

    @property
    def name(self) -> str:
        return self.f.name

    def _c(self, x: Tensor) -> Tensor | float:
        return over_batch(self.weight, x, self.ndim)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * self.f(x)

    def grad(self, x: Tensor) -> Tensor:
        return self._c(x) * self.f.grad(x)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return self.f.prox(x, self.weight * step)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        return self.weight * self.f.conj(u / self._c(u), bound)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        c = self._c(u)
        return c * self.f.conj_prox(u / c, step / self.weight)

    def lipschitz(self) -> float:
        return float(self.weight.max()) * self.f.lipschitz()


class Sum(Functional):
    """f_1 + ... + f_n on one variable: a value and a gradient; solvers take its `terms` apart."""

    terms: Sequence[Functional]

    def __init__(self, *terms: Functional) -> None:
        super().__init__()
        flat = [t for term in terms for t in (term.terms if isinstance(term, Sum) else [term])]
        self.terms = nn.ModuleList(flat)  # type: ignore[assignment]
        self.ndim, self.convex = flat[0].ndim, all(t.convex for t in flat)

    @property
    def name(self) -> str:
        return " + ".join(t.name for t in self.terms)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([f(x) for f in self.terms]).sum(0)

    def grad(self, x: Tensor) -> Tensor:
        return torch.stack([f.grad(x) for f in self.terms]).sum(0)

    def lipschitz(self) -> float:
        return sum(f.lipschitz() for f in self.terms)

    def __rmul__(self, weight: Tensor | float) -> "Sum":
        return Sum(*(weight * f for f in self.terms))


class Precomposed(Functional):
    """f(K x): a value, and a gradient where f has one; solvers such as PDHG take `f` and `K` apart.

    Taken for convex where f is and K is linear. Raises TypeError where K is no operator and `ShapeError` where f
    holds a measurement of another shape than K gives.
    """

    def __init__(self, f: Functional, K: Operator) -> None:
        super().__init__()
        if not isinstance(K, Operator):
            raise TypeError(
                f"{f.name} @ K takes an operator K; got a {type(K).__name__}: derive it from invreg.core.Linear, "
                "with its adjoint, or wrap one of another library by invreg.adapters"
            )
        if len(K.codomain.shape) != f.ndim:
            raise ShapeError(f"{f.name} sums over {f.ndim} axes, {K} gives {len(K.codomain.shape)}")
        refuse_another_shape(f, K.codomain, str(K))
        self.f, self.K = f, K
        self.ndim = len(K.domain.shape)
        self.convex, self.instead = f.convex and isinstance(K, Linear), f.instead
        self.quadratic = f.quadratic and isinstance(K, Linear)

    @property
    def name(self) -> str:
        # a class of its own, such as TV, has a name that says it all
        return f"{self.f.name} @ {self.K}" if type(self).__name__ == "Precomposed" else type(self).__name__

    def forward(self, x: Tensor) -> Tensor:
        return self.f(self.K(x))

    def grad(self, x: Tensor) -> Tensor:
        return self.K.vjp(x, self.f.grad(self.K(x)))

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        raise self._lacks(f"closed-form proximal map ({self.f.name} @ {self.K})", "solvers.PDHG")

    def lipschitz(self) -> float:
        if not isinstance(self.K, Linear):
            raise self._lacks("known Lipschitz constant (its operator is not linear)", "a line search")
        return self.f.lipschitz() * self.K.norm() ** 2

    def ascend(self, u: Tensor, x: Tensor, step: Tensor) -> Tensor:
        """The dual step of primal-dual solvers, f.conj_prox(u + step K x, step) with one step a batch item."""
        forward = self.K(x)
        ascent = torch.addcmul(u, forward, step.to(u.real.dtype).reshape(*step.shape, *(1,) * self.f.ndim))
        return self.f.conj_prox(ascent, step)

    def __rmul__(self, weight: Tensor | float) -> "Precomposed":
        return Precomposed(positive_weight(self, weight) * self.f, self.K)


def positive_weight(f: Functional, weight: Any) -> Tensor:
    """The weight of f in float64. Raises TypeError and ValueError as `Weighted` says."""
    if not isinstance(weight, Tensor | Real):
        raise TypeError(f"the weight of {f.name} must be a number or a tensor (*batch,); got a {type(weight).__name__}")
    c = torch.as_tensor(weight, dtype=torch.float64)
    if not bool(((c > 0) & c.isfinite()).all()):
        raise ValueError(
            f"the weight of {f.name} must be positive and finite; got {weight}: leave a term of no weight out"
        )
    return c


def refuse_another_shape(f: Functional, space: Space, who: str) -> None:
    """Raise `ShapeError` if f holds a measurement that is not of `space`, which `who` gives."""
    while isinstance(f, Weighted):
        f = f.f
    y = getattr(f, "y", None)
    if not isinstance(y, Tensor):
        return
    shape = tuple(y.shape[y.ndim - f.ndim :])
    if shape != space.shape or (y.is_complex() and not space.complex):
        kinds = [" complex" if c else "" for c in (y.is_complex(), space.complex)]
        raise ShapeError(
            f"{f.name} holds a measurement of{kinds[0]} shape {shape}, {who} gives{kinds[1]} {space.shape}: "
            "they must be the same, after any batch axes"
        )
