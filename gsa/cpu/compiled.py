"""What lies between convolutions as loops compiled for the CPU; the functions of ``gsa/cpu/pixels.py`` run them.

numba compiles a loop when it is first used, within seconds, and keeps it on disk until this file or that of its
vectors, ``gsa/cpu/vectors.py``, changes. If loops called anything else of ours, that could go stale.
"""

import hashlib
import math
from collections.abc import Callable
from functools import lru_cache, wraps
from inspect import unwrap
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.extending import overload

from gsa.cpu import vectors
from gsa.cpu.vectors import FAST, clamp, exp, floor, load, power_of_two, store, total, zeros

VECTORS = hashlib.sha256(Path(vectors.__file__).read_bytes()).hexdigest()[:8]
"""Which ``gsa/cpu/vectors.py`` this is: numba itself looks at the file of a loop alone."""


def compiled(function: Callable[..., None], lanes: int = 1) -> Callable[..., None]:
    """The function as machine code that runs without Python's lock; its first argument is an array of floats.

    Two processes that save different code under one name at the same instant could exchange it. The name therefore
    says for how many ``lanes`` the function is and of which ``VECTORS``, and only float32 is kept on disk; float64 is
    for tests.
    """
    plain = unwrap(function)  # tests check types around every function, which numba could not read
    plain.__qualname__ += f"_{lanes}_{VECTORS}"
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
    """The loop of ``pixels.difference``; long rows, of which LLVM makes vectors by itself."""
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
