"""What lies between convolutions as loops compiled for the CPU, and the vectors that these are made of.

numba compiles a loop when it is first used, within seconds, and keeps it on disk until this file changes; everything
that is compiled is therefore in this file. ``gsa/nets/kernels.py`` has the functions that use the loops.

LLVM, which numba hands the loops to, makes vectors of long ones by itself. A pixel of 16 channels is short: it went
through the code for what is left over, after a comparison of all addresses. Loops over channels therefore say that
their numbers are vectors, ``Lanes``, in LLVM's own types, which it maps to any processor.
"""

import math
import operator
from collections.abc import Callable
from functools import lru_cache, wraps
from inspect import unwrap
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, models, overload, register_model, type_callable

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


def compiled(function: Callable[..., None], lanes: int = 1) -> Callable[..., None]:
    """The function as machine code that runs without Python's lock; its first argument is an array of floats.

    Two processes that save different code under one name at the same instant could exchange it. The name therefore
    says for how many ``lanes`` the function is, and only float32 is kept on disk; float64 is for tests.
    """
    plain = unwrap(function)  # tests check types around every function, which numba could not read
    plain.__qualname__ += f"_{lanes}"
    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(FAST)}
    single, double = numba.njit(cache=True, **settings)(plain), numba.njit(**settings)(plain)

    @wraps(plain)
    def of_type(*arrays: Any) -> None:
        (single if arrays[0].dtype == np.float32 else double)(*arrays)

    return of_type


LOG2_E, LN2, ONE, HALF = map(np.float32, (math.log2(math.e), math.log(2), 1, 0.5))
C2, C3, C4, C5, C6, C7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))


def _exp(x: Any) -> Any:
    """A name for the compiler, which puts ``_exp_of_type`` in its place."""


@overload(_exp, inline="always")
def _exp_of_type(x: Any) -> Any:
    """Of float32 as arithmetic, which runs on vectors; the C library's exp would take one number at a time.

    exp(x) = 2^n exp(r), |r| at most ln(2) / 2: Taylor's series (to 4e-7 with fused products), n in the exponent.
    It stops growing at 88 and falling at -87. The series' halves do not wait for each other.
    """

    def series(x: Any) -> Any:
        x = clamp(x, -87, 88)
        n = floor(x * LOG2_E + HALF)
        r = x - n * LN2
        square = r * r
        low, high = (r + ONE) + (r * C3 + C2) * square, (r * C5 + C4) + (r * C7 + C6) * square
        return (low + high * (square * square)) * power_of_two(n)

    def library(x: Any) -> Any:
        return exp(x)

    return unwrap(series if x.dtype == types.float32 else library)


class Loops(NamedTuple):
    """Compiled for vectors of some number of lanes."""

    forward: Callable[..., None]
    backward: Callable[..., None]
    scale: Callable[..., None]


@lru_cache
def loops_of(lanes: int) -> Loops:
    """For rows that are made of ``lanes`` without a rest. Arrays have no gaps, and nothing checks an index.

    ``forward`` and ``backward``: pixel p is row ``where[p]`` of x (N R C), row ``grad_at[p]`` of its SiLU's gradient
    (N G C) and row ``grad_x_at[p]`` of what is written (N Q C); statistics are (N P). ``scale``: x is (N Y X), factors
    (N). ``sums``, (3 C) and (X), are float64 and added to.
    """

    def forward(
        x: Any, where: Any, bias: Any, gain: Any, offset: Any, eps: Any, out: Any, mean: Any, rstd: Any
    ) -> None:
        one, zero, channels = x.dtype.type(1), x.dtype.type(0), x.shape[2]
        share = one / x.dtype.type(channels)
        for n in range(x.shape[0]):
            for p in range(len(where)):
                row = where[p]
                origin = x[n, row, 0] + bias[0]  # sums of distances from it: squares of large numbers would cancel
                distances = squares = zeros(x, lanes)
                for c in range(0, channels, lanes):
                    distance = load(x, (n, row, c), lanes) + load(bias, (c,), lanes) - origin
                    distances = distances + distance
                    squares = squares + distance * distance
                middle = total(distances) * share
                mean[n, p], rstd[n, p] = origin + middle, total(squares) * share - middle * middle + eps
            for p in range(len(where)):
                rstd[n, p] = one / np.sqrt(rstd[n, p])
            for p in range(len(where)):
                row, middle, inverse = where[p], mean[n, p], rstd[n, p]
                for c in range(0, channels, lanes):
                    unit = (load(x, (n, row, c), lanes) + load(bias, (c,), lanes) - middle) * inverse
                    value = unit * load(gain, (c,), lanes) + load(offset, (c,), lanes)
                    store(out, (n, p, c), value / (one + _exp(zero - value)))

    def backward(
        grad: Any,
        grad_at: Any,
        x: Any,
        where: Any,
        bias: Any,
        gain: Any,
        offset: Any,
        mean: Any,
        rstd: Any,
        grad_x: Any,
        grad_x_at: Any,
        sums: Any,
    ) -> None:
        one, zero, channels = x.dtype.type(1), x.dtype.type(0), x.shape[2]
        share = one / x.dtype.type(channels)
        some = np.zeros((5, channels), x.dtype)
        some_bias, some_gain, some_offset, slopes, units = some[0], some[1], some[2], some[3], some[4]
        for n in range(x.shape[0]):
            for p in range(len(where)):
                row, above, below, middle, inverse = where[p], grad_at[p], grad_x_at[p], mean[n, p], rstd[n, p]
                firsts = seconds = zeros(x, lanes)
                for c in range(0, channels, lanes):
                    unit = (load(x, (n, row, c), lanes) + load(bias, (c,), lanes) - middle) * inverse
                    steep = load(gain, (c,), lanes)
                    value = unit * steep + load(offset, (c,), lanes)
                    sigmoid = one / (one + _exp(zero - value))
                    slope = load(grad, (n, above, c), lanes) * sigmoid * (one + value * (one - sigmoid))
                    store(some_gain, (c,), load(some_gain, (c,), lanes) + slope * unit)
                    store(some_offset, (c,), load(some_offset, (c,), lanes) + slope)
                    slope = slope * steep
                    firsts = firsts + slope
                    seconds = seconds + slope * unit
                    store(slopes, (c,), slope)
                    store(units, (c,), unit)
                first, second = total(firsts) * share, total(seconds) * share
                for c in range(0, channels, lanes):
                    change = inverse * (load(slopes, (c,), lanes) - first - load(units, (c,), lanes) * second)
                    store(some_bias, (c,), load(some_bias, (c,), lanes) + change)
                    store(grad_x, (n, below, c), change)
            for kind in range(3):  # an image's sums in its own precision, those of all images in double precision
                for c in range(channels):
                    sums[kind, c] += some[kind, c]
                    some[kind, c] = zero

    def scale(x: Any, factors: Any, sums: Any) -> None:
        some = np.zeros(len(sums), x.dtype)
        for n in range(x.shape[0]):
            for y in range(x.shape[1]):
                for k in range(0, x.shape[2], lanes):
                    value = load(x, (n, y, k), lanes) * factors[n]
                    store(x, (n, y, k), value)
                    store(some, (k,), load(some, (k,), lanes) + value)
            for k in range(len(sums)):
                sums[k] += some[k]
                some[k] = x.dtype.type(0)

    return Loops(*(compiled(loop, lanes) for loop in (forward, backward, scale)))


@compiled
def difference(phases: Any, target: Any, out: Any, errors: Any) -> None:
    """The loop of ``kernels.difference``; long rows, of which LLVM makes vectors by itself."""
    for n in range(phases.shape[0]):
        error = 0.0
        for i in range(phases.shape[1]):
            some = target.dtype.type(0)
            for p in range(2):
                for j in range(phases.shape[2]):
                    for k in range(phases.shape[4]):
                        distance = phases[n, i, j, p, k] - target[n, i, p, j, k]
                        out[n, i, p, j, k] = distance
                        some += distance * distance
            error += some
        errors[n] = error
