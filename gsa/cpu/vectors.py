"""Vectors of a few floats in loops that numba compiles: LLVM's own types, which it maps to any processor.

LLVM, which numba hands loops to, makes vectors of long ones by itself. A pixel of 16 channels is short: it went
through the code for what is left over, after a comparison of all addresses. Loops over channels therefore say that
their numbers are vectors, ``Lanes``. What is here runs when a loop is compiled and makes its machine code.
"""

import operator
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable

intrinsic: Any = numba.extending.intrinsic  # its types are those of the Python function that makes the machine code

WIDEST = 16
"""Most lanes of a vector: 64 bytes of float32. Where registers are smaller, LLVM takes several."""

FAST = ("reassoc", "contract", "nsz", "arcp")
"""What LLVM may do: reorder sums, fuse and the like, but NaN and infinity remain what they are."""


def lanes_of(width: int) -> int:
    """The widest vector, in lanes, that rows of ``width`` numbers are made of without a rest: a power of two."""
    return min(width & -width, WIDEST)


class Lanes(types.Type):
    """Numba's type of a vector of ``count`` floats; it has + - * / with its like and with one float."""

    def __init__(self, dtype: types.Float, count: int):
        self.dtype, self.count = dtype, count
        super().__init__(name=f"Lanes({dtype}, {count})")

    @property
    def llvm(self) -> ir.VectorType:
        """LLVM's type."""
        return ir.VectorType(ir.FloatType() if self.dtype == types.float32 else ir.DoubleType(), self.count)

    def constant(self, value: float) -> ir.Constant:
        """``value`` in every lane."""
        return ir.Constant(self.llvm, [value] * self.count)

    def call(self, builder: ir.IRBuilder, name: str, *arguments: ir.Value, result: ir.Type | None = None) -> ir.Value:
        """A call of LLVM's intrinsic ``llvm.<name>`` for this type."""
        suffix = f"v{self.count}f{self.dtype.bitwidth}"
        signature = ir.FunctionType(result or self.llvm, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
        return builder.call(function, arguments, fastmath=FAST)


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes):
        super().__init__(manager, lanes, lanes.llvm)


def _define(operation: Callable[..., Any], instruction: str) -> None:
    @type_callable(operation)
    def type_of(_: Any) -> Any:
        def result(left: Any, right: Any) -> Any:
            lanes = left if isinstance(left, Lanes) else right
            if isinstance(lanes, Lanes) and all(kind in (lanes, lanes.dtype) for kind in (left, right)):
                return lanes
            return None

        return result

    def lower(_: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        lanes = signature.return_type
        both = (
            value if kind == lanes else _in_every_lane(builder, lanes, value)
            for kind, value in zip(signature.args, values, strict=True)
        )
        return getattr(builder, instruction)(*both, flags=FAST)

    for kinds in ((Lanes, Lanes), (Lanes, types.Float), (types.Float, Lanes)):
        lower_builtin(operation, *kinds)(lower)


def _in_every_lane(builder: ir.IRBuilder, lanes: Lanes, value: ir.Value) -> ir.Value:
    nothing, integer = ir.Constant(lanes.llvm, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(nothing, value, ir.Constant(integer, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(integer, lanes.count), [0] * lanes.count))


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define(_operation, _instruction)


def _address(context: Any, builder: ir.IRBuilder, kinds: Any, values: Any, lanes: Lanes) -> ir.Value:
    array, index = kinds
    found = context.make_array(array)(context, builder, values[0])
    indices = cgutils.unpack_tuple(builder, values[1], len(index))
    pointer = cgutils.get_item_pointer(context, builder, array, found, indices, wraparound=False)
    return builder.bitcast(pointer, lanes.llvm.as_pointer())


@intrinsic(prefer_literal=True)
def load(_: Any, array: Any, index: Any, count: Any) -> Any:
    """``count`` (a constant) numbers of an array without gaps, from ``index`` on."""
    assert array.layout == "C", array
    lanes = Lanes(array.dtype, count.literal_value)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        found = builder.load(_address(context, builder, signature.args[:2], values, lanes))
        found.align = lanes.dtype.bitwidth // 8
        return found

    return lanes(array, index, count), generate


@intrinsic
def store(_: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Write what ``load`` with this index would read."""
    assert array.layout == "C" and array.dtype == lanes.dtype, (array, lanes)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        stored = builder.store(values[2], _address(context, builder, signature.args[:2], values, lanes))
        stored.align = lanes.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, index, lanes), generate


@intrinsic(prefer_literal=True)
def zeros(_: Any, array: Any, count: Any) -> Any:
    """``count`` (a constant) zeros of the array's type."""
    lanes = Lanes(array.dtype, count.literal_value)
    return lanes(array, count), lambda *_: lanes.constant(0.0)


@intrinsic
def total(_: Any, lanes: Any) -> Any:
    """The sum of all lanes."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> ir.Value:
        number = lanes.llvm.element
        return lanes.call(builder, "vector.reduce.fadd", ir.Constant(number, -0.0), values[0], result=number)

    return lanes.dtype(lanes), generate


@intrinsic(prefer_literal=True)
def clamp(_: Any, lanes: Any, low: Any, high: Any) -> Any:
    """Each lane in [low, high], whole constants; what is not a number becomes ``low``."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> ir.Value:
        lowest, highest = lanes.constant(float(low.literal_value)), lanes.constant(float(high.literal_value))
        found = builder.select(builder.fcmp_ordered(">", values[0], lowest), values[0], lowest)
        return builder.select(builder.fcmp_ordered("<", found, highest), found, highest)

    return lanes(lanes, low, high), generate


@intrinsic
def floor(_: Any, lanes: Any) -> Any:
    """The largest whole number in each lane that is not above it."""
    return lanes(lanes), lambda _, builder, __, values: lanes.call(builder, "floor", values[0])


@intrinsic
def exp(_: Any, lanes: Any) -> Any:
    """exp as the C library has it, lane by lane."""
    return lanes(lanes), lambda _, builder, __, values: lanes.call(builder, "exp", values[0])


@intrinsic
def power_of_two(_: Any, lanes: Any) -> Any:
    """2^n of float32 lanes that hold whole numbers n in [-126, 127]: n as an exponent's bits."""
    assert lanes.dtype == types.float32, lanes

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> ir.Value:
        integers = ir.VectorType(ir.IntType(32), lanes.count)
        bias, place = (ir.Constant(integers, [number] * lanes.count) for number in (127, 23))
        return builder.bitcast(builder.shl(builder.add(builder.fptosi(values[0], integers), bias), place), lanes.llvm)

    return lanes(lanes), generate
