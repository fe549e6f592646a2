"""What a fine-tuning needs: counted by hand, printed before it starts, refused where the machine has less."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gsa.config import Params, load_params
from gsa.cost import space as space_module
from gsa.cost.gpu_memory import check_gpu, finetuning_bytes
from gsa.cost.space import Space, check_space, counted_weights, finetuning_space, free_memory
from gsa.errors import ResourceError
from gsa.storage.replay import ROW_BYTES
from stages.estimate import say_space
from stages.profile import profile_values
from tests.conftest import ROOT

FRAMES = 150_000


def paper(frames: int = FRAMES) -> Params:
    return load_params(
        ROOT / "params.yaml", profile_values("paper", ROOT / "profiles") | {"finetune.total_frames": frames}
    )


def test_disk_grows_by_a_picture_per_decision_and_memory_by_labels_alone() -> None:
    few, many = (finetuning_space(paper(frames), "drqv2", "mw-reach", 10_000_000) for frames in (FRAMES, 1_000_000))
    rows = (1_000_000 - FRAMES) / 2 * 101 / 100
    assert many.disk - few.disk == pytest.approx(rows * (ROW_BYTES + 4 * 5 + 4), rel=1e-6)
    assert many.memory - few.memory == pytest.approx(rows * (4 * 5 + 4), rel=1e-6)
    assert 0.9e9 < few.disk < 1.1e9 and many.memory < 1.5e9


def test_networks_are_counted_without_being_made() -> None:
    weights = counted_weights(paper(), "scratch", "mw-reach")
    assert 281e6 < weights / 4 < 330e6  # the world model's, with actor, critics and reward head
    scratch = finetuning_space(paper(), "scratch", "mw-reach", weights)
    gsa = finetuning_space(paper(), "gsa", "mw-reach", weights)
    on_gpu = finetuning_space(paper(), "scratch", "mw-reach", weights, on_gpu=True)
    assert scratch.disk - 0.94e9 == pytest.approx(4 * 3 * weights, rel=0.01)
    assert gsa.memory - scratch.memory == pytest.approx(500 * 101 * ROW_BYTES)
    assert on_gpu.memory < scratch.memory - 4 * weights and on_gpu.disk == scratch.disk


def test_what_the_machine_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_module, "free_memory", lambda: 5e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    check_space(Space(5e9, 1e3), "run", tmp_path / "not" / "there")
    with pytest.raises(
        ResourceError, match=r"run needs about 9\.0 GB of memory, 5\.0 GB are free; free some, or lower"
    ):
        check_space(Space(9e9, 1e3), "run", tmp_path)
    with pytest.raises(ResourceError, match=rf"run needs about 3\.0 GB of disk in {tmp_path} .* 0\.0 GB are free"):
        check_space(Space(1e9, 3e9), "run", tmp_path)
    (tmp_path / "episodes.log").write_bytes(bytes(500))  # a run that resumes has a part of it already
    check_space(Space(1e9, 1.5e3), "run", tmp_path)


def test_the_least_of_system_group_and_limit_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < free_memory() < 1e14
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    5 kB\n")
    assert space_module._available(meminfo) == 5 * 1024
    assert space_module._left_of_group(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    assert space_module._left_of_group(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("active_file 50\ninactive_file 100\n")
    assert space_module._left_of_group(tmp_path) == 400


def test_a_line_says_it_before_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = load_params(ROOT / "params.yaml")
    say_space("scratch_mw-reach_s0", params, "scratch", "mw-reach", 3_000_000, torch.device("cpu"), tmp_path)
    said = capsys.readouterr().err
    assert said.startswith("scratch_mw-reach_s0: up to about ") and said.count("\n") == 1
    assert said.endswith("of disk\n") and "of memory and, until it is done, " in said


def test_memory_on_a_gpu_is_counted_without_one_and_a_run_that_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = {"dreamer.batch_size": 4, "dreamer.batch_length": 4, "dreamer.imag_horizon": 3}
    few, more = (
        finetuning_bytes(load_params(ROOT / "params.yaml", small | {"dreamer.batch_length": rows})) for rows in (4, 8)
    )
    weights = counted_weights(load_params(ROOT / "params.yaml"), "scratch", "mw-reach")
    assert 4 * weights < few < more < 2 * few
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4e9, 24e9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1e9)
    check_gpu(5e9, "run", torch.device("cuda"))
    with pytest.raises(ResourceError, match=r"run needs about 6\.0 GB of memory on cuda, 5\.0 GB are free"):
        check_gpu(6e9, "run", torch.device("cuda"))
