"""What each size of the world model costs: parameters, operations, memory and updates per second, as a Markdown table.

    python -m benchmarks.sizes [--size xs s m paper] [--device cpu] [--precision float32] [--compile default]
                               [--threads 1] [--repeats 3] [--measure 16 64]

An update is one of pre-training on 16 windows of 64 rows, the paper's batch, at the paper's action width of 21.
Operations are those of its matrix products and convolutions, counted without allocating anything. Fixed memory is
weights, gradients and Adam's two moments in float32. The peak is counted by ``benchmarks.memory``, without and with all
of activation checkpointing. Rates are measured, on ``--measure`` rows where 16 x 64 are too many for the machine. Each
size runs in a process of its own.
"""

import argparse
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.memory import BATCH, peak_bytes
from benchmarks.world_model import training_clock
from gsa.config import Params, WorldModelParams, load_params
from gsa.cost.gpu_memory import empty_batch
from gsa.cpu import accelerate
from gsa.episode import Batch
from gsa.loops.pretrain import Objective
from gsa.nets.optimizer import Optimizer
from gsa.parallel.ranks import ALONE
from gsa.world_model.model import WorldModel
from stages.profile import load_profile


class Settings(NamedTuple):
    """How updates are measured."""

    device: str
    precision: str
    compile: str
    threads: int
    repeats: int
    batch: tuple[int, int]


def random_batch(rows: tuple[int, int], action_dim: int) -> Batch:
    """Random images, no actions, no episode's end."""
    batch = empty_batch(*rows, action_dim)
    for x in batch:
        x.zero_()
    batch.image.random_(0, 256)
    return batch


def pretraining_flops(params: WorldModelParams, rows: tuple[int, int]) -> int:
    """Operations in the matrix products and convolutions of one update, forward and back."""
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        model = WorldModel(params)
        model.total_loss(model.loss(empty_batch(*rows, params.action_dim)).losses).backward()
    return int(counter.get_total_flops())


def measure(params: Params, settings: Settings) -> tuple[float, float]:
    """Seconds of the fastest of ``repeats`` updates as ``gsa pretrain`` makes them, after two to warm up.

    Also the peak of a GPU's allocator in bytes, 0 without one: a process's memory holds much else.
    """
    torch.set_num_threads(settings.threads)
    device = torch.device(settings.device)
    model = WorldModel(params.world_model).to(device)
    if settings.device == "cpu" and settings.compile == "none":
        accelerate(model)
    optimizer = Optimizer("world model", list(model.parameters()), params.pretrain.optimizer)
    objective = Objective(model, ALONE, settings.precision)
    if settings.compile != "none":
        model.compile_parts(mode=settings.compile)
    batch = random_batch(settings.batch, params.world_model.action_dim).to(device)
    noise = torch.empty(*settings.batch, params.world_model.stoch, params.world_model.classes, device=device)
    clock, seconds = training_clock(device.type), []
    for _ in range(settings.repeats + 2):
        start = clock()
        total, _ = objective(batch, noise.exponential_())
        optimizer.step(total)  # reads the gradient's norm: waits for the device
        seconds.append(clock() - start)
    return min(seconds[2:]), float(torch.cuda.max_memory_allocated() if device.type == "cuda" else 0)


def row(size_name: str, settings: Settings) -> str:
    """One size as a row of the table."""
    params = load_profile("paper", settings=[f"world_model.size={size_name}"])
    with torch.device("meta"):
        model = WorldModel(params.world_model)
    counts = [sum(p.numel() for p in part.parameters()) for part in (model, model.encoder, model.rssm, model.decoder)]
    flops = pretraining_flops(params.world_model, BATCH)
    peaks = [peak_bytes(params.world_model, settings.precision, again) for again in ("none", "all")]
    memory = [f"{size / 1e9:.2f}" for size in (16 * counts[0], *peaks)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        seconds, peak = pool.submit(measure, params, settings).result()
    millions = [f"{count / 1e6:.2f}" for count in counts]
    done = pretraining_flops(params.world_model, settings.batch)
    rates = [f"{math.prod(settings.batch) / seconds:.3g}", f"{1 / seconds:.3g}", f"{done / seconds / 1e9:.0f}"]
    rates += [f"{peak / 1e9:.2f}" if peak else "no GPU"]
    return "| " + " | ".join([f"`{size_name}`", *millions, f"{flops / 1e9:.0f}", *memory, *rates]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", nargs="+", default=list(load_params().sizes))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", choices=("none", "default", "reduce-overhead"), default="none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, type=int, default=BATCH)
    arguments = vars(parser.parse_args())
    sizes = arguments.pop("size")
    settings = Settings(batch=tuple(arguments.pop("measure")), **arguments)
    heads = ["size", "parameters, M", "encoder", "RSSM", "decoder", "GFLOP per update"]
    heads += [
        "fixed memory, GB",
        "peak, GB",
        "peak with checkpointing, GB",
        "rows/s",
        "updates/s",
        "GFLOP/s",
        "measured peak, GB",
    ]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for size in sizes:
        print(row(size, settings), flush=True)
    where = torch.cuda.get_device_name() if settings.device == "cuda" else f"CPU, {settings.threads} threads"
    what = f"{where}, {settings.precision}, compile {settings.compile}"
    print("\n" + what + ", measured on updates of {} x {} rows; other peaks are counted".format(*settings.batch))


if __name__ == "__main__":
    main()
