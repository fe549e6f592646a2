"""Every kind of file that the pipeline writes, damaged in every way: whoever reads it names it and stops."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gsa.errors import GSAError
from gsa.inspection.folders import verify
from tests.damage.project import READ_BY, RUN, Reader, finetune, make_project, report
from tests.factories import write_record


@pytest.fixture(scope="session")
def projects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A sound project and another with the same names."""
    folders = tmp_path_factory.mktemp("sound"), tmp_path_factory.mktemp("other")
    for seed, folder in enumerate(folders):
        make_project(folder, seed)
    return folders


@pytest.fixture
def copy(projects: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(projects[0], tmp_path / "project"))


def flip(file: Path, _: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


FAULTS: dict[str, Callable[[Path, Path], object]] = {
    "flipped": flip,
    "truncated": lambda file, _: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "emptied": lambda file, _: file.write_bytes(b""),
    "removed": lambda file, _: file.unlink(),
    "another's": lambda file, other: shutil.copy(other, file),
}
"""What is done to a file, given the file of that name of another project."""

CASES = [(reader, file, fault) for reader, files in READ_BY.items() for file in files for fault in FAULTS]
CASES.remove((next(iter(READ_BY)), "data/raw/noise/run.json", "removed"))  # may be absent: the manifest says it all


def refused(read: Reader, root: Path) -> str:
    with pytest.raises(GSAError) as caught:
        read(root)
    message = str(caught.value)
    assert caught.value.exit_code in (3, 4) and "\n" not in message
    return message


def test_sound_projects_are_read(projects: tuple[Path, Path]) -> None:
    for read in READ_BY:
        read(projects[0])
    for record in projects[0].rglob("run.json"):
        assert verify(record.parent)


@pytest.mark.parametrize(
    ("read", "file", "fault"), CASES, ids=[f"{read.__name__}-{file}-{fault}" for read, file, fault in CASES]
)
def test_a_damaged_file_is_named(projects: tuple[Path, Path], copy: Path, read: Reader, file: str, fault: str) -> None:
    FAULTS[fault](copy / file, projects[1] / file)
    assert Path(file).name in refused(read, copy)


@pytest.mark.parametrize("fault", FAULTS)
def test_inspect_finds_every_file(projects: tuple[Path, Path], copy: Path, fault: str) -> None:
    for record in [path.relative_to(copy) for path in copy.rglob("run.json")]:
        folder = copy / record.parent
        for file in [path for path in folder.rglob("*") if path.is_file()]:
            kept = file.read_bytes()
            FAULTS[fault](file, projects[1] / file.relative_to(copy))
            if (record.parts[:2], file.name, fault) != (("data", "raw"), "run.json", "removed"):
                message = refused(verify, folder)
                assert file.name in message or (file.name, fault) == ("run.json", "another's"), message
            file.write_bytes(kept)


def test_inspect_says_what_it_did_not_check(copy: Path) -> None:
    (copy / "floors/mw-reach/run.json").unlink()
    assert [line.rpartition(": ")[2][:11] for line in verify(copy / "floors")] == ["2 files agr", "no output o"]


def test_every_file_has_a_reader(projects: tuple[Path, Path]) -> None:
    """But for what is like it: another model, run or task, another shard or episode, a picture beside those read."""
    known = {Path(file).name for files in READ_BY.values() for file in files}
    found = {path.name for path in projects[0].rglob("*") if path.is_file() and path.suffix not in (".npz", ".parquet")}
    assert found - known == {"index.html", "floors.png", "curves.csv"}  # of the report: for people, and `dvc plots`


def swap(one: Path, other: Path) -> None:
    kept = one.with_name("kept")
    one.rename(kept)
    other.rename(one)
    kept.rename(other)


def test_weights_and_their_description_of_another_model_are_refused(copy: Path) -> None:
    for name in ("weights.safetensors", "meta.json"):
        swap(copy / "models/one" / name, copy / "models/two" / name)
    assert "models/one/meta.json was changed" in refused(finetune, copy)


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("data/offline", "was built from another store"),
        ("models/one", "was built from another model"),
        ("index/one", "was built from another"),
    ],
)
def test_what_was_not_made_from_each_other_is_refused(
    projects: tuple[Path, Path], copy: Path, folder: str, words: str
) -> None:
    shutil.rmtree(copy / folder)
    shutil.copytree(projects[1] / folder, copy / folder)
    assert words in refused(finetune, copy)


def test_models_exchanged_by_name_are_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("models", "index"):
        swap(copy / kind / "one", copy / kind / "two")
    monkeypatch.chdir(copy)
    assert "models/one holds the model of two, expected that of one" in refused(finetune, Path())


@pytest.mark.parametrize(
    ("folder", "other", "words"),
    [
        (RUN, "runs/gsa_mw-reach_s1", "holds the scores of gsa on mw-reach, seed 1"),
        (RUN, "runs/gsa_mw-drawer-close_s0", "holds the scores of gsa on mw-drawer-close"),
        ("floors/mw-reach", "floors/mw-drawer-close", "all on 'mw-reach'"),
        ("probes/mw-reach", "probes/mw-drawer-close", "found of mw-drawer-close, not of mw-reach"),
    ],
)
def test_the_report_takes_no_folder_for_another(copy: Path, folder: str, other: str, words: str) -> None:
    swap(copy / folder, copy / other)
    message = refused(report, copy)
    assert words in message or "gsa_mw-drawer-close_s0" in message


def test_an_edited_record_is_refused_even_where_the_list_of_outputs_is_whole(copy: Path) -> None:
    file = copy / RUN / "run.json"
    file.write_text(file.read_text().replace('"duration_s": 1.0', '"duration_s": 2.0'))
    assert "run.json is damaged" in refused(report, copy)


def test_a_file_that_no_record_lists_is_no_part_of_an_output(copy: Path) -> None:
    (copy / "models/one/open_loop_zz.png").write_bytes(b"not the model's")
    (copy / RUN / "floors.jsonl").unlink()
    write_record(copy / RUN, stage="finetune-gsa")
    (copy / RUN / "floors.jsonl").write_text("{}")
    report(copy)
