"""Pre-training on a small store: it learns, resumes exactly, keeps the held-out split out."""

import json

import pytest
import torch

from gsa.config import Params, load_params
from gsa.errors import DataError, StoppedError
from gsa.loops.build_index import load_world_model
from gsa.loops.pretrain import pretrain, training_episodes
from gsa.runs.checkpoint import CheckpointStore
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.store_writer import write_store
from tests.conftest import ROOT
from tests.storage.conftest import noise_episode


def params(**changes) -> Params:
    tiny = {
        "convert.holdout_fraction": 0.25,
        "world_model.deter": 8,
        "world_model.hidden": 8,
        "world_model.blocks": 2,
        "world_model.stoch": 2,
        "world_model.classes": 4,
        "world_model.channels": [2, 2, 2, 4],
        "pretrain.updates": 6,
        "pretrain.batch_size": 2,
        "pretrain.batch_length": 4,
        "pretrain.log_every": 2,
        "pretrain.checkpoint_every": 2,
    }
    return load_params(ROOT / "params.yaml", tiny | changes)


@pytest.fixture
def store(tmp_path) -> EpisodeStore:
    episodes = [noise_episode(s, steps=30, width=1 + s % 2, embodiment=f"body{s % 2}") for s in range(8)]
    write_store(episodes, tmp_path / "offline", params().convert)
    return EpisodeStore(tmp_path / "offline")


class StopAfter(CheckpointStore):
    """Raises as a signal would, right after the save of step ``at``."""

    at = 0

    def save(self, step, state):
        self.stop_requested = step == self.at
        super().save(step, state)


@pytest.mark.parametrize("at", [2, 4])
def test_a_stopped_run_resumes_exactly(tmp_path, store, at):
    outs = [tmp_path / "whole", tmp_path / "resumed"]
    for out in outs:
        out.mkdir()
    pretrain(store, params(), outs[0], CheckpointStore(tmp_path / "a", "f"))
    stopping = StopAfter(tmp_path / "b", "f")
    stopping.at = at
    with pytest.raises(StoppedError):
        pretrain(store, params(), outs[1], stopping)
    advanced: list[int] = []
    pretrain(store, params(), outs[1], CheckpointStore(tmp_path / "b", "f"), advanced.append)
    assert advanced == [at] + [1] * (6 - at)
    for name in ("losses.jsonl", "weights.safetensors", "open_loop.json"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name


@pytest.mark.parametrize("part", ["model", "optimizer", "torch_rng", "replay"])
def test_every_part_of_a_checkpoint_matters(tmp_path, store, part):
    """Without any one of them the resumed weights differ, so none can be forgotten unseen."""
    first, second = tmp_path / "a", tmp_path / "b"
    for out in (first, second):
        out.mkdir()
    pretrain(store, params(), first, CheckpointStore(tmp_path / "ca", "f"))
    stopping = StopAfter(tmp_path / "cb", "f")
    stopping.at = 4
    with pytest.raises(StoppedError):
        pretrain(store, params(), second, stopping)
    checkpoints = CheckpointStore(tmp_path / "cb", "f")
    step, state = checkpoints.latest()
    fresh = StopAfter(tmp_path / "cc", "f")
    fresh.at = 2
    with pytest.raises(StoppedError):
        pretrain(store, params(**{"pretrain.seed": 1}), second, fresh)
    state[part] = CheckpointStore(tmp_path / "cc", "f").latest()[1][part]
    checkpoints.save(step, state)
    pretrain(store, params(), second, CheckpointStore(tmp_path / "cb", "f"))
    assert (first / "weights.safetensors").read_bytes() != (second / "weights.safetensors").read_bytes()


def test_it_writes_what_later_stages_read(tmp_path, store):
    out = tmp_path / "model"
    out.mkdir()
    last = pretrain(store, params(), out, CheckpointStore(tmp_path / "c", "f"))
    rows = [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == [2, 4, 6]
    assert rows[-1] == last
    model, _ = load_world_model(out, params().world_model)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    errors = json.loads((out / "open_loop.json").read_text())["embodiments"]
    assert set(errors) == {"body0", "body1"}
    assert (out / "open_loop_body0.png").stat().st_size > 0


def test_held_out_episodes_are_not_trained_on(store):
    source = training_episodes(store)
    assert set(source.episodes["split"]) == {"train"}
    assert len(source) == int((store.episodes["split"] == "train").sum()) < len(store)


def test_nothing_to_train_on_is_named(tmp_path, store):
    store.episodes["split"] = "holdout"
    with pytest.raises(DataError, match="no training episodes"):
        training_episodes(store)
    with pytest.raises(DataError, match="shorter than a window of 64 rows"):
        fresh = EpisodeStore(store.path)
        pretrain(fresh, params(**{"pretrain.batch_length": 64}), tmp_path, CheckpointStore(tmp_path / "c", "f"))
