"""Jobs on a Ray cluster, or on a Ray of this machine where ``RAY_ADDRESS`` and the option ``address`` name none.

Ray decides where a job runs, and shares out cores and GPUs. A worker that dies takes its job with it: a command of ours
ends with its parent, at a checkpoint. Whether it runs again is decided by the sweep, not by Ray.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from gsa.errors import ResourceError
from gsa.sweep import work
from gsa.sweep.work import STOPPED, Ended, Job, run

QUIET = {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False}


class RayEngine:
    """At most ``jobs`` at a time, else as many as the cluster has cores for; each on 1/``per_gpu`` GPU if ``gpus``.

    ``options`` go to ``ray.init``.

    Raises:
        ResourceError: Ray is not installed, or the cluster has no GPU and one is asked for.
    """

    each: int | None = None

    def __init__(self, jobs: int | None, gpus: bool, per_gpu: int, options: Mapping[str, Any]) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise ResourceError(f"--launcher ray needs Ray ({error}): pip install 'gsa[ray]'") from error
        self._ray = ray
        try:
            ray.init(**{**QUIET, **options})
        except (ConnectionError, RuntimeError, TypeError, ValueError) as error:
            raise ResourceError(f"no Ray cluster: {error}; check RAY_ADDRESS and `ray status`") from error
        have = ray.cluster_resources()
        self.cores = int(have.get("CPU", 1))
        self._most = max([int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]], default=1)
        self._busy: dict[Any, Job] = {}
        self._share, places = (1 / per_gpu if gpus else 0.0), int(have.get("GPU", 0) * per_gpu)
        if gpus and not places:
            self.close()
            raise ResourceError(f"--gpus: the Ray cluster has no GPU, it has {have}; leave --gpus out, or add nodes")
        self.jobs = min(jobs or self.cores, places if gpus else 10**9)
        ray.cloudpickle.register_pickle_by_value(work)  # a worker needs no package of ours
        self._task = ray.remote(max_retries=0)(run)

    def room(self, threads: int) -> bool:
        """Whether the cluster has cores for another job; it may have grown."""
        self.cores = int(self._ray.cluster_resources().get("CPU", 0)) or self.cores
        used = sum(job.threads for job in self._busy.values())
        return not self._busy or (len(self._busy) < self.jobs and used + threads <= max(self.cores, self.jobs))

    def start(self, job: Job) -> None:
        """Queue it."""
        job = replace(job, threads=min(job.threads, self._most))
        task = self._task.options(num_cpus=job.threads, num_gpus=self._share, name=job.name)
        self._busy[task.remote(job)] = job

    def finished(self) -> list[Ended]:
        """See ``Engine``."""
        if not self._busy:
            return []
        refs = list(self._busy)
        done, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return [self._ended(ref, self._busy.pop(ref)) for ref in done]

    def _ended(self, ref: Any, job: Job) -> Ended:
        kinds = self._ray.exceptions
        try:
            end = self._ray.get(ref)
            return Ended(end.name, end.code, end.last_line)
        except kinds.TaskCancelledError:
            return Ended(job.name, STOPPED)
        except kinds.OutOfMemoryError as error:
            return Ended(job.name, 1, " ".join(str(error).split())[:300])
        except (kinds.RayTaskError, kinds.TaskUnschedulableError) as error:
            return Ended(job.name, 1, str(error).strip().splitlines()[-1])
        except kinds.RayError as error:
            return Ended(job.name, 1, type(error).__name__, lost=True)

    def stop(self) -> None:
        """Interrupt the jobs that run, and take back those that wait."""
        for ref in self._busy:
            self._ray.cancel(ref, force=False)

    def close(self) -> None:
        """Leave the cluster; Ray ends what this driver still has there."""
        self._busy = {}
        with suppress(Exception):
            self._ray.shutdown()
