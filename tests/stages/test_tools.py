"""The commands beside the pipeline: doctor, tasks, version, progress."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from gsa.tasks import EXTRA_TASKS, TASKS
from stages import doctor
from stages.progress import progress
from tests.conftest import Invoke


def test_tasks_lists_all_with_published_scores(invoke: Invoke) -> None:
    output = invoke("tasks").output
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.startswith(("mw-", "dmc-"))}
    assert set(rows) == set(TASKS)
    assert rows["dmc-quadruped-run"] == ["quadruped", "12", "return", "802.5", "183", "102.8"]
    assert rows["mw-bin-picking"] == ["sawyer", "4", "success", "0.8", "0", "0.33"]
    assert all(rows[name][-3:] == ["-", "-", "-"] for name in EXTRA_TASKS)


def test_tasks_takes_a_part_of_the_name_and_says_the_nearest_where_none_has_it(invoke: Invoke) -> None:
    found = invoke("tasks", "quadruped-roll").output
    assert [line.split()[0] for line in found.splitlines()[1:-1]] == ["dmc-quadruped-roll", "dmc-quadruped-roll-fast"]
    assert found.splitlines()[-1] == "2 of the paper's 72 tasks; the paper's scores are at 150k frames"
    wrong = invoke("tasks", "walkr")
    assert wrong.exit_code == 2 and "no task has 'walkr' in its name; nearest: dmc-walker-" in wrong.stderr


def test_tasks_lists_the_users_own_and_answers_beside_wrong_parameters(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reach_plugin.py").write_text(
        'import gsa\ngsa.register_task("a-task-of-mine", "reach:Reach", metric="success", max_frames=200)\n'
    )
    Path("params.yaml").write_text("matrix: {}\n")
    try:
        found = invoke("tasks", "--plugin", "reach_plugin")
        assert found.exit_code == 0 and found.output.splitlines()[-1].count(" and 1 of your own; ") == 1
        (row,) = [line.split() for line in found.output.splitlines() if line.startswith("a-task-of-mine")]
        assert row == ["a-task-of-mine", "a-task-of-mine", "-", "success", "-", "-", "-"]
    finally:
        TASKS.pop("a-task-of-mine", None)
    missing = invoke("tasks", "--plugin", "no_such_plugin")
    assert missing.exit_code == 2 and "--plugin no_such_plugin: No module named 'no_such_plugin'" in missing.stderr


def test_version(invoke: Invoke) -> None:
    assert invoke("--version").output.strip() == invoke("-V").output.strip() == metadata.version("gsa")


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
