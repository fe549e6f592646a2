"""The working directory's own code runs, whatever is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

ENTRY = "from stages.cli import app\napp()\n"


@pytest.fixture
def run(tmp_path: Path):
    """The installed command: a script elsewhere, with the packages of this repository."""
    script = tmp_path / "bin" / "gsa"
    script.parent.mkdir()
    script.write_text(ENTRY)

    def start(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [sys.executable, str(script), *args],
            cwd=folder,
            env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
            capture_output=True,
            text=True,
        )

    return start


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Another checkout, whose command only says that it ran."""
    for name, text in {"gsa/__init__.py": "", "stages/__init__.py": "", "stages/cli.py": "import sys\n"}.items():
        path = tmp_path / "clone" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with (tmp_path / "clone/stages/cli.py").open("a") as file:
        file.write("print('the code of', __file__, sys.argv[1:])\nsys.exit(3)\n")
    return tmp_path / "clone"


def test_a_second_clone_runs_its_own_code(run, clone: Path) -> None:
    for safe in ({}, {"PYTHONSAFEPATH": "1"}):
        found = run(clone, "report", "--missing", "zero", **safe)
        assert (found.returncode, found.stdout) == (
            3,
            f"the code of {clone}/stages/cli.py ['report', '--missing', 'zero']\n",
        )
        assert found.stderr == f"gsa: this folder has its own code, which is used in place of that in {ROOT}\n"


def test_any_other_folder_keeps_the_installed_code(run, tmp_path: Path) -> None:
    found = run(tmp_path, "tasks", "--help")
    assert found.returncode == 0 and found.stderr == "" and "--help" in found.stdout


def test_code_that_cannot_be_replaced_is_refused(run, clone: Path, tmp_path: Path) -> None:
    """Something puts the first folder before PYTHONPATH."""
    (tmp_path / "bin" / "gsa").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{ENTRY}")
    found = run(clone, "report", PYTHONPATH=str(clone))
    assert found.returncode == 5 and found.stdout == "" and found.stderr.count("\n") == 1
    assert "comes first in PYTHONPATH" in found.stderr
