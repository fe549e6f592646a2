"""Jobs in a SLURM queue through submitit: those that are ready together become one array of jobs.

A job that SLURM preempts or that reaches its time limit is asked to save its checkpoint and is queued again by
submitit. The queue goes on where a sweep dies; the next one finds what was made, and waits for what still runs.
"""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from gsa.errors import ParamsError, ResourceError
from gsa.sweep.work import GRACE_S, LOGS, STOPPED, Ended, Job, run

FOLDER = LOGS / "slurm"
"""What submitit and SLURM write; the output of a command is in its own log beside it."""

ASK_S = 2.0
"""How often jobs are asked after."""

DEFAULTS = {"timeout_min": 720, "cpus_per_task": 1}
"""Options where none are given."""


class Work:
    """What a job of the queue does; submitit pickles it, and calls ``checkpoint`` when SLURM is about to end it."""

    def __init__(self, job: Job) -> None:
        self.job, self.pid = job, 0

    def __call__(self) -> Ended:
        """Run the command."""
        return run(self.job, started=self._note)

    def _note(self, pid: int) -> None:
        self.pid = pid

    def checkpoint(self) -> Any:
        """End the command at its next checkpoint; the same work is queued again."""
        from submitit.helpers import DelayedSubmission

        if self.pid:
            with suppress(ProcessLookupError, ChildProcessError):
                os.killpg(self.pid, signal.SIGTERM)
                deadline = time.monotonic() + GRACE_S
                # Looked at, not waited for: this interrupts the function that waits.
                while time.monotonic() < deadline and not os.waitid(
                    os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
                ):
                    time.sleep(0.1)
        return DelayedSubmission(Work(self.job))


class SlurmEngine:
    """At most ``jobs`` of the queue at a time (None: no limit of ours), each with a GPU if ``gpus``.

    ``options`` are parameters of submitit's AutoExecutor, e.g. ``slurm_partition``, ``timeout_min`` or
    ``cpus_per_task``; ``cluster: local`` runs the same on this machine, without a queue.

    Raises:
        ResourceError: submitit is not installed, or there is no SLURM.
        ParamsError: an option that submitit does not know.
    """

    def __init__(self, jobs: int | None, gpus: bool, options: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError as error:
            raise ResourceError(f"--launcher slurm needs submitit ({error}): pip install 'gsa[slurm]'") from error
        given = {**DEFAULTS, **({"gpus_per_node": 1} if gpus else {}), **options}
        try:
            self._executor = submitit.AutoExecutor(FOLDER, cluster=given.pop("cluster", "slurm"))
            self._executor.update_parameters(**given)
        except (RuntimeError, FileNotFoundError) as error:
            raise ResourceError(f"no SLURM here: {error}; start the sweep where `sbatch` works") from error
        except (NameError, TypeError, ValueError) as error:
            raise ParamsError(f"--option: {error}") from error
        self.cores = self.each = int(given["cpus_per_task"])
        self.jobs = jobs or 10**6
        self._queued: list[Job] = []
        self._dropped: list[Ended] = []
        self._busy: list[tuple[Job, Any]] = []
        self._asked = 0.0

    def room(self, threads: int) -> bool:
        """The queue takes what it gets, up to the limit."""
        return len(self._queued) + len(self._busy) < self.jobs

    def start(self, job: Job) -> None:
        """Queue it with what else is ready now."""
        self._queued.append(job)

    def finished(self) -> list[Ended]:
        """See ``Engine``; what was queued since the last call is submitted as one array."""
        if self._queued:
            with self._executor.batch():
                new = [self._executor.submit(Work(job)) for job in self._queued]
            self._busy += zip(self._queued, new, strict=True)
            self._queued = []
        dropped, self._dropped = self._dropped, []
        if time.monotonic() < self._asked + ASK_S:
            return dropped
        self._asked = time.monotonic()
        done = [(job, submitted) for job, submitted in self._busy if submitted.done()]
        self._busy = [pair for pair in self._busy if pair not in done]
        return dropped + [_ended(job, submitted) for job, submitted in done]

    def stop(self) -> None:
        """Cancel the jobs: SLURM asks each to end, and gives it 30 s as a rule (KillWait)."""
        self._dropped += [Ended(job.name, STOPPED) for job in self._queued]
        self._queued = []
        for _, submitted in self._busy:
            submitted.cancel(check=False)

    def close(self) -> None:
        """Cancel what still runs."""
        self.stop()


def _ended(job: Job, submitted: Any) -> Ended:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        end: Ended = submitted.result()
        return end
    except FailedJobError as error:
        return Ended(job.name, 1, str(error).strip().splitlines()[-1])
    except UncompletedJobError:
        cancelled = "CANCELLED" in submitted.state or submitted.state == "INTERRUPTED"
        return Ended(job.name, STOPPED if cancelled else 1, f"job {submitted.job_id} {submitted.state}", not cancelled)
