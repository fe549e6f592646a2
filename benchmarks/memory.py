"""Peak memory of an update on a GPU, counted rather than measured, as a Markdown table.

    python -m benchmarks.memory [--size xs s m paper] [--batch 16 64]

The update is run on tensors without contents (torch's FakeTensorMode), on the path that a GPU takes, and every tensor
is counted from its allocation until it is released: weights, gradients, Adam's two moments, two batches, what autograd
keeps for the backward pass, and what either pass needs for a moment. Not in it: the CUDA context (about 0.5 GB),
workspaces of cuDNN and cuBLAS, what the allocator rounds up or cannot reuse, and the buckets of several processes.
"""

import argparse

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from gsa.config import Recompute, WorldModelParams, load_params
from gsa.cost.gpu_memory import LiveBytes, empty_batch, finetuning_bytes, like_a_gpu
from gsa.world_model.model import WorldModel
from stages.profile import load_profile

BATCH = (16, 64)
PRECISIONS = ("float32", "bfloat16")
CASES: tuple[tuple[str, Recompute], ...] = (
    ("float32", "none"),
    ("float32", "all"),
    ("bfloat16", "none"),
    ("bfloat16", "images"),
    ("bfloat16", "all"),
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


def finetuning_peak(size: str, precision: str) -> int:
    """Of an update of fine-tuning with the paper's parameters."""
    settings = [f"world_model.size={size}", f"dreamer.precision={precision}"]
    return finetuning_bytes(load_profile("paper", settings=settings))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", nargs="+", default=list(load_params().sizes))
    parser.add_argument("--batch", nargs=2, type=int, default=BATCH, help="of pre-training")
    arguments = parser.parse_args()
    heads = ["size", *(precision if again == "none" else f"{precision}, {again}" for precision, again in CASES)]
    heads += [f"fine-tuning, {precision}" for precision in PRECISIONS]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for size in arguments.size:
        params = load_profile("paper", settings=[f"world_model.size={size}"]).world_model
        peaks = [peak_bytes(params, *case, tuple(arguments.batch)) for case in CASES]
        peaks += [finetuning_peak(size, precision) for precision in PRECISIONS]
        print("| " + " | ".join([f"`{size}`", *(f"{peak / 1e9:.2f}" for peak in peaks)]) + " |", flush=True)
    print(
        "\nGB at the peak of an update of {} x {} rows, counted; fine-tuning as in the paper".format(*arguments.batch)
    )


if __name__ == "__main__":
    main()
