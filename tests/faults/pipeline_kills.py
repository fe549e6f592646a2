"""Kills of a whole ``dvc repro``, with real processes: nothing may live on, and the end is the undisturbed result."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from gsa.config import load_params
from tests.faults import processes
from tests.faults.project import ROOT, STAGES, files_of, litter, write_inputs
from tests.faults.trials import Lab, Trial, Verdict

NAME = "dvc repro"

OUTPUTS = ("data/raw/arm_ou_sigma-0.5", "data/offline", "models/one", "index/one", "runs/scratch_arm_s0", "reports")

SMALLER = {
    "matrix.explore_data.domains": [],
    "matrix.pretrain.models": {"one": ["arm"]},
    "matrix.finetune.methods": {"gsa": ["gsa"], "dreamer": ["scratch"], "drqv2": []},
}
"""A pipeline of which each stage starts once or twice: most of its time are starts."""


@dataclass(frozen=True)
class PipelineKills(Trial):
    """``kills`` of dvc (or of ``scripts/repro.sh``) one after another, each after a random time; then to the end."""

    command: tuple[str, ...]
    kills: int
    signal: str
    seed: int

    sort = "pipeline kill"

    @property
    def what(self) -> str:
        """Command and signals."""
        return f"{' '.join(self.command)}, {self.kills} times {self.signal}"

    def attack(self, lab: Lab, project: Path, verdict: Verdict) -> None:
        """Kill, look for orphans, go on; compare with what the command line makes undisturbed."""
        processes.adopt_orphans()
        copy_repository(project)
        rng = Random(self.seed)
        for _ in range(self.kills):
            child = _start(project, self.command)
            time.sleep(rng.uniform(0.5, 12.0))
            running = child.poll() is None
            if running:
                os.kill(child.pid, signal.Signals[f"SIG{self.signal}"])
            child.wait()
            orphans = _orphans(child.pid, project)
            if orphans:
                verdict.blame("orphan", f"{orphans} processes outlived {self.command[0]}")
            if not running:
                break
        _to_the_end(project, self.command, verdict)
        for name in OUTPUTS:
            found, expected = ({**files_of(folder / name), "index.html": ""} for folder in (project, undisturbed(lab)))
            if found != expected:  # the page tells revisions
                verdict.blame("silent", f"{name} is not what the undisturbed commands make")
        if left := [name for name in litter(project) if not name.startswith((".dvc/", "dvc.lock", "requirements"))]:
            verdict.blame("litter", ", ".join(left[:3]))


def copy_repository(folder: Path) -> None:
    """The working tree with tiny parameters, in a git repository of its own."""
    write_inputs(folder)
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file() and name not in ("dvc.lock", "params.yaml") and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    _smaller(folder / "params.yaml")
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "copy"]):
        subprocess.run(["git", *words], cwd=folder, env=_environment(folder), check=True)


def undisturbed(lab: Lab) -> Path:
    """Where ``make_undisturbed`` worked."""
    return lab.folder / "pipeline-sound"


def make_undisturbed(lab: Lab) -> None:
    """What the pipeline makes, by its commands one after another."""
    folder = undisturbed(lab)
    write_inputs(folder)
    _smaller(folder / "params.yaml")
    for stage in STAGES.values():
        if stage.name not in ("explore-data", "finetune-drqv2", "evaluate"):
            done = processes.run(folder, stage.args)
            if done.code:
                raise RuntimeError(f"{stage.name} fails undisturbed, exit {done.code}: {done.last_line}")


def _smaller(path: Path) -> None:
    from ruamel.yaml import YAML

    from gsa.config.load import overridden

    yaml = YAML()
    tree: Any = yaml.load(path.read_text())
    overridden(tree, SMALLER, "params.yaml")
    with path.open("w") as file:
        yaml.dump(tree, file)
    load_params(path)


def _environment(folder: Path) -> dict[str, str]:
    who = {f"GIT_{a}_{b}": "test@example.org" for a in ("AUTHOR", "COMMITTER") for b in ("NAME", "EMAIL")}
    return os.environ | who | {"HOME": str(folder.parent), "PYTHONPATH": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}


def _start(project: Path, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    with (project.parent / f"{project.name}.log").open("ab") as log:
        return subprocess.Popen(
            command, cwd=project, env=_environment(project), stdout=log, stderr=log, start_new_session=True
        )


def _orphans(session: int, project: Path) -> int:
    deadline = time.monotonic() + 2 * processes.ORPHAN_S
    while (left := processes.members(session, project)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    processes.reap_orphans()  # to DVC a process that nobody has waited for still holds its locks
    return len(left)


def _to_the_end(project: Path, command: tuple[str, ...], verdict: Verdict) -> None:
    child = _start(project, command)
    log = project.parent / f"{project.name}.log"
    try:
        code = child.wait(900)
    except subprocess.TimeoutExpired:
        verdict.blame("hang", f"{' '.join(command)} took more than 900 s")
        child.kill()
        return
    text = log.read_text(errors="replace")
    if code:
        verdict.blame("lost", f"the last {' '.join(command)} ends with {code}: {text.splitlines()[-1][-300:]}")
    if "Traceback (most recent call last)" in text:
        verdict.blame("traceback", f"see the log: {text[text.index('Traceback') :][:300]!r}")


def trials(seed: int) -> list[Trial]:
    """Of dvc by KILL and TERM, of the script and of the sweep by KILL."""
    script = ("scripts/repro.sh",)
    return [
        PipelineKills(NAME, 0, ("dvc", "repro"), 5, "KILL", seed),
        PipelineKills(NAME, 1, ("dvc", "repro"), 3, "TERM", seed + 1),
        PipelineKills(NAME, 2, script, 3, "KILL", seed + 2),
        PipelineKills(NAME, 3, (sys.executable, "-m", "stages.cli", "sweep"), 3, "KILL", seed + 3),
    ]
