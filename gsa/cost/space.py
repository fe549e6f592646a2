"""How much memory and disk a fine-tuning needs, by arithmetic, and what the machine has left of both."""

import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils._pytree import tree_leaves

from gsa.agents.base import Learner, Setting, make_learner
from gsa.config import DreamerParams, Params, WorldModelParams
from gsa.config.learners import GSAMethod
from gsa.errors import ResourceError
from gsa.pipeline import LEARNERS
from gsa.runs.checkpoint import KEEP
from gsa.storage.replay import ROW_BYTES
from gsa.tasks import get_task

PROCESS_BYTES = 600_000_000
"""Of a process with torch, two simulators and their pictures, before there are networks."""

FLOAT = 4
"""Bytes of a number."""

KEPT_PER_OUTPUT = 4.3
"""Numbers that an update keeps per output of a convolution: with norms and gradients; from ``benchmarks.memory``."""

KEPT_PER_UNIT = 10
"""The same per unit of ``deter`` and per step that is observed or imagined: the gates and their norms, not measured."""


@dataclass(frozen=True)
class Space:
    """Bytes that a run takes at most: of memory, with the process itself, and of disk until it is done."""

    memory: float
    disk: float


def finetuning_space(params: Params, method: str, task: str, weights: int, on_gpu: bool = False) -> Space:
    """What a run of the method on the task needs, ``weights`` being the bytes of its learner (``weights_of``).

    On a GPU networks and updates lie there, and are not counted.

    Memory: the process, weights, gradients, Adam's moments, what an update keeps for its backward pass, the copy that a
    save writes in the background, retrieved pictures, and actions and flags of all rows. Disk: every row of the run,
    with its picture, and the checkpoints. Where episodes end early there are more rows, by one per episode.
    """
    spec, switches = get_task(task), params.method(method)
    width = spec.action_dim or params.world_model.action_dim
    decisions = params.finetune.total_frames // spec.action_repeat + spec.max_env_steps
    rows = decisions * (1 + 1 / spec.max_env_steps)
    labels = rows * (FLOAT * (width + 1) + 4)
    memory = PROCESS_BYTES + labels + 3 * weights
    if not on_gpu:
        memory += 4 * weights
        if "dreamer" in LEARNERS[switches.learner].sections:
            memory += update_bytes(params.world_model, params.dreamer)
    if isinstance(switches, GSAMethod) and (switches.clones or switches.rehearsal_fraction > 0):
        memory += params.gsa.retrieve_episodes * (spec.max_env_steps + 1) * ROW_BYTES
    return Space(memory, labels + rows * ROW_BYTES + (KEEP + 1) * 3 * weights)


def update_bytes(model: WorldModelParams, learner: DreamerParams) -> float:
    """What an update of Dreamer keeps for its backward passes, roughly."""
    first, second, third, last = model.channels
    encoded = first * 31**2 + second * 14**2 + third * 6**2 + last * 2**2
    decoded = third * 5**2 + second * 13**2 + first * 30**2 + 3 * 64**2
    rows = learner.batch_size * learner.batch_length
    steps = rows + (learner.imag_starts or rows) * learner.imag_horizon
    return FLOAT * (rows * KEPT_PER_OUTPUT * (encoded + decoded) + steps * KEPT_PER_UNIT * model.deter)


def weights_of(learner: Learner) -> int:
    """Bytes of all that a learner keeps of its networks, without Adam's moments where there are none yet."""
    tensors = [leaf for leaf in tree_leaves(learner.state()) if isinstance(leaf, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def counted_weights(params: Params, method: str, task: str) -> int:
    """``weights_of`` a learner that is not made: its tensors have shapes and no contents."""
    spec, meta = get_task(task), torch.device("meta")
    machine = params.machine.model_copy(update={"compile": "none"})
    plain, width = params.model_copy(update={"machine": machine}), spec.action_dim or params.world_model.action_dim
    with meta:
        return weights_of(make_learner(Setting(spec, width, spec.max_env_steps, plain, method, seed=0, device=meta)))


def check_space(need: Space, item: str, folder: Path) -> None:
    """Refuse a run that the machine cannot hold; ``folder`` is where it keeps what it has seen and its checkpoints.

    What the process holds and what lies in the folder already is counted as had.

    Raises:
        ResourceError: too little free memory or disk; the message says how much is needed.
    """
    memory, had = free_memory(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if need.memory - had > memory:
        raise ResourceError(
            f"{item} needs about {need.memory / 1e9:.1f} GB of memory, {memory / 1e9:.1f} GB are free; free some, or "
            "lower batch_size, batch_length or gsa.retrieve_episodes"
        )
    nearest = next(place for place in (folder, *folder.parents) if place.is_dir())
    free = shutil.disk_usage(nearest).free
    held = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
    if need.disk - held > free:
        raise ResourceError(
            f"{item} needs about {need.disk / 1e9:.1f} GB of disk in {nearest} while it runs, {free / 1e9:.1f} GB are "
            "free; free some and rerun"
        )


def free_memory() -> float:
    """Bytes that this process may still take: what the system, its control group and its own limit leave."""
    return min(_available(), _left_of_group(), _left_of_limit())


def _available(file: Path = Path("/proc/meminfo")) -> float:
    for line in _lines(file):
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    return float("inf")


def _left_of_group(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Of a container, which sees its own group as the root; files in the cache can be dropped."""
    limit, used = ([*_lines(root / name), ""][0] for name in ("memory.max", "memory.current"))
    if not (limit.isdigit() and used.isdigit()):
        return float("inf")
    cached = sum(int(line.split()[1]) for line in _lines(root / "memory.stat") if line.startswith("inactive_file "))
    return float(int(limit) - int(used) + cached)


def _left_of_limit() -> float:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    pages = int([*_lines(Path("/proc/self/statm")), "0"][0].split()[0])
    return float(limit - pages * resource.getpagesize())


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
