"""Image encoder and decoder of the world model (SPEC.md section 2), and the one place where images become floats."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gsa.nets import by_hand
from gsa.nets.blocks import BlockLinear

WIDE = 32
"""Channels of the larger image from which ``strided_gradients`` beats the kernel of the weight's gradient."""


def scale_image(image: UInt8[Tensor, "*N C Y X"]) -> Float[Tensor, "*N C Y X"]:
    """uint8 in 0..255 to float in [-0.5, 0.5]."""
    return image.to(torch.get_default_dtype()).div_(255.0).sub_(0.5)


def unscale_image(image: Float[Tensor, "*N C Y X"]) -> UInt8[Tensor, "*N C Y X"]:
    """Float in [-0.5, 0.5] (clamped) to uint8."""
    return image.add(0.5).mul(255.0).clamp(0, 255).round().to(torch.uint8)


def channels_last(module: nn.Sequential) -> nn.Sequential:
    """The same convolutions with weights in channels-last memory, which the CPU kernels read fastest."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


class ChannelNorm(nn.Module):
    """LayerNorm over channels at each pixel. In channels-last memory the permutes are views, so it costs no copy."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-3)

    def forward(self, x: Float[Tensor, "N C Y X"]) -> Float[Tensor, "N C Y X"]:
        """Normalise over C."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def strided_gradients(
    large: Float[Tensor, "N C Y X"], small: Float[Tensor, "N D V U"], weight: Float[Tensor, "D C K K"]
) -> Float[Tensor, "D C K K"]:
    """The weight's gradient of a convolution of stride 2: ``large`` is its input, ``small`` the gradient of its output.

    Of a transposed convolution the roles are swapped. One matrix product with the windows of 32 images at a time: with
    32 channels and more faster than the CPU kernel for it.
    """
    depth, channels, kernel, _ = weight.shape
    rows = small.permute(0, 2, 3, 1).reshape(-1, depth)
    count, _, height, width = small.shape
    grad = weight.new_zeros(depth, kernel * kernel * channels)
    image = large.permute(0, 2, 3, 1).contiguous()
    n, y, x, _ = image.stride()
    for start in range(0, count, 32):
        part = image[start : start + 32]
        windows = part.as_strided(
            (len(part), height, width, kernel, kernel * channels), (n, 2 * y, 2 * x, y, 1), part.storage_offset()
        )
        first, last = start * height * width, (start + len(part)) * height * width
        grad.addmm_(rows[first:last].t(), windows.reshape(last - first, -1))
    return grad.view(depth, kernel, kernel, channels).permute(0, 3, 1, 2)


def channel_sum(grad: Float[Tensor, "N C Y X"]) -> Float[Tensor, " C"]:
    """The bias's gradient. First over N and Y: runs of X * C numbers add up sooner than runs of C."""
    _, channels, _, width = grad.shape
    return grad.permute(0, 2, 3, 1).reshape(-1, width * channels).sum(0).view(width, channels).sum(0)


def up_convolution(
    x: Float[Tensor, "N I V U"], weight: Float[Tensor, "I O K K"], bias: Float[Tensor, " O"] | None, size: int
) -> Float[Tensor, "N O Y X"]:
    """A transposed convolution of stride 2 as an ordinary one, on a CPU the faster kernel; Y = X = ``size``.

    y[2i+p, 2j+q] = sum_ab x[i-a, j-b] w[2a+p, 2b+q]: a convolution to four times the channels, then interleaved. Pixels
    that no window covers are zero.
    """
    (i, o, kernel, _), (n, _, height, width) = weight.shape, x.shape
    half = (kernel + 1) // 2
    odd = 2 * half - kernel
    taps = F.pad(weight, (0, odd, 0, odd)).reshape(i, o, half, 2, half, 2).flip(2, 4)
    taps = taps.permute(3, 5, 1, 0, 2, 4).reshape(4 * o, i, half, half).contiguous(memory_format=torch.channels_last)
    out = F.conv2d(x, taps, None if bias is None else bias.repeat(4), padding=half - 1).permute(0, 2, 3, 1)
    height, width = height + half - 1, width + half - 1
    out = out.reshape(n, height, width, 2, 2 * o).transpose(2, 3)  # channels are (p, q, o): runs of q and o are copied
    if 2 * height >= size:
        return out.reshape(n, 2 * height, 2 * width, o).permute(0, 3, 1, 2)[..., :size, :size]
    image = x.new_zeros(n, size, size, o)
    image.as_strided(out.shape, (size * size * o, 2 * size * o, size * o, 2 * o, 1)).copy_(out)
    return image.permute(0, 3, 1, 2)


class _DownConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "N I Y X"], weight: Float[Tensor, "O I K K"], bias: Float[Tensor, " O"]
    ) -> Float[Tensor, "N O V U"]:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, stride=2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "N O V U"]) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        settings = ([len(weight)], [2, 2], [0, 0], [1, 1], False, [0, 0], 1)
        if x.shape[1] >= WIDE:
            grad_weight = strided_gradients(x, grad, weight)
        else:
            which = [False, True, False]
            grad_weight = torch.ops.aten.convolution_backward(grad, x, weight, *settings, which)[1]
        return up_convolution(grad, weight, None, x.shape[-1]), grad_weight, channel_sum(grad)


class DownConv(nn.Conv2d):
    """Convolution, kernel 4, stride 2, no padding: same weights and result as ``nn.Conv2d``, gradients sooner."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=4, stride=2)

    def forward(self, input: Float[Tensor, "N I Y X"]) -> Float[Tensor, "N O V U"]:
        """Halve Y and X."""
        if not input.requires_grad or not by_hand.is_better(input):
            return super().forward(input)
        assert self.bias is not None
        found: Tensor = _DownConv.apply(input, self.weight, self.bias)
        return found


class ImageEncoder(nn.Module):
    """e(o): four convolutions, kernel 4, stride 2, no padding (64 -> 31 -> 14 -> 6 -> 2), ChannelNorm and SiLU.

    ``embed_dim`` is channels[-1] * 2 * 2 (3072 at paper size).
    """

    def __init__(self, channels: list[int]):
        super().__init__()
        widths = [3, *channels]
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [DownConv(i, o), ChannelNorm(o), nn.SiLU()]
        self.conv = channels_last(nn.Sequential(*layers))
        self.embed_dim = channels[-1] * 4

    def forward(self, image: Float[Tensor, "*N 3 64 64"]) -> Float[Tensor, "*N E"]:
        """Embed images scaled to [-0.5, 0.5]."""
        flat = image.flatten(0, -4).contiguous(memory_format=torch.channels_last)
        return self.conv(flat).reshape(*image.shape[:-3], self.embed_dim)


class _UpConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "N I Y X"], weight: Float[Tensor, "I O K K"], bias: Float[Tensor, " O"]
    ) -> Float[Tensor, "N O V U"]:
        ctx.save_for_backward(x, weight)
        return up_convolution(x, weight, bias, 2 * (x.shape[-1] - 1) + weight.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "N O V U"]) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        settings = ([weight.shape[1]], [2, 2], [0, 0], [1, 1], True, [0, 0], 1)
        wide = weight.shape[1] >= WIDE
        # Not the bias: asked for it as well, the kernel of the weight's gradient takes twice its time.
        which = [True, not wide, False]
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(grad, x, weight, *settings, which)
        return grad_x, strided_gradients(grad, x, weight) if wide else grad_weight, channel_sum(grad)


class UpConv(nn.ConvTranspose2d):
    """Transposed convolution, stride 2, kernel 5 or 6, no padding: same weights and result as ``nn.ConvTranspose2d``.

    In float32 on a CPU computed faster (``benchmarks/world_model.py`` prints by how much).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__(in_channels, out_channels, kernel, stride=2)

    def forward(self, x: Float[Tensor, "N I Y X"], output_size: list[int] | None = None) -> Float[Tensor, "N O V U"]:
        """Upsample Y to 2 (Y - 1) + kernel, X likewise; ``output_size`` must be None."""
        assert output_size is None and self.bias is not None
        if x.shape[-1] == 1:  # one pixel in: a matrix product
            i, o, kernel, _ = self.weight.shape
            weight = self.weight.permute(0, 2, 3, 1).reshape(i, -1)
            out = torch.addmm(self.bias.repeat(kernel * kernel), x[:, :, 0, 0], weight)
            return out.reshape(-1, kernel, kernel, o).permute(0, 3, 1, 2)
        if not by_hand.is_better(x):
            return super().forward(x)
        found: Tensor = _UpConv.apply(x, self.weight, self.bias)
        return found


class ImageDecoder(nn.Module):
    """d(h, z): both mapped to a vector and summed, then transposed convolutions (kernels 5 5 6 6) to 64 x 64."""

    def __init__(self, deter: int, stoch_flat: int, hidden: int, blocks: int, channels: list[int]):
        super().__init__()
        self.start_dim = channels[-1] * 4
        self.from_deter = nn.Sequential(
            BlockLinear(deter, 2 * hidden, blocks),
            nn.LayerNorm(2 * hidden),
            nn.SiLU(),
            nn.Linear(2 * hidden, self.start_dim),
        )
        self.from_stoch = nn.Sequential(
            nn.Linear(stoch_flat, 2 * hidden),
            nn.LayerNorm(2 * hidden),
            nn.SiLU(),
            nn.Linear(2 * hidden, self.start_dim),
        )
        widths = [self.start_dim, *reversed(channels[:-1]), 3]
        layers: list[nn.Module] = []
        for (i, o), kernel in zip(pairwise(widths), (5, 5, 6, 6), strict=True):
            layers.append(UpConv(i, o, kernel))
            if o != 3:
                layers += [ChannelNorm(o), nn.SiLU()]
        self.conv = channels_last(nn.Sequential(*layers))

    def forward(self, deter: Float[Tensor, "*N D"], stoch: Float[Tensor, "*N Z"]) -> Float[Tensor, "*N 3 64 64"]:
        """Reconstruct images in [-0.5, 0.5] (unclamped) from h and the flattened z."""
        x = self.from_deter(deter) + self.from_stoch(stoch)
        image = self.conv(x.reshape(-1, self.start_dim, 1, 1))
        return image.reshape(*deter.shape[:-1], 3, 64, 64)
