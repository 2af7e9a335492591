"""Short vectors in numba: values of several lanes that stay in registers, whatever the machine's own width is.

The compiler turns a long loop into vector code by itself, but not a tile of sixteen values whose reads start where
the data say: it would ask on every tile whether the arrays overlap. Here the vector is a type, and + - * between
two of them, `maximum`, `load` and `store` are one instruction each (two or four where registers are shorter).
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, overload, register_model

intrinsic: Any = numba_intrinsic  # its annotations are those of the code, not of the call


class Vector(types.Type):
    """`lanes` numbers of one type."""

    def __init__(self, dtype: types.Number, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        element = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.lanes))  # type: ignore[no-untyped-call]


@intrinsic(prefer_literal=True)
def load(context: Any, array: Any, index: Any, lanes: Any) -> Any:
    """`lanes` elements of a contiguous array from `index` on, a literal number of them."""
    vector = Vector(array.dtype, lanes.literal_value)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, array, args[0], args[1], vector)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, index, lanes), code


@intrinsic
def store(context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a vector to the elements of a contiguous array from `index` on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, array, args[0], args[1], vector)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, vector), code


@intrinsic(prefer_literal=True)
def broadcast(context: Any, value: Any, lanes: Any) -> Any:
    """The same number in every lane."""
    vector = Vector(value, lanes.literal_value)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(vector)
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
        return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

    return vector(value, lanes), code


@intrinsic(prefer_literal=True)
def ramp(context: Any, value: Any, lanes: Any) -> Any:
    """The numbers of the lanes less their mean, in the type of `value`: -7.5, -6.5, ... 7.5 for sixteen."""
    vector = Vector(value, lanes.literal_value)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = [lane - (vector.lanes - 1) / 2 for lane in range(vector.lanes)]
        return ir.Constant(context.get_value_type(vector), numbers)

    return vector(value, lanes), code


@intrinsic
def maximum(context: Any, a: Any, b: Any) -> Any:
    """The greater in each lane."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), code


@intrinsic
def minimum(context: Any, a: Any, b: Any) -> Any:
    """The smaller in each lane."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return a(a, b), code


@intrinsic
def totals(context: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """The sums over the lanes of eight vectors of eight lanes, as one vector."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # halves of 4, 2 and 1 lanes; the order keeps the last two steps within 128 bits
        fours = [_folded(builder, args[i], args[i + 4], (0, 1, 2, 3, 8, 9, 10, 11), 4) for i in range(4)]
        twos = [_folded(builder, fours[i], fours[i + 1], (0, 1, 8, 9, 4, 5, 12, 13), 2) for i in (0, 2)]
        return _folded(builder, twos[0], twos[1], (0, 2, 8, 10, 4, 6, 12, 14), 1)

    return a(a, b, c, d, e, f, g, h), code


def _folded(builder: Any, x: Any, y: Any, lanes: tuple[int, ...], step: int) -> Any:
    """The named lanes of x and y (8 and up), each plus the lane `step` beyond it."""
    masks = [ir.Constant(ir.VectorType(ir.IntType(32), 8), [lane + n for lane in lanes]) for n in (0, step)]
    return builder.fadd(*(builder.shuffle_vector(x, y, mask) for mask in masks))


def _pointer(context: Any, builder: Any, array: Any, value: Any, index: Any, vector: Vector) -> Any:
    data = context.make_array(array)(context, builder, value).data
    address = builder.gep(data, [index], inbounds=True)
    return builder.bitcast(address, context.get_value_type(vector).as_pointer())


def _arithmetic(function: Callable[..., Any], instruction: str) -> None:
    @intrinsic
    def both(context: Any, a: Any, b: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, instruction)(*args, flags=("contract", "nsz"))  # a b + c becomes one

        return a(a, b), code

    @overload(function, strict=False)  # numba would compare the annotations
    def of_vectors(a: Any, b: Any) -> Any:
        if isinstance(a, Vector) and a == b:
            return lambda a, b: both(a, b)
        return None


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
