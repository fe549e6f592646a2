"""Activation checkpointing: keep what goes into a function, and compute the rest again in the backward pass.

Losses and gradients are those without, but for the order in which slices of a batch are summed. Random numbers that the
function draws are drawn again as they were.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

SLICES = 4
"""Parts of a batch that are computed again one after another, so that one part's activations exist at a time."""


def recomputed(function: Callable[..., Any], *inputs: Any) -> Any:
    """``function(*inputs)``, of which only the inputs are kept for the backward pass."""
    return checkpoint(function, *inputs, use_reentrant=False)


def recomputed_in_slices(function: Callable[..., Tensor], *inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
    """The same for a function that treats every row alone, a slice of the rows at a time."""
    parts = zip(*(x.chunk(SLICES) for x in inputs), strict=True)
    return torch.cat([recomputed(function, *part) for part in parts])
