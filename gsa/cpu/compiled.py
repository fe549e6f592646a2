"""Kernels that numba compiles; the functions of ``gsa/cpu/pixels.py`` run them, in threads.

numba compiles a kernel within seconds when it is first used, and keeps it on disk until this file changes. A kernel
therefore calls nothing of ours outside this file. Nothing checks an index.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from inspect import unwrap
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import overload

FAST = {"reassoc", "contract", "nsz", "arcp"}
"""What the compiler may do: reorder sums, fuse and the like; NaN and infinity remain what they are."""


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """The function as machine code that runs without Python's lock; its first argument is an array of floats.

    Two processes that save code for different types at the same instant could exchange it, so only that for float32 is
    kept on disk; float64 is for tests.
    """
    plain = unwrap(function)  # tests check types around every function, which numba could not read
    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": FAST}
    single, double = numba.njit(**settings)(plain), numba.njit(**settings)(plain)
    with suppress(RuntimeError):  # neither this folder nor one at home can be written: compiled anew by each process
        single.enable_caching()

    @wraps(plain)
    def of_type(*arrays: Any) -> None:
        (single if arrays[0].dtype == np.float32 else double)(*arrays)

    return of_type


LOG2_E, LN2, ONE, HALF, LOWEST, HIGHEST = map(np.float32, (math.log2(math.e), math.log(2), 1, 0.5, -87, 88))
C2, C3, C4, C5, C6, C7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))


def _exp(x: Any) -> Any:
    """A name for the compiler, which puts ``_exp_of_type`` in its place."""


@overload(_exp, inline="always")
def _exp_of_type(x: Any) -> Any:
    """exp of float32 as arithmetic, which the compiler makes vectors of; the C library takes one number at a time.

    exp(x) = 2^n exp(r), |r| at most ln(2) / 2: Taylor's series (to 4e-7 with fused products), n in the exponent's bits.
    It stops growing at 88 and falling at -87. The two halves of the series do not wait for each other.
    """

    def series(x: Any) -> Any:
        x = min(max(x, LOWEST), HIGHEST)
        n = np.floor(x * LOG2_E + HALF)
        r = x - n * LN2
        square = r * r
        low, high = (r + ONE) + (r * C3 + C2) * square, (r * C5 + C4) + (r * C7 + C6) * square
        power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
        return (low + high * (square * square)) * power

    def library(x: Any) -> Any:
        return math.exp(x)

    return unwrap(series if x == types.float32 else library)


@compiled
def norm_silu(x: Any, where: Any, bias: Any, gain: Any, offset: Any, eps: Any, out: Any, mean: Any, rstd: Any) -> None:
    """Pixel p is row ``where[p]`` of x (N R C) and row p of out (N P C); statistics are (N P)."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    share = one / x.dtype.type(x.shape[2])
    for n in range(x.shape[0]):
        for p in range(len(where)):
            row = where[p]
            origin = x[n, row, 0] + bias[0]  # sums of distances from it: squares of large numbers would cancel
            distances = squares = zero
            for c in range(x.shape[2]):
                distance = x[n, row, c] + bias[c] - origin
                distances += distance
                squares += distance * distance
            distances *= share
            middle, inverse = origin + distances, one / np.sqrt(squares * share - distances * distances + eps)
            mean[n, p], rstd[n, p] = middle, inverse
            for c in range(x.shape[2]):
                value = (x[n, row, c] + bias[c] - middle) * inverse * gain[c] + offset[c]
                out[n, p, c] = value / (one + _exp(-value))


@compiled
def norm_silu_backward(
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
    """Pixel p is row ``where[p]`` of x (N R C), ``grad_at[p]`` of grad (N G C), ``grad_x_at[p]`` of grad_x (N Q C).

    ``sums`` (3 C), of bias, gain and offset, are float64 and added to.
    """
    one, zero = x.dtype.type(1), x.dtype.type(0)
    share = one / x.dtype.type(x.shape[2])
    some = np.zeros((5, x.shape[2]), x.dtype)
    some_bias, some_gain, some_offset, slopes, units = some[0], some[1], some[2], some[3], some[4]
    for n in range(x.shape[0]):
        for p in range(len(where)):
            row, above, below, middle, inverse = where[p], grad_at[p], grad_x_at[p], mean[n, p], rstd[n, p]
            first = second = zero
            for c in range(x.shape[2]):
                unit = (x[n, row, c] + bias[c] - middle) * inverse
                value = unit * gain[c] + offset[c]
                sigmoid = one / (one + _exp(-value))
                slope = grad[n, above, c] * sigmoid * (one + value * (one - sigmoid))
                some_gain[c] += slope * unit
                some_offset[c] += slope
                slope *= gain[c]
                first += slope
                second += slope * unit
                slopes[c], units[c] = slope, unit
            first *= share
            second *= share
            for c in range(x.shape[2]):
                change = inverse * (slopes[c] - first - units[c] * second)
                some_bias[c] += change
                grad_x[n, below, c] = change
        for kind in range(3):  # an image's sums in its own precision, those of all images in double precision
            for c in range(x.shape[2]):
                sums[kind, c] += some[kind, c]
                some[kind, c] = zero


@compiled
def scale(x: Any, factors: Any, sums: Any) -> None:
    """x (N Y X) is multiplied by factors (N); ``sums`` (X) are float64 and added to."""
    some = np.zeros(len(sums), x.dtype)
    for n in range(x.shape[0]):
        for y in range(x.shape[1]):
            for k in range(x.shape[2]):
                value = x[n, y, k] * factors[n]
                x[n, y, k] = value
                some[k] += value
        for k in range(len(sums)):
            sums[k] += some[k]
            some[k] = x.dtype.type(0)


@compiled
def difference(phases: Any, target: Any, out: Any, errors: Any) -> None:
    """``pixels.difference``: phases are (N H W 2 2O), target and out (N H 2 W 2O), errors (N)."""
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
