"""Seconds an update of the world model and of the whole agent, beside a plain implementation and the arithmetic floor.

    python -m benchmarks.world_model [--threads 1] [--repeats 10] [--size release quickstart]

The plain implementation (``benchmarks/plain_agent.py``) does the same arithmetic a step at a time; before anything is
timed, losses and gradients of both are asserted equal to 1e-4. Turns of the two are interleaved in one run, so ratios
hold on a noisy machine. The floor is the time that the matrix products and convolutions of the plain update would take
at the rate of a matrix product measured in the same run. MB are the most bytes of tensors alive at a time, counted as
operations return them. Sizes: the 2.3 M configuration that was timed with the authors' release, and the quickstart of
params.yaml.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.memory import LiveBytes
from benchmarks.plain_agent import PlainAgent
from gsa.agents.gsa import GSAAgent
from gsa.config import Params, load_params
from gsa.cost.update_pace import matmul_flops
from gsa.episode import Batch, prev_action
from gsa.nets.conv import scale_image
from gsa.world_model.model import WorldModel
from tests.world_model import plain as plain_model

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"

SIZES: dict[str, dict[str, Any]] = {
    "release": {
        "world_model.deter": 512,
        "world_model.hidden": 128,
        "world_model.blocks": 8,
        "world_model.stoch": 32,
        "world_model.classes": 16,
        "world_model.channels": [16, 32, 64, 128],
        "finetune.batch_size": 16,
        "finetune.batch_length": 32,
        "agent.imag_horizon": 16,
        "agent.imag_starts": 0,
    },
    "quickstart": {},
}


class Pair(NamedTuple):
    """The same of our implementation and of the plain one."""

    ours: Any
    plain: Any


def random_batch(params: Params) -> Batch:
    """Noise of the fine-tuning batch's shape, images in height-width-channel memory like the replay's."""
    rows = (params.finetune.batch_size, params.finetune.batch_length)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (*rows, 64, 64, 3), dtype=np.uint8))
    width = params.world_model.action_dim
    return Batch(
        image.permute(0, 1, 4, 2, 3),
        torch.rand(*rows, width) * 2 - 1,
        torch.ones(rows[0], width),
        torch.rand(rows),
        torch.ones(rows[0], dtype=torch.bool),
        torch.zeros(rows, dtype=torch.bool),
        torch.zeros(rows, dtype=torch.bool),
    )


def make(params: Params) -> tuple[GSAAgent, PlainAgent]:
    """An agent with random weights and its plain copy."""
    torch.manual_seed(0)
    model, optimizer = WorldModel(params.world_model), params.finetune.model_optimizer
    agent = GSAAgent(model, params.world_model.action_dim, params.agent, optimizer)
    for head in (agent.reward_head, agent.behavior.critic, agent.behavior.slow_critic):
        torch.nn.init.normal_(head[-1].weight, std=0.01)  # zero outputs would hide a difference
    return agent, PlainAgent(agent, optimizer)


def update_model(agent: GSAAgent, batch: Batch) -> None:
    """What pre-training does with a batch."""
    agent.optimizers["world_model"].step(agent.world_model.total_loss(agent.world_model.loss(batch).losses))


CONSTANTS = {"exponential_": 1.0, "uniform_": 0.5, "rand_like": 0.5, "normal_": 0.0, "randn_like": 0.0}
"""What random numbers become in a comparison."""


class WithoutNoise(TorchDispatchMode):
    """Random numbers are constants, whatever their shape and order: latents become modes, actions means."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        out = args[0] if name.endswith("_") else func(*args, **(kwargs or {}))
        return out.fill_(CONSTANTS[name])


@contextmanager
def double_precision() -> Iterator[None]:
    """In float32 two nearly equal probabilities may be ordered differently, and two models draw different latents."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@double_precision()
def largest_difference(overrides: dict[str, Any]) -> float:
    """Update both twice on a small batch: the largest relative difference of a loss or a gradient.

    The second update starts from what the first one made of the weights.
    """
    params = load_params(PARAMS, overrides | {"finetune.batch_size": 3, "finetune.batch_length": 6})
    agent, plain = make(params)
    batch = random_batch(params)
    batch.is_first[1, 3] = batch.is_terminal[2, 5] = True
    worst = 0.0
    for _ in range(2):
        with WithoutNoise():
            found, expected = agent.update(batch, None), plain.update(batch)
        pairs = [(torch.tensor(found[name]), torch.tensor(value)) for name, value in expected.items()]
        trained = [(name, weight) for name, weight in agent.named_parameters() if "slow" not in name]
        pairs += [(weight.grad, plain.twin(name).grad) for name, weight in trained]
        worst = max(worst, *(float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs))
    return worst


def parts(agent: GSAAgent, plain: PlainAgent, batch: Batch) -> dict[str, Pair]:
    """The world model's three parts, forwards and backwards, on inputs that are known beforehand."""
    model, weights = agent.world_model, plain.weights
    action = prev_action(batch.action)
    with torch.no_grad():
        image = scale_image(batch.image)
        embed = model.encoder(image)
        post, _ = model.rssm.observe(embed, action, batch.is_first)
    h, z = post.deter.clone().requires_grad_(), post.stoch.clone().requires_grad_()
    embed.requires_grad_()

    def observe() -> None:
        state, logits = model.rssm.observe(embed, action, batch.is_first)
        (state.deter.sum() + logits.sum() + model.rssm.prior_logits(state.deter).sum()).backward()

    def plain_observe() -> None:
        out = plain_model.observe(embed, action, batch.is_first, weights["rssm"], model.params)
        sum(x.sum() for x in (out[0], *out[2:])).backward()

    flat = [x.detach().flatten(0, 1).contiguous().requires_grad_() for x in (h, z)]
    images = image.flatten(0, 1).contiguous()
    return {
        "encoder": Pair(
            lambda: model.encoder(image).sum().backward(),
            lambda: plain_model.encode(images, weights["encoder"]).sum().backward(),
        ),
        "recurrence": Pair(observe, plain_observe),
        "decoder": Pair(
            lambda: model.decoder.squared_error(h, z, image).sum().backward(),
            lambda: (plain_model.decode(*flat, weights["decoder"]) - images).square().sum().backward(),
        ),
    }


def training_clock(device: str = "cpu") -> Callable[[], float]:
    """Seconds; of CPU time where one thread does everything, because other processes disturb that less."""
    return time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def median_seconds(pair: Pair, repeats: int) -> Pair:
    """Median time of both over interleaved turns, after one turn to warm up."""
    clock = training_clock()
    times = Pair([], [])
    for turn in range(repeats + 1):
        for function, seconds in zip(pair, times, strict=True):
            start = clock()
            function()
            if turn:
                seconds.append(clock() - start)
    return Pair(*map(float, map(np.median, times)))


def peak_megabytes(pair: Pair) -> Pair:
    """The most bytes of tensors alive at a time, of those that operations return."""

    def of(function: Callable[[], None]) -> float:
        with LiveBytes() as live:
            function()
        return live.peak / 1e6

    return Pair(*map(of, pair))


def compare(name: str, overrides: dict[str, Any], repeats: int) -> None:
    """Print the table of one size."""
    worst = largest_difference(overrides)
    assert worst < 1e-4, f"the two implementations differ by {worst:.1e}"
    params = load_params(PARAMS, overrides)
    agent, plain = make(params)
    batch = random_batch(params)
    work = parts(agent, plain, batch) | {
        "pre-training update": Pair(lambda: update_model(agent, batch), lambda: plain.update_model(batch)),
        "fine-tuning update": Pair(lambda: agent.update(batch, None), lambda: plain.update(batch)),
    }
    seconds = {what: median_seconds(pair, repeats) for what, pair in work.items()}
    rate = matmul_flops("cpu", 1024, repeats=20)
    millions = sum(p.numel() for p in agent.world_model.parameters()) / 1e6
    rows = f"{params.finetune.batch_size} x {params.finetune.batch_length} rows"
    print(
        f"{name}: {millions:.2f} M parameters, {rows}, {torch.get_num_threads()} threads, largest relative difference"
    )
    print(f"  of a loss or gradient {worst:.0e}, matrix product {rate / 1e9:.0f} GFLOP/s")
    print(
        f"  {'':20s} {'plain s':>8s} {'ours s':>8s} {'ratio':>6s} {'GFLOP':>7s} {'floor s':>8s} {'share':>6s} "
        f"{'plain MB':>9s} {'ours MB':>8s}"
    )
    for what, (ours, yardstick) in seconds.items():
        with FlopCounterMode(display=False) as counter:
            work[what].plain()
        flops, peak = counter.get_total_flops(), peak_megabytes(work[what])
        print(
            f"  {what:20s} {yardstick:8.3f} {ours:8.3f} {yardstick / ours:6.2f} {flops / 1e9:7.1f} "
            f"{flops / rate:8.3f} {flops / rate / ours:6.0%} {peak.plain:9.0f} {peak.ours:8.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.size:
        compare(name, SIZES[name], arguments.repeats)


if __name__ == "__main__":
    main()
