"""What a trial is, what it may find wrong, and the laboratory that all trials share."""

import re
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from tests.faults.processes import Ended
from tests.faults.project import STAGES, Stage, content, litter

Fault = Literal["lost", "silent", "traceback", "hang", "orphan", "litter", "unclear"]
"""lost: a file, or the way back to the undisturbed result. silent: another result without a word. unclear: a wrong exit
code, more or less than one line, or a line that does not say where."""

FAULTS: tuple[Fault, ...] = get_args(Fault)

SORTS = ("kill", "failing operation", "corruption", "exchange", "pipeline kill")
"""What is done to a stage."""

ERROR_LINE = re.compile(r"^[A-Z]\w*Error: .", re.MULTILINE)


@dataclass
class Verdict:
    """What one trial found. ``ended`` says how it went where all is well, e.g. ``named`` or ``not read``."""

    stage: str
    sort: str
    what: str
    ended: str = "as undisturbed"
    faults: list[tuple[Fault, str]] = field(default_factory=list)

    def blame(self, fault: Fault, why: str) -> None:
        """Note a fault."""
        self.faults.append((fault, why))


@dataclass
class Lab:
    """The undisturbed project and what was measured of each stage."""

    folder: Path
    expected: dict[str, Any]
    """The undisturbed output, by stage."""
    said: dict[str, str]
    """What the undisturbed command printed, by stage."""
    cpu_s: dict[str, float]
    points: dict[str, list[str]]
    """The kinds of all points of the undisturbed command, by stage."""

    @property
    def sound(self) -> Path:
        """The undisturbed project."""
        return self.folder / "sound"

    def project(self, stage: Stage, name: str, old: bool = False) -> Path:
        """A copy as it is before the stage, or with ``old`` after an earlier run of the same settings."""
        folder = stage.copy(self.sound, self.folder / name)
        if old and not stage.prints:
            (folder / stage.out).parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(self.sound / stage.out, folder / stage.out)
        return folder


@dataclass(frozen=True)
class Trial(ABC):
    """One attack on one stage."""

    stage: str
    number: int

    @property
    @abstractmethod
    def sort(self) -> str:
        """One of ``SORTS``."""

    @property
    @abstractmethod
    def what(self) -> str:
        """What is done, for people."""

    @abstractmethod
    def attack(self, lab: Lab, project: Path, verdict: Verdict) -> None:
        """Do it, and blame what is wrong."""

    def run(self, lab: Lab) -> Verdict:
        """The verdict; the copy of the project is removed."""
        verdict = Verdict(self.stage, self.sort, self.what)
        project = lab.folder / f"{self.sort}-{self.stage}-{self.number}".replace(" ", "-")
        try:
            self.attack(lab, project, verdict)
        finally:
            for left in lab.folder.glob(f"{project.name}*"):
                (shutil.rmtree if left.is_dir() else Path.unlink)(left)
        return verdict

    @property
    def of(self) -> Stage:
        """The stage's row."""
        return STAGES[self.stage]


def blame_process(verdict: Verdict, ended: Ended) -> None:
    """Faults of any command, whatever was done to it."""
    if ended.hung:
        verdict.blame("hang", ended.last_line)
    if ended.traceback:
        text = ended.err + ended.out
        start = text.index("Traceback (most recent call last)")
        verdict.blame(
            "traceback", f"{ended.last_line} ... {text[max(0, start - 100) : start]!r} ... {ended.err[-600:]!r}"
        )
    if ended.orphans:
        verdict.blame("orphan", f"{ended.orphans} processes outlived it")


def blame_refusal(verdict: Verdict, ended: Ended, codes: tuple[int, ...]) -> None:
    """Faults of a command that failed: it must have said one line and ended with one of ``codes``."""
    if ended.traceback or ended.hung:
        return
    lines = ERROR_LINE.findall(ended.err)
    if ended.code not in codes:
        verdict.blame("unclear", f"exit {ended.code}, expected {' or '.join(map(str, codes))}: {ended.last_line}")
    elif len(lines) != 1:
        verdict.blame("unclear", f"{len(lines)} error lines: {ended.err[-300:]!r}")


def blame_result(verdict: Verdict, lab: Lab, stage: Stage, project: Path, ended: Ended, when: str) -> None:
    """Faults of a command that should have ended as the undisturbed one."""
    blame_process(verdict, ended)
    if ended.hung or ended.traceback:
        return
    if ended.code:
        verdict.blame("lost", f"{when}: exit {ended.code}: {ended.last_line}")
        return
    if content(project / stage.out) != lab.expected[stage.name] or (stage.prints and ended.out != lab.said[stage.name]):
        verdict.blame("silent", f"{when}: another result: {different(project / stage.out, lab.expected[stage.name])}")
    if left := litter(project):
        verdict.blame("litter", f"{when}: {', '.join(left[:3])}")


def different(out: Path, expected: dict[str, Any]) -> str:
    """The first entries that differ."""
    found = content(out)
    if found is None:
        return "no output"
    names = [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]
    return ", ".join(f"{name} {str(expected.get(name))[:40]} -> {str(found.get(name))[:40]}" for name in names[:3])
