"""What each size of the world model costs: parameters, operations, memory and updates a second, as a Markdown table.

    python -m benchmarks.sizes [--size xs s m paper] [--device cpu] [--precision float32] [--compile] [--threads 1]

An update is one of pre-training on 16 windows of 64 rows, the paper's batch, at the paper's action width of 21.
Operations are those of its matrix products and convolutions, counted on a plain implementation without allocating
anything. Fixed memory is weights, gradients and Adam's two moments in float32; peak memory is measured, of the whole
process on a CPU and of the allocator on a GPU. Each size runs in a process of its own.
"""

import argparse
import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.plain_agent import pretraining_flops
from benchmarks.world_model import training_clock
from gsa.config import Params, load_params
from gsa.episode import Batch
from gsa.loops.pretrain import Objective
from gsa.loops.ranks import ALONE
from gsa.nets.optimizer import Optimizer
from gsa.world_model.model import WorldModel

PAPER = Path("profiles/paper.yaml")
BATCH = (16, 64)


class Settings(NamedTuple):
    """How updates are measured."""

    device: str
    precision: str
    compile: bool
    threads: int
    repeats: int


class Measured(NamedTuple):
    """Peak memory in GB and the fastest update in seconds."""

    peak_gb: float
    seconds: float


def random_batch(action_dim: int) -> Batch:
    """Noise; images in height-width-channel memory like the replay's."""
    return Batch(
        torch.randint(0, 256, (*BATCH, 64, 64, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3),
        torch.rand(*BATCH, action_dim) * 2 - 1,
        torch.ones(BATCH[0], action_dim),
        torch.zeros(BATCH),
        torch.zeros(BATCH[0], dtype=torch.bool),
        torch.zeros(BATCH, dtype=torch.bool),
        torch.zeros(BATCH, dtype=torch.bool),
    )


def measure(params: Params, settings: Settings) -> Measured:
    """Build the model, update it ``repeats`` times as ``gsa pretrain`` does, after two updates to warm up."""
    torch.set_num_threads(settings.threads)
    device = torch.device(settings.device)
    model = WorldModel(params.world_model).to(device)
    optimizer = Optimizer("world model", list(model.parameters()), params.pretrain.optimizer)
    objective = Objective(model, ALONE, settings.precision)
    if settings.compile:
        objective.compile()
    batch = random_batch(params.world_model.action_dim).to(device)
    noise = torch.empty(*BATCH, params.world_model.stoch, params.world_model.classes, device=device)
    clock, seconds = training_clock(device.type), []
    for _ in range(settings.repeats + 2):
        start = clock()
        total, _ = objective(batch, noise.exponential_())
        optimizer.step(total)  # reads the gradient's norm: waits for the device
        seconds.append(clock() - start)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measured(peak / 1e9, min(seconds[2:]))


def row(size: str, settings: Settings) -> str:
    """One size as a row of the table."""
    params = load_params(PAPER, {"world_model.size": size})
    with torch.device("meta"):
        model = WorldModel(params.world_model)
    counts = [sum(p.numel() for p in part.parameters()) for part in (model, model.encoder, model.rssm, model.decoder)]
    flops = pretraining_flops(params.world_model, *BATCH)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        measured = pool.submit(measure, params, settings).result()
    millions = [f"{count / 1e6:.2f}" for count in counts]
    memory = [f"{16 * counts[0] / 1e9:.2f}", f"{measured.peak_gb:.1f}"]
    rates = [f"{1 / measured.seconds:.3g}", f"{flops / measured.seconds / 1e9:.0f}"]
    return "| " + " | ".join([f"`{size}`", *millions, f"{flops / 1e9:.0f}", *memory, *rates]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", nargs="+", default=list(load_params(PAPER).sizes))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = vars(parser.parse_args())
    sizes = arguments.pop("size")
    settings = Settings(**arguments)
    heads = ["size", "parameters, M", "encoder", "RSSM", "decoder", "GFLOP an update"]
    heads += ["fixed memory, GB", "peak memory, GB", "updates/s", "GFLOP/s"]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for size in sizes:
        print(row(size, settings), flush=True)
    where = torch.cuda.get_device_name() if settings.device == "cuda" else f"CPU, {settings.threads} threads"
    compiled = ", compiled" if settings.compile else ""
    print(f"\n{where}, {settings.precision}{compiled}, batches of {BATCH[0]} x {BATCH[1]} rows")


if __name__ == "__main__":
    main()
