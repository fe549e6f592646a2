"""Peak memory of a pre-training update on a GPU, counted rather than measured, as a Markdown table.

    python -m benchmarks.memory [--size xs s m paper] [--batch 16 64]

The update is run on tensors without contents (torch's FakeTensorMode), on the path that a GPU takes, and every tensor
is counted from its allocation until it is released: weights, gradients, Adam's two moments, two batches, what autograd
keeps for the backward pass, and what either pass needs for a moment. Not in it: the CUDA context (about 0.5 GB),
workspaces of cuDNN and cuBLAS, what the allocator rounds up or cannot reuse, and the buckets of several processes.
"""

import argparse
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

from gsa.config import Recompute, WorldModelParams, load_params
from gsa.episode import Batch
from gsa.world_model.model import WorldModel
from stages.profile import load_profile

BATCH = (16, 64)
CASES: tuple[tuple[str, Recompute], ...] = (
    ("float32", "none"),
    ("float32", "all"),
    ("bfloat16", "none"),
    ("bfloat16", "images"),
    ("bfloat16", "all"),
)


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
        torch.empty(*rows, 64, 64, 3, dtype=torch.uint8).permute(0, 1, 4, 2, 3),
        torch.empty(*rows, action_dim),
        torch.empty(rows),
        torch.empty(batch_size, dtype=torch.bool),
        torch.empty(rows, dtype=torch.bool),
        torch.empty(rows, dtype=torch.bool),
    )


def peak_bytes(params: WorldModelParams, precision: str, recompute: Recompute, batch: tuple[int, int] = BATCH) -> int:
    """The most bytes alive at a time, with Adam's moments there and the next batch on the device."""
    with FakeTensorMode(), LiveBytes() as live, like_a_gpu():
        model = WorldModel(params)
        moments = 2 * live.now
        model.recompute = recompute
        batches = [empty_batch(*batch, params.action_dim) for _ in range(2)]
        noise = torch.empty(*batch, params.stoch, params.classes)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            out = model.loss(batches[0], noise)
        model.total_loss(out.losses).backward()
        return live.peak + moments


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", nargs="+", default=list(load_params().sizes))
    parser.add_argument("--batch", nargs=2, type=int, default=BATCH)
    arguments = parser.parse_args()
    heads = ["size", *(precision if again == "none" else f"{precision}, {again}" for precision, again in CASES)]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for size in arguments.size:
        params = load_profile("paper", settings=[f"world_model.size={size}"]).world_model
        peaks = [peak_bytes(params, *case, tuple(arguments.batch)) / 1e9 for case in CASES]
        print("| " + " | ".join([f"`{size}`", *(f"{peak:.2f}" for peak in peaks)]) + " |", flush=True)
    print("\nGB at the peak of an update of {} x {} rows, counted".format(*arguments.batch))


if __name__ == "__main__":
    main()
