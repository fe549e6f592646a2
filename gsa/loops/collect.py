"""Collect the raw episodes of one task at one noise level, in parallel, so that a killed run loses none it finished.

Episode n depends on the job and n alone: not on the number of workers, nor on what was collected before it.
"""

import importlib.metadata
import logging
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gsa.config import RenderParams
from gsa.envs import make_env, ready_backend
from gsa.envs.base import Env
from gsa.envs.rollout import rollout
from gsa.episode import Episode
from gsa.errors import BrokenWorkerError, DataError
from gsa.loops.watched import with_envs
from gsa.pipeline import source_name
from gsa.policies import POLICIES, AgentFile, check_policy
from gsa.storage.kept import KeptEpisodes
from gsa.storage.raw import write_manifest
from gsa.tasks import TaskSpec, task_stamp

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""How often an episode whose simulation diverges is begun anew, each time with another seed."""

MAX_DROPPED_SHARE = 0.05
"""More diverged episodes than this share (and than one) mean that something is wrong; then nothing is published."""

MakeTask = Callable[[TaskSpec, RenderParams], Env]
"""``gsa.envs.make_env`` or, in tests, what stands for it; picklable."""


@dataclass(frozen=True)
class CollectJob:
    """What decides an episode's content, besides its number."""

    spec: TaskSpec
    policy: str
    sigma: float
    seed: int
    render: RenderParams
    agent: AgentFile | None = None

    @property
    def name(self) -> str:
        """The source's name, e.g. ``mw-reach_expert_sigma-0.5``."""
        return source_name(self.task, self.policy, self.sigma)

    @property
    def task(self) -> str:
        """The task's name."""
        return self.spec.name

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that decide an episode's content."""
        names = ("gymnasium",) if self.spec.suite == "own" else ("dm_control", "metaworld")
        return {name: importlib.metadata.version(name) for name in (*names, "mujoco", "numpy")}


@dataclass(frozen=True)
class CollectFacts:
    """What was collected: ``kept`` of the ``episodes`` lay there from an interrupted run, ``dropped`` diverged."""

    episodes: int
    kept: int
    dropped: int
    mean_return: float
    success_share: float


def collect(
    job: CollectJob,
    episodes: int,
    folder: Path,
    work: Path,
    stamp: str = "",
    workers: int | None = None,
    advance: Callable[[int], None] = lambda env_steps: None,
    saved: Callable[[int], None] = lambda episodes: None,
    make: MakeTask = make_env,
) -> CollectFacts:
    """Write ``episodes`` raw episodes and their manifest into ``folder``.

    Args:
        job: Task, policy, noise, seed and picture quality.
        episodes: How many.
        folder: Existing folder for the npz files and ``manifest.json``.
        work: Where finished episodes wait, each beside a record of its checksum and settings. What an interrupted run
            left there is kept where the checksum holds and job, versions and ``stamp`` are the same.
        stamp: Stands for whatever else decides the content (code).
        workers: Processes, one environment each; one that dies, hangs or draws nothing is replaced. None collects in
            this process, which nobody watches (tests, debugging).
        advance: Told the decisions of each episode as it becomes available.
        saved: Told how many episodes are safe in ``work``.
        make: Makes the environments, in the processes that use them.

    Raises:
        ParamsError: no expert for the task, or an environment of the user's that cannot be made.
        ResourceError: no OpenGL back-end, disk full, or an episode that no worker survives.
        DataError: too many simulations diverged, or a policy acts outside its type.
    """
    check_policy(job.policy, job.spec)
    backend = ready_backend(job.spec, job.render.backend)
    job = replace(job, render=job.render.model_copy(update={"backend": backend}))
    work.mkdir(parents=True, exist_ok=True)
    settings = {**asdict(job), "spec": task_stamp(job.spec), "render": job.render.model_dump()}
    store = KeptEpisodes(work, {"job": settings, "versions": job.versions, "stamp": stamp})
    records = {n: record for n in range(episodes) if (record := store.find(n)) is not None}
    kept = len(records)
    if kept:
        log.info("%s: keeping %d of %d episodes from an interrupted run", job.name, kept, episodes)
        advance(sum(record["env_steps"] for record in records.values()))
        saved(kept)
    todo = [n for n in range(episodes) if n not in records]
    make_one, work_on = partial(make, job.spec, job.render), partial(_collect_one, job, store)
    for record in with_envs(make_one, work_on, todo, lambda index: f"{job.name}, episode {index}", workers):
        records[record["index"]] = record
        advance(record["env_steps"])
        saved(len(records))
    ordered = [records[n] for n in range(episodes)]
    dropped = sum(record["attempt"] for record in ordered)
    if dropped > max(1.0, MAX_DROPPED_SHARE * episodes):
        raise DataError(f"{job.name}: {dropped} simulations diverged for {episodes} episodes; look into the log")
    _publish(job, ordered, store, folder)
    return CollectFacts(
        episodes=episodes,
        kept=kept,
        dropped=dropped,
        mean_return=float(np.mean([record["return"] for record in ordered])),
        success_share=float(np.mean([record["success"] for record in ordered])),
    )


def collect_episode(env: Env, job: CollectJob, index: int) -> tuple[Episode, int]:
    """Episode ``index`` of the job, and how many attempts before it diverged.

    Raises:
        DataError: ``MAX_ATTEMPTS`` simulations in a row diverged, or the policy acts outside its type.
    """
    spec = replace(job.spec, action_dim=env.action_dim)
    for attempt in range(MAX_ATTEMPTS):
        words = [zlib.crc32(f"{job.task} {job.policy} {job.sigma}".encode()), index, attempt]
        env_stream, policy_stream = np.random.SeedSequence([job.seed, *words]).spawn(2)
        env_seed = int(env_stream.generate_state(1)[0])
        policy = POLICIES[job.policy](spec, job.sigma, np.random.default_rng(policy_stream), job.agent)
        try:
            episode = rollout(env, policy, env_seed)
        except DataError as error:
            log.warning("%s, episode %d, seed %d: %s", job.name, index, env_seed, error)
            failure = error
            continue
        info = {**episode.info, "policy": job.policy, "sigma": job.sigma}
        return replace(episode, info=info), attempt
    raise failure


def _collect_one(job: CollectJob, store: KeptEpisodes, env: Env, index: int) -> dict[str, Any]:
    episode, attempt = collect_episode(env, job, index)
    if (episode.image == episode.image[0]).all():
        raise BrokenWorkerError(
            f"all {len(episode)} frames are the same; choose another render.backend or, for a task of yours, camera"
        )
    assert episode.reward is not None and episode.success is not None
    facts = {
        "seed": episode.info["seed"],
        "attempt": attempt,
        "env_steps": len(episode) - 1,
        "action_dim": env.action_dim,
        "return": float(episode.reward.sum()),
        "success": bool(episode.success[-1]),
    }
    return store.keep(index, episode, facts)


def _publish(job: CollectJob, records: list[dict[str, Any]], store: KeptEpisodes, folder: Path) -> None:
    spec = job.spec
    store.publish(records, folder)
    source = {
        "name": job.name,
        "task": job.task,
        "embodiment": spec.embodiment,
        "action_dim": records[0]["action_dim"],
        "policy": job.policy,
        "sigma": job.sigma,
        "seed": job.seed,
        "render": {**job.render.model_dump(), "camera": spec.camera},
        "versions": job.versions,
    }
    if spec.suite == "own":
        source["env"] = task_stamp(spec)
    if job.agent is not None:
        file = Path(job.agent.path).name
        source["agent"] = {"file": file, "sha256": job.agent.sha256, "mode": job.agent.mode}
    # Return and success stay out of the manifest: they would tell the task's reward to whatever reads it.
    kept = ("file", "seed", "attempt")
    write_manifest(folder, source, [{key: record[key] for key in kept} for record in records])
