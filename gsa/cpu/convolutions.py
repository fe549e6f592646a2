"""Convolutions of stride 2, forward and back, by the operations that are fastest on a CPU.

Images are in channels-last memory, so that the channels of a pixel are one row.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from gsa.cpu.pixels import Pixels


def as_rows(x: Float[Tensor, "N C Y X"]) -> Float[Tensor, "N P C"]:
    """An image as its pixels; a view, in channels-last memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def as_image(rows: Float[Tensor, "N P C"], size: int) -> Float[Tensor, "N C Y X"]:
    """The inverse of ``as_rows``; a view."""
    return rows.unflatten(1, (size, size)).permute(0, 3, 1, 2)


def in_order(x: Float[Tensor, "N C Y X"]) -> Pixels:
    """An image, Y = X, row by row."""
    return Pixels(as_rows(x), where_in_image(x.shape[-1], x.shape[-1]), x.shape[-1])


def weight_gradient(
    large: Float[Tensor, "N C Y X"], small: Float[Tensor, "N D V U"], weight: Float[Tensor, "D C K K"]
) -> Float[Tensor, "D C K K"]:
    """The weight's gradient of a convolution of stride 2: ``large`` is its input, ``small`` the gradient of its output.

    Of a transposed convolution the roles are swapped.
    """
    settings = ([len(weight)], [2, 2], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False])
    return torch.ops.aten.convolution_backward(small, large, weight, *settings)[1]


def phases(
    x: Float[Tensor, "N I V U"], weight: Float[Tensor, "I O K K"], bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "N H W O4"]:
    """A transposed convolution of stride 2 as an ordinary one to four times the channels, which is faster on a CPU.

    y[2i+p, 2j+q] = sum_ab x[i-a, j-b] w[2a+p, 2b+q]: pixel (i, j) of the result holds four of y, channels (p, q, o).
    """
    i, o, kernel, _ = weight.shape
    half = (kernel + 1) // 2
    odd = 2 * half - kernel
    taps = F.pad(weight, (0, odd, 0, odd)).reshape(i, o, half, 2, half, 2).flip(2, 4)
    taps = taps.permute(3, 5, 1, 0, 2, 4).reshape(4 * o, i, half, half).contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, taps, None if bias is None else bias.repeat(4), padding=half - 1).permute(0, 2, 3, 1)


@lru_cache
def where_in_image(size: int, width: int) -> Int64[np.ndarray, " P"]:
    """Which pixel of an image of Y = X = ``width`` each pixel of its upper left corner, Y = X = ``size``, is."""
    y, x = np.divmod(np.arange(size * size), size)
    return np.asarray(y * width + x)


@lru_cache
def where_in_phases(size: int, width: int) -> Int64[np.ndarray, " P"]:
    """Which row of the ``phases``, seen as rows of O channels, each pixel of their image is."""
    y, x = np.divmod(np.arange(size * size), size)
    return np.asarray(((y // 2) * width + x // 2) * 4 + (y % 2) * 2 + x % 2)


def interleaved(four: Float[Tensor, "N H W O4"]) -> Float[Tensor, "N O Y X"]:
    """The image whose ``phases`` are given, Y = 2 H and X = 2 W."""
    n, height, width, channels = four.shape
    four = four.reshape(n, height, width, 2, channels // 2).transpose(2, 3)  # runs of q and o are copied
    return four.reshape(n, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


class Convolution(NamedTuple):
    """A convolution without its bias, forward and back; ``in_image`` says that its pixels lie row by row."""

    forward: Callable[[Float[Tensor, "N I V U"], Tensor], Pixels]
    input_gradient: Callable[[Float[Tensor, "N O Y X"], Tensor], Pixels]
    weight_gradient: Callable[[Float[Tensor, "N O Y X"], Float[Tensor, "N I V U"], Tensor], Tensor]
    in_image: bool


def _down(x: Tensor, weight: Tensor) -> Pixels:
    """Without the last row and column if their number is odd (31), for the next convolution does not reach them."""
    out = F.conv2d(x, weight, stride=2)
    width = out.shape[-1]
    size = width // 2 * 2
    return Pixels(as_rows(out), where_in_image(size, width), size)


def _up(x: Tensor, weight: Tensor) -> Pixels:
    size, out = 2 * (x.shape[-1] - 1) + weight.shape[-1], phases(x, weight)
    height, width = out.shape[1:3]
    return Pixels(out.reshape(len(x), 4 * height * width, weight.shape[1]), where_in_phases(size, width), size)


def _from_pixel(x: Tensor, weight: Tensor) -> Pixels:
    out, size = x.flatten(1) @ weight.permute(0, 2, 3, 1).flatten(1), weight.shape[-1]
    return Pixels(out.unflatten(1, (-1, weight.shape[1])), where_in_image(size, size), size)


def _from_pixel_input_gradient(grad: Tensor, weight: Tensor) -> Pixels:
    found = as_rows(grad).flatten(1) @ weight.permute(0, 2, 3, 1).flatten(1).t()
    return in_order(found[:, :, None, None])


def _from_pixel_weight_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    found = x.flatten(1).t() @ as_rows(grad).flatten(1)
    return found.view(weight.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)


DOWN = Convolution(_down, _up, lambda grad, x, weight: weight_gradient(x, grad, weight), True)
UP = Convolution(_up, lambda grad, weight: in_order(F.conv2d(grad, weight, stride=2)), weight_gradient, False)
FROM_PIXEL = Convolution(_from_pixel, _from_pixel_input_gradient, _from_pixel_weight_gradient, True)
"""A transposed convolution of one pixel: a matrix product."""
