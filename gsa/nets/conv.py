"""Image encoder and decoder of the world model, and the one place where images become floats."""

from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from gsa.nets.blocks import BlockLinear


def scale_image(image: UInt8[Tensor, "*N C Y X"]) -> Float[Tensor, "*N C Y X"]:
    """uint8 in 0..255 to float in [-0.5, 0.5]."""
    return image.to(torch.get_default_dtype()).div_(255.0).sub_(0.5)


def unscale_image(image: Float[Tensor, "*N C Y X"]) -> UInt8[Tensor, "*N C Y X"]:
    """Float in [-0.5, 0.5] (clamped) to uint8."""
    return image.add(0.5).mul(255.0).clamp(0, 255).round().to(torch.uint8)


def channels_last(module: nn.Sequential) -> nn.Sequential:
    """The same convolutions with weights in channels-last memory, which a CPU reads fastest."""
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


class ImageEncoder(nn.Module):
    """e(o): four convolutions, kernel 4, stride 2, no padding (64 -> 31 -> 14 -> 6 -> 2), ChannelNorm and SiLU.

    ``embed_dim`` is channels[-1] * 2 * 2 (3072 at paper size).
    """

    on_cpu: ClassVar = {"forward": "gsa.cpu.images:encode"}

    def __init__(self, channels: list[int]):
        super().__init__()
        widths = [3, *channels]
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [nn.Conv2d(i, o, kernel_size=4, stride=2), ChannelNorm(o), nn.SiLU()]
        self.conv = channels_last(nn.Sequential(*layers))
        self.embed_dim = channels[-1] * 4

    def forward(self, image: Float[Tensor, "*N 3 64 64"]) -> Float[Tensor, "*N E"]:
        """Embed images scaled to [-0.5, 0.5]."""
        flat = image.flatten(0, -4).contiguous(memory_format=torch.channels_last)
        return self.conv(flat).reshape(*image.shape[:-3], self.embed_dim)


class FromPixel(nn.ConvTranspose2d):
    """A transposed convolution of one pixel, computed as the matrix product that it is."""

    def forward(self, x: Float[Tensor, "N I 1 1"], output_size: list[int] | None = None) -> Float[Tensor, "N O K K"]:
        """As ``nn.ConvTranspose2d``; ``output_size`` must be None."""
        assert output_size is None and self.bias is not None
        kernel = self.weight.shape[-1]
        bias, weight = self.bias.repeat(kernel * kernel), self.weight.permute(0, 2, 3, 1).flatten(1)
        return torch.addmm(bias, x.flatten(1), weight).reshape(-1, kernel, kernel, len(self.bias)).permute(0, 3, 1, 2)


class ImageDecoder(nn.Module):
    """d(h, z): both mapped to a vector and summed, then transposed convolutions (kernels 5 5 6 6) to 64 x 64."""

    on_cpu: ClassVar = {"forward": "gsa.cpu.images:decode", "squared_error": "gsa.cpu.images:squared_error"}

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
            if layers:
                layers += [ChannelNorm(i), nn.SiLU()]
            layers.append((nn.ConvTranspose2d if layers else FromPixel)(i, o, kernel, stride=2))
        self.conv = channels_last(nn.Sequential(*layers))

    def forward(self, deter: Float[Tensor, "*N D"], stoch: Float[Tensor, "*N Z"]) -> Float[Tensor, "*N 3 64 64"]:
        """Reconstruct images in [-0.5, 0.5] (unclamped) from h and the flattened z."""
        image = self.conv(self.first_pixel(deter, stoch))
        return image.reshape(*deter.shape[:-1], *image.shape[1:])

    def squared_error(
        self, deter: Float[Tensor, "*N D"], stoch: Float[Tensor, "*N Z"], image: Float[Tensor, "*N 3 64 64"]
    ) -> Float[Tensor, "*N"]:
        """Squared error of the reconstruction, summed over each ``image`` (in [-0.5, 0.5]), which gets no gradient."""
        found = self.conv(self.first_pixel(deter, stoch)).reshape(image.shape)
        return (found - image.detach()).square().sum((-3, -2, -1))

    def first_pixel(self, deter: Float[Tensor, "*N D"], stoch: Float[Tensor, "*N Z"]) -> Float[Tensor, "M I 1 1"]:
        """h and z as images of one pixel, M of them, which ``conv`` makes 64 x 64."""
        return (self.from_deter(deter) + self.from_stoch(stoch)).reshape(-1, self.start_dim, 1, 1)
