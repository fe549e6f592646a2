"""``gsa report`` on its own: no flags, one line for what a user can fix."""

import json
import shutil
from pathlib import Path

import pytest

from gsa.pipeline import run_name
from tests.conftest import Invoke
from tests.report.conftest import FINALS, FRAMES, write_run

TASKS = ["mw-drawer-close", "dmc-walker-stand"]


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with small parameters, published numbers and 8 finished runs."""
    from ruamel.yaml import YAML

    yaml = YAML()
    params = yaml.load(root / "params.yaml")
    methods = {"gsa": ["gsa"], "dreamer": ["scratch"]}
    params["matrix"]["finetune"] |= {"tasks": TASKS, "seeds": [0, 1], "methods": methods}
    params["matrix"]["pretrain"]["models"] = {"all": ["sawyer", "walker"]}
    params["finetune"]["total_frames"] = FRAMES
    params["report"] |= {"resamples": 100, "missing": "fail"}
    yaml.dump(params, tmp_path / "params.yaml")
    shutil.copytree(root / "data" / "reference", tmp_path / "data" / "reference")
    for (method, task), finals in FINALS.items():
        for seed, final in enumerate(finals):
            if task in TASKS:
                write_run(tmp_path / "runs", method, task, seed, {0: 0.0, FRAMES: final})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_needs_no_flag(project: Path, invoke: Invoke) -> None:
    result = invoke("report")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "wrote the report of 8 runs to reports/index.html"
    assert "gsa scores higher than scratch" in result.output
    record = json.loads((project / "reports" / "run.json").read_text())
    assert record["stage"] == "report"
    assert {"index.html", "metrics.json", "curves.csv"} <= set(record["outputs"])


def test_an_absent_run_is_one_line_with_its_command(project: Path, invoke: Invoke) -> None:
    shutil.rmtree(project / "runs" / run_name("scratch", TASKS[0], 1))
    result = invoke("report")
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1
    assert "run `gsa finetune --task mw-drawer-close --method scratch --seed 1`" in result.stderr
    assert not (project / "reports").exists()


def test_the_flag_decides_how_it_counts(project: Path, invoke: Invoke) -> None:
    shutil.rmtree(project / "runs" / run_name("scratch", TASKS[0], 1))
    result = invoke("report", "--missing", "zero")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "wrote the report of 8 runs, 1 not usable to reports/index.html"


def test_nothing_run_yet_names_the_first_step(project: Path, invoke: Invoke) -> None:
    shutil.rmtree(project / "runs")
    result = invoke("report", "--missing", "drop")
    assert result.exit_code == 4
    assert "none of 8 runs is usable" in result.stderr and "gsa finetune --task" in result.stderr
