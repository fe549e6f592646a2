"""Stacks of frames, from which networks without memory see motion, and their random shift."""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from gsa.episode import Step


def random_shift(stack: UInt8[Tensor, "B S Y X"], pad: int, rng: np.random.Generator) -> UInt8[Tensor, "B S Y X"]:
    """Replicate-pad by ``pad`` pixels and crop at one integer offset per stack: an exact shift by up to ``pad``."""
    size = stack.shape[-1]
    offsets = torch.from_numpy(rng.integers(0, 2 * pad + 1, size=(len(stack), 2)))
    # Repeating the border is the same as looking no further than it, which needs no padded copy.
    y, x = (offsets[..., None] - pad + torch.arange(size)).clamp(0, size - 1).to(stack.device).unbind(1)
    number = torch.arange(len(stack), device=stack.device)[:, None, None]
    return stack.permute(0, 2, 3, 1)[number, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


class FrameStack:
    """The last ``frame_stack`` images of the running episode."""

    def __init__(self, frame_stack: int):
        self.frame_stack = frame_stack
        self.frames: list[np.ndarray] = []

    def push(self, step: Step) -> None:
        """Take in the newest image; the first one of an episode fills the stack."""
        self.frames = [step.image] * self.frame_stack if step.is_first else [*self.frames[1:], step.image]

    def tensor(self, device: torch.device) -> UInt8[Tensor, "1 S Y X"]:
        """The stack as a batch of one, oldest first."""
        return torch.from_numpy(np.concatenate(self.frames))[None].to(device)
