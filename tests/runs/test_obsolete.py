"""``gsa clean`` removes what nothing needs, says so, and leaves what a process holds or a command resumes."""

import os
import time
from pathlib import Path

import pytest

from gsa.runs.run_dir import open_run
from tests.conftest import Invoke

STAGE = "code-stamp"  # any existing stage


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(out: str, rate: int, pause: bool = False) -> int | None:
    """The step at which a run of that setting began; it leaves a checkpoint if it is paused."""
    with open_run(Path(out), STAGE, {"rate": rate}, {}) as found:
        latest = found.checkpoints.latest()
        (found.path / "value.txt").write_text("made")
        found.checkpoints.save(7, {"rate": rate})
        if pause:
            raise KeyboardInterrupt
    return latest and latest[0]


def paused(out: str, rate: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(out, rate, pause=True)


def progress() -> list[Path]:
    return sorted(Path(".gsa/checkpoints").glob("*/*"))


def said(invoke: Invoke, *flags: str) -> str:
    result = invoke("clean", *flags)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_progress_of_an_output_that_was_made_since_goes(invoke: Invoke) -> None:
    paused("models/mw", 1)
    paused("models/other", 1)
    time.sleep(0.02)
    run("models/mw", 2)
    assert len(progress()) == 2
    output = said(invoke, "--dry-run")
    assert "would remove .gsa/checkpoints/" in output and f"{STAGE} made" in output and " MB: " in output
    assert "nothing was removed" in output and len(progress()) == 2
    output = said(invoke)
    assert output.count("removed .gsa/checkpoints/") == 1 and output.count("the same command resumes it") == 1
    assert len(progress()) == 1 and len(list(Path(".gsa/checkpoints").iterdir())) == 1
    assert run("models/other", 1) == 7
    assert Path("models/mw/value.txt").is_file()


def test_paused_runs_go_where_it_is_asked_for(invoke: Invoke) -> None:
    paused("models/mw", 1)
    assert "kept" in said(invoke) and len(progress()) == 1
    assert "would remove" in said(invoke, "--paused", "--dry-run") and len(progress()) == 1
    assert "removed .gsa" in said(invoke, "--paused") and progress() == []


def test_what_a_process_holds_stays(invoke: Invoke) -> None:
    with open_run(Path("models/mw"), STAGE, {}, {}) as found:
        found.checkpoints.work("episodes")
        os.utime(found.checkpoints.folder / "about.json", (1, 1))
        output = said(invoke, "--paused")
        assert "in use by a running process" in output and "removed 0.0 MB" in output
        assert found.path.is_dir() and len(progress()) == 1
    assert said(invoke) == "removed 0.0 MB\n"


def test_folders_of_runs_that_died_go_and_the_only_copy_of_an_output_stays(invoke: Invoke) -> None:
    run("models/mw", 1)
    for name in ("models/.mw.tmp.1", "models/.mw.old.1", ".reports.tmp.1", "models/mw.old.1", "models/.dmc.old.9"):
        Path(name).mkdir()
        Path(name, "file").write_text("x")
    output = said(invoke, "--paused")
    assert output.count("that died") == 3 and "the next run puts it back" in output
    assert sorted(path.name for path in Path("models").iterdir()) == [".dmc.old.9", "mw", "mw.old.1"]
    assert Path("models/mw/value.txt").is_file() and not Path(".reports.tmp.1").exists()


def test_progress_that_nothing_explains_stays(invoke: Invoke) -> None:
    paused("models/mw", 1)
    (progress()[0] / "about.json").write_text("{}")
    assert "nothing says which output it belongs to" in said(invoke, "--paused") and len(progress()) == 1


def test_progress_behind_a_link_belongs_to_the_folder_there(invoke: Invoke) -> None:
    Path("far").mkdir()
    Path("models").mkdir()
    Path("models/mw").symlink_to("../far/mw")
    paused("models/mw", 1)
    with open_run(Path("far/mw"), STAGE, {}, {}):
        assert "in use by a running process" in said(invoke, "--paused")
    time.sleep(0.02)
    run("models/mw", 2)
    assert "removed .gsa" in said(invoke) and progress() == []
