"""An edited comment reruns nothing, an edited line reruns what uses it."""

from pathlib import Path

import pytest

from gsa.errors import ParamsError
from gsa.runs.code_stamp import code_stamp, stage_modules

FILES = {
    "gsa/__init__.py": "",
    "gsa/config.py": "import gsa.unused\n",
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
    "stages/train_all.py": "import numpy\nfrom gsa import loop, table, tasks\nfrom gsa.config import Params\n",
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
        ("gsa/config.py", "import gsa.unused", "VALUE = 1", False),
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


def test_unknown_stage_is_named(source: Path) -> None:
    with pytest.raises(ParamsError, match="no stage 'nope'"):
        code_stamp("nope", source)
