"""An output replaces nothing but an earlier one of its stage; a picture or a video replaces nothing."""

import errno
import json
import os
import signal
from pathlib import Path

import pytest

from gsa.errors import LockError, ParamsError, TrainingError
from gsa.runs.claims import check_new_file, check_output, new_file
from gsa.runs.failure import recorded_failure
from gsa.runs.run_dir import open_run

STAGE = "code-stamp"  # any existing stage


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("params.yaml").write_text("a: 1\n")


def make(out: str | Path, stage: str = STAGE, **inputs: Path) -> None:
    with open_run(Path(out), stage, {"a": 1}, inputs, kept=[Path("params.yaml")]) as run:
        (run.path / "value.txt").write_text("made")


def files() -> dict[str, str]:
    """Every file below the project and beside it."""
    return {str(path): path.read_text() for path in Path("..").rglob("*") if path.is_file()}


def refused(out: str | Path, reason: str, stage: str = STAGE, **inputs: Path) -> None:
    before = files()
    with pytest.raises(ParamsError, match=reason) as error:
        make(out, stage, **inputs)
    assert error.value.exit_code == 2 and "\n" not in str(error.value)
    assert files() == before


@pytest.mark.parametrize("out", [".", "..", "../..", "../project", "sub/..", "/"])
def test_never_the_working_directory_or_what_holds_it(out: str) -> None:
    Path("sub").mkdir()
    refused(out, "is the working directory or holds it")


def test_never_the_working_directory_behind_a_link() -> None:
    Path("../link").symlink_to(Path.cwd())
    refused("../link", "is the working directory or holds it")


def test_never_the_folder_of_the_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for out in ("../project", ".."):
        with (
            pytest.raises(ParamsError, match=r"is the folder of .*params\.yaml or holds it|working directory"),
            open_run(Path(out), STAGE, {}, {}, kept=[tmp_path / "project/params.yaml"]),
        ):
            pytest.fail("the work began")
    assert (tmp_path / "project/params.yaml").is_file()


@pytest.mark.parametrize("out", ["data", "data/raw", "data/raw/deeper/out", "data/link/x"])
def test_never_an_input_what_holds_one_or_lies_in_one(out: str) -> None:
    make("data/raw")
    Path("data/link").symlink_to("raw")
    refused(out, "input raw at data/raw", raw=Path("data/raw"))


def test_never_an_input_file_s_folder() -> None:
    make("models")
    refused("models", r"is the input checkpoint at models/value\.txt or holds it", checkpoint=Path("models/value.txt"))


def test_never_where_progress_is_kept() -> None:
    for out in (".gsa", ".gsa/checkpoints", ".gsa/checkpoints/x"):
        refused(out, r"progress at \.gsa/checkpoints")


@pytest.mark.parametrize("name", ["notes.txt", "run.json", "failed.json", "deep/er/file", ".hidden"])
def test_never_a_folder_that_no_record_of_the_stage_claims(name: str) -> None:
    Path("out", name).parent.mkdir(parents=True)
    Path("out", name).write_text("of the user")
    refused("out", "no record says that `gsa code-stamp` .* made it; name another folder")


def test_never_folders_within_folders_or_links() -> None:
    Path("out/empty").mkdir(parents=True)
    refused("out", "holds empty")
    Path("links").mkdir()
    Path("links/data").symlink_to("..")
    refused("links", "holds data")


def test_an_absent_or_empty_folder_and_an_earlier_output_are_replaced() -> None:
    Path("empty").mkdir()
    for out in ("absent", "empty", "absent", "deep/er/absent"):
        make(out)
        assert Path(out, "value.txt").is_file() and Path(out, "run.json").is_file()


def test_never_an_output_of_another_stage() -> None:
    make("out")
    refused("out", r"was made by code-stamp, and no record says that `gsa report` \(report\) made it", stage="report")


def test_what_a_user_put_into_an_output_is_kept() -> None:
    make("out")
    Path("out/sub").mkdir()
    Path("out/sub/mine.txt").write_text("of the user")
    refused("out", r"holds sub/mine\.txt, which `gsa code-stamp` did not write")


def test_a_damaged_output_is_made_again() -> None:
    make("out")
    record = json.loads(Path("out/run.json").read_text())
    Path("out/value.txt").unlink()
    Path("out/run.json").write_text(json.dumps(record | {"digest": "0"}))
    make("out")
    assert Path("out/value.txt").is_file()


def test_a_run_that_failed_is_replaced_by_its_own_stage_alone() -> None:
    with pytest.raises(TrainingError), recorded_failure(Path("out"), STAGE):
        raise TrainingError("loss is NaN")
    refused("out", "was made by code-stamp, and no record says", stage="report")
    make("out")
    assert Path("out/value.txt").is_file() and not Path("out/failed.json").exists()


def test_a_disk_that_fails_says_nothing_about_whose_the_folder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    make("out")

    def fail(path: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error"):
        check_output(Path("out"), STAGE, {})


def test_what_appears_while_the_stage_runs_is_kept() -> None:
    with pytest.raises(ParamsError, match=r"holds mine\.txt"), open_run(Path("out"), STAGE, {}, {}) as run:
        (run.path / "value.txt").write_text("made")
        Path("out").mkdir()
        Path("out/mine.txt").write_text("of the user")
    assert [path.name for path in Path("out").iterdir()] == ["mine.txt"]


def test_a_neighbour_named_like_ours_is_kept() -> None:
    for name in ("out.old.1", "out.tmp.1", "out.old.backup", ".out.old.backup", ".out[1].tmp.3"):
        Path(name).mkdir()
        Path(name, "mine.txt").write_text("of the user")
    Path(".out.tmp.5").write_text("a file")
    before = files()
    make("out")
    assert before.items() <= files().items()


def test_a_picture_replaces_nothing_and_lies_outside_what_it_shows(tmp_path: Path) -> None:
    make("out")
    make_picture = Path("new/sheet.png")
    with new_file(make_picture, Path("out")) as tmp:
        assert tmp.suffix == ".png"
        tmp.write_text("picture")
    assert [path.name for path in Path("new").iterdir()] == ["sheet.png"] and make_picture.read_text() == "picture"
    Path("dangling.png").symlink_to("nowhere")
    for path, reason in (
        (make_picture, "exists and is not replaced"),
        (Path("params.yaml"), "exists and is not replaced"),
        (Path("dangling.png"), "exists and is not replaced"),
        (Path("out/x.png"), "lies in out"),
    ):
        with pytest.raises(ParamsError, match=reason):
            check_new_file(path, Path("out"))
    with pytest.raises(RuntimeError), new_file(Path("new/half.png"), Path("out")) as tmp:
        tmp.write_text("half")
        raise RuntimeError
    assert [path.name for path in Path("new").iterdir()] == ["sheet.png"]


def test_a_new_file_whose_maker_was_killed_leaves_nothing_behind_the_next() -> None:
    pid = os.fork()
    if pid == 0:
        with new_file(Path("new/sheet.png"), Path("out")) as tmp:
            tmp.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not Path("new/sheet.png").exists() and len(list(Path("new").iterdir())) == 2
    with new_file(Path("new/sheet.png"), Path("out")) as tmp:
        tmp.write_text("whole")
        with pytest.raises(LockError), new_file(Path("new/sheet.png"), Path("out")):
            pass
    assert [path.name for path in Path("new").iterdir()] == ["sheet.png"]


def test_the_check_reads_and_changes_nothing() -> None:
    before = files()
    check_output(Path("absent/deep"), STAGE, {"input raw": Path("missing")}, [Path("params.yaml")])
    assert files() == before and not Path("absent").exists()
