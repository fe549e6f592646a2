"""Updates to be timed: of pre-training and fine-tuning, eager, compiled, or recorded as one CUDA graph."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu.noise import moving_store, noise_batch
from gsa.agents.dreamer import Dreamer
from gsa.config import Params
from gsa.cost.update_pace import finetuning_flops, forward_flops_a_row, pretraining_flops
from gsa.episode import Batch
from gsa.loops.pretrain import Trainer
from gsa.parallel.prefetch import prefetch
from gsa.parallel.ranks import Ranks
from gsa.runs.training_log import Stopwatch
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.numbered import read_ahead
from gsa.world_model.model import WorldModel

Update = Callable[[], object]
"""One update; it waits for the device once."""

MOMENTS = 11
"""Numbers of 4 bytes that an optimizer's step moves per weight: gradient written, read for its norm, scaled (2), read;
weight and both moments read and written."""


@contextmanager
def pretraining(params: Params, device: str, folder: Path, recorded: bool) -> Iterator[tuple[Update, Stopwatch]]:
    """``gsa pretrain`` on a store of moving squares, or of one batch where it is recorded; and its waits for data."""
    store, place, watch = EpisodeStore(moving_store(folder, params)), torch.device(device), Stopwatch()
    trainer = Trainer(store, params, Ranks(0, 1, place))
    last = params.pretrain.updates
    with (
        closing(read_ahead(trainer.batches, 0, last, params.machine.loader_workers)) as read,
        closing(prefetch(read, place)) as batches,
    ):
        waited = watch.waiting(batches)
        if recorded:
            yield record_pretraining(trainer, next(waited)), watch
        else:
            yield lambda: trainer.learn(next(waited)), watch


@contextmanager
def finetuning(params: Params, device: str, folder: Path, recorded: bool) -> Iterator[tuple[Update, Stopwatch]]:
    """An update of ``scratch`` on one batch that lies on the device."""
    del folder
    torch.manual_seed(0)
    with torch.device(device):
        agent = Dreamer(WorldModel(params.world_model), params.world_model.action_dim, params.dreamer)
    if params.machine.compile != "none":
        agent.compile_parts(mode=params.machine.compile)
    section = params.dreamer
    batch = noise_batch(section.batch_size, section.batch_length, params.world_model.action_dim)
    batch = batch.to(torch.device(device))
    yield (record_finetuning(agent, batch) if recorded else lambda: agent.update(batch)), Stopwatch()


WORK = {"pretraining": pretraining, "finetuning": finetuning}


def record_pretraining(trainer: Trainer, batch: Batch) -> Update:
    """All of an update, optimizer included, as one CUDA graph. The batch is always the same."""
    noise = trainer._noise()
    found = _record(lambda: trainer.optimizer.begin(trainer.objective(batch, noise)[0]), [trainer.optimizer.adam])

    def update() -> None:
        noise.exponential_()
        trainer.optimizer.check(*found().tolist())

    return update


def record_finetuning(agent: Dreamer, batch: Batch) -> Update:
    """The same of ``Dreamer.update``; the graph draws its random numbers anew."""

    def begin() -> Tensor:
        steps, values = agent.begin_update(batch)
        return torch.cat([*steps.values(), torch.stack(list(values.values()))])

    found = _record(begin, [optimizer.adam for optimizer in agent.optimizers.values()])
    return lambda: found().tolist()


def _record(begin: Callable[[], Tensor], adams: list[torch.optim.Adam]) -> Callable[[], Tensor]:
    """Record what ``begin`` does; what is returned does it again and gives its result."""
    for adam in adams:
        for group in adam.param_groups:
            group["capturable"] = True
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            begin()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = begin()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


def operations(params: Params, work: str) -> int:
    """Of matrix products and convolutions in one update."""
    return pretraining_flops(params) if work == "pretraining" else finetuning_flops(params)


def least_bytes(params: Params, work: str) -> float:
    """What one update must move at least: weights of the recurrences at every step, once forwards and once backwards,
    all others once each way, and what the optimizer touches. Activations are left out."""
    with torch.device("meta"):
        model = WorldModel(params.world_model)
    weights = sum(p.numel() for p in model.parameters())
    looped = sum(p.numel() for part in (model.rssm.gru, model.rssm.post_head) for p in part.parameters())
    looped += params.world_model.deter * params.world_model.hidden
    section = params.pretrain if work == "pretraining" else params.dreamer
    size = 2 if section.precision == "bfloat16" else 4
    moved = 4.0 * MOMENTS * weights + 2 * size * (weights - looped + looped * section.batch_length)
    if work == "finetuning":
        imagined = forward_flops_a_row(params.world_model)[1] / 2  # two operations per weight
        moved += 2 * size * imagined * params.dreamer.imag_horizon
    return moved
