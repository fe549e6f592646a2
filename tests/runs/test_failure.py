"""A run that fails says why where its output would be; nothing else is touched."""

from pathlib import Path

import pytest

from gsa.errors import StoppedError, TrainingError
from gsa.runs.failure import FAILED_FILE, read_failure, recorded_failure
from gsa.runs.run_dir import open_run


def fail(folder: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), recorded_failure(folder, "finetune"):
        raise error


def test_the_last_reason_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "gsa_mw-reach_s0"
    assert read_failure(folder) is None
    fail(folder, TrainingError("update 7:\n loss is NaN"))
    assert read_failure(folder) == "TrainingError: update 7: loss is NaN"
    fail(folder, ValueError("a bug of ours"))
    assert read_failure(folder) == "ValueError: a bug of ours"
    assert [path.name for path in folder.iterdir()] == [FAILED_FILE]


@pytest.mark.parametrize("error", [StoppedError("SIGTERM"), KeyboardInterrupt()])
def test_a_stopped_run_has_not_failed(tmp_path: Path, error: BaseException) -> None:
    fail(tmp_path / "run", error)
    assert not (tmp_path / "run").exists()


def test_an_older_output_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text("older")
    fail(tmp_path, TrainingError("loss is NaN"))
    assert [path.name for path in tmp_path.iterdir()] == ["scores.jsonl"]


def test_a_run_that_succeeds_replaces_the_record(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fail(folder, TrainingError("loss is NaN"))
    with (
        open_run(folder, "finetune", {}, {}, state_dir=tmp_path / "state") as run,
        recorded_failure(folder, "finetune"),
    ):
        (run.path / "scores.jsonl").write_text("")
    assert read_failure(folder) is None and (folder / "scores.jsonl").is_file()


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"reason": null}'])
def test_a_record_that_cannot_be_read_is_a_failure_still(tmp_path: Path, text: str) -> None:
    (tmp_path / FAILED_FILE).write_text(text)
    assert read_failure(tmp_path)
