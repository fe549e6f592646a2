"""Explore a body without a task: train on physics alone, keep episodes from all of training, render only those.

The reward is never read: the loop below looks at ``step.state`` and ``step.is_last`` and nothing else. What is kept is
the simulator's state in each row and the executed actions, from which pixels are drawn afterwards.
"""

import importlib.metadata
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8

from gsa.config import ExploreDataParams
from gsa.envs.base import Env
from gsa.envs.rendering import BLACK_FRAME
from gsa.episode import Episode, check_action
from gsa.errors import DataError, ParamsError
from gsa.runs.workers import Beat, run_workers
from gsa.sources.coverage import pose_coverage
from gsa.sources.curiosity import INTRINSIC_REWARDS
from gsa.sources.exploration import Explorer, RandomExplorer, make_explorer
from gsa.storage.raw import write_manifest, write_raw_episode
from gsa.tasks import DMC_ACTION_DIM

log = logging.getLogger(__name__)

BODY_TASK = {
    "cartpole": "dmc-cartpole-balance",
    "acrobot": "dmc-acrobot-swingup",
    "cheetah": "dmc-cheetah-run",
    "walker": "dmc-walker-stand",
    "quadruped": "dmc-quadruped-walk",
}
"""The suite's plainest task of each body: it gives the initial states and the camera; its reward is not used."""

MAX_SATURATION = 0.6
"""Largest accepted share of action entries beyond 0.99 (BASELINES.md section 11.3)."""

ENOUGH_COVERAGE = 0.9
"""Coverage accepted even where random actions have more: they already visit all poses of the cartpole (0.94)."""

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
        state = _finite_state(step.state, where)
        actions.append(check_action(explorer.act(state, is_first=not actions), env.action_dim, where))
        step = env.step(actions[-1])
        explorer.learn(actions[-1], _finite_state(step.state, where))
        physics.append(env.physics_state())
    actions.append(np.zeros(env.action_dim, np.float32))
    return StatePath(seed, first_env_step, np.stack(physics), np.stack(actions))


def explore(env: Body, domain: str, params: ExploreDataParams, advance: Advance = lambda done: None) -> list[StatePath]:
    """Train the explorer of ``params.method`` and return ``params.episodes`` whole episodes, spread from first to last.

    Noise does not change while it acts, so ``ou`` and ``random`` run only the episodes that are kept. Domain and seed
    decide everything; torch runs on one thread meanwhile, because sums depend on the number of threads.

    Raises:
        ParamsError: training is shorter than the episodes to keep.
        DataError, TrainingError: the simulation diverged; a loss is not finite.
    """
    total = planned_episodes(params, env.max_env_steps)
    kept = set(np.linspace(0, total - 1, params.episodes).round().astype(int).tolist())
    training, resets, _ = _streams(domain, params.seed)
    state_dim = len(_finite_state(env.reset(0).state, f"exploration of {env.name}, first reset"))
    explorer = make_explorer(state_dim, env.action_dim, params, total * (env.max_env_steps + 1), training)
    paths, env_steps = [], 0
    with one_torch_thread():
        for number, seed in enumerate(resets.generate_state(total).tolist()):
            path = run_episode(env, explorer, seed, env_steps)
            env_steps += len(path.action) - 1
            if number in kept:
                paths.append(path)
            advance(len(path.action) - 1)
    return paths


def planned_episodes(params: ExploreDataParams, max_env_steps: int) -> int:
    """How many episodes are run, kept or not.

    Raises:
        ParamsError: fewer than are to be kept.
    """
    if params.method not in INTRINSIC_REWARDS:
        return params.episodes
    total = params.train_env_steps // max_env_steps
    if total < params.episodes:
        raise ParamsError(
            f"explore_data.train_env_steps = {params.train_env_steps} is {total} episodes of {max_env_steps} "
            f"decisions, fewer than explore_data.episodes = {params.episodes}; raise the first to at least "
            f"{params.episodes * max_env_steps}"
        )
    return total


def random_reference(env: Body, domain: str, params: ExploreDataParams) -> list[StatePath]:
    """As many episodes of uniform random actions as are kept: what the coverage is compared with."""
    actions, resets = _streams(domain, params.seed)[2].spawn(2)
    explorer = RandomExplorer(env.action_dim, np.random.default_rng(actions))
    return [run_episode(env, explorer, seed) for seed in resets.generate_state(params.episodes).tolist()]


def check_gates(paths: list[StatePath], reference: list[StatePath], domain: str, method: str) -> dict[str, Any]:
    """The measurements that decide whether data is accepted; ``failed`` names the gates that did not pass.

    Coverage must exceed that of random actions at equal length or ``ENOUGH_COVERAGE`` (not asked of ``random`` itself),
    and fewer than 60% of action entries may exceed 0.99 in size. States were checked for NaN on the way, frames for
    blankness by the camera.
    """
    rows, random_rows = (np.concatenate([p.physics for p in group]) for group in (paths, reference))
    actions = np.concatenate([p.action[:-1] for p in paths])
    facts: dict[str, Any] = {
        "coverage": pose_coverage(rows, domain),
        "coverage_random": pose_coverage(random_rows, domain),
        "saturation": float((np.abs(actions) > 0.99).mean()),
    }
    facts["failed"] = []
    needed = min(facts["coverage_random"], ENOUGH_COVERAGE)
    if method != "random" and facts["coverage"] <= needed:
        facts["failed"].append(f"coverage {facts['coverage']:.3f} is not above {needed:.3f} (random actions)")
    if facts["saturation"] >= MAX_SATURATION:
        facts["failed"].append(f"saturation {facts['saturation']:.2f} is not below {MAX_SATURATION}")
    return facts


def render_path(env: Body, path: StatePath, domain: str, beat: Beat = lambda: None) -> Episode:
    """The episode in pixels, without reward; ``beat`` is called before every frame."""
    rows = np.arange(len(path.action))
    frames = []
    for state in path.physics:
        beat()
        frames.append(env.render_state(state))
    return Episode(
        image=np.stack(frames),
        action=path.action,
        is_first=rows == 0,
        is_last=rows == rows[-1],
        is_terminal=np.zeros(len(rows), bool),
        info={"embodiment": domain, "seed": path.seed},
    )


def explore_domain(
    env: Body,
    domain: str,
    params: ExploreDataParams,
    render: dict[str, Any],
    folder: Path,
    advance: Advance = lambda done: None,
    workers: int | None = None,
    make_body: Callable[[], Body] | None = None,
) -> dict[str, Any]:
    """Explore, check, render and write raw episodes with their manifest into ``folder``; returns the measurements.

    ``render`` says how images were made and goes into the manifest. Equal domain and params give equal bytes. With
    ``workers`` as many processes render, each with a body that ``make_body`` (picklable) makes; else ``env`` does.

    Raises:
        DataError: a quality gate failed and ``params.failed_gate`` is refuse; the simulation diverged.
        ParamsError, TrainingError: as ``explore``.
        ResourceError: an episode that no worker survives.
    """
    paths = explore(env, domain, params, advance)
    gates = check_gates(paths, random_reference(env, domain, params), domain, params.method)
    for failure in gates["failed"]:
        log.warning("%s explored by %s: %s", domain, params.method, failure)
    if gates["failed"] and params.failed_gate == "refuse":
        raise DataError(
            f"{domain} explored by {params.method}: {'; '.join(gates['failed'])}; raise explore_data.train_env_steps, "
            "take another explore_data.method, or set explore_data.failed_gate to keep"
        )
    files, first_frames = [""] * len(paths), np.zeros((len(paths), *BLACK_FRAME.shape), np.uint8)
    for number, file, first_frame in _draw_all(paths, domain, folder, env, workers, make_body):
        files[number], first_frames[number] = file, first_frame
        advance(len(paths[number].action))
    records = [
        {"file": file, "seed": path.seed, "first_env_step": path.first_env_step}
        for file, path in zip(files, paths, strict=True)
    ]
    gates["first_frame_distance"] = _mean_distance(first_frames)
    source = {
        "name": f"explore-{domain}",
        "embodiment": domain,
        "action_dim": env.action_dim,
        "task": None,
        "policy": params.method,
        "sigma": params.action_std if params.method in INTRINSIC_REWARDS else None,
        "seed": params.seed,
        "reward": "absent: the explorer's loop never reads it",
        "params": params.model_dump(exclude={"domains", "workers"}),
        "gates": gates,
        "render": render,
        "versions": {name: importlib.metadata.version(name) for name in ("dm_control", "mujoco", "numpy", "torch")},
    }
    write_manifest(folder, source, records)
    return gates


Drawn = tuple[int, str, UInt8[np.ndarray, "3 64 64"]]
"""Number, file and first frame of a written episode."""


def _draw_all(
    paths: list[StatePath],
    domain: str,
    folder: Path,
    env: Body,
    workers: int | None,
    make_body: Callable[[], Body] | None,
) -> Iterator[Drawn]:
    items = list(enumerate(paths))
    if workers is None or make_body is None:
        yield from (_draw(env, domain, folder, lambda: None, item) for item in items)
        return
    start = partial(_start_drawing, make_body, domain, folder)
    yield from run_workers(start, items, lambda item: f"{domain}, episode {item[0]}", workers)


def _start_drawing(
    make_body: Callable[[], Body], domain: str, folder: Path, beat: Beat
) -> Callable[[tuple[int, StatePath]], Drawn]:
    return partial(_draw, make_body(), domain, folder, beat)


def _draw(env: Body, domain: str, folder: Path, beat: Beat, item: tuple[int, StatePath]) -> Drawn:
    number, path = item
    episode = render_path(env, path, domain, beat)
    return number, write_raw_episode(folder, number, episode).name, episode.image[0]


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


def _mean_distance(frames: UInt8[np.ndarray, "M C Y X"]) -> float:
    """Mean absolute difference of pixels over all pairs of frames, in [0, 1]; 0 for a single frame."""
    flat = frames.reshape(len(frames), -1).astype(np.int16)
    pairs = [np.abs(flat[i] - flat[j]).mean() for i in range(len(flat)) for j in range(i)]
    return float(np.mean(pairs)) / 255.0 if pairs else 0.0
