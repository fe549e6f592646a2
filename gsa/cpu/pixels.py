"""What lies between convolutions: bias, LayerNorm and SiLU; the squared error of images.

torch has a kernel for each of them, and its LayerNorm takes as long for a row of 16 channels as for one of 64. Here a
pixel is read once each way, from wherever the convolution left it, by the kernels of ``gsa/cpu/compiled.py``.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gsa.cpu import compiled

SMALL = 1 << 16
"""Below so many numbers a second thread costs more than it saves."""

OPENMP: Any = getattr(ctypes.CDLL(None), "GOMP_parallel", None) if os.name == "posix" else None
"""void GOMP_parallel(void (*)(void *), void *, unsigned threads, unsigned flags), of torch's OpenMP library."""


class Pixels(NamedTuple):
    """An image of Y = X = ``size`` whose pixel p, counted row by row, is ``rows[:, where[p]]``."""

    rows: Float[Tensor, "N R C"]
    where: Int64[np.ndarray, " P"]
    size: int


class Norm(NamedTuple):
    """What belongs to a channel: the bias that is added before the norm, the norm's weight and bias."""

    bias: Float[Tensor, " C"]
    gain: Float[Tensor, " C"]
    offset: Float[Tensor, " C"]


class Statistics(NamedTuple):
    """Mean and 1 / standard deviation of every pixel."""

    mean: Float[Tensor, "N P"]
    rstd: Float[Tensor, "N P"]


def norm_silu(x: Pixels, norm: Norm, eps: float) -> tuple[Float[Tensor, "N P C"], Statistics]:
    """SiLU(LayerNorm(x + bias)) over C, its pixels row by row; float32 or float64, rows contiguous."""
    count, _, channels = x.rows.shape
    out, mean, rstd = (x.rows.new_empty(count, len(x.where), *width) for width in ((channels,), (), ()))
    arrays, weights = _arrays(x.rows, out, mean, rstd), _arrays(*norm)
    small = arrays[0].dtype.type(eps)

    def work(_: int, part: slice) -> None:
        rows, *found = (array[part] for array in arrays)
        compiled.norm_silu(rows, x.where, *weights, small, *found)

    _in_threads(count, out.numel(), work)
    return out, Statistics(mean, rstd)


def norm_silu_backward(grad: Pixels, x: Pixels, norm: Norm, statistics: Statistics, grad_x: Pixels) -> Norm:
    """Write the gradient of x into ``grad_x``, leave its other rows alone, and return the gradient of ``norm``.

    ``grad`` is that of what ``norm_silu`` returned. ``grad_x`` may be x itself. Rows are contiguous.
    """
    assert len(grad.where) == len(x.where) == len(grad_x.where)
    arrays, weights = _arrays(grad.rows, x.rows, *statistics, grad_x.rows), _arrays(*norm)
    sums = np.zeros((torch.get_num_threads(), 3, x.rows.shape[2]))

    def work(n: int, part: slice) -> None:
        above, rows, mean, rstd, below = (array[part] for array in arrays)
        compiled.norm_silu_backward(
            above, grad.where, rows, x.where, *weights, mean, rstd, below, grad_x.where, sums[n]
        )

    _in_threads(len(x.rows), len(x.where) * x.rows[:, 0].numel(), work)
    return Norm(*torch.from_numpy(sums.sum(0)).to(x.rows.dtype))


def difference(
    phases: Float[Tensor, "N H W O4"], target: Float[Tensor, "N Y X O"]
) -> tuple[Float[Tensor, "N Y X O"], Float[Tensor, " N"]]:
    """Image - target and the sum of its squares, the image (Y = 2 H, X = 2 W) given by its four phases a pixel."""
    out, errors = torch.empty_like(target), target.new_empty(len(target))
    n, height, width, channels = phases.shape
    images = (image.view(n, height, 2, width, channels // 2) for image in (target, out))
    arrays = _arrays(phases.unflatten(3, (2, -1)), *images, errors)
    _in_threads(len(target), target.numel(), lambda _, part: compiled.difference(*(array[part] for array in arrays)))
    return out, errors


def scale(x: Float[Tensor, "N Y X C"], factors: Float[Tensor, " N"]) -> Float[Tensor, " C"]:
    """Multiply every image by its factor, in place, and return the sum of all pixels. x is contiguous."""
    count, height, width, channels = x.shape
    rows, factor = _arrays(x.view(count, height, width * channels), factors)
    sums = np.zeros((torch.get_num_threads(), width * channels))
    _in_threads(count, x.numel(), lambda n, part: compiled.scale(rows[part], factor[part], sums[n]))
    return torch.from_numpy(sums.reshape(-1, channels).sum(0)).to(x.dtype)


def _in_threads(images: int, numbers: int, work: Callable[[int, slice], None]) -> None:
    """``work(n, images)`` for as many parts as torch has threads, by torch's own threads where they can be called.

    torch's threads stay busy for milliseconds after each operation, and threads of ours would have to wait for a core.
    """
    parts = torch.get_num_threads() if numbers >= SMALL else 1
    slices = [slice(images * n // parts, images * (n + 1) // parts) for n in range(parts)]
    if parts == 1:
        work(0, slices[0])
        return
    if OPENMP is None:
        with ThreadPoolExecutor(parts) as pool:  # a new one each time: one that is kept would not survive a fork
            list(pool.map(work, range(parts), slices))
        return
    rest, errors = iter(range(parts)), []

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def thread(_: int | None) -> None:
        """Do the parts that no other thread has taken: there may be fewer threads than parts."""
        try:
            for n in rest:
                work(n, slices[n])
        except BaseException as error:  # raised again below, for C would ignore it
            errors.append(error)

    OPENMP(thread, None, parts, 0)
    if errors:
        raise errors[0]


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]
