"""A pipeline of small commands in a folder of its own, with DVC and without."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gsa.sweep.items import Item

ROOT = Path(__file__).resolve().parents[2]

ITEM = f"{sys.executable} {Path(__file__).with_name('item.py')}"

PIPELINE = f"""
stages:
  code-stamp:
    cmd: mkdir -p .gsa/code; echo 1 > .gsa/code/item.json
    outs: [.gsa/code/item.json]
  first:
    matrix: {{i: "${{items}}"}}
    cmd: exec {ITEM} first-${{item.i}} out/first-${{item.i}} ${{steps}} ${{pause_s}}
    deps: [.gsa/code/item.json]
    params: [steps]
    outs: ["out/first-${{item.i}}"]
  last:
    cmd: exec {ITEM} last last 2 ${{pause_s}} out/first-a
    deps: [out]
    outs: [last]
"""


def make_project(folder: Path, items: str = "[a, b, c]", steps: int = 3, pause_s: float = 0.01) -> Path:
    """A project with DVC and no git."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text(f"items: {items}\nsteps: {steps}\npause_s: {pause_s}\n")
    run("dvc", "init", "--no-scm", "--quiet", folder=folder)
    return folder


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(folder.parent), "DVC_NO_ANALYTICS": "1"}


def run(*words: str, folder: Path) -> str:
    """stdout of a command, which must succeed."""
    done = subprocess.run(words, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def start(*words: str, folder: Path) -> subprocess.Popen[str]:
    """``gsa WORDS`` in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "stages.cli", *words],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def values(folder: Path) -> dict[str, str]:
    """What every output holds that is there."""
    return {path.parent.name: path.read_text() for path in sorted(folder.glob("**/value")) if ".dvc" not in path.parts}


def steps(folder: Path) -> list[str]:
    """The steps that were done, of all items in order."""
    return (folder / "steps").read_text().splitlines() if (folder / "steps").exists() else []


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def session(pid: int) -> list[int]:
    """Every process of a session, zombies left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, *rest = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(rest[2]) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


class Books:
    """A ledger in memory: what is stale, what a cache has, and what was recorded in which order."""

    def __init__(self, commands: Mapping[str, str], parents: Mapping[str, str], cached: str = "") -> None:
        self.items = {
            name: Item(name, command, name, frozenset(parents.get(name, "").split()))
            for name, command in commands.items()
        }
        self.cached, self.made = cached.split(), list[str]()

    def why(self, name: str) -> str:
        return "new"

    def restore(self, name: str) -> bool:
        return name in self.cached

    def begin(self, name: str) -> None: ...

    def finish(self, name: str) -> None:
        self.made.append(name)

    def flush(self, last: bool = False) -> None: ...
