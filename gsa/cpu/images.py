"""Encoder and decoder: layers fused and their gradients written out; the layers are those of ``gsa/nets/conv.py``.

A layer is a convolution of stride 2, its bias, LayerNorm over channels and SiLU.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsa.cpu import pixels
from gsa.cpu.convolutions import (
    DOWN,
    FROM_PIXEL,
    UP,
    Convolution,
    as_image,
    in_order,
    interleaved,
    phases,
    where_in_image,
)
from gsa.cpu.layers import applies
from gsa.cpu.pixels import Norm, Pixels, Statistics, norm_silu, norm_silu_backward
from gsa.nets.conv import ImageDecoder, ImageEncoder


def encode(encoder: ImageEncoder, image: Float[Tensor, "*N 3 64 64"]) -> Float[Tensor, "*N E"]:
    """``ImageEncoder.forward``."""
    if not applies(image):
        return ImageEncoder.forward(encoder, image)
    flat = image.flatten(0, -4).contiguous(memory_format=torch.channels_last)
    return _layers([DOWN] * 4, list(encoder.conv), flat).reshape(*image.shape[:-3], encoder.embed_dim)


def decode(
    decoder: ImageDecoder, deter: Float[Tensor, "*N D"], stoch: Float[Tensor, "*N Z"]
) -> Float[Tensor, "*N 3 64 64"]:
    """``ImageDecoder.forward``."""
    if not applies(deter):
        return ImageDecoder.forward(decoder, deter, stoch)
    image = interleaved(phases(*_before_last(decoder, deter, stoch)))
    return image.reshape(*deter.shape[:-1], *image.shape[1:])


def squared_error(
    decoder: ImageDecoder,
    deter: Float[Tensor, "*N D"],
    stoch: Float[Tensor, "*N Z"],
    image: Float[Tensor, "*N 3 64 64"],
) -> Float[Tensor, "*N"]:
    """``ImageDecoder.squared_error``, which never makes the image itself."""
    if not applies(deter):
        return ImageDecoder.squared_error(decoder, deter, stoch, image)
    found: Tensor = _Error.apply(*_before_last(decoder, deter, stoch), image.reshape(-1, *image.shape[-3:]))
    return found.reshape(deter.shape[:-1])


def _before_last(decoder: ImageDecoder, deter: Tensor, stoch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weight and bias of the decoder's last convolution."""
    layers: list[Any] = list(decoder.conv)
    x = _layers([FROM_PIXEL, UP, UP], layers[:-1], decoder.first_pixel(deter, stoch))
    return x, layers[-1].weight, layers[-1].bias


def _layers(convolutions: Sequence[Convolution], modules: Sequence[Any], x: Tensor) -> Tensor:
    """What ``modules``, (convolution, ChannelNorm, SiLU) for each of ``convolutions``, make of x."""
    layers, weights = [], []
    for convolution, conv, channel_norm in zip(convolutions, modules[::3], modules[1::3], strict=True):
        norm = channel_norm.norm
        layers.append((convolution, norm.eps))
        weights += [conv.weight, conv.bias, norm.weight, norm.bias]
    found: Tensor = _Layers.apply(layers, torch.is_grad_enabled(), x, *weights)
    return found


class _Layers(torch.autograd.Function):
    """Layers one after the other; their weights are, of each, the convolution's and those of its ``Norm``."""

    @staticmethod
    def forward(
        ctx: Any, layers: Sequence[tuple[Convolution, float]], keep: bool, x: Tensor, *weights: Tensor
    ) -> Float[Tensor, "N O Y X"]:
        """``layers``: convolution and the norm's epsilon; ``keep`` says that there will be a backward pass."""
        saved: list[Tensor] = []
        ctx.layers, ctx.places = layers, []
        for n, (convolution, eps) in enumerate(layers):
            weight, *channels = weights[4 * n : 4 * n + 4]
            made = convolution.forward(x, weight)
            out, statistics = norm_silu(made, Norm(*channels), eps)
            if keep:
                saved += [x, weight, made.rows, *channels, *statistics]
                ctx.places.append((made.where, made.size))
            x = as_image(out, made.size)
        ctx.save_for_backward(*saved)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "N O Y X"]) -> tuple[Tensor | None, ...]:
        """Gradients overwrite pixels that lie row by row: new memory costs more time than the arithmetic.

        Autograd therefore refuses a second backward pass.
        """
        saved, above = ctx.saved_tensors, in_order(grad)
        gradients: list[Tensor | None] = [None] * len(ctx.needs_input_grad)
        for n, (convolution, _) in reversed(list(enumerate(ctx.layers))):
            x, weight, rows, *channels = saved[8 * n : 8 * n + 8]
            made = below = Pixels(rows, *ctx.places[n])
            if not convolution.in_image:
                new = rows.new_empty(len(rows), made.size**2, rows.shape[2])
                below = Pixels(new, where_in_image(made.size, made.size), made.size)
            first = 3 + 4 * n
            gradients[first + 1 : first + 4] = norm_silu_backward(
                above, made, Norm(*channels[:3]), Statistics(*channels[3:]), below
            )
            torch.autograd.graph.increment_version(rows)
            grad = as_image(below.rows, math.isqrt(below.rows.shape[1]))
            grad[:, :, made.size :], grad[..., made.size :] = 0.0, 0.0
            if ctx.needs_input_grad[first]:
                gradients[first] = convolution.weight_gradient(grad, x, weight)
            if not any(ctx.needs_input_grad[2:first]):
                return tuple(gradients)
            above = convolution.input_gradient(grad, weight)
        gradients[2] = as_image(above.rows[:, above.where], above.size)
        return tuple(gradients)


class _Error(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, target: Float[Tensor, "N O Y X"]
    ) -> Float[Tensor, " N"]:
        rows = target.permute(0, 2, 3, 1).contiguous()
        difference, errors = pixels.difference(phases(x, weight, bias), rows)
        ctx.save_for_backward(x, weight, difference)
        return errors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, " N"]) -> tuple[Tensor | None, ...]:
        """The difference is overwritten, as in ``_Layers``."""
        x, weight, difference = ctx.saved_tensors
        bias = pixels.scale(difference, 2 * grad)
        torch.autograd.graph.increment_version(difference)
        above = difference.permute(0, 3, 1, 2)
        is_x, is_weight, is_bias, _ = ctx.needs_input_grad
        grad_x = F.conv2d(above, weight, stride=2) if is_x else None
        grad_weight = UP.weight_gradient(above, x, weight) if is_weight else None
        return grad_x, grad_weight, bias if is_bias else None, None
