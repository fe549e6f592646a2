"""Outputs appear whole, say what made them, and notice when the ground moved."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from gsa.errors import ArtifactError, LockError, ParamsError, ResourceError, StoppedError
from gsa.runs import process
from gsa.runs.fingerprint import read_run, verify
from gsa.runs.run_dir import open_run

STAGE = "code-stamp"  # any existing stage: its code enters the fingerprint


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(out: Path, text: str, **kwargs: object) -> None:
    options = {"params": {"a": 1}, "inputs": {}} | kwargs
    with open_run(out, STAGE, **options) as run:  # type: ignore[arg-type]
        (run.path / "value.txt").write_text(text)


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie waiting to be reaped."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_success_replaces_the_old_output_and_records_what_made_it(tmp_path: Path) -> None:
    source = tmp_path / "input.txt"
    source.write_text("x")
    out = tmp_path / "out"
    write(out, "old")
    write(out, "new", inputs={"offline": source}, item="item")
    record = read_run(out)
    assert (out / "value.txt").read_text() == "new"
    assert record is not None
    assert record["params"] == {"a": 1} and record["stage"] == STAGE and record["item"] == "item"
    assert set(record["inputs"]) == {"offline"} and set(record["outputs"]) == {"value.txt"}
    assert record["versions"]["torch"] and record["duration_s"] >= 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["input.txt", "out"]
    assert verify(out) == 1


def test_checkpoints_outlive_another_value_of_a_parameter_that_is_read_last(tmp_path: Path) -> None:
    def run(params: dict[str, int], fail: bool) -> object:
        with open_run(tmp_path / "out", STAGE, {"section": params}, {}, read_last=["section.gate"]) as found:
            latest = found.checkpoints.latest()
            found.checkpoints.save(1, {"a": params["a"]})
            if fail:
                raise ArtifactError("refused")
        return latest

    for refused in ({"a": 1, "gate": 0}, {"a": 2, "gate": 0}):
        with pytest.raises(ArtifactError, match="refused"):
            run(refused, fail=True)
    assert run({"a": 2, "gate": 1}, fail=False) == (1, {"a": 2})
    record = read_run(tmp_path / "out")
    assert record is not None and record["params"] == {"section": {"a": 2, "gate": 1}}
    with pytest.raises(ArtifactError, match="refused"):
        run({"a": 2, "gate": 1}, fail=True)
    assert run({"a": 3, "gate": 1}, fail=False) is None


def test_failure_leaves_the_old_output_and_no_litter(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "old")
    with pytest.raises(RuntimeError, match="boom"), open_run(out, STAGE, {}, {}) as run:
        (run.path / "value.txt").write_text("half")
        raise RuntimeError("boom")
    assert (out / "value.txt").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_missing_input_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no offline at .*nowhere: run `gsa convert` first"):
        write(tmp_path / "out", "", inputs={"offline": tmp_path / "nowhere"})


def test_parameters_that_change_during_the_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"parameters changed while the stage ran: a;"):
        write(tmp_path / "out", "", reread=lambda: {"a": 2})
    assert not (tmp_path / "out").exists()


def test_an_input_that_changes_during_the_run_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "data").write_text("1")
    with (
        pytest.raises(ArtifactError, match=r"input offline at .* changed"),
        open_run(tmp_path / "out", STAGE, {}, {"offline": source}),
    ):
        (source / "data").write_text("2")


def test_an_input_merely_touched_is_accepted(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("1")
    with open_run(tmp_path / "out", STAGE, {}, {"offline": source}):
        os.utime(source, ns=(1, 1))
    assert (tmp_path / "out").exists()


def test_fingerprint_follows_parameters_inputs_and_item(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"

    def mark(params: dict[str, int], content: str, item: str) -> str:
        source.write_text(content)
        with open_run(tmp_path / "out", STAGE, params, {"raw": source}, item=item) as run:
            return run.fingerprint

    base = mark({"a": 1, "b": 2}, "x", "i")
    assert mark({"b": 2, "a": 1}, "x", "i") == base
    assert (
        len({base, mark({"a": 1}, "x", "i"), mark({"a": 1, "b": 2}, "y", "i"), mark({"a": 1, "b": 2}, "x", "j")}) == 4
    )


def test_an_input_made_by_a_stage_is_known_by_its_contents_not_by_when_it_was_made(tmp_path: Path) -> None:
    def mark() -> str:
        with open_run(tmp_path / "out", STAGE, {}, {"raw": tmp_path / "made"}) as run:
            return run.fingerprint

    write(tmp_path / "made", "same")
    first = mark()
    write(tmp_path / "made", "same", params={"other": 2})
    assert mark() == first
    write(tmp_path / "made", "different")
    assert mark() != first


def test_an_input_with_a_missing_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "made", "text")
    (tmp_path / "made/value.txt").unlink()
    with pytest.raises(ArtifactError, match=r"value\.txt is missing"):
        write(tmp_path / "out", "", inputs={"raw": tmp_path / "made"})


def test_verify_names_a_flipped_byte_that_kept_its_size(tmp_path: Path) -> None:
    write(tmp_path / "out", "abc")
    (tmp_path / "out/value.txt").write_text("abd")
    with pytest.raises(ArtifactError, match=r"value\.txt is damaged"):
        verify(tmp_path / "out")


def test_a_second_run_on_one_output_is_refused_with_the_holder(tmp_path: Path) -> None:
    with open_run(tmp_path / "out", STAGE, {}, {}):
        with pytest.raises(LockError, match=rf"pid {os.getpid()} on \S+ since 20"):
            write(tmp_path / "out", "")
        write(tmp_path / "other", "", item="other")  # another output is free


def test_checkpoints_survive_failure_and_vanish_on_success(tmp_path: Path) -> None:
    def run_once(fail: bool) -> int:
        with open_run(tmp_path / "out", STAGE, {}, {}, item="i") as run:
            found = run.checkpoints.latest()
            run.checkpoints.save(7, {"x": 1})
            if fail:
                raise RuntimeError
            return found[0] if found else 0

    with pytest.raises(RuntimeError):
        run_once(fail=True)
    assert [p.name[:-8] for p in (tmp_path / ".gsa/checkpoints").iterdir()] == [f"{STAGE}-i-"]
    assert run_once(fail=False) == 7
    assert run_once(fail=False) == 0 and not any((tmp_path / ".gsa/checkpoints").iterdir())


def test_settings_and_outputs_of_one_item_share_no_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def step_of(out: str, rate: int, step: int = 0) -> int:
        with open_run(tmp_path / out, STAGE, {"rate": rate}, {}, item="i") as run:
            latest = run.checkpoints.latest()
            if step:
                run.checkpoints.save(step, {})
                raise RuntimeError("paused")
        return latest[0] if latest else 0

    with caplog.at_level(logging.INFO):
        for number, (out, rate) in enumerate([("a", 1), ("a", 2), ("b", 1)], start=1):
            with pytest.raises(RuntimeError, match="paused"):
                step_of(out, rate, step=number)
    assert caplog.text.count("starting fresh beside it") == 1
    assert step_of("a", 1) == 1  # the other settings took nothing from it
    assert [step_of("a", 1), step_of("a", 2), step_of("b", 1)] == [0, 2, 3]  # nor did making a's output
    assert not any((tmp_path / ".gsa/checkpoints").iterdir())


def test_sigterm_stops_at_the_next_checkpoint(tmp_path: Path) -> None:
    reached = []
    with pytest.raises(StoppedError, match="after step 2") as stopped, open_run(tmp_path / "out", STAGE, {}, {}) as run:
        assert run.checkpoints.latest() is None
        for step in range(5):
            if step == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            reached.append(step)
            if step % 2 == 0:
                run.checkpoints.save(step, {})
    assert reached == [0, 1, 2] and stopped.value.exit_code == 75
    with open_run(tmp_path / "out", STAGE, {}, {}) as run:
        latest = run.checkpoints.latest()
        assert latest is not None and latest[0] == 2


def test_a_second_signal_stops_at_once_unless_it_is_the_same_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoppedError, match="stopped by SIGTERM"), open_run(tmp_path / "out", STAGE, {}, {}) as run:
        run.checkpoints.save(1, {})
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.checkpoints.stop_requested
        monkeypatch.setattr(process, "SAME_REQUEST_S", 0.0)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the second request was ignored")


def test_sigterm_without_checkpoints_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="starts over"), open_run(tmp_path / "out", STAGE, {}, {}):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal was ignored")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_killing_dvc_takes_the_stage_with_it(tmp_path: Path) -> None:
    """A parent that dies without a word (as `kill -9 dvc` does) must not leave a trainer behind."""
    child = textwrap.dedent(
        f"""
        from gsa.startup import begin
        begin()
        import pathlib, time
        from gsa.runs.run_dir import open_run
        with open_run(pathlib.Path("out"), "{STAGE}", {{}}, {{}}):
            print("started", flush=True)
            time.sleep(60)
        """
    )
    parent = (
        "import os, subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]]);"
        " print(child.pid, flush=True); child.wait()"
    )
    command = [sys.executable, "-c", parent, child]
    environment = os.environ | {"DVC_STAGE": "train"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert process.stdout.readline() == "started\n"
        process.kill()
        assert process.stdout.read() == ""  # returns when the orphan, which shares the pipe, has ended
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)
    assert not list(tmp_path.glob("out*"))


def test_run_json_is_json_whatever_the_parameters_hold(tmp_path: Path) -> None:
    write(tmp_path / "out", "", params={"path": Path("a/b"), "pair": (1, 2)})
    assert json.loads((tmp_path / "out/run.json").read_text())["params"] == {"path": "a/b", "pair": [1, 2]}


def test_an_output_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ParamsError, match=r"the output .*/file is a file"):
        write(tmp_path / "file", "")
    with pytest.raises(ParamsError, match=r"cannot make the folder of the output .*/file/out: File exists"):
        write(tmp_path / "file/out", "")


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ResourceError, match=r"no space left writing .*/out, \d+ MB free"),
        open_run(tmp_path / "out", STAGE, {}, {}),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.glob("out*"))
