"""Corruptions: every file that a stage may read is damaged in turn; the stage must say which one, or show no trace.

``gsa inspect FOLDER --verify`` must notice every damage. Of checkpoints, the command that resumes must warn and give
the undisturbed result, or say that none is left.
"""

import ctypes
import os
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults import processes, taps
from tests.faults.project import STAGES, Stage, files_of, litter
from tests.faults.trials import Lab, Trial, Verdict, blame_process, blame_refusal

CHECKPOINTED = ("collect-data", "explore-data", "pretrain", "finetune-gsa", "finetune-dreamer", "finetune-drqv2")

OF_THE_USER = ("params.yaml", "arm.py")
"""What is in these decides the result; a changed letter may be meant."""


def flip(data: bytes, rng: Random) -> bytes:
    """One bit anywhere."""
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def zero(data: bytes, rng: Random) -> bytes:
    """A block of up to 512 zeros."""
    length = min(512, max(1, len(data) // 3))
    at = rng.randrange(len(data) - length + 1)
    return data[:at] + bytes(length) + data[at + length :]


ACCIDENTS: dict[str, Callable[[bytes, Random], bytes]] = {
    "flipped": flip,
    "cut": lambda data, rng: data[: rng.randrange(len(data))],
    "emptied": lambda data, rng: b"",
    "zeroed": zero,
    "appended": lambda data, rng: data + rng.randbytes(1 + rng.randrange(100)),
}
"""Changes of the bytes."""

ALL = (*ACCIDENTS, "swapped", "deleted")


def damage(path: Path, how: str, rng: Random) -> list[Path]:
    """Change the file; returns what is changed, nothing where this accident cannot change it."""
    data = path.read_bytes()
    if how == "deleted":
        path.unlink()
        return [path]
    if how == "swapped":
        others = sorted(p for p in path.parents[1].rglob(f"*{path.suffix}") if p.is_file() and p != path)
        others = [p for p in others if p.read_bytes() != data]
        if not others:
            return []
        other = rng.choice(others)
        new, old = other.read_bytes(), data
        other.write_bytes(old)
        path.write_bytes(new)
        return [path, other]
    new = ACCIDENTS[how](data, rng) if data else b"\0"
    path.write_bytes(new)
    return [path] if new != data else []


IN_OPEN = 0x20
"""Of inotify: somebody opened the file."""


class Watch:
    """Whether a file is opened by anybody, as the kernel sees it (inotify): libraries in C are seen, too."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK)
        self._watched = path.is_file() and libc.inotify_add_watch(self._descriptor, os.fsencode(path), IN_OPEN) >= 0

    def opened(self) -> bool:
        """Since the beginning; ends the watch. A file that is not there counts as read."""
        data = b""
        with suppress(BlockingIOError):
            data = os.read(self._descriptor, 2**16)
        found, at = False, 0
        while at < len(data):  # events, each with the length of a name after it; a removal is one, too
            _, mask, _, length = struct.unpack_from("iIII", data, at)
            found, at = found or bool(mask & IN_OPEN), at + 16 + length
        os.close(self._descriptor)
        return found or not self._watched


@dataclass(frozen=True)
class Corruption(Trial):
    """A ``file`` damaged before ``stage`` (or the inspection of the folder it is in) reads it."""

    file: str
    how: str
    seed: int
    inspect: str = ""
    """The folder to verify in place of running the stage."""

    sort = "corruption"

    @property
    def what(self) -> str:
        """File and accident."""
        return f"{self.file} {self.how}, read by {'inspect --verify' if self.inspect else self.stage}"

    def attack(self, lab: Lab, project: Path, verdict: Verdict) -> None:
        """Damage, run, judge."""
        stage, path = self.of, project / self.file
        if self.inspect:
            shutil.copytree(lab.sound / self.inspect, project / self.inspect)
        else:
            lab.project(stage, project.name)
        changed = damage(path, self.how, Random(self.seed))
        if not changed:
            verdict.ended = "no change"
            return
        watch = Watch(path)
        args = ("inspect", self.inspect, "--verify") if self.inspect else stage.args
        ended = processes.run(project, args)
        opened = watch.opened()
        blame_process(verdict, ended)
        told = any(each.name in ended.err + ended.out for each in changed)
        told |= self.how == "swapped" and f"{path.parents[1].name}/" in ended.err  # the folder that both lie in
        same = self._same(lab, project, ended)
        if self.file in OF_THE_USER:
            verdict.ended = "refused" if ended.code else "the same result" if same else "another value"
            if ended.code:
                blame_refusal(verdict, ended, (2, 3, 4))
        elif ended.code:
            verdict.ended = "named"
            blame_refusal(verdict, ended, (3, 4))
            if not told and not verdict.faults:
                verdict.blame("unclear", f"does not name it: {ended.last_line}")
        elif told:
            verdict.ended = "told, same result" if same else "told"
        elif self.inspect:
            verdict.blame("silent", "verified as sound")
        elif not same:
            verdict.blame("silent", "another result without a word")
        else:
            verdict.ended = "no influence" if opened and self.how != "deleted" else "not read"

    def _same(self, lab: Lab, project: Path, ended: processes.Ended) -> bool:
        """Whether output or words are the undisturbed ones; who made them may differ."""
        stage = self.of
        same_words = not stage.prints or ended.out == lab.said[stage.name]
        return same_words and files_of(project / stage.out) == files_of(lab.sound / stage.out)


@dataclass(frozen=True)
class DamagedProgress(Trial):
    """Checkpoints (or kept episodes) of a run that was killed just before it published, damaged before it resumes."""

    file: str
    how: str
    seed: int

    sort = "corruption"

    @property
    def what(self) -> str:
        """File and accident."""
        return f"{self.file} {self.how}, resumed by {self.stage}"

    def attack(self, lab: Lab, project: Path, verdict: Verdict) -> None:
        """Damage, resume, judge."""
        stage = self.of
        # Every checkpoint rests on a part of the log of episodes; what lies behind the last part is written anew.
        of_all = self.file.endswith("/episodes.log")
        shutil.copytree(paused(lab, stage.name), project)
        names = [self.file] if self.file != "all" else progress_files(project)
        changed = [damage(project / name, self.how, Random(self.seed)) for name in names]
        if not any(changed):
            verdict.ended = "no change"
            return
        watch = Watch(project / names[0])
        ended = processes.run(project, stage.args)
        opened = watch.opened()
        blame_process(verdict, ended)
        if ended.code:
            verdict.ended = "refused"
            blame_refusal(verdict, ended, (4,))
            if self.file != "all" and not of_all and not verdict.faults:
                verdict.blame("lost", f"one damaged file ends the run: {ended.last_line}")
            return
        if files_of(project / stage.out) != files_of(lab.sound / stage.out):
            verdict.blame("silent", "another result")
        told = any(Path(name).stem in ended.err for name in names)
        verdict.ended = "told, same result" if told else "no influence" if opened else "not read"
        if opened and not told and self.how != "deleted" and not of_all:
            verdict.blame("silent", "a damaged file of progress was read without a warning")
        if left := litter(project):
            verdict.blame("litter", ", ".join(left[:3]))


def paused(lab: Lab, stage: str) -> Path:
    """The project as a kill just before publishing leaves it."""
    return lab.folder / f"paused-{stage}"


def pause(lab: Lab, stage: str) -> None:
    """Make ``paused``: every checkpoint is there, nothing is published."""
    folder = lab.project(STAGES[stage], paused(lab, stage).name)

    def die(kind: str, path: str) -> None:
        if path.endswith("run.json") and kind == "create":
            os.kill(os.getpid(), 9)

    processes.run(folder, STAGES[stage].args, before=lambda: taps.listen(die))


def progress_files(project: Path) -> list[str]:
    """Files below the checkpoints, newest last."""
    found = (p for p in (project / ".gsa/checkpoints").rglob("*") if p.is_file())
    return sorted(p.relative_to(project).as_posix() for p in found)


def _readable(lab: Lab, stage: Stage) -> list[str]:
    """Every file that the stage could read, parameters included."""
    names: list[str] = []
    for need in stage.needs:
        root = lab.sound / need
        below = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        names += [p.relative_to(lab.sound).as_posix() for p in below]
    return ["params.yaml", *names]


def trials(lab: Lab, stage: str, count: int, rng: Random) -> list[Trial]:
    """At least ``count`` pairs of a readable file and an accident, each file at least once; of parameters alone few."""
    files = _readable(lab, STAGES[stage])
    number = max(count, len(files)) if len(files) > 1 else min(count, len(ALL))
    return [
        Corruption(stage, n, files[n % len(files)], ALL[(n + n // len(files)) % len(ALL)], rng.randrange(2**31))
        for n in range(number)
    ]


def trials_of_inspection(lab: Lab, stage: str, count: int, rng: Random) -> list[Trial]:
    """Up to ``count`` pairs of a file of the stage's output and an accident, to be noticed by ``gsa inspect``."""
    row = STAGES[stage]
    out = lab.sound / row.out
    files = [] if row.prints else sorted(p.relative_to(lab.sound).as_posix() for p in out.rglob("*") if p.is_file())
    chosen: list[Trial] = []
    for n in range(min(count, len(ALL) * len(files))):
        file, how = files[n % len(files)], ALL[(n + n // len(files)) % len(ALL)]
        chosen.append(Corruption(stage, 5000 + n, file, how, rng.randrange(2**31), inspect=row.out))
    return chosen


def trials_of_progress(lab: Lab, stage: str, count: int, rng: Random) -> list[Trial]:
    """Every file of progress by turns, and all of them at once."""
    files = ["all", *reversed(progress_files(paused(lab, stage)))]
    pairs = [(files[n % len(files)], ALL[(n + n // len(files)) % len(ALL)]) for n in range(count)]
    return [DamagedProgress(stage, 10_000 + n, *pair, rng.randrange(2**31)) for n, pair in enumerate(pairs)]
