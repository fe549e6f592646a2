"""Operations that fail: disks that are full or broken, rights, threads, processes, memory that are not to be had.

The command must end with one line and the right exit code, leave an older output as it was and nothing temporary, and
give the undisturbed result when it is run again.
"""

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults import processes, taps
from tests.faults.project import content, litter
from tests.faults.trials import Lab, Trial, Verdict, blame_process, blame_refusal, blame_result

ERRORS = {"ENOSPC": (5,), "EIO": (5,), "EACCES": (2, 3, 4, 5), "EROFS": (2, 4, 5), "EDQUOT": (5,)}
"""What a write may fail with, and the exit codes that fit: 3 and 4 where a
file or folder is opened to be read as well."""

READ_ERRORS = {"EIO": (3, 4, 5), "EACCES": (2, 3, 4, 5)}

CRASHES = (-signal.SIGSEGV, -signal.SIGABRT)
"""How C++ of torch or MuJoCo may end where memory is short, which no Python can answer; the next run cleans up."""

FILE_LIMITS = (0, 1, 300, 3000, 30_000)
MEMORY_MB = (1, 8, 32, 128)


@dataclass(frozen=True)
class Failing(Trial):
    """The ``point``-th operation of some kind raises, or a limit of the system is low."""

    how: str
    point: int = 0
    old: bool = False

    sort = "failing operation"

    @property
    def what(self) -> str:
        """What fails, and where."""
        return f"{self.how} at {self.point}{', old output' if self.old else ''}"

    @property
    def codes(self) -> tuple[int, ...]:
        """Exit codes that fit."""
        sort, _, name = self.how.partition(" ")
        return {"write": ERRORS, "read": READ_ERRORS}.get(sort, {}).get(name, (5,))

    def arm(self) -> None:
        """In the command's process."""
        sort, _, name = self.how.partition(" ")
        sys.dont_write_bytecode = True  # Python would cut its own compiled modules short, and read them ever after
        if sort == "size":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.point, resource.RLIM_INFINITY))
        elif sort == "memory":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * os.sysconf("SC_PAGE_SIZE") + self.point * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        else:
            kinds, error = KINDS[sort], _error(sort, name)
            taps.listen(taps.at(kinds, self.point, error))

    def attack(self, lab: Lab, project: Path, verdict: Verdict) -> None:
        """Let it fail, look, run again, compare."""
        stage = self.of
        lab.project(stage, project.name, self.old)
        ended = processes.run(project, stage.args, before=self.arm)
        blame_process(verdict, ended)
        verdict.ended = "carried on" if ended.code == 0 else "refused"
        crashed = self.how.startswith("memory") and ended.code in CRASHES
        if crashed:
            verdict.ended = "crashed in a library"
        elif ended.code:
            blame_refusal(verdict, ended, self.codes)
        found = content(project / stage.out)
        if found != lab.expected[stage.name]:
            if ended.code == 0:
                verdict.blame("silent", "exit 0 with another result")
            elif found is not None or self.old:
                verdict.blame("lost", f"after the failure: {'an incomplete' if found else 'no'} output")
        # A lock file stays where it is its removal that fails; the next run takes it.
        left = [name for name in litter(project) if not name.startswith(".gsa/") and not name.endswith(".lock")]
        if left and not ended.hung and not crashed:
            verdict.blame("litter", f"after the failure: {', '.join(left[:3])}")
        blame_result(verdict, lab, stage, project, processes.run(project, stage.args), "run again")


KINDS = {"write": taps.WRITES, "read": taps.READS, "thread": ("thread",), "process": ("process",)}


def _error(sort: str, name: str) -> Callable[[str, str], None]:
    def fail(kind: str, path: str) -> None:
        if sort == "thread":
            raise RuntimeError("can't start new thread")
        number = errno.ENOMEM if sort == "process" else getattr(errno, name)
        raise OSError(number, os.strerror(number), path)

    return fail


def trials(lab: Lab, stage: str, count: int, rng: Random) -> list[Trial]:
    """Half at writes, spread evenly; then reads, sizes, and each thread, process and bound of memory once."""
    kinds = lab.points[stage]
    found = {sort: sum(kind in names for kind in kinds) for sort, names in KINDS.items()}
    chosen: list[tuple[str, int]] = []
    for n, name in zip(range(min(found["write"], count // 2)), list(ERRORS) * count, strict=False):
        chosen.append((f"write {name}", int((n + rng.random()) * found["write"] / min(found["write"], count // 2))))
    rest = [(f"size {limit}", limit) for limit in FILE_LIMITS] + [(f"memory +{mb} MB", mb) for mb in MEMORY_MB]
    rest += [(f"{sort} refused", n) for sort in ("thread", "process") for n in range(found[sort])]
    rest += [(f"read {name}", rng.randrange(found["read"])) for name in list(READ_ERRORS) * 4 if found["read"]]
    rng.shuffle(rest)
    chosen += rest[: count - len(chosen)]
    return [Failing(stage, n, how, point, n % 2 == 1) for n, (how, point) in enumerate(chosen)]
