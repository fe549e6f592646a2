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
    assert invoke("convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "walker").exit_code == 0
    assert EpisodeStore(Path("data/offline")).episodes["embodiment"].tolist() == ["walker"]
    refused = invoke("convert", "--input", "theirs", "--embodiment", "walker")
    assert refused.exit_code == 2 and "--embodiment belongs to --format ncrl" in refused.output


def test_data_from_elsewhere_joins_what_was_collected(project: Path, invoke) -> None:
    from gsa.config import load_params

    named = raw_folders(load_params())
    for folder, _ in named:
        collect(folder, "sawyer")
    write_raw_episode(Path("theirs"), 0, count_episode())
    call = ("convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "walker", "--also-collected")
    assert invoke(*call).exit_code == 0
    assert set(EpisodeStore(Path("data/offline")).episodes["source"]) == {"theirs", *(f.name for f, _ in named)}


def test_every_format_is_a_choice_and_a_refused_one_says_why(project: Path, invoke) -> None:
    from typing import get_args, get_type_hints

    from gsa.importers import IMPORTERS, REFUSED
    from gsa.importers.base import Merge
    from stages.convert import convert

    hints = get_type_hints(convert)
    assert set(get_args(hints["format"])) == {"gsa", *IMPORTERS, *REFUSED}
    assert set(get_args(get_args(hints["merge_actions"])[0])) == set(get_args(Merge))
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
    assert record["flags"]["action_range"] == "-100:100" and len(record["importer"]) == 64
