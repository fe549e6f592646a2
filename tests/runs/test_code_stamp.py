"""An edited comment reruns nothing, an edited line reruns what uses it."""

import json
from pathlib import Path

import pytest

from gsa.errors import ParamsError
from gsa.pipeline import LEARNERS, STAGES
from gsa.runs.code_stamp import code_stamp, stage_modules
from gsa.tasks import TASKS, get_task, task_stamp
from tests.conftest import ROOT, Invoke

FILES = {
    "gsa/__init__.py": "",
    "gsa/config/__init__.py": "import gsa.unused\n",
    "gsa/config/load.py": "import gsa.unused\n",
    "gsa/pipeline.py": 'LEARNERS = {"guest": "gsa.unused:Guest"}\n',
    "gsa/unused.py": "",
    "gsa/nets/__init__.py": "",
    "gsa/nets/templates/page.html": "<p>",
    "gsa/nets/loss.py": '"""Doc."""\n\nWEIGHT = 1.0\n"""Attribute doc."""\n\n'
    'def loss(x):\n    """Doc."""\n    return x\n',
    "gsa/loop.py": "def run():\n    from gsa.nets.loss import loss\n    return loss\n",
    "gsa/plugin.py": "",
    "gsa/table.py": 'ROWS = {"plugin": "gsa.plugin:make"}\n',
    "gsa/tasks.py": 'EXTRA_TASKS = ("a",)\nREPEAT = 2\n',
    "stages/__init__.py": "",
    "stages/train_all.py": (
        "import numpy\nfrom gsa import loop, table, tasks\nfrom gsa.config import Params\n"
        "from gsa.config.load import read\nfrom gsa.pipeline import LEARNERS\n"
    ),
    "stages/other.py": "",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_modules_reached_at_the_top_inside_functions_and_by_name(source: Path) -> None:
    reached = [
        "gsa",
        "gsa.loop",
        "gsa.nets",
        "gsa.nets.loss",
        "gsa.plugin",
        "gsa.table",
        "gsa.tasks",
        "stages",
        "stages.train_all",
    ]
    assert stage_modules("train-all", source) == reached


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("gsa/nets/loss.py", '"""Doc."""', '"""Other words."""', False),
        ("gsa/nets/loss.py", '"""Attribute doc."""', "", False),
        ("gsa/nets/loss.py", "    return x", "    # why\n\n    return  (x)", False),
        ("gsa/config/load.py", "import gsa.unused", "VALUE = 1", False),
        ("stages/other.py", "", "VALUE = 1", False),
        ("gsa/tasks.py", '("a",)', '("a", "b")', False),
        ("gsa/tasks.py", "REPEAT = 2", "REPEAT = 4", True),
        ("gsa/nets/templates/page.html", "<p>", "<div>", True),
        ("gsa/nets/loss.py", "return x", "return 2 * x", True),
        ("gsa/plugin.py", "", "VALUE = 1", True),
        ("gsa/loop.py", "return loss", "return 'loss'", True),
    ],
)
def test_what_changes_the_stamp(source: Path, file: str, old: str, new: str, changes: bool) -> None:
    before = code_stamp("train-all", source)
    path = source / file
    path.write_text(path.read_text().replace(old, new) if old else new)
    assert (code_stamp("train-all", source) != before) is changes


def test_each_learner_has_the_stamp_of_its_own_code() -> None:
    found = {name: set(stage_modules(f"finetune-{name}")) for name in LEARNERS}
    for name, learner in LEARNERS.items():
        assert {learner.make.partition(":")[0], "stages.finetune", "gsa.loops.finetune", "gsa.tasks"} <= found[name]
        assert not any(module.startswith(("gsa.config", "gsa.pipeline")) for module in found[name])
    assert "gsa.agents.guidance" in found["gsa"] - found["dreamer"]
    assert not {"gsa.agents.gsa", "gsa.agents.drqv2"} & found["dreamer"]


def test_the_command_writes_a_stamp_per_stage_and_the_facts_of_every_task(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stale = tmp_path / ".gsa/tasks/mw-gone.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    kept = tmp_path / ".gsa/tasks/notes.txt"
    kept.write_text("of the user's")
    result = invoke("code-stamp", "--params", ROOT / "params.yaml")
    assert result.exit_code == 0, result.output
    assert {path.stem for path in (tmp_path / ".gsa/code").iterdir()} == set(STAGES)
    assert {path.stem for path in stale.parent.glob("*.json")} == set(TASKS) and kept.is_file()
    assert json.loads((stale.parent / "mw-reach.json").read_text()) == task_stamp(get_task("mw-reach"))


def test_unknown_stage_is_named(source: Path) -> None:
    with pytest.raises(ParamsError, match="no code of 'nope'"):
        code_stamp("nope", source)
