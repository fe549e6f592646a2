from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from gsa.config import ConvertParams
from gsa.errors import ArtifactError, DataError
from gsa.inspection.folders import describe, first_images, kind_of, one_episode, under_way, verify
from gsa.retrieval import RetrievalIndex
from gsa.runs.checkpoint import save_weights
from gsa.runs.scores import ScoreRow, score_line
from gsa.storage.raw import write_manifest, write_raw_episode
from gsa.storage.store_writer import write_store
from gsa.tasks import TASKS, register_task
from gsa.visual.pictures import contact_sheet
from tests.factories import write_record
from tests.storage.conftest import assert_same_steps, count_episode


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw" / "reach"
    files = [write_raw_episode(folder, seed, count_episode(seed, steps=4)) for seed in range(3)]
    source = {"name": "reach", "embodiment": "sawyer", "task": "mw-reach", "policy": "expert", "sigma": 0.1}
    write_manifest(folder, source, [{"file": file.name} for file in files])
    return folder


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    layout = ConvertParams(row_group_rows=4, shard_mb=1, codec="lz4", level=1, holdout_fraction=0.0)
    write_store([count_episode(seed, steps=4) for seed in range(3)], tmp_path / "offline", layout)
    return tmp_path / "offline"


def test_each_kind_of_folder_is_recognised_and_described(tmp_path: Path, raw: Path, offline: Path) -> None:
    model, run = tmp_path / "model", tmp_path / "run"
    save_weights(model, {}, {"action_dim": 12})
    run.mkdir()
    row = ScoreRow("mw-reach", "gsa", 0, 1000, (10.0, 20.0), (1, 0), (1, 1))
    (run / "scores.jsonl").write_text(score_line(row))
    assert [kind_of(p) for p in (raw, offline, model, run, raw.parent)] == ["raw", "offline", "model", "run", "folder"]
    assert "sawyer (task mw-reach, policy expert, sigma 0.1), 3 files, 15 rows" in describe(raw)[0]
    assert describe(raw.parent) == describe(raw)[:1]
    assert "without rewards, 3 episodes, 15 rows" in describe(offline)[0]
    assert (
        "counter, count: 3 episodes" in describe(offline)[1]
        and "mean return 1.00, success 1.00" in describe(offline)[1]
    )
    assert "  action_dim: 12" in describe(model)
    assert describe(run)[1:] == ["  1000 frames: return 15.0, success 50%"]


def test_a_run_under_way_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    progress = Path(".gsa/checkpoints/finetune-gsa-gsa_mw-reach_s0-0123abcd/0123456789ab")
    progress.mkdir(parents=True)
    (progress / "scores.jsonl").write_text(score_line(ScoreRow("mw-reach", "gsa", 0, 500, (10.0,), (1,), (1,))))
    assert under_way(Path("runs/gsa_mw-reach_s0")) == progress
    assert under_way(Path("runs/gsa_mw-reach_s1")) == Path("runs/gsa_mw-reach_s1")


def test_verify_says_what_was_checked_and_finds_damage(raw: Path, offline: Path) -> None:
    assert verify(raw.parent) == [
        f"{raw}: no run.json, so nobody vouches for the manifest; 3 episodes agree with their manifest"
    ]
    with pytest.raises(ArtifactError, match=r"run\.json is missing|no run\.json"):
        verify(offline)
    write_record(offline, stage="convert")
    assert verify(offline) == [f"{offline}: 4 files agree with run.json; 3 episodes agree with their digests"]
    victim = sorted(raw.glob("*.npz"))[2]
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=victim.name):
        verify(raw)
    shard = next((offline / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ArtifactError, match=shard.name):
        verify(offline)


def test_models_and_indices_vouch_for_themselves(tmp_path: Path) -> None:
    model, index = tmp_path / "model", tmp_path / "index"
    save_weights(model, {"w": torch.ones(2)}, {"action_dim": 12})
    index.mkdir()
    RetrievalIndex.build(
        np.eye(3, dtype=np.float32), np.arange(3), np.arange(3), np.full(3, 2), "a" * 64, "c" * 64
    ).save(index)
    for folder in (model, index):
        write_record(folder)
    assert verify(tmp_path) == [
        f"{index}: 3 files agree with run.json; 3 keys agree with index.json",
        f"{model}: 2 files agree with run.json; 1 weights agree with meta.json and are finite",
    ]
    assert describe(index)[0].startswith(f"{index}: index, ")
    faiss = index / "keys.faiss"
    faiss.write_bytes(faiss.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match=r"keys\.faiss is damaged"):
        verify(tmp_path)


def test_pictures_come_from_the_episodes(raw: Path, offline: Path) -> None:
    for folder in (raw, offline):
        images = first_images(folder, limit=2)
        np.testing.assert_array_equal(images[:, 0, 0, 0], [0, 2])  # the seed, painted into the first row
        assert_same_steps(one_episode(folder, 1), count_episode(1, steps=4))
        with pytest.raises(DataError, match="episodes 0 to 2, not 3"):
            one_episode(folder, 3)


def test_contact_sheet_places_images_row_by_row() -> None:
    images = np.arange(1, 4, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    sheet = contact_sheet(images, columns=2)
    assert sheet.shape == (10, 10, 3)
    assert (sheet[0, 0, 0], sheet[0, 6, 0], sheet[6, 0, 0], sheet[6, 6, 0], sheet[4, 4, 0]) == (1, 2, 3, 0, 0)


def test_an_unknown_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data/offline"):
        describe(tmp_path)
    with pytest.raises(DataError):
        describe(tmp_path / "nothing")


def test_a_run_of_a_task_that_is_not_registered_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = register_task("own-reach", "reach:Reach", metric="success", max_frames=20)
    text = score_line(ScoreRow("own-reach", "scratch", 0, 500, (10.0,), (1,), (1,)))
    facts = {**asdict(spec), "score_range": [0.0, 1.0]}
    monkeypatch.delitem(TASKS, "own-reach")
    (tmp_path / "scores.jsonl").write_text(text)
    write_record(tmp_path, stage="finetune-dreamer", params={"tasks.own-reach": facts})
    assert "run of scratch on own-reach" in describe(tmp_path)[0]
    monkeypatch.delitem(TASKS, "own-reach")
