"""One table of stages: dvc.yaml is written from it, every command, module, parameter and folder in it exists."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from gsa import pipeline
from gsa.config import RenderParams, load_params, select
from gsa.loops.collect import CollectJob
from gsa.pipeline import (
    COMMANDS,
    FOLDERS,
    GROUPS,
    LEARNERS,
    MADE_BY,
    STAGES,
    dvc_yaml,
    made_by,
    place,
    reads,
    roots,
    source_name,
)
from gsa.tasks import get_task
from stages.commands import HIDDEN, TOOLS, app

ROOT = Path(__file__).resolve().parents[2]
DVC: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
PARAMS = load_params(ROOT / "params.yaml")
SUPPORT = {"checkout", "cli", "commands", "estimate", "listed", "options", "progress"}
"""Modules of stages/ that are no command."""


def commands(group: Any = None, words: tuple[str, ...] = ("gsa",)) -> dict[tuple[str, ...], Any]:
    """Every command line of the program, those of groups too."""
    found: dict[tuple[str, ...], Any] = {}
    for name, command in (group or get_command(app)).commands.items():
        found[*words, name] = command
        found |= commands(command, (*words, name)) if isinstance(command, click.Group) else {}
    return found


def test_dvc_yaml_is_written_from_the_table() -> None:
    assert (ROOT / "dvc.yaml").read_text() == dvc_yaml(), "run `python -m gsa.pipeline`"


def test_commands_are_modules_of_stages() -> None:
    modules = {path.stem.replace("_", "-") for path in (ROOT / "stages").glob("[a-z]*.py")} - SUPPORT
    assert {words[1] for words in commands()} == modules == {*COMMANDS, *TOOLS, "profile"}


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_of_a_stage_begins_in_modules_that_exist(stage: str) -> None:
    for module in roots(stage):
        base = ROOT.joinpath(*module.split("."))
        assert base.with_suffix(".py").is_file() or (base / "__init__.py").is_file(), module


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_sections_that_exist_and_none_about_the_machine(stage: str) -> None:
    for method in PARAMS.methods if STAGES[stage].makes == "runs" else [""]:
        chosen = select(PARAMS, reads(stage, method, "mw"))
        assert chosen and "machine" not in {key.partition(".")[0] for key in chosen}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_spans_lists_that_exist_by_flags_of_its_command(stage: str) -> None:
    flags = {flag for option in commands()["gsa", pipeline.command(stage)].params for flag in option.opts}
    for variable, key in STAGES[stage].matrix.items():
        assert f"--{variable}" in flags
        (values,) = select(PARAMS, [key]).values()
        assert isinstance(values, dict if variable == "model" else list)  # DVC takes a mapping's keys
        assert f"${{item.{variable}}}" in STAGES[stage].output


def test_lists_are_read_whole_only_by_what_needs_all_of_them() -> None:
    readers = {name for name in STAGES if any(key.startswith("matrix") for key in reads(name) if key[-1] != ".")}
    assert readers == {"convert", "choose-model", "report"}


def test_folders_have_makers_and_readers() -> None:
    assert set(MADE_BY) == set(FOLDERS)
    assert {name for stage in STAGES.values() for name in stage.inputs} == set(FOLDERS) - {"report", "choice"}
    assert place("model", "name") == Path("models/name") and place("raw", "name") == Path("data/raw")


def test_what_is_missing_names_its_command() -> None:
    assert made_by("model", Path("models/mw")) == "run `gsa pretrain --model mw` first"
    assert made_by("index", Path("elsewhere/mw")) == "run `gsa build-index` first"
    assert made_by("checkpoint", Path("theirs.pt")) == "check the path"


def test_runs_depend_on_the_choice_of_a_model_and_on_no_model() -> None:
    facts = [f".gsa/{what}/${{item.task}}.json" for what in ("tasks", "models")]
    expected = {".gsa/code/finetune-gsa.json", *facts, "data/offline/manifest.json"}
    assert set(DVC["stages"]["finetune-gsa"]["deps"]) == expected
    assert {"models", "index"} <= set(DVC["stages"]["choose-model"]["deps"])
    assert "models/${item.model}/meta.json" in DVC["stages"]["build-index"]["deps"]


def test_names_of_items() -> None:
    job = CollectJob(get_task("mw-reach"), "ou", 1.0, 0, RenderParams(quality="fast", backend="egl"))
    collect = STAGES["collect-data"]
    assert job.name == "mw-reach_ou_sigma-1.0" == source_name("mw-reach", "ou", 1.0)
    assert STAGES["collect-noise"].place(task="mw-reach", sigma=1.0) == Path("data/raw") / job.name
    assert str(collect.place(task="mw-reach", sigma=1.0)) == "data/raw/mw-reach_${collect_data.policy}_sigma-1.0"
    assert collect.named == ("collect_data.policy",) and STAGES["collect-noise"].named == ()
    run = {"method": "gsa", "task": "mw-reach", "seed": 0}
    assert STAGES["finetune-gsa"].place(**run) == Path("runs/gsa_mw-reach_s0")
    assert (
        STAGES["finetune-gsa"].place("dreamer.actor_lr=0.001", **run).name == "gsa_mw-reach_s0_dreamer.actor_lr=0.001"
    )


def test_learners_without_inputs_wait_for_nothing() -> None:
    """``make repro`` runs them beside pre-training."""
    for name, learner in LEARNERS.items():
        assert (f"finetune-{name}" in GROUPS["free"]) == (not learner.inputs)
    assert GROUPS["index"] == ["pretrain", "build-index"]
    printed = subprocess.run(
        [sys.executable, "-m", "gsa.pipeline", "data"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout == "collect-data|collect-noise|explore-data\n"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_fits_80_columns_and_says_every_default(words: tuple[str, ...], invoke: Any) -> None:
    command = commands()[words]
    lines = invoke(*words[1:], "--help").output.splitlines()
    shown = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 80
    for option in command.params:
        assert option.name == "help" or option.help, f"{option.name} says nothing"
        assert "[default" not in (option.help or "") or " ".join(option.help.split()) in shown


def test_help_names_every_command_but_those_for_dvc_and_is_not_slowed_by_heavy_imports() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from stages.commands import app;"
        "out = CliRunner().invoke(app, ['--help']).output;"
        "print(out, [m for m in ('torch', 'mujoco', 'pandas', 'matplotlib', 'pyarrow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    listed = {line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line.strip()}
    assert {*COMMANDS, *TOOLS, "profile"} - set(HIDDEN) <= listed and not listed & set(HIDDEN)
    assert out.strip().endswith("[]"), f"imported by --help: {out.strip().splitlines()[-1]}"


def test_every_command_that_reads_parameters_takes_the_same_options() -> None:
    for words, command in commands().items():
        flags = {flag for option in command.params for flag in option.opts}
        if "--params" in flags:
            assert "--plugin" in flags or words == ("gsa", "profile", "diff"), words
            # A profile is written as it is, and a run is evaluated with the values it recorded.
            assert "--set" in flags or words[1] == "evaluate" or words[2:] in (("list",), ("use",), ("diff",)), words


def test_dvc_is_configured_to_leave_people_and_git_alone() -> None:
    config = (ROOT / ".dvc/config").read_text()
    for line in ("analytics = false", "check_update = false", "autostage = false", "reflink,hardlink,copy"):
        assert line in config


def test_dvc_knows_every_stage() -> None:
    assert set(DVC["stages"]) == {"code-stamp", *STAGES}
    assert not any({"gsa", "stages", "params.yaml"} & set(DVC["stages"][name]["deps"]) for name in STAGES)
