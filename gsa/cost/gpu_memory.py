"""How much memory of a GPU an update takes, counted on tensors without contents: no GPU is needed for it.

Every storage counts from its allocation until it is released. Not counted: the CUDA context (about 0.5 GB per process),
workspaces of cuDNN and cuBLAS, and what the allocator rounds up or cannot reuse. ``BESIDE_TENSORS`` stands for them.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from gsa.agents.dreamer import Dreamer
from gsa.config import Params
from gsa.episode import IMAGE_SIZE, Batch
from gsa.errors import ResourceError
from gsa.world_model.model import WorldModel

BESIDE_TENSORS = 1_500_000_000
"""Bytes of a process on a GPU beside its tensors: context, workspaces, what the allocator keeps. A guess."""


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages that operations allocated and nobody has released: ``now``, and the ``peak`` so far."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._live: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_iter(out):
            if isinstance(value, Tensor):
                self._see(value.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._live:
            self._live.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._live.remove(key)
        self.now -= size


@contextmanager
def like_a_gpu() -> Iterator[None]:
    """The one rule of autocast that differs on a CPU: norms in float32."""

    def layer_norm(x: Tensor, *args: Any) -> Tensor:
        return norm(x.float(), *args)

    norm = F.layer_norm
    with patch.object(F, "layer_norm", layer_norm):
        yield


def empty_batch(batch_size: int, batch_length: int, action_dim: int) -> Batch:
    """A batch of the right shapes, images in height-width-channel memory like the replay's."""
    rows = (batch_size, batch_length)
    return Batch(
        torch.empty(*rows, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8).permute(0, 1, 4, 2, 3),
        torch.empty(*rows, action_dim),
        torch.empty(rows),
        torch.empty(batch_size, dtype=torch.bool),
        torch.empty(rows, dtype=torch.bool),
        torch.empty(rows, dtype=torch.bool),
    )


def finetuning_bytes(params: Params) -> int:
    """The most bytes of tensors that an update of Dreamer or GSA has alive at a time, in eager mode."""
    section, width = params.dreamer, params.world_model.action_dim
    every_row = patch("gsa.agents.dreamer.select", lambda which, *windows: list(windows))  # by contents there are none
    with every_row, FakeTensorMode(), LiveBytes() as live, like_a_gpu():
        agent = Dreamer(WorldModel(params.world_model), width, section)
        moments = 0
        for optimizer in agent.optimizers.values():  # Adam makes its moments at the end of the first update
            moments += 8 * sum(weight.numel() for weight in optimizer.parameters)
        agent.begin_update(empty_batch(section.batch_size, section.batch_length, width))
        return live.peak + moments


def check_gpu(need: float, item: str, device: torch.device) -> None:
    """Refuse a run for which the GPU has too little left beside the processes that share it.

    Raises:
        ResourceError: the message says how much is needed and how much is free.
    """
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    if need > free:
        raise ResourceError(
            f"{item} needs about {need / 1e9:.1f} GB of memory on {device}, {free / 1e9:.1f} GB are free; run fewer "
            "at a time on it, set dreamer.precision to bfloat16, or lower dreamer.batch_size or batch_length"
        )
