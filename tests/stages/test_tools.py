"""The commands beside the pipeline: doctor, tasks, profile, version, progress."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from gsa.config import load_params
from gsa.tasks import EXTRA_TASKS, TASKS
from stages import doctor
from stages.profile import cost
from stages.progress import progress
from tests.conftest import Invoke


def test_tasks_lists_all_with_published_scores(invoke: Invoke) -> None:
    output = invoke("tasks").output
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.startswith(("mw-", "dmc-"))}
    assert set(rows) == set(TASKS)
    assert rows["dmc-quadruped-run"] == ["quadruped", "12", "return", "802.5", "183", "102.8"]
    assert rows["mw-bin-picking"] == ["sawyer", "4", "success", "0.8", "0", "0.33"]
    assert all(rows[name][-3:] == ["-", "-", "-"] for name in EXTRA_TASKS)


def test_version(invoke: Invoke) -> None:
    assert invoke("--version").output.strip() == metadata.version("gsa")


def test_doctor_passes_when_one_backend_draws(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_render_failure", lambda backend: "" if backend == "osmesa" else "no frame")
    result = invoke("doctor")
    assert result.exit_code == 0, result.output
    assert "note  render with egl: no frame -> apt-get install libegl1" in result.output
    assert "ok    render with osmesa" in result.output


def test_doctor_fails_with_the_fixes_when_nothing_draws_or_a_pin_is_wrong(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9.9" if name == "numpy" else found(name))
    monkeypatch.setattr(doctor, "_render_failure", lambda backend: "no frame")
    result = invoke("doctor")
    assert result.exit_code == 5
    assert f"FAIL  package numpy: 9.9, requirements.lock says {found('numpy')} -> run `make setup`" in result.output
    assert "FAIL  render with egl" in result.output and "FAIL  render with osmesa" in result.output
    assert "3 of" in result.stderr and "checks failed" in result.stderr


@pytest.mark.sim
def test_doctor_draws_a_real_frame_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "RENDER_SECONDS", 200)  # the machine that tests may be busy
    assert "" in [doctor._render_failure(backend) for backend in doctor.GL_PACKAGES]


def test_profile_use_writes_the_file_and_says_what_it_costs(
    invoke: Invoke, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profiles").symlink_to(root / "profiles")
    (tmp_path / "params.yaml").write_text("old")
    monkeypatch.chdir(tmp_path)
    result = invoke("profile", "use", "paper")
    assert result.exit_code == 0 and "60000 episodes to collect" in result.output
    assert (tmp_path / "params.yaml").read_text() == (root / "profiles/paper.yaml").read_text()
    assert "params.yaml is profiles/paper.yaml" in invoke("profile", "diff", "paper").output
    assert "+  updates: " in invoke("profile", "diff", "quickstart").output
    refused = invoke("profile", "use", "papr")
    assert refused.exit_code == 2 and "profiles: paper, quickstart, study" in refused.stderr


def test_cost_counts_episodes_frames_and_updates_by_hand(root: Path) -> None:
    params = load_params(
        root / "params.yaml",
        {
            "collect_data.tasks": ["mw-reach"],
            "collect_data.sigmas": [0.1, 0.5],
            "collect_data.episodes": 3,
            "explore_data.domains": ["walker"],
            "explore_data.episodes": 2,
            "pretrain.updates": 7,
            "finetune.tasks": ["mw-reach"],
            "finetune.methods": ["gsa"],
            "finetune.seeds": [0, 1],
            "finetune.total_frames": 1000,
            "finetune.eval_every_frames": 500,
            "finetune.eval_episodes": 5,
            "finetune.batch_size": 4,
            "finetune.batch_length": 8,
            "finetune.replay_ratio": 16.0,
        },
    )
    found = cost(params, flops=1e9)
    assert found.episodes == 1 * 2 * 3 + 2
    # 6 episodes of 100 decisions, 2 of 500; 2 runs of 500 decisions with 3 evaluations of 5 x 100
    assert found.rendered_frames == 600 + 1000 + 2 * (500 + 3 * 5 * 100)
    assert found.updates == 7 + 2 * 500 * 16 // 32
    assert cost(params, flops=1e12).hours < found.hours


def test_heartbeat_is_plain_lines_with_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stderr.isatty()
    with progress(4, "work", heartbeat_s=0.0) as advance:
        advance(1)
        advance(3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("work: 1/4, ") and lines[0].endswith("s left") and lines[1].startswith("work: 4/4, ")


def test_heartbeat_is_quiet_between_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(10, "work", heartbeat_s=1000.0) as advance:
        for _ in range(9):
            advance(1)
    assert capsys.readouterr().err == ""
