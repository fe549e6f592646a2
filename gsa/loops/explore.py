"""Explore a body without a task: train on physics alone and keep episodes from all of training.

The reward is never read: the loop below looks at ``step.state`` and ``step.is_last`` and nothing else. What is kept is
the simulator's state in each row and the executed actions, from which ``draw_explored`` draws pixels afterwards.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8

from gsa.config import ExploreDataParams
from gsa.config.fit import check_exploration
from gsa.envs.base import Env
from gsa.errors import DataError
from gsa.policies.exploration import Explorer, NoiseExplorer, make_explorer
from gsa.policies.untrained import UniformPolicy
from gsa.runs.checkpoint import CheckpointStore
from gsa.tasks import DMC_ACTION_DIM

BODY_TASK = {
    "cartpole": "dmc-cartpole-balance",
    "acrobot": "dmc-acrobot-swingup",
    "cheetah": "dmc-cheetah-run",
    "walker": "dmc-walker-stand",
    "quadruped": "dmc-quadruped-walk",
}
"""The suite's plainest task of each body: it gives the initial states and the camera; its reward is not used."""

SAVE_EVERY_S = 60.0
SAVE_SHARE = 0.02
"""A checkpoint per minute, or less often where saving (the replay grows to 0.4 GB) would take more than this share."""

Advance = Callable[[int], None]
"""Told the decisions or rendered frames just done."""


@runtime_checkable
class Body(Env, Protocol):
    """An environment whose moments can be stored and drawn later (``gsa.envs.dmc.DMCEnv`` without pixels)."""

    def physics_state(self) -> np.ndarray:
        """The simulator's state now, positions first."""
        ...

    def render_state(self, state: np.ndarray) -> UInt8[np.ndarray, "3 64 64"]:
        """The picture of a stored state."""
        ...


@dataclass(frozen=True)
class StatePath:
    """One episode as states and executed actions; ``first_env_step`` counts the decisions trained before it."""

    seed: int
    first_env_step: int
    physics: Float64[np.ndarray, "N P"]
    action: Float32[np.ndarray, "N A"]


def run_episode(env: Body, explorer: Explorer, seed: int, first_env_step: int = 0) -> StatePath:
    """Run one episode, the explorer learning as it goes; the last row's action is zero.

    Raises:
        DataError: the simulation diverged, or an action or state is not finite.
    """
    step = env.reset(seed)
    physics = [env.physics_state()]
    actions: list[np.ndarray] = []
    while not step.is_last:
        where = f"exploration of {env.name}, seed {seed}, decision {len(actions)}"
        _finite_state(step.state, where)
        actions.append(explorer.act(step))
        step = env.step(actions[-1])
        explorer.learn(actions[-1], _finite_state(step.state, where))
        physics.append(env.physics_state())
    actions.append(np.zeros(env.action_dim, np.float32))
    return StatePath(seed, first_env_step, np.stack(physics), np.stack(actions))


def explore(
    env: Body,
    domain: str,
    params: ExploreDataParams,
    advance: Advance = lambda done: None,
    checkpoints: CheckpointStore | None = None,
) -> list[StatePath]:
    """Train the explorer of ``params.method`` and return ``params.episodes`` whole episodes, spread from first to last.

    Noise does not change while it acts, so ``ou`` and ``random`` run only the episodes that are kept. Domain and seed
    decide everything; torch runs on one thread meanwhile, because sums depend on the number of threads. Goes on from
    the newest of ``checkpoints`` and saves there between episodes, where it is time or a stop is asked for.

    Raises:
        ParamsError: training is shorter than the episodes to keep, or has no update.
        DataError, TrainingError: the simulation diverged; a loss is not finite.
        StoppedError: a signal arrived; the work so far is saved.
    """
    total = check_exploration(params, env.max_env_steps)
    kept = set(np.linspace(0, total - 1, params.episodes).round().astype(int).tolist())
    training, resets, _ = _streams(domain, params.seed)
    state_dim = len(_finite_state(env.reset(0).state, f"exploration of {env.name}, first reset"))
    explorer = make_explorer(state_dim, env.action_dim, params, total * (env.max_env_steps + 1), training)
    begin, paths, env_steps = 0, [], 0
    if checkpoints is not None and (latest := checkpoints.latest()):
        begin, state = latest
        paths, env_steps = load_paths(state["paths"]), state["env_steps"]
        explorer.load_state_dict(state["explorer"])
        advance(env_steps)
    if checkpoints is not None:
        checkpoints.in_use = True  # it saves after any episode
    seeds, saved, save_s = resets.generate_state(total).tolist(), time.monotonic(), 0.0
    with one_torch_thread():
        for number in range(begin, total):
            path = run_episode(env, explorer, seeds[number], env_steps)
            env_steps += len(path.action) - 1
            if number in kept:
                paths.append(path)
            advance(len(path.action) - 1)
            is_time = time.monotonic() - saved > max(SAVE_EVERY_S, save_s / SAVE_SHARE)
            if checkpoints is not None and (is_time or checkpoints.stop_requested):
                begin_s = time.monotonic()
                state = {"paths": plain_paths(paths), "env_steps": env_steps, "explorer": explorer.state_dict()}
                checkpoints.save(number + 1, state)
                saved, save_s = time.monotonic(), time.monotonic() - begin_s
    return paths


def plain_paths(paths: list[StatePath]) -> list[dict[str, Any]]:
    """Episodes as a checkpoint holds them."""
    return [
        {**vars(path), "physics": torch.from_numpy(path.physics), "action": torch.from_numpy(path.action)}
        for path in paths
    ]


def load_paths(plain: list[dict[str, Any]]) -> list[StatePath]:
    """The inverse of ``plain_paths``."""
    return [
        StatePath(**{**path, "physics": path["physics"].numpy(), "action": path["action"].numpy()}) for path in plain
    ]


def random_reference(env: Body, domain: str, params: ExploreDataParams) -> list[StatePath]:
    """As many episodes of uniform random actions as are kept: what the coverage is compared with."""
    actions, resets = _streams(domain, params.seed)[2].spawn(2)
    rng = np.random.default_rng(actions)
    explorer = NoiseExplorer(UniformPolicy(env.action_dim, rng), rng)
    return [run_episode(env, explorer, seed) for seed in resets.generate_state(params.episodes).tolist()]


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run torch on one thread inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _streams(domain: str, seed: int) -> list[np.random.SeedSequence]:
    """Independent streams for the explorer, its resets and the random reference."""
    return np.random.SeedSequence([seed, list(DMC_ACTION_DIM).index(domain)]).spawn(3)


def _finite_state(state: np.ndarray | None, where: str) -> np.ndarray:
    if state is None or not np.isfinite(state).all():
        raise DataError(f"{where}: the state is {'absent' if state is None else 'not finite'}; the simulation diverged")
    return state
