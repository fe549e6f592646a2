"""Imports go one way, the README's tree is the tree on disk, the lock pins what the code needs."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gsa.errors import ResourceError
from stages.doctor import LOCK_FILE, REQUIRED, check_pins, differences, read_lock

ROOT = Path(__file__).resolve().parents[2]


def tracked(*folders: str) -> set[str]:
    """Files git knows, or would add, below the folders."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return {name for name in listed if (ROOT / name).exists()}


def readme_tree() -> set[str]:
    """Paths of the README's tree: two spaces of indentation a level, the name first, folders end with a slash."""
    text = (ROOT / "README.md").read_text()
    block = re.search(r"## Tree\n.*?```text\n(.*?)```", text, re.DOTALL)
    assert block, "README.md has no tree below '## Tree'"
    paths: set[str] = set()
    parents: list[str] = []
    for line in block.group(1).splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        parents = [*parents[:depth], name]
        paths.add("".join(parents))
    return paths


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_readme_tree_names_every_module_and_nothing_else() -> None:
    modules = {name for name in tracked("gsa", "stages", "benchmarks") if name.endswith(".py")}
    expected = {name for name in modules if not name.endswith("__init__.py")}
    shown = readme_tree()
    assert {path for path in shown if path.endswith(".py")} == expected
    assert [path for path in sorted(shown) if not (ROOT / path).exists()] == []


def test_the_lock_pins_every_dependency_and_what_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["cpu"], *extras["dev"], *REQUIRED]
    pins = read_lock()
    assert {canonicalize_name(Requirement(line).name) for line in needed} <= set(pins)
    assert differences(pins) == {}


def test_a_wrong_pin_is_named_with_the_fix(tmp_path: Path) -> None:
    found = metadata.version("mujoco")
    lock = tmp_path / "requirements.lock"
    lock.write_text(LOCK_FILE.read_text().replace(f"mujoco=={found}", "mujoco==4.0.0"))
    with pytest.raises(ResourceError, match=rf": mujoco {found}, expected 4\.0\.0; run `make setup`"):
        check_pins(lock=lock)


def test_where_asked_to_a_command_goes_on_with_another_version_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(LOCK_FILE.read_text().replace(f"mujoco=={metadata.version('mujoco')}", "mujoco==4.0.0"))
    monkeypatch.setenv("GSA_ANY_PACKAGES", "1")
    check_pins(lock=lock)
    assert "expected 4.0.0; going on" in capsys.readouterr().err


def test_no_machine_paths_or_hosts_in_tracked_files() -> None:
    pattern = re.compile(r"(?<![\w.])/(root|home|work|tmp)/\w|https?://[\d.]+[:/]")
    found = []
    for name in sorted(tracked(".")):
        text = (ROOT / name).read_text(errors="ignore")
        found += [f"{name}: {line.strip()[:80]}" for line in text.splitlines() if pattern.search(line)]
    assert found == []
