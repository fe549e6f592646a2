"""One item as work: a command to run somewhere, its environment, its log, and how it ended.

Engines carry ``Job`` and ``Ended`` to other machines and back: nothing but the standard library is imported here.
Where the command runs, the folder of the project must be there under the same path.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from gsa.startup import SWEEP

LOGS = Path(".gsa/logs")
"""Where the output of every item goes, of one attempt after another."""

GRACE_S = 40.0
"""A command that was asked to end may take so long; it gives itself 30 s to reach its checkpoint."""

STOPPED = 75
"""Exit code of a command that a signal stopped, with its progress saved."""

IN_USE = 6
"""Exit code of a command whose output another process is writing: a copy of it that has not ended yet, as a rule."""

CARRIED = ("PYTHONPATH", "PYTHONUTF8", "MUJOCO_GL", "PYTHONHASHSEED", "HOME")
"""Variables that a command on another machine gets as they are here, if they are set."""


@dataclass(frozen=True)
class Job:
    """A command of the shell to run in ``folder``, with ``threads``, on a share of the GPU ``gpu`` if one is named."""

    name: str
    command: str
    folder: str
    threads: int = 1
    gpu: str | None = None
    carried: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """The file that gets its output."""
        return Path(self.folder, LOGS, f"{self.name.replace('/', '_')}.log")


@dataclass(frozen=True)
class Ended:
    """How a job ended: its exit code (minus the number of the signal that killed it) and the last line it said.

    ``lost`` is a job whose machine or process went away: nobody knows how it ended.
    """

    name: str
    code: int
    last_line: str = ""
    lost: bool = False


@runtime_checkable
class Engine(Protocol):
    """Runs jobs. It decides where and when; what is run, and what follows, is decided by who gives it jobs."""

    cores: int
    """How many cores it has, for the number of threads that a job gets."""

    jobs: int
    """How many jobs run at a time."""

    each: int | None
    """How many threads every job gets, where that is settled."""

    def room(self, threads: int) -> bool:
        """Whether it takes another job of so many threads now."""

    def start(self, job: Job) -> None:
        """Begin a job, or queue it."""

    def finished(self) -> list[Ended]:
        """The jobs that have ended since the last call."""

    def stop(self) -> None:
        """Ask every job to end at its next checkpoint; ``finished`` tells of each."""

    def close(self) -> None:
        """End what still runs."""


def carried() -> dict[str, str]:
    """What a command needs of this process's environment: where programs are, and ``CARRIED``."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {"PATH": path} | {name: os.environ[name] for name in CARRIED if name in os.environ}


def environment(job: Job) -> dict[str, str]:
    """The variables of a job's command, over those of this process."""
    own = {"OMP_NUM_THREADS": str(job.threads), SWEEP: job.name}
    if job.gpu is not None:
        own |= {"CUDA_VISIBLE_DEVICES": job.gpu, "MUJOCO_EGL_DEVICE_ID": job.gpu}
    return {**os.environ, **job.carried, **own}


def begin(job: Job, group: int | None = None) -> subprocess.Popen[bytes]:
    """Start a job's command, in the process group ``group`` (0 for one of its own); its log gets what it says.

    The command must start in a thread that lives as long as it: it asks to end with whoever started it.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {job.command}\n".encode())
        log.flush()
        return subprocess.Popen(
            ["/bin/sh", "-c", job.command],
            cwd=job.folder,
            env=environment(job),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=group,
        )


def ended(job: Job, code: int) -> Ended:
    """How a job whose command ended with ``code`` ended."""
    return Ended(job.name, code, last_line(job.log))


def last_line(log: Path) -> str:
    """The last line that says something; of a bar that redraws itself, what it shows last."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1][:500] if lines and not lines[-1].startswith("--- ") else ""


def run(job: Job, started: Callable[[int], None] = lambda pid: None) -> Ended:
    """Run a job here, from start to end; what a worker on another machine does.

    ``started`` is told the command's process, which leads a group. After KeyboardInterrupt the command is asked to end
    at its next checkpoint.
    """
    child = begin(job, group=0)
    started(child.pid)
    deadline = None
    while True:
        try:
            code = child.wait(0.2)
            break
        except subprocess.TimeoutExpired:
            pass
        except KeyboardInterrupt:
            os.killpg(child.pid, signal.SIGTERM)
            deadline = deadline or time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            os.killpg(child.pid, signal.SIGKILL)
    return ended(job, code)
