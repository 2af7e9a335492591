"""ODL 1.0: its operators as ours and ours as its; geometries in odl_geometry.py.

ODL's first axis is x and its second y, where an image's rows run against y: its array is np.rot90(image, -1).
"""

import math

import numpy as np
import torch
from torch import Tensor

from invreg.adapters.odl_geometry import from_geometry as from_geometry
from invreg.adapters.odl_geometry import to_geometry as to_geometry
from invreg.core import External, Linear, Space

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

    `domain` and `range` are ODL spaces of the shapes of A and constant weight, by default float32 `odl.rn`.
    """
    spaces = []
    for given, ours in ((domain, A.domain), (range, A.codomain)):
        space = odl.rn(ours.shape, dtype="float32") if given is None else given
        if _space(space) != ours:
            raise ValueError(f"{A} acts on {ours.shape}; got the ODL space {space} of shape {space.shape}")
        spaces.append(space)
    return _ToODL(A, *spaces)


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
    out = [torch.as_tensor(operator(operator.domain.element(item)).asarray()).to(x) for item in flat]
    return (torch.stack(out) if out else x.new_empty(0)).reshape(*batch, *target.shape)
