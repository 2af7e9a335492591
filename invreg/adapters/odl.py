"""ODL 1.0: its operators and functionals as ours and ours as its; geometries in odl_geometry.py.

ODL's first axis is x and its second y, where an image's rows run against y: its array is np.rot90(image, -1).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from invreg.adapters.odl_geometry import from_geometry as from_geometry
from invreg.adapters.odl_geometry import to_geometry as to_geometry
from invreg.core import External, Functional, Linear, Space

try:
    import odl
    from odl.core.set.space import LinearSpaceElement
except ModuleNotFoundError as error:
    raise ImportError("invreg.adapters.odl needs odl: pip install 'invreg[interop]'") from error


class FromODL(External):
    """A linear ODL operator, item by item of the batch, computed in the precision of its spaces.

    ODL's adjoint is that of its weighted spaces; this one is the transpose of the array of numbers.
    """

    def __init__(self, operator: odl.Operator) -> None:
        if not operator.is_linear:
            raise TypeError(f"from_operator takes a linear ODL operator; {type(operator).__name__} is not")
        super().__init__(*(_space(s) for s in (operator.domain, operator.range)))
        self.operator = operator
        self.weight_ratio = _weight(operator.domain) / _weight(operator.range)

    def _forward(self, x: Tensor) -> Tensor:
        return _map(self.operator, x, self.domain, self.codomain)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.weight_ratio * _map(self.operator.adjoint, y, self.codomain, self.domain)


def from_operator(operator: odl.Operator) -> FromODL:
    """A linear ODL operator between spaces of constant weight."""
    return FromODL(operator)


class _ToODL(odl.Operator):
    def __init__(self, A: Linear, domain: odl.LinearSpace, range: odl.LinearSpace) -> None:
        super().__init__(domain, range, linear=True)
        self.linear = A

    def _call(self, x: LinearSpaceElement) -> LinearSpaceElement:
        return self.range.element(self.linear(torch.as_tensor(x.asarray())).numpy())

    @property
    def adjoint(self) -> "_ToODL":
        ratio = _weight(self.range) / _weight(self.domain)
        return _ToODL(ratio * self.linear.H, self.range, self.domain)


def to_operator(A: Linear, domain: odl.LinearSpace | None = None, range: odl.LinearSpace | None = None) -> odl.Operator:
    """A as an ODL operator with the adjoint that its spaces ask for.

    `domain` and `range` are ODL spaces of the shapes of A and constant weight, by default `odl.rn` of float32 or
    `odl.cn` of complex64.
    """
    spaces = []
    for given, ours in ((domain, A.domain), (range, A.codomain)):
        default = odl.cn(ours.shape, dtype="complex64") if ours.complex else odl.rn(ours.shape, dtype="float32")
        space = default if given is None else given
        if _space(space) != ours:
            raise ValueError(f"{A} acts on {ours.shape}; got the ODL space {space} of shape {space.shape}")
        spaces.append(space)
    return _ToODL(A, *spaces)


class FromODLFunctional(Functional):
    """A functional of an ODL space of constant weight c, item by item of the batch, in the precision of that space.

    ODL's gradient, prox and conjugate are those of the weighted inner product c <x, u>; these are of <x, u>. Its
    conjugates know no bound. Products, quotients, multiples by a number < 0, Rosenbrock's function and LpNorm of an
    exponent < 1 do not count as convex, whatever they stand in; all else does.
    """

    def __init__(self, functional: odl.functionals.Functional) -> None:
        super().__init__()
        self.functional, self.weight = functional, _weight(functional.domain)
        self.space = _space(functional.domain)
        self.convex = _convex(functional)
        self.ndim = len(self.space.shape)

    def forward(self, x: Tensor) -> Tensor:
        return self._value(self.functional, x)

    def grad(self, x: Tensor) -> Tensor:
        try:
            gradient = self.functional.gradient
        except NotImplementedError:
            return super().grad(x)
        return self.weight * _map(gradient, x, self.space, self.space)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        try:
            proximal = self.functional.proximal
        except NotImplementedError:
            return super().prox(x, step)
        return self._stepwise(lambda t: proximal(self.weight * t), x, step)

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        try:
            return self._value(self.functional.convex_conj, u / self.weight)
        except NotImplementedError:
            return super().conj(u, bound)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        c, conjugate = self.weight, self.functional.convex_conj
        return c * self._stepwise(lambda t: conjugate.proximal(t / c), u / c, step)

    def _value(self, functional: odl.functionals.Functional, x: Tensor) -> Tensor:
        precise = x.to(torch.complex128 if x.is_complex() else torch.float64)
        return _map(functional, precise, self.space, Space(())).real

    def _stepwise(self, factory: Callable[[float], odl.Operator], x: Tensor, step: Tensor | float) -> Tensor:
        batch = self.space.batch(x)
        steps = torch.as_tensor(step, dtype=torch.float64).expand(batch).flatten().tolist()
        flat = x.reshape(math.prod(batch), *self.space.shape)
        done = [_map(factory(t), item[None], self.space, self.space) for t, item in zip(steps, flat, strict=True)]
        return torch.cat([flat[:0], *done]).reshape(x.shape)


def _convex(functional: odl.functionals.Functional) -> bool:
    kinds = odl.functionals
    if isinstance(functional, kinds.RosenbrockFunctional | kinds.FunctionalProduct | kinds.FunctionalQuotient):
        return False
    if isinstance(functional, kinds.LpNorm) and functional.exponent < 1:
        return False
    if isinstance(functional, kinds.FunctionalLeftScalarMult) and functional.scalar < 0:
        return False
    if isinstance(functional, kinds.FunctionalComp) and not functional.right.is_linear:
        return False
    parts = [getattr(functional, name, None) for name in ("left", "right", "functional")]
    return all(_convex(part) for part in parts if isinstance(part, kinds.Functional))


def from_functional(functional: odl.functionals.Functional) -> FromODLFunctional:
    """A functional of ODL; what it lacks of gradient, proximal and conjugate raises TypeError."""
    return FromODLFunctional(functional)


class _OfElements(odl.Operator):
    def __init__(self, space: odl.LinearSpace, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(space, space, linear=False)
        self.function = function

    def _call(self, x: LinearSpaceElement) -> LinearSpaceElement:
        return self.range.element(self.function(torch.as_tensor(x.asarray())).numpy())


class _ToODLFunctional(odl.functionals.Functional):
    def __init__(self, f: Functional, space: odl.LinearSpace) -> None:
        self.f, self.weight = f, _weight(space)
        try:
            lipschitz = f.lipschitz() / self.weight
        except TypeError:
            lipschitz = math.nan  # ODL's word for unknown
        super().__init__(space, grad_lipschitz=lipschitz)

    def _call(self, x: LinearSpaceElement) -> float:
        return float(self.f(torch.as_tensor(x.asarray())).sum())

    @property
    def gradient(self) -> odl.Operator:
        return _OfElements(self.domain, lambda x: self.f.grad(x) / self.weight)

    @property
    def proximal(self) -> Callable[[float], odl.Operator]:
        return lambda step: _OfElements(self.domain, lambda x: self.f.prox(x, float(step) / self.weight))

    @property
    def convex_conj(self) -> "_ConjugateODL":
        return _ConjugateODL(self)


class _ConjugateODL(odl.functionals.Functional):
    """u -> f^*(c u), the conjugate in the inner product c <x, u>."""

    def __init__(self, primal: _ToODLFunctional) -> None:
        super().__init__(primal.domain)
        self.primal = primal

    def _call(self, u: LinearSpaceElement) -> float:
        return float(self.primal.f.conj(self.primal.weight * torch.as_tensor(u.asarray())).sum())

    @property
    def proximal(self) -> Callable[[float], odl.Operator]:
        f, c = self.primal.f, self.primal.weight
        return lambda step: _OfElements(self.domain, lambda u: f.conj_prox(c * u, c * float(step)) / c)

    @property
    def convex_conj(self) -> _ToODLFunctional:
        return self.primal


def to_functional(f: Functional, space: odl.LinearSpace) -> odl.functionals.Functional:
    """f on the elements of an ODL space of constant weight, summed over the axes before those of f.

    The value is that of the array of numbers; gradient, proximal and convex_conj are those of the space's inner
    product.
    """
    if len(space.shape) < f.ndim:
        raise ValueError(f"{type(f).__name__} sums over {f.ndim} axes; the ODL space {space} has {len(space.shape)}")
    return _ToODLFunctional(f, space)


def _space(space: odl.LinearSpace) -> Space:
    return Space(tuple(space.shape), complex=space.field == odl.ComplexNumbers())


def _weight(space: odl.LinearSpace) -> float:
    """The constant c of the inner product c sum_i x_i y_i."""
    parts = [space[0]] if isinstance(space, odl.ProductSpace) else []
    for part in (space, *parts):
        if not hasattr(part.weighting, "const"):
            raise ValueError(f"the ODL space {part} weighs its points unequally; only constant weights are taken")
    one = space.one()
    return float(np.real(one.inner(one))) / int(np.prod(space.shape))


def _map(operator: odl.Operator, x: Tensor, source: Space, target: Space) -> Tensor:
    batch = source.batch(x)
    flat = x.reshape(math.prod(batch), *source.shape).cpu().numpy()
    images = [operator(operator.domain.element(item)) for item in flat]
    out = [torch.as_tensor(i.asarray() if isinstance(i, LinearSpaceElement) else np.float64(i)).to(x) for i in images]
    return (torch.stack(out) if out else x.new_empty(0)).reshape((*batch, *target.shape))
