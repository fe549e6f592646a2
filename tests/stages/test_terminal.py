"""What a terminal of 80 columns shows: nothing is cut, defaults are said, and one line answers what cannot be."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from typer.main import get_command

from gsa.tasks import TASKS
from stages import doctor
from stages.commands import app
from tests.conftest import ROOT, Invoke
from tests.report.conftest import FRAMES, write_run
from tests.report.conftest import TASKS as COMPARED

COLUMNS = 80


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


def commands(group: Any = None, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every command and group below ``group``, by its words."""
    found: dict[tuple[str, ...], Any] = {}
    for name, command in (group or get_command(app)).commands.items():
        found[*words, name] = command
        found |= commands(command, (*words, name)) if isinstance(command, click.Group) else {}
    return found


EMPTY_IS_MEANT = {
    "dry_run",
    "paused",
    *("sets", "plugin", "help", "video", "sheet", "verify", "reject_bad", "also_collected"),
    *("embodiment", "image_key", "action_range", "merge_actions", "every"),  # of data from elsewhere
}
"""Options without which nothing is done in their place."""


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_says_the_default_of_every_option(words: tuple[str, ...], invoke: Invoke) -> None:
    shown = " ".join(invoke(*words, "--help").output.split())
    for option in commands()[words].params:
        if option.name in EMPTY_IS_MEANT or (option.param_type_name == "argument" and not option.default):
            continue
        if option.default in (None, (), [], False):
            if words == ("convert",) and option.name in ("task", "policy", "sigma"):
                continue
            assert "[default: " in (option.help or ""), f"{option.name} says no default"
        else:
            assert f"[default: {option.default}" in shown, f"{option.name}: the default is lost"


def test_a_list_of_commands_cuts_none_of_their_sentences(invoke: Invoke) -> None:
    for group in ((), ("profile",)):
        lines = invoke(*group, "--help").output.splitlines()[1:]  # after the line of usage
        assert max(map(len, lines)) <= COLUMNS and not any(line.endswith("...") for line in lines)


def test_help_is_the_same_through_the_program_where_rich_is_installed() -> None:
    import rich  # noqa: F401 - what read [default: ...] as markup

    command = [sys.executable, "-m", "stages.cli", "report", "--help"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "[default: runs]" in out and "leave out [default: report.missing]" in " ".join(out.split())


def test_tasks_fit_and_are_named_whole(invoke: Invoke) -> None:
    lines = invoke("tasks").output.splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert {line.split()[0] for line in lines if line.startswith(("mw-", "dmc-"))} == set(TASKS)


def test_the_report_names_methods_and_numbers_whole(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ruamel.yaml import YAML

    yaml, name = YAML(), "gsa-with-a-name-of-30-letters"
    params = yaml.load(ROOT / "params.yaml")
    params["methods"][name] = params["methods"]["gsa"]
    methods = {"gsa": [name], "dreamer": ["scratch"]}
    params["matrix"]["finetune"] |= {"tasks": COMPARED, "seeds": [0, 1, 2], "methods": methods}
    params["matrix"]["pretrain"]["models"] = {"all": ["sawyer", "walker"]}
    params["finetune"]["total_frames"] = FRAMES
    params["report"] |= {"resamples": 50, "treatment": name}
    yaml.dump(params, tmp_path / "params.yaml")
    for method, scores in ((name, (0.7, 0.8, 0.9)), ("scratch", (0.1, 0.2, 0.3))):
        for seed, score in enumerate(scores):
            for task in COMPARED:
                write_run(tmp_path / "runs", method, task, seed, {0: 0.0, FRAMES: score})
    monkeypatch.chdir(tmp_path)
    result = invoke("report", "--reference", ROOT / "data/reference")
    assert result.exit_code == 0, result.output
    head, *rows = result.output.splitlines()[:3]
    assert max(map(len, (head, *rows))) <= COLUMNS
    assert re.match(rf"{name} +9 +0\.80 \[0\.\d\d, 0\.\d\d\] +1\.00 \[", rows[0]), rows[0]
    assert re.match(r"scratch +9 +0\.20 \[0\.\d\d, 0\.\d\d\]", rows[1]), rows[1]


def refused(invoke: Invoke, *args: str | Path) -> str:
    """The one line of a command that must end with exit code 2 or 3."""
    result = invoke(*args)
    assert result.exit_code in (2, 3), result.output
    assert result.stderr.count("\n") == 1, result.stderr
    return str(result.stderr)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--sheet", "x"), "--sheet x: expected the name of a file that ends in .png"),
        (("--sheet", "x.jpg"), "--sheet x.jpg: expected"),
        (("--video", "v"), "--video v: expected the name of a file that ends in .mp4"),
        (("--video", "data"), "--video data: expected"),
        (("--episode", "3"), "--episode 3 says which episode --video shows; give --video too"),
        (
            ("--sheet", "x.png"),
            "holds no episodes to draw; `gsa inspect` draws those of data/offline and of a folder of",
        ),
        (("--video", "v.mp4"), "`gsa evaluate RUN --video FILE.mp4` lets the agent of a run play"),
    ],
)
def test_a_picture_or_video_that_cannot_be_is_one_line(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made = {"stage": "finetune-gsa", "started": "2026-01-01"}
    write_run(tmp_path / "runs", "gsa", "mw-reach", 0, {0: 0.0, FRAMES: 0.5}, **made)
    assert message in refused(invoke, "inspect", "runs/gsa_mw-reach_s0", *args)
    assert not Path(args[1]).exists()


def test_evaluate_refuses_a_video_without_a_suffix_before_it_plays(invoke: Invoke) -> None:
    assert "--video v: expected the name of a file that ends in .mp4" in refused(
        invoke, "evaluate", "r", "--video", "v"
    )


EMPTY = {
    "collect-data": (
        ["matrix.collect_data.tasks=[]", "matrix.collect_noise.sigmas=[]"],
        "matrix.collect_data and matrix.collect_noise (tasks or sigmas) is empty",
    ),
    "explore-data": (["matrix.explore_data.domains=[]"], "matrix.explore_data.domains is empty"),
    "finetune": (["matrix.finetune.seeds=[]"], "matrix.finetune.seeds is empty"),
    "floors": (["matrix.finetune.tasks=[]"], "matrix.finetune.tasks is empty"),
    "probe-actions": (["matrix.probe_actions.tasks=[]"], "matrix.probe_actions.tasks is empty"),
    "report": (
        ["matrix.finetune.tasks=[]", "matrix.finetune.methods={}"],
        "matrix.finetune.tasks and matrix.finetune.methods are empty",
    ),
}


@pytest.mark.parametrize("command", EMPTY)
def test_where_nothing_could_be_run_a_line_says_which_list_is_empty(command: str, invoke: Invoke) -> None:
    settings, message = EMPTY[command]
    flags = [word for setting in settings for word in ("--set", setting)]
    assert f"nothing to do: {message}; fill" in refused(invoke, command, "--params", ROOT / "params.yaml", *flags)


@pytest.mark.parametrize(
    "args",
    [
        ("finetune", "--seed", "3", "--seed", "3"),
        ("finetune", "--task", "mw-reach", "--task", "mw-reach"),
        ("finetune", "--method", "gsa", "--method", "gsa"),
        ("floors", "--task", "mw-reach", "--task", "mw-reach"),
        ("probe-actions", "--task", "mw-door-unlock", "--task", "mw-door-unlock"),
    ],
    ids=lambda args: " ".join(args[:2]),
)
def test_an_item_is_given_once(args: tuple[str, ...], invoke: Invoke) -> None:
    assert f"{args[2] if args[1] == '--seed' else repr(args[2])} is there twice" in refused(
        invoke, *args, "--params", ROOT / "params.yaml"
    )


def test_an_input_is_given_once(invoke: Invoke, tmp_path: Path) -> None:
    args = ("--params", ROOT / "params.yaml", "--input", tmp_path, "--input", tmp_path / ".." / tmp_path.name)
    assert "are one folder; name it once" in refused(invoke, "convert", *args)


def test_what_dvc_reads_is_checked_in_the_file_where_flags_stand_in_its_place(invoke: Invoke, tmp_path: Path) -> None:
    """DVC's command for the item names one seed; the file names it twice."""
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    for old, new, message in (
        ("seeds: [31, 32]", "seeds: [31, 31]", "matrix.finetune.seeds = [31, 31]: 31 is there twice"),
        ("sigmas: [0.1,", "sigmas: [1,", "matrix.collect_data.sigmas.0 = 1: write 1.0 instead of 1"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        item = ("--method", "gsa", "--task", "mw-window-close", "--seed", "31")
        assert message in refused(invoke, "finetune", "--params", path, *item)


def test_doctor_takes_a_folder_that_is_not_there_yet_and_works_outside_git(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "_render_failure", lambda backend: "")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    for args in ((), ("--folder", tmp_path / "not" / "yet")):
        result = invoke("doctor", *args)
        assert result.exit_code == 0, result.output
        assert "note  git: no repository at" in result.output and "`dvc repro` needs a git repository" in result.output
    assert f"GB free at {tmp_path}, quickstart needs" in result.output and "is not there yet)" in result.output
    (tmp_path / "file").write_text("")
    result = invoke("doctor", "--folder", tmp_path / "file" / "below")
    assert result.exit_code == 5 and f"FAIL  disk: {tmp_path / 'file'} is no folder -> " in result.output
