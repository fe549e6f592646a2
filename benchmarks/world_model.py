"""What the accelerators of ``gsa/cpu`` gain: seconds per update with all, without each, and on the ordinary path.

    python -m benchmarks.world_model [--threads 1] [--repeats 20] [--size release quickstart]

All variants take turns in one run, so that ratios hold on a noisy machine. A gain is a variant's median time over that
with all accelerators. Before anything is timed, the losses and gradients of every variant are asserted equal to the
ordinary path's. The floor is the time that the matrix products and convolutions of the ordinary path would take at the
rate of a matrix product measured in the same run. MB are the most bytes of tensors alive at a time, counted as
operations return them. Sizes: 2.3 million parameters, which was timed beside the authors' release, and the quickstart.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from gsa.agents.dreamer import Dreamer
from gsa.config import Params, load_params
from gsa.cost.gpu_memory import LiveBytes
from gsa.cost.update_pace import matmul_flops
from gsa.cpu import ACCELERATORS, accelerate
from gsa.episode import Batch
from gsa.world_model.model import WorldModel

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"

SIZES: dict[str, dict[str, Any]] = {
    "release": {
        "world_model.deter": 512,
        "world_model.hidden": 128,
        "world_model.blocks": 8,
        "world_model.stoch": 32,
        "world_model.classes": 16,
        "world_model.channels": [16, 32, 64, 128],
        "dreamer.batch_size": 16,
        "dreamer.batch_length": 32,
        "dreamer.imag_horizon": 16,
        "dreamer.imag_starts": 0,
    },
    "quickstart": {},
}

VARIANTS = {"all": (), **{f"without {name}": (name,) for name in ACCELERATORS}, "ordinary": ACCELERATORS}
"""Which accelerators each variant goes without."""

Update = Callable[[], object]


def random_batch(params: Params) -> Batch:
    """Noise of the fine-tuning batch's shape, images in height-width-channel memory like the replay's."""
    rows = (params.dreamer.batch_size, params.dreamer.batch_length)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (*rows, 64, 64, 3), dtype=np.uint8))
    width = params.world_model.action_dim
    return Batch(
        image.permute(0, 1, 4, 2, 3),
        torch.rand(*rows, width) * 2 - 1,
        torch.rand(rows),
        torch.ones(rows[0], dtype=torch.bool),
        torch.zeros(rows, dtype=torch.bool),
        torch.zeros(rows, dtype=torch.bool),
    )


def make(params: Params, without: tuple[str, ...] = ()) -> Dreamer:
    """An agent with random weights, accelerated but for ``without``; equal for equal parameters."""
    torch.manual_seed(0)
    agent = Dreamer(WorldModel(params.world_model), params.world_model.action_dim, params.dreamer)
    for head in (agent.reward_head, agent.behavior.critic, agent.behavior.slow_critic):
        torch.nn.init.normal_(head[-1].get_parameter("weight"), std=0.01)  # zero outputs would hide a difference
    accelerate(agent, without)
    return agent


def update_model(agent: Dreamer, batch: Batch) -> None:
    """What pre-training does with a batch."""
    agent.optimizers["world_model"].step(agent.world_model.total_loss(agent.world_model.loss(batch).losses))


def update_agent(agent: Dreamer, batch: Batch) -> dict[str, float]:
    """What fine-tuning does with a batch of online windows; returns the losses."""
    return agent.update(batch)


def largest_difference(overrides: dict[str, Any]) -> float:
    """The largest relative difference of a loss or gradient between a variant and the ordinary path, on a small batch.

    In double precision: in float32 two nearly equal probabilities may be ordered differently, and latents differ then.
    """
    params = load_params(PARAMS, overrides | {"dreamer.batch_size": 3, "dreamer.batch_length": 6})
    torch.set_default_dtype(torch.float64)
    try:
        batch, found = random_batch(params), {}
        batch.is_first[1, 3] = batch.is_terminal[2, 5] = True
        for name, without in VARIANTS.items():
            agent = make(params, without)
            losses = torch.tensor(list(update_agent(agent, batch).values()))
            found[name] = [losses, *(weight.grad for weight in agent.parameters() if weight.grad is not None)]
    finally:
        torch.set_default_dtype(torch.float32)
    expected = found.pop("ordinary")
    pairs = [pair for values in found.values() for pair in zip(values, expected, strict=True)]
    return max(float((value - other).norm() / other.norm()) for value, other in pairs)


def training_clock(device: str = "cpu") -> Callable[[], float]:
    """Seconds; of CPU time where one thread does everything, because other processes disturb that less."""
    return time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def median_seconds(updates: dict[str, Update], repeats: int) -> dict[str, float]:
    """Median time of each over interleaved turns in random order, after one turn to warm up."""
    clock, order = training_clock(), np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in updates}
    for turn in range(repeats + 1):
        for name in order.permutation(list(updates)):  # what ran before leaves its traces in the caches
            start = clock()
            updates[name]()
            if turn:
                times[name].append(clock() - start)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def peak_megabytes(update: Update) -> float:
    """The most bytes of tensors alive at a time, of those that operations return."""
    with LiveBytes() as live:
        update()
    return live.peak / 1e6


def print_gains(name: str, overrides: dict[str, Any], repeats: int) -> None:
    """Print the table of one size."""
    worst = largest_difference(overrides)
    assert worst < 1e-4, f"an accelerator differs from the ordinary path by {worst:.1e}"
    params = load_params(PARAMS, overrides)
    agents = {variant: make(params, without) for variant, without in VARIANTS.items()}
    batch, rate = random_batch(params), matmul_flops("cpu", 1024, repeats=20)
    millions = sum(p.numel() for p in agents["all"].world_model.parameters()) / 1e6
    print(f"{name}: {millions:.2f} M parameters, {params.dreamer.batch_size} x {params.dreamer.batch_length} rows,")
    print(f"  {torch.get_num_threads()} threads, largest relative difference of a loss or gradient {worst:.0e},")
    print(f"  matrix product {rate / 1e9:.0f} GFLOP/s")
    print(f"  {'':20s} {'':16s} {'seconds':>8s} {'gain':>6s} {'MB':>6s}")
    for what, update in (("pre-training update", update_model), ("fine-tuning update", update_agent)):
        updates: dict[str, Update] = {variant: partial(update, agent, batch) for variant, agent in agents.items()}
        seconds = median_seconds(updates, repeats)
        for variant, taken in seconds.items():
            gain, peak = taken / seconds["all"], peak_megabytes(updates[variant])
            print(f"  {what:20s} {variant:16s} {taken:8.4f} {gain:6.3f} {peak:6.0f}")
        with FlopCounterMode(display=False) as counter:
            updates["ordinary"]()
        floor = counter.get_total_flops() / rate
        print(f"  {what:20s} {'floor':16s} {floor:8.4f} {floor / seconds['all']:6.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.size:
        print_gains(name, SIZES[name], arguments.repeats)


if __name__ == "__main__":
    main()
