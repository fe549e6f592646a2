"""Pre-train one world model on everything offline (SPEC.md section 2): no reward, no simulator."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsa.config import Params
from gsa.errors import DataError, TrainingError
from gsa.nets.optimizer import Optimizer
from gsa.runs.checkpoint import CheckpointStore, save_weights
from gsa.storage.episode_store import EpisodeStore, EpisodeSubset
from gsa.storage.replay import Replay
from gsa.world_model.model import WorldModel
from gsa.world_model.open_loop import evaluate_open_loop, write_open_loop

Advance = Callable[[int], None]


def pretrain(
    store: EpisodeStore, params: Params, out: Path, checkpoints: CheckpointStore, advance: Advance = lambda n: None
) -> dict[str, float]:
    """Train ``params.pretrain.updates`` updates on the store's train split and write the model to ``out``.

    Writes ``weights.safetensors``, ``meta.json``, ``losses.jsonl`` (a row each ``log_every`` updates, means over
    them), ``open_loop.json`` (held-out prediction error per embodiment and horizon) with a picture and a video.
    Resumes from ``checkpoints``: weights, optimizer, both random states, the sampler's cursor, the log so far.
    Owns the process's torch generator. Returns the last row of losses.

    Raises:
        DataError: no episodes to train on, or none as long as a window.
        TrainingError: a loss or gradient is not finite; names the update.
    """
    section = params.pretrain
    torch.manual_seed(section.seed)
    episodes = training_episodes(store)
    groups = episodes.episodes["embodiment"].to_numpy() if section.sampling == "balanced" else None
    replay = Replay(episodes, params.world_model.action_dim, section.seed, groups)
    model = WorldModel(params.world_model)
    optimizer = Optimizer("world model", list(model.parameters()), section.optimizer)
    rows, done = _resume(checkpoints, model, optimizer, replay)
    advance(done)
    recent: list[dict[str, float]] = []
    for update in range(done, section.updates):
        try:
            recent.append(pretrain_update(model, optimizer, replay, params))
        except TrainingError as error:
            raise TrainingError(f"pre-training update {update}: {error}; lower pretrain.optimizer.lr") from error
        advance(1)
        if (update + 1) % section.log_every == 0 or update + 1 == section.updates:
            rows.append({"update": update + 1} | {k: float(np.mean([r[k] for r in recent])) for k in recent[0]})
            recent = []
        at_log = not recent
        if at_log and ((update + 1) % section.checkpoint_every == 0 or checkpoints.stop_requested):
            checkpoints.save(update + 1, _training_state(model, optimizer, replay, rows))
    (out / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_open_loop(out, evaluate_open_loop(model, store, section.seed))
    save_weights(out, model.state_dict(), {"world_model": params.world_model.model_dump()})
    return {name: float(value) for name, value in rows[-1].items()}


def training_episodes(store: EpisodeStore) -> EpisodeSubset:
    """The episodes pre-training may see: all but the held-out split."""
    train = np.flatnonzero((store.episodes["split"] == "train").to_numpy())
    if not len(train):
        raise DataError(f"{store.path} holds no training episodes; collect data and run `gsa convert` first")
    return store.select(train)


def pretrain_update(model: WorldModel, optimizer: Optimizer, replay: Replay, params: Params) -> dict[str, float]:
    """One update on one batch; returns loss terms per row, entropies and the gradient norm."""
    batch = replay.sample(params.pretrain.batch_size, params.pretrain.batch_length)
    out = model.loss(batch)
    total = model.total_loss(out.losses)
    norm = optimizer.step(total)
    values = {name: float(value.detach().mean()) for name, value in (out.losses | out.metrics).items()}
    return {"total": float(total.detach())} | values | {"grad_norm": norm}


def _training_state(model: WorldModel, optimizer: Optimizer, replay: Replay, rows: list[dict]) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.adam.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "replay": replay.state_dict(),
        "rows": rows,
    }


def _resume(
    checkpoints: CheckpointStore, model: WorldModel, optimizer: Optimizer, replay: Replay
) -> tuple[list[dict], int]:
    latest = checkpoints.latest()
    if latest is None:
        return [], 0
    done, state = latest
    model.load_state_dict(state["model"])
    optimizer.adam.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch_rng"])
    replay.load_state_dict(state["replay"])
    return state["rows"], done
