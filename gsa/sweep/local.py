"""Jobs as processes of this machine, never with more threads than it has cores.

They run in a process group of their own with a small process that ends it when this one ends, by whatever signal: a
killed sweep leaves nothing running.
"""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from gsa.parallel.workers import default_workers
from gsa.sweep.work import GRACE_S, Ended, Job, begin, ended

KEEPER = "trap '' HUP INT TERM; read -r _; kill -s TERM 0"
"""Reads a pipe whose other end the sweep holds; its end tells the group to save and end."""


class LocalEngine:
    """At most ``jobs`` processes at a time; with ``gpus``, each on the GPU that has the fewest, ``per_gpu`` at most.

    None as ``jobs`` is one per core, or as many as the GPUs take.
    """

    each: int | None = None

    def __init__(self, jobs: int | None = None, gpus: Sequence[str] = (), per_gpu: int = 1) -> None:
        self.cores = default_workers()
        places = len(gpus) * per_gpu
        self.jobs = min(jobs or places or self.cores, places or 10**9)
        self._most_threads = max(self.cores, self.jobs)
        self._gpus, self._busy = Counter(dict.fromkeys(gpus, per_gpu)), dict[str, tuple[Job, subprocess.Popen[bytes]]]()
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", KEEPER], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0
        )

    def room(self, threads: int) -> bool:
        """Whether a job of so many threads may begin beside those that run."""
        used = sum(job.threads for job, _ in self._busy.values())
        return not self._busy or (len(self._busy) < self.jobs and used + threads <= self._most_threads)

    def start(self, job: Job) -> None:
        """Begin it at once."""
        if self._gpus:
            gpu = max(self._gpus, key=lambda name: self._gpus[name])
            self._gpus[gpu] -= 1
            job = Job(job.name, job.command, job.folder, job.threads, gpu, job.carried)
        self._busy[job.name] = (job, begin(job, self._keeper.pid))

    def finished(self) -> list[Ended]:
        """See ``Engine``."""
        done = [(job, code) for job, child in self._busy.values() if (code := child.poll()) is not None]
        for job, _ in done:
            del self._busy[job.name]
            if job.gpu is not None:
                self._gpus[job.gpu] += 1
        return [ended(job, code) for job, code in done]

    def stop(self) -> None:
        """Ask every process of every job to end."""
        with suppress(ProcessLookupError):
            os.killpg(self._keeper.pid, signal.SIGTERM)

    def close(self) -> None:
        """End what still runs, at a checkpoint if it reaches one in time."""
        if any(child.poll() is None for _, child in self._busy.values()):
            self.stop()
        deadline = time.monotonic() + GRACE_S
        for _, child in self._busy.values():
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
        with suppress(ProcessLookupError):
            os.killpg(self._keeper.pid, signal.SIGKILL)  # it, too
        self._keeper.wait()
        if self._keeper.stdin:
            self._keeper.stdin.close()
