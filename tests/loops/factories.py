"""Small pre-training runs, in this process and in others."""

import json
import os
import signal
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from gsa.config import MachineParams, Params, WorldModelParams, load_params
from gsa.loops.pretrain import Trainer
from gsa.runs.checkpoint import CheckpointStore
from gsa.runs.training_log import TrainingLog
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.store_writer import write_store
from tests.conftest import ROOT
from tests.storage.conftest import noise_episode

UPDATES = 8


def section_of(key: str) -> str:
    """Which of the sections below has the key."""
    models = {"world_model": WorldModelParams, "machine": MachineParams}
    return next((name for name, model in models.items() if key in model.model_fields), "pretrain")


def params(**changes: Any) -> Params:
    """A tiny model trained briefly; keys of ``pretrain``, ``machine`` or ``world_model`` to change."""
    tiny = {
        "convert.holdout_fraction": 0.25,
        "world_model.deter": 8,
        "world_model.hidden": 8,
        "world_model.blocks": 2,
        "world_model.stoch": 2,
        "world_model.classes": 4,
        "world_model.channels": [2, 2, 2, 4],
        "pretrain.updates": UPDATES,
        "pretrain.batch_size": 2,
        "pretrain.batch_length": 4,
        "pretrain.log_every": 3,
        "machine.checkpoint_every": 2,
        "machine.device": "cpu",
    }
    sections = {key: section_of(key) for key in changes}
    return load_params(ROOT / "params.yaml", tiny | {f"{sections[key]}.{key}": v for key, v in changes.items()})


def small_store(path: Path, seed: int = 0) -> EpisodeStore:
    episodes = [noise_episode(s + seed, steps=30, width=1 + s % 2, embodiment=f"body{s % 2}") for s in range(8)]
    write_store(episodes, path, params().convert)
    return EpisodeStore(path)


def train(
    store: EpisodeStore, folder: Path, advance: Callable[[int], None] = lambda n: None, **changes: Any
) -> tuple[Any, ...]:
    """Train with checkpoints in ``folder``; the weights' bytes and the log without what depends on the machine."""
    trainer = Trainer(store, params(**changes))
    with TrainingLog(folder) as losses:
        trainer.run(CheckpointStore(folder, "f"), losses, advance)
    return outcome(trainer, losses)


def outcome(trainer: Trainer, losses: TrainingLog) -> tuple[Any, ...]:
    weights = b"".join(p.detach().numpy().tobytes() for p in trainer.model.parameters())
    return weights, [row for row, _ in losses.rows], trainer.cursor


def train_and_die(path: Path, folder: Path, at: int, workers: int) -> None:
    """In a process of its own: SIGKILL right after update ``at``; past the last update, leave the weights' bytes."""
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]  # the one we come from will do
    updates = 0

    def advance(count: int) -> None:
        nonlocal updates
        updates += count
        if updates >= at:
            os.kill(os.getpid(), signal.SIGKILL)

    weights, rows, _ = train(EpisodeStore(path), folder, advance, loader_workers=workers)
    (folder / "weights").write_bytes(weights)
    (folder / "rows").write_text(json.dumps(rows))
