"""The authors' release beside ours: the same card, sizes and batches, in turns (``benchmarks/release.py``)."""

import time
from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.cases import Case
from benchmarks.gpu.context import Context, Row
from benchmarks.gpu.noise import noise_batch
from benchmarks.release import release_agent, release_batch, update_theirs
from benchmarks.world_model import update_agent
from gsa.agents.dreamer import Dreamer
from gsa.episode import Batch
from gsa.world_model.model import WorldModel

TURNS = 5


def cases(context: Context) -> dict[str, Case]:
    """A case per size and kind of update."""
    kinds = [(size, mode) for size in ("paper", "s") for mode in ("pretrain", "finetune")]
    return {f"{size} {mode}": partial(compare, context, size, mode) for size, mode in kinds}


def compare(context: Context, size: str, mode: str) -> Iterator[Row]:
    """Both agents in turns, eager and in their own precision: updates per second of each."""
    assert context.release is not None
    params, device = context.params(size, dreamer__precision="bfloat16"), torch.device(context.device)
    theirs = release_agent(context.release, params, mode, context.device)
    ours = Dreamer(WorldModel(params.world_model), params.world_model.action_dim, params.dreamer).to(device)
    batch = noise_batch(params.dreamer.batch_size, params.dreamer.batch_length, params.world_model.action_dim)
    data = {name: x.to(device) for name, x in release_batch(batch).items()}
    takes = (None, data, 0) if mode == "pretrain" else (data, None, 0)
    update = update_model if mode == "pretrain" else update_agent
    on_device = batch.to(device)
    turns = {"release": lambda: update_theirs(theirs, takes), "eager": lambda: update(ours, on_device)}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(TURNS + 2):
        for name, turn in turns.items():
            started = time.perf_counter()
            turn()
            if context.device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    work = {"pretrain": "pretraining", "finetune": "finetuning"}[mode]
    for name, found in seconds.items():
        rate = 1 / sorted(found[2:])[TURNS // 2]
        yield {"size": size, "work": work, "precision": "bfloat16", "mode": f"{name}, in turns", "updates_per_s": rate}


def update_model(agent: Dreamer, batch: Batch) -> None:
    """An update of pre-training, in the agent's precision."""
    with agent.mixed_precision():
        losses = agent.world_model.loss(batch).losses
    agent.optimizers["world_model"].step(agent.world_model.total_loss(losses))
