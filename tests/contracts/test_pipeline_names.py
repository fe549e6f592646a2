"""One word in four places: the command, its module, its stage in dvc.yaml, and the code it is stamped with."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from stages.cli import STAGES, TOOLS, app

ROOT = Path(__file__).resolve().parents[2]
DVC: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
SUPPORT = {"cli", "each", "estimate", "pins", "progress"}
"""Modules of stages/ that are no command."""

TWINS = {"finetune-online": "finetune"}
"""Stages that run another stage's command: its items that wait for nothing."""

MATRIX_LISTS = {"collect_data.tasks", "collect_data.sigmas", "explore_data.domains"}
"""Lists a matrix spans; only who reads all of them may depend on them."""


def test_commands_modules_and_stages_have_the_same_names() -> None:
    modules = {path.stem.replace("_", "-") for path in (ROOT / "stages").glob("[a-z]*.py")} - SUPPORT
    commands: set[str] = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert commands == modules == {*STAGES, *TOOLS, "profile"}
    assert set(DVC["stages"]) == {*STAGES, *TWINS, "code-stamp"}


@pytest.mark.parametrize("stage", [*STAGES, *TWINS])
def test_a_stage_runs_its_command_and_depends_on_its_code(stage: str) -> None:
    entry, command = DVC["stages"][stage], TWINS.get(stage, stage)
    assert entry["cmd"].split()[:3] == ["exec", "gsa", command]
    assert f".gsa/code/{command}.json" in entry["deps"]
    assert f".gsa/code/{command}.json" in DVC["stages"]["code-stamp"]["outs"]
    assert not {"gsa", "stages", "params.yaml"} & set(entry["deps"])


@pytest.mark.parametrize("stage", [*STAGES, *TWINS])
def test_dvc_tracks_exactly_the_parameters_the_stage_reads(stage: str) -> None:
    command = TWINS.get(stage, stage)
    module = import_module(f"stages.{command.replace('-', '_')}")
    reads = set(module.READS)
    tracked = {name.replace("methods.${item.method}", "methods") for name in DVC["stages"][stage].get("params", [])}
    if "world_model" in reads:
        reads.add("sizes.${world_model.size}")  # whose values `world_model` means
    if command == "finetune":
        reads.add("methods")
    if stage == "finetune":
        reads |= set(module.READS_OFFLINE)
    if stage == "convert":
        reads |= MATRIX_LISTS  # decide which folders it reads
    assert tracked == reads


def test_help_names_every_stage_and_is_not_slowed_by_heavy_imports() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from typer.testing import CliRunner; from stages.cli import app;"
        "out = CliRunner().invoke(app, ['--help']).output;"
        "print(out, [m for m in ('torch', 'mujoco', 'pandas', 'matplotlib', 'pyarrow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(stage in out for stage in STAGES)
    assert out.strip().endswith("[]"), f"imported by --help: {out.strip().splitlines()[-1]}"


def test_dvc_is_configured_to_leave_people_and_git_alone() -> None:
    config = (ROOT / ".dvc/config").read_text()
    for line in ("analytics = false", "check_update = false", "autostage = false", "reflink,hardlink,copy"):
        assert line in config
