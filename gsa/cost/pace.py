"""How fast this machine makes data: a few dozen decisions of each body and a few updates of its explorer.

What is measured is what the stages run: the environment in the chosen picture quality with the policy that will act,
the explorer's update, both encodings of the frames just drawn. As many processes measure at a time as will work later,
so that what they take from each other is in the numbers.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsa.config import Params
from gsa.envs import make_env
from gsa.envs.base import SuiteEnv
from gsa.envs.rollout import rollout
from gsa.episode import Episode, Step
from gsa.loops.draw_explored import render_path
from gsa.loops.explore import BODY_TASK, one_torch_thread, run_episode
from gsa.loops.watched import WatchedEnv
from gsa.parallel.workers import Beat, run_workers
from gsa.policies import POLICIES
from gsa.policies.exploration import CuriousExplorer, make_explorer
from gsa.policies.untrained import UniformPolicy
from gsa.storage.raw import read_raw_episode, write_raw_episode
from gsa.storage.store_writer import write_store
from gsa.tasks import get_task

DECISIONS = 40
"""Decisions of a trial: a row group of the store and a little more."""

UPDATES = 3
"""Updates of a trial, after one that is not counted."""

COPIES = 8
"""How often a trial's episode is converted, so that what a conversion costs once weighs little."""


@dataclass(frozen=True)
class Pace:
    """What one process needs for one body: seconds, and bytes per row.

    ``decision_s`` is acting and simulating, and drawing too where ``draw_s``, a picture of a stored state, is 0;
    ``plain_s`` is a decision that is not drawn.
    """

    episode_s: float
    decision_s: float
    update_s: float
    draw_s: float
    write_s: float
    raw_bytes: float
    convert_s: float
    stored_bytes: float
    plain_s: float


@dataclass(frozen=True)
class Trial:
    """What a process measures: ``policy`` acting in a task, or a method of that name exploring the task's body."""

    task: str
    policy: str
    explores: bool

    @property
    def key(self) -> tuple[str, bool]:
        """Trials of a key are averaged: the body, and whether it was explored."""
        return get_task(self.task).embodiment, self.explores


def trials(params: Params, workers: int) -> list[Trial]:
    """What to measure for a profile: every body that is collected, explored, fine-tuned on or probed.

    A body has a trial per worker, on tasks spread evenly over those it appears in.
    """
    bodies: dict[tuple[str, bool], list[Trial]] = defaultdict(list)
    matrix = params.matrix
    # The agents of tdmpc2 may not be there yet; their networks take little beside the simulator, plans do not.
    acting = dict.fromkeys((task, "expert" if who == "tdmpc2" else who) for task, who, _ in params.sources)
    todo = [Trial(task, policy, False) for task, policy in acting]
    todo += [Trial(BODY_TASK[domain], params.explore_data.method, True) for domain in matrix.explore_data.domains]
    for trial in todo:
        bodies[trial.key].append(trial)
    for trial in (Trial(task, "random", False) for task in (*matrix.finetune.tasks, *matrix.probe_actions.tasks)):
        if not {(trial.key[0], True), trial.key} & set(bodies):
            bodies[trial.key] = [trial]
    return [found[n * len(found) // workers] for found in bodies.values() for n in range(workers)]


def measure(params: Params, todo: list[Trial], workers: int | None) -> dict[tuple[str, bool], Pace]:
    """The pace of each trial's key, as a mean over its trials. None as ``workers`` measures in this process.

    Raises:
        ResourceError: no OpenGL back-end, or a trial that no process survives.
    """
    if workers is None:
        results = [_try(params, lambda: None, trial) for trial in todo]
    else:
        results = list(run_workers(partial(_start, params), todo, "trial of {0.task}".format, workers))
    found: dict[tuple[str, bool], list[Any]] = defaultdict(list)
    for key, pace in results:
        found[key].append(astuple(pace))
    return {key: Pace(*np.mean(paces, 0).tolist()) for key, paces in found.items()}


def _start(params: Params, beat: Beat) -> Callable[[Trial], tuple[tuple[str, bool], Pace]]:
    torch.set_num_threads(1)
    return partial(_try, params, beat)


def _try(params: Params, beat: Beat, trial: Trial) -> tuple[tuple[str, bool], Pace]:
    seconds, episode = (_explore if trial.explores else _collect)(trial, params, beat)
    return trial.key, Pace(**seconds, **_weigh(episode, params))


class _Stretch(WatchedEnv):
    """The first ``DECISIONS`` of each episode, its resets timed."""

    def __init__(self, env: Any, beat: Beat):
        super().__init__(env, beat)
        self.max_env_steps, self.reset_s, self.count = DECISIONS, 0.0, 0

    def reset(self, seed: int | None = None) -> Step:
        begin = time.perf_counter()
        first = super().reset(seed)
        self.reset_s, self.count = time.perf_counter() - begin, 0
        return first

    def step(self, action: np.ndarray) -> Step:
        self.count += 1
        step = super().step(action)
        return replace(step, is_last=step.is_last or self.count == DECISIONS)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and what it returned."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def seconds_per_update(update: Callable[[], Any]) -> float:
    """A mean over ``UPDATES`` calls, after one that is not counted."""
    update()
    return timed(lambda: [update() for _ in range(UPDATES)])[0] / UPDATES


def _collect(trial: Trial, params: Params, beat: Beat) -> tuple[dict[str, float], Episode]:
    rng = np.random.default_rng(0)
    with closing(_Stretch(own := make_env(trial.task, params.render), beat)) as env:
        spec = replace(get_task(trial.task), action_dim=env.action_dim)
        policy = POLICIES[trial.policy](spec, 0.1, rng, None)
        policy.act(env.reset(0))  # the first picture makes the context
        seconds, episode = timed(lambda: rollout(env, policy, 1))
        paces = {"episode_s": env.reset_s, "decision_s": (seconds - env.reset_s) / DECISIONS}
        if isinstance(own, SuiteEnv):  # another environment draws what nobody looks at
            own.pixels = False
        seconds, _ = timed(lambda: rollout(env, UniformPolicy(env.action_dim, rng), 1))
        plain_s = (seconds - env.reset_s) / DECISIONS
    return {**paces, "update_s": 0.0, "draw_s": 0.0, "plain_s": plain_s}, episode


def _explore(trial: Trial, params: Params, beat: Beat) -> tuple[dict[str, float], Episode]:
    section = params.explore_data
    settled = section.model_copy(update={"seed_env_steps": 1, "update_every": 10**9})  # acts, and updates when told to
    with closing(_Stretch(make_env(trial.task, params.render, pixels=False), beat)) as env, one_torch_thread():
        state = env.reset(0).state
        assert state is not None
        rows = 2 * (DECISIONS + 1)
        explorer = make_explorer(len(state), env.action_dim, settled, rows, np.random.SeedSequence(0))
        run_episode(env, explorer, 0)
        seconds, path = timed(lambda: run_episode(env, explorer, 1))
        update_s = _update_s(explorer, section.batch_size, beat) if isinstance(explorer, CuriousExplorer) else 0.0
        env.render_state(path.physics[0])  # makes the context
        draw_s, episode = timed(lambda: render_path(env, path, get_task(trial.task).embodiment))
    decision_s = (seconds - env.reset_s) / DECISIONS
    draw_s /= len(episode)
    paces = {"decision_s": decision_s, "plain_s": decision_s, "update_s": update_s, "draw_s": draw_s}
    return {"episode_s": env.reset_s, **paces}, episode


def _update_s(explorer: CuriousExplorer, batch_size: int, beat: Beat) -> float:
    def update() -> None:
        beat()
        explorer.update(explorer.replay.sample(batch_size, explorer.batch_rng))

    return seconds_per_update(update)


def _weigh(episode: Episode, params: Params) -> dict[str, float]:
    """What the frames weigh and how long they take in both encodings, through the functions that the stages call."""
    rows = len(episode)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_s, path = timed(lambda: write_raw_episode(folder, 0, episode))
        facts = {"source": "trial", "embodiment": "trial"}
        copies = (replace(read_raw_episode(path), info={**facts, "file": f"{copy}"}) for copy in range(COPIES))
        convert_s, manifest = timed(lambda: write_store(copies, folder / "store", params.convert))
        shards = [entry["bytes"] for file, entry in manifest["files"].items() if file.startswith("shards/")]
        raw_bytes = path.stat().st_size
    return {
        "write_s": write_s / rows,
        "raw_bytes": raw_bytes / rows,
        "convert_s": convert_s / (COPIES * rows),
        "stored_bytes": sum(shards) / (COPIES * rows),
    }
