"""What lies between convolutions as loops compiled for the CPU: bias, LayerNorm and SiLU; the squared error of images.

torch takes a kernel for each step, and its LayerNorm takes as long for a row of 16 channels as for one of 64. Here a
pixel is read once each way, from wherever the convolution left it. numba compiles a loop when it is first used, within
seconds, and keeps it on disk until this file changes; everything that is compiled is therefore in this file.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from inspect import unwrap
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from jaxtyping import Float, Int64
from numba.extending import overload
from torch import Tensor

SMALL = 1 << 16
"""Numbers below which a second thread costs more than it saves."""


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """The function as machine code that runs without Python's lock; its first argument is an array of floats.

    Sums may be reordered, but NaN and infinity remain what they are. Only float32 is kept on disk, for two processes
    that save different types at the same instant could exchange them; float64 is for tests.
    """
    plain = unwrap(function)  # tests check types around every function, which numba could not read
    fast = {"reassoc", "contract", "nsz", "arcp"}
    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fast}
    single, double = numba.njit(cache=True, **settings)(plain), numba.njit(**settings)(plain)
    return lambda *arrays: (single if arrays[0].dtype == np.float32 else double)(*arrays)


LOG2_E, LN2, ONE, HALF, LOWEST, HIGHEST = map(np.float32, (math.log2(math.e), math.log(2), 1, 0.5, -87, 88))
C2, C3, C4, C5, C6, C7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))


def _exp(x: Any) -> Any:
    """exp in the loops below; compiled, it is ``_exp_of_type``."""
    return math.exp(x)


@overload(_exp, inline="always")
def _exp_of_type(x: Any) -> Any:
    """Of float32 as arithmetic, which runs on vectors; the C library's exp would take one number at a time.

    exp(x) = 2^n exp(r), |r| at most ln(2) / 2: Taylor's series (to 4e-7 with fused products), n in the exponent.
    It stops growing at 88 and falling at -87.
    """

    def series(x: Any) -> Any:
        x = min(max(x, LOWEST), HIGHEST)
        n = np.floor(x * LOG2_E + HALF)
        r = x - n * LN2
        value = ONE + r * (ONE + r * (C2 + r * (C3 + r * (C4 + r * (C5 + r * (C6 + r * C7))))))
        return value * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)

    def library(x: Any) -> Any:
        return math.exp(x)

    return unwrap(series if x == numba.types.float32 else library)


@compiled
def _forward(x: Any, where: Any, bias: Any, gain: Any, offset: Any, eps: Any, out: Any, mean: Any, rstd: Any) -> None:
    one, zero = x.dtype.type(1), x.dtype.type(0)
    share = one / x.dtype.type(x.shape[2])
    for n in range(x.shape[0]):
        for p in range(len(where)):
            r = where[p]
            origin = x[n, r, 0] + bias[0]  # sums of distances from it, for squares of large numbers would cancel
            total = square = zero
            for c in range(x.shape[2]):
                distance = x[n, r, c] + bias[c] - origin
                total += distance
                square += distance * distance
            total *= share
            middle, scale = origin + total, one / np.sqrt(square * share - total * total + eps)
            mean[n, p], rstd[n, p] = middle, scale
            for c in range(x.shape[2]):
                value = (x[n, r, c] + bias[c] - middle) * scale * gain[c] + offset[c]
                out[n, p, c] = value / (one + _exp(-value))


@compiled
def _backward(
    grad: Any,
    x: Any,
    where: Any,
    to: Any,
    bias: Any,
    gain: Any,
    offset: Any,
    mean: Any,
    rstd: Any,
    grad_x: Any,
    sums: Any,
) -> None:
    one, zero = x.dtype.type(1), x.dtype.type(0)
    share = one / x.dtype.type(x.shape[2])
    some = np.zeros((5, x.shape[2]), x.dtype)
    some_bias, some_gain, some_offset, slopes, units = some[0], some[1], some[2], some[3], some[4]
    for n in range(x.shape[0]):
        for p in range(len(where)):
            r, t, middle, scale = where[p], to[p], mean[n, p], rstd[n, p]
            first = second = zero
            for c in range(x.shape[2]):
                unit = (x[n, r, c] + bias[c] - middle) * scale
                value = unit * gain[c] + offset[c]
                sigmoid = one / (one + _exp(-value))
                slope = grad[n, p, c] * sigmoid * (one + value * (one - sigmoid))
                some_gain[c] += slope * unit
                some_offset[c] += slope
                slope *= gain[c]
                first += slope
                second += slope * unit
                slopes[c], units[c] = slope, unit
            first *= share
            second *= share
            for c in range(x.shape[2]):
                change = scale * (slopes[c] - first - units[c] * second)
                some_bias[c] += change
                grad_x[n, t, c] = change
        for kind in range(3):  # an image's sums in its own precision, those of all images in double precision
            for c in range(x.shape[2]):
                sums[kind, c] += some[kind, c]
                some[kind, c] = zero


@compiled
def _difference(phases: Any, target: Any, out: Any, errors: Any) -> None:
    for n in range(phases.shape[0]):
        total = 0.0
        for i in range(phases.shape[1]):
            some = target.dtype.type(0)
            for p in range(2):
                for j in range(phases.shape[2]):
                    for k in range(phases.shape[4]):
                        distance = phases[n, i, j, p, k] - target[n, i, p, j, k]
                        out[n, i, p, j, k] = distance
                        some += distance * distance
            total += some
        errors[n] = total


def _in_threads(images: int, numbers: int, work: Callable[[int, slice], None]) -> None:
    """``work(n, images)`` for as many parts as torch has threads."""
    parts = torch.get_num_threads() if numbers >= SMALL else 1
    slices = [slice(images * n // parts, images * (n + 1) // parts) for n in range(parts)]
    if parts == 1:
        work(0, slices[0])
        return
    with ThreadPoolExecutor(parts) as pool:  # a new one each time: one that is kept would not survive a fork
        list(pool.map(work, range(parts), slices))


class Norm(NamedTuple):
    """What belongs to a channel: the bias that is added before the norm, the norm's weight and bias."""

    bias: Float[Tensor, " C"]
    gain: Float[Tensor, " C"]
    offset: Float[Tensor, " C"]


class Statistics(NamedTuple):
    """Mean and 1 / standard deviation of every pixel."""

    mean: Float[Tensor, "N P"]
    rstd: Float[Tensor, "N P"]


def norm_silu(
    x: Float[Tensor, "N R C"], where: Int64[np.ndarray, " P"], norm: Norm, eps: float
) -> tuple[Float[Tensor, "N P C"], Statistics]:
    """SiLU(LayerNorm(x[:, where] + bias)) over C, float32 or float64."""
    count, pixels = len(x), len(where)
    out, mean, rstd = x.new_empty(count, pixels, x.shape[2]), x.new_empty(count, pixels), x.new_empty(count, pixels)
    arrays, channels = _arrays(x, out, mean, rstd), _arrays(*norm)
    small = arrays[0].dtype.type(eps)

    def work(_: int, part: slice) -> None:
        x, *found = (array[part] for array in arrays)
        _forward(x, where, *channels, small, *found)

    _in_threads(count, out.numel(), work)
    return out, Statistics(mean, rstd)


def norm_silu_backward(
    grad: Float[Tensor, "N P C"],
    x: Float[Tensor, "N R C"],
    where: Int64[np.ndarray, " P"],
    norm: Norm,
    statistics: Statistics,
    grad_x: Float[Tensor, "N Q C"],
    to: Int64[np.ndarray, " P"],
) -> Norm:
    """Write the gradient of x[:, where] into grad_x[:, to], no other row of it, and return that of the channels.

    ``grad_x`` may be x itself where ``to`` is ``where``.
    """
    arrays, channels = _arrays(grad, x, *statistics, grad_x), _arrays(*norm)
    sums = np.zeros((torch.get_num_threads(), 3, x.shape[2]))

    def work(n: int, part: slice) -> None:
        grad, x, mean, rstd, grad_x = (array[part] for array in arrays)
        _backward(grad, x, where, to, *channels, mean, rstd, grad_x, sums[n])

    _in_threads(len(x), grad.numel(), work)
    return Norm(*torch.from_numpy(sums.sum(0)).to(x.dtype))


def difference(
    phases: Float[Tensor, "N H W O4"], target: Float[Tensor, "N Y X O"]
) -> tuple[Float[Tensor, "N Y X O"], Float[Tensor, " N"]]:
    """Image - target and the sum of its squares, the image (Y = 2 H, X = 2 W) given by its four phases a pixel."""
    out, errors = torch.empty_like(target), target.new_empty(len(target))
    n, height, width, channels = phases.shape
    images = (image.view(n, height, 2, width, channels // 2) for image in (target, out))
    arrays = _arrays(phases.unflatten(3, (2, -1)), *images, errors)
    _in_threads(len(target), target.numel(), lambda _, part: _difference(*(array[part] for array in arrays)))
    return out, errors


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]
