"""Layers: normalised linear, block-diagonal linear, MLP."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class BlockLinear(nn.Module):
    """A block-diagonal linear map: input and output are cut into ``blocks`` slices, slice i sees slice i alone.

    Initialised like ``nn.Linear`` with a block's fan-in.
    """

    def __init__(self, in_dim: int, out_dim: int, blocks: int):
        super().__init__()
        assert in_dim % blocks == 0 and out_dim % blocks == 0, (in_dim, out_dim, blocks)
        self.blocks = blocks
        bound = 1 / math.sqrt(in_dim // blocks)
        self.weight = nn.Parameter(torch.empty(blocks, in_dim // blocks, out_dim // blocks).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_dim).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "*N I"]) -> Float[Tensor, "*N O"]:
        """Apply each block to its slice of the last axis."""
        rows = x.reshape(-1, self.blocks, x.shape[-1] // self.blocks).transpose(0, 1)  # (blocks, N, I/blocks)
        out = torch.bmm(rows, self.weight).transpose(0, 1).reshape(*x.shape[:-1], -1)
        return out + self.bias


def init_orthogonal(module: nn.Module) -> None:
    """Orthogonal weights, of gain 1 in linear layers and sqrt 2 in convolutions, and zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight, 1.0 if isinstance(layer, nn.Linear) else 2.0**0.5)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


def normed_linear(in_dim: int, out_dim: int) -> nn.Sequential:
    """Linear -> LayerNorm -> SiLU."""
    return nn.Sequential(nn.Linear(in_dim, out_dim), nn.LayerNorm(out_dim), nn.SiLU())


def mlp(in_dim: int, units: int, layers: int, out_dim: int, zero_init: bool = False) -> nn.Sequential:
    """``layers`` x (Linear -> LayerNorm -> SiLU) and a linear output.

    ``zero_init`` zeroes the output layer, so that a two-hot head starts at value 0 (DreamerV3 does so for reward and
    critic; the authors' release does not, its first returns are noise).
    """
    widths = [in_dim] + [units] * layers
    net = nn.Sequential(*(normed_linear(i, o) for i, o in pairwise(widths)))
    head = nn.Linear(units, out_dim)
    if zero_init:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    net.append(head)
    return net
