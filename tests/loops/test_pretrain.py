"""Pre-training on a small store: it resumes exactly, stops before it does harm, keeps the held-out split out."""

import json
import multiprocessing
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsa.episode import Batch
from gsa.errors import DataError, StoppedError, TrainingError
from gsa.loops.pretrain import Trainer, pretrain, training_episodes
from gsa.pretrained import load_world_model
from gsa.runs.checkpoint import CheckpointStore
from gsa.runs.training_log import TrainingLog
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.numbered import NumberedBatches
from gsa.visual.predictions import KINDS
from tests.loops.factories import UPDATES, outcome, params, small_store, train, train_and_die


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    return small_store(tmp_path / "offline")


def spoil(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """NaN in the actions of these batches."""
    read = NumberedBatches.read

    def spoilt(self: NumberedBatches, number: int) -> Batch:
        batch = read(self, number)
        return batch._replace(action=batch.action * float("nan")) if number in numbers else batch

    monkeypatch.setattr(NumberedBatches, "read", spoilt)


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_any_update_it_resumes_bit_for_bit(tmp_path: Path, store: EpisodeStore, workers: int) -> None:
    """1: before any checkpoint; 4: while one is being written; 7: resumed from one that was itself resumed."""
    weights, rows, _ = train(store, tmp_path / "whole")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.loops.factories"])
    for at in (1, 4, 7, UPDATES + 1):
        process = context.Process(target=train_and_die, args=(store.path, tmp_path / "cut", at, workers))
        process.start()
        process.join(120)
        assert process.exitcode == (0 if at > UPDATES else -signal.SIGKILL)
    assert (tmp_path / "cut" / "weights").read_bytes() == weights
    assert json.loads((tmp_path / "cut" / "rows").read_text()) == rows


PARTS = ("model", "optimizer", "cursor", "rolled_back", "sums", "rows")


@pytest.fixture
def rolled_back(
    tmp_path: Path, store: EpisodeStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[EpisodeStore, CheckpointStore]]:
    """A run that gave up its batch 3, stopped after update 4, and whose batch 8 will fail as well."""
    spoil(monkeypatch, 3, 8)
    checkpoints = CheckpointStore(tmp_path / "checkpoints", "f")
    trainer = Trainer(store, params())
    with TrainingLog(tmp_path) as losses, pytest.raises(StoppedError):
        trainer.run(StopAt(tmp_path / "checkpoints", "f", 4), losses)
    yield store, checkpoints


class StopAt(CheckpointStore):
    """A signal arrives just before the save of step ``at``."""

    def __init__(self, folder: Path, mark: str, at: int):
        super().__init__(folder, mark)
        self.at = at

    def save(self, step: int, state: Any, background: bool = False) -> None:
        self.stop_requested = step == self.at
        super().save(step, state, background)


def end_of(store: EpisodeStore, checkpoints: CheckpointStore, folder: Path) -> tuple[Any, ...]:
    trainer, error = Trainer(store, params()), None
    with TrainingLog(folder) as losses:
        try:
            trainer.run(checkpoints, losses)
        except TrainingError as raised:
            error = str(raised)
    return error, *outcome(trainer, losses)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_a_checkpoint_matters(
    tmp_path: Path, rolled_back: tuple[EpisodeStore, CheckpointStore], part: str
) -> None:
    """With any one of them taken from another run's checkpoint the end is another, so none can be forgotten unseen."""
    store, checkpoints = rolled_back
    step, state = checkpoints.latest()
    assert set(state) == set(PARTS)
    other = Trainer(store, params(seed=1))
    with TrainingLog(tmp_path) as losses, pytest.raises(StoppedError):
        other.run(StopAt(tmp_path / "other", "f", 2), losses)
    expected = end_of(store, checkpoints, tmp_path)
    shutil.rmtree(checkpoints.folder)
    checkpoints.save(step, state | {part: CheckpointStore(tmp_path / "other", "f").latest()[1][part]})
    assert end_of(store, checkpoints, tmp_path) != expected


def test_nothing_is_drawn_from_hidden_generators(store: EpisodeStore) -> None:
    """What a checkpoint does not hold must not matter: torch's and NumPy's global states stay as they are."""
    import numpy as np

    trainer = Trainer(store, params())
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    trainer.run(None, None)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_a_non_finite_batch_is_named_and_given_up_once(
    tmp_path: Path, store: EpisodeStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(monkeypatch, 5)
    _, rows, cursor = train(store, tmp_path)
    assert cursor == 10  # back from update 5 to 4, and on with batch 6
    assert [row["update"] for row in rows] == [3, 6, 8] and all(row["total"] < 1e9 for row in rows)
    trainer = Trainer(store, params())
    ids = trainer.source.episodes["episode_id"][trainer.batches.draw(5)[0]].tolist()
    assert "update 5: world model: loss nan, gradient norm nan; no step was taken; its batch holds" in caplog.text
    assert f"holds the episodes {ids[0]} from row" in caplog.text
    assert f", {ids[1]} from row" in caplog.text


def test_a_second_one_or_one_without_a_checkpoint_is_the_end(
    tmp_path: Path, store: EpisodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 3, 4)
    with pytest.raises(TrainingError, match=r"update 2: .* for the second time; look at them"):
        train(store, tmp_path / "a")
    spoil(monkeypatch, 1)
    with pytest.raises(TrainingError, match=r"update 1: .* there is no checkpoint to go back to; look at them"):
        train(store, tmp_path / "b")


def test_it_writes_what_later_stages_read(tmp_path: Path, store: EpisodeStore) -> None:
    out = tmp_path / "model"
    out.mkdir()
    last = pretrain(store, params(), out, CheckpointStore(tmp_path / "c", "f"))
    rows = [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == [3, 6, 8]
    assert rows[-1] == last and 0 < last["lr"] < params().pretrain.optimizer.lr
    model, _ = load_world_model(out, params().world_model)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    groups = json.loads((out / "open_loop.json").read_text())["groups"]
    assert [(group["embodiment"], group["acted"]) for group in groups] == [("body0", "-"), ("body1", "-")]
    assert {len(group[kind]) for group in groups for kind in KINDS} == {25}
    header, *table = (out / "prediction_error.csv").read_text().splitlines()
    assert header.split(",") == ["embodiment", "acted", "horizon", *KINDS]
    shown = [[group["embodiment"], "-", horizon] for group in groups for horizon in ("1", "5", "10", "20")]
    assert [line.split(",")[:3] for line in table] == shown
    assert float(table[1].split(",")[3]) == groups[0]["error"][5 + 5 - 1]
    assert (out / "prediction_error.png").stat().st_size > 0
    assert (out / "open_loop_body0.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("cooldown", "rates"), [(0.0, [1.0] * 8), (0.5, [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]), (1.0, np.arange(8, 0, -1) / 8)]
)
def test_the_rate_falls_to_0_over_the_last_updates(
    tmp_path: Path, store: EpisodeStore, cooldown: float, rates: Sequence[float]
) -> None:
    _, rows, _ = train(store, tmp_path, cooldown=cooldown, log_every=1)
    lr = params().pretrain.optimizer.lr
    assert [row["lr"] for row in rows] == pytest.approx([lr * rate for rate in rates])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns_in_either_precision(tmp_path: Path, store: EpisodeStore, precision: str) -> None:
    lr = {"lr": 1e-2, "eps": 1e-5, "weight_decay": 0.0, "clip_norm": 100.0}
    _, rows, _ = train(store, tmp_path, precision=precision, updates=30, log_every=5, optimizer=lr)
    assert rows[-1]["image"] < 0.95 * rows[0]["image"]


def test_held_out_episodes_are_not_trained_on(store: EpisodeStore) -> None:
    source = training_episodes(store)
    assert set(source.episodes["split"]) == {"train"}
    assert len(source) == int((store.episodes["split"] == "train").sum()) < len(store)


def test_nothing_to_train_on_is_named(store: EpisodeStore) -> None:
    with pytest.raises(DataError, match="shorter than a window of 64 rows"):
        Trainer(store, params(batch_length=64))
    store.episodes["split"] = "holdout"
    with pytest.raises(DataError, match="no training episodes"):
        training_episodes(store)
