"""``gsa convert`` and ``gsa inspect`` as commands: raw folders in, one line out, errors by name."""

import shutil
from pathlib import Path

import pytest
from click.testing import Result

from gsa.storage.episode_store import EpisodeStore
from gsa.storage.raw import write_manifest, write_raw_episode
from stages.convert import raw_folders
from tests.pipeline.test_repro import merge
from tests.storage.conftest import count_episode


def collect(folder: Path, embodiment: str) -> None:
    files = [write_raw_episode(folder, seed, count_episode(seed, steps=4)) for seed in range(2)]
    write_manifest(folder, {"name": folder.name, "embodiment": embodiment}, [{"file": file.name} for file in files])


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project whose parameters name two tasks' folders, as many of noise and one explored body."""
    matrix = {"collect_data": {"sigmas": [0.5]}, "explore_data": {"domains": ["walker"]}}
    (tmp_path / "params.yaml").write_text(merge((root / "params.yaml").read_text(), {"matrix": matrix}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_folders_the_parameters_name_become_a_store(project: Path, invoke) -> None:
    from gsa.config import load_params

    named = raw_folders(load_params())
    for folder, _ in named:
        collect(folder, "walker" if folder.name == "explore-walker" else "sawyer")
    collect(Path("data/raw/mw-reach_expert_sigma-0.5"), "sawyer")  # left over from other parameters
    result: Result = invoke("convert")
    assert result.exit_code == 0, result.output
    assert f"wrote {2 * len(named)} episodes" in result.output
    store = EpisodeStore(Path("data/offline"))
    assert set(store.episodes["source"]) == {folder.name for folder, _ in named}
    shown = invoke(
        "inspect", "data/offline", "--verify", "--sheet", "pictures/sheet.png", "--video", "pictures/one.mp4"
    )
    assert shown.exit_code == 0, shown.output
    assert "made by `gsa convert`" in shown.output and "agree with run.json" in shown.output
    assert Path("pictures/sheet.png").read_bytes().startswith(b"\x89PNG")
    assert b"ftyp" in Path("pictures/one.mp4").read_bytes()[:16]


def test_a_missing_folder_names_the_command_that_makes_it(project: Path, invoke) -> None:
    from gsa.config import load_params

    named = raw_folders(load_params())
    for folder, _ in named:
        collect(folder, "sawyer")
    for folder, command in (named[0], named[-1]):
        shutil.move(folder, folder.with_name("away"))
        result = invoke("convert")
        assert result.exit_code == 3
        assert str(folder) in result.output and f"`{command}`" in result.output
        shutil.move(folder.with_name("away"), folder)
    assert not Path("data/offline").exists()


def test_foreign_flags_and_folders(project: Path, invoke) -> None:
    write_raw_episode(Path("theirs"), 0, count_episode())
    assert invoke("convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "arm").exit_code == 0
    assert EpisodeStore(Path("data/offline")).episodes["embodiment"].tolist() == ["arm"]
    refused = invoke("convert", "--input", "theirs", "--embodiment", "walker")
    assert refused.exit_code == 2 and "--embodiment belongs to --format ncrl" in refused.output


def test_data_from_elsewhere_joins_what_was_collected(project: Path, invoke) -> None:
    from gsa.config import load_params

    named = raw_folders(load_params())
    for folder, _ in named:
        collect(folder, "sawyer")
    write_raw_episode(Path("theirs"), 0, count_episode())
    call = ("convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "arm", "--also-collected")
    assert invoke(*call).exit_code == 0
    assert set(EpisodeStore(Path("data/offline")).episodes["source"]) == {"theirs", *(f.name for f, _ in named)}


def test_every_format_is_in_the_help_and_a_refused_one_says_why(project: Path, invoke) -> None:
    from typing import get_args

    from gsa.importers import IMPORTERS
    from gsa.importers.base import Merge

    shown = invoke("convert", "--help").output
    assert not [name for name in ("gsa", *IMPORTERS, *get_args(Merge)) if name not in shown]
    Path("theirs").mkdir()
    refused = invoke("convert", "--format", "tdmpc2", "--input", "theirs")
    assert refused.exit_code == 2 and "without the simulator's state" in refused.output
    assert invoke("convert", "--format", "lerobot").exit_code == 2


def test_flags_map_what_lies_outside_and_run_json_says_so(project: Path, invoke) -> None:
    import json

    import numpy as np

    Path("theirs").mkdir()
    action = np.array([[0.0], [40.0], [80.0], [90.0]], np.float32)
    pixels = np.zeros((4, 3, 100, 100), np.uint8)
    np.savez("theirs/t-x-0-3.npz", observation=pixels, action=action, discount=np.ones((4, 1), np.float32))
    call = ("convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "arm")
    without = invoke(*call)
    assert without.exit_code == 3
    assert "t-x-0-3.npz: action at row 0, entry 0 is 40, outside [-1.0, 1.0]; pass --action-range" in without.output
    assert invoke(*call, "--action-range", "-100:100", "--every", "2").exit_code == 2
    flags = ("--action-range", "-100:100", "--every", "3", "--merge-actions", "last")
    assert invoke(*call, *flags).exit_code == 0
    episode = EpisodeStore(Path("data/offline")).read(0)
    np.testing.assert_allclose(episode.action[:, 0], [0.9, 0.0])
    assert '"every": 3' in str(episode.info["origin"])
    record = json.loads(Path("data/offline/run.json").read_text())["params"]
    assert record["flags"] == [{"action_range": "-100:100", "embodiment": "arm", "every": "3", "merge_actions": "last"}]
    assert len(record["importer ncrl"]) == 64


def test_inputs_of_several_formats_and_bodies_become_one_store(project: Path, invoke) -> None:
    from tests.importers import test_lerobot, test_minari

    write_raw_episode(Path("theirs"), 0, count_episode())
    test_minari.write_dataset(Path("plays").resolve(), "hdf5", jpeg=False)
    test_lerobot.write_dataset(Path("picks"), video=False)
    call = ["convert", "--input", "theirs", "--input", "plays", "--input", "picks"]
    call += ["--format", "ncrl", "--format", "minari", "--format", "lerobot"]
    bodies = ["--embodiment", "one", "--embodiment", "two", "--embodiment", "-"]  # LeRobot names its robot
    ranges = ["--action-range", "-", "--action-range", "-2:2", "--action-range", "0:100,-1:1"]
    assert invoke(*call, *bodies, *ranges).exit_code == 0
    table = EpisodeStore(Path("data/offline")).episodes
    assert dict(zip(table["source"], table["embodiment"], strict=True)) == {
        "theirs": "one",
        "plays": "two",
        "picks": "so100",
    }
    refused = invoke(*call, *bodies[:4])
    assert refused.exit_code == 2 and "--embodiment is given 2 times for 3 --input" in refused.output
    for flag, value in [("--sigma", "much"), ("--every", "0"), ("--merge-actions", "median"), ("--format", "rlds")]:
        assert invoke(*call[:3], "--format", "ncrl", flag, value).exit_code == 2, flag


@pytest.mark.parametrize("kind", ["pipe", "dangling", "loop", "itself"])
def test_what_cannot_be_opened_is_refused_before_anything_is_hashed(project: Path, invoke, kind: str) -> None:
    import os

    write_raw_episode(Path("theirs"), 0, count_episode())
    odd = Path("theirs/extra")
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to({"dangling": "gone", "loop": "..", "itself": "extra"}[kind])
    refused = invoke("convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "arm")
    assert refused.exit_code == 3 and "theirs/extra is a" in refused.output, refused.output
    odd.unlink()
    hidden = Path("theirs/._extra")
    os.mkfifo(hidden)
    Path("theirs/._t-x-0-9.npz").write_bytes(b"resource fork")
    done = invoke("convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "arm")
    assert done.exit_code == 0, done.output
