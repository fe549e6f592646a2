"""From explored states to raw episodes: check that they are worth drawing, draw them, write them with their manifest.

What is done survives: training and its verdict as a checkpoint, each drawn episode as a file. So a killed run goes on
where it was, and data that a gate refused can still be kept without training again.
"""

import importlib.metadata
import logging
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gsa.config import ExploreDataParams
from gsa.config.fit import check_exploration
from gsa.episode import Episode
from gsa.errors import DataError, StoppedError
from gsa.loops.explore import (
    Advance,
    Body,
    StatePath,
    explore,
    load_paths,
    plain_paths,
    random_reference,
)
from gsa.loops.watched import with_envs
from gsa.policies.coverage import pose_coverage
from gsa.policies.curiosity import INTRINSIC_REWARDS
from gsa.runs.checkpoint import CheckpointStore
from gsa.storage.kept import KeptEpisodes
from gsa.storage.raw import read_raw_episode, write_manifest

log = logging.getLogger(__name__)

MAX_SATURATION = 0.6
"""Largest accepted share of action entries beyond 0.99."""

ENOUGH_COVERAGE = 0.9
"""Coverage accepted even where random actions have more: they already visit all poses of the cartpole (0.94)."""


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


def render_path(env: Body, path: StatePath, domain: str) -> Episode:
    """The episode in pixels, without reward."""
    rows = np.arange(len(path.action))
    return Episode(
        image=np.stack([env.render_state(state) for state in path.physics]),
        action=path.action,
        is_first=rows == 0,
        is_last=rows == rows[-1],
        is_terminal=np.zeros(len(rows), bool),
        info={"embodiment": domain, "seed": path.seed},
    )


def explore_domain(
    make: Callable[[], Body],
    domain: str,
    params: ExploreDataParams,
    render: dict[str, Any],
    folder: Path,
    checkpoints: CheckpointStore,
    advance: Advance = lambda done: None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Explore, check, render and write raw episodes with their manifest into ``folder``; returns the measurements.

    ``make`` (picklable) makes the body, once to explore and once for each of the ``workers``, processes that render;
    without workers this process does. ``render`` says how images were made and goes into the manifest. Equal domain and
    params give equal bytes, however often the work was interrupted and taken up from ``checkpoints``, which
    ``params.failed_gate`` does not invalidate.

    Raises:
        DataError: a quality gate failed and ``params.failed_gate`` is refuse; the simulation diverged.
        ParamsError, TrainingError: as ``explore``.
        ResourceError: an episode that no worker survives.
        StoppedError: a signal arrived; what is done is kept.
    """
    with closing(make()) as env:
        paths, gates = _train_and_check(env, domain, params, advance, checkpoints)
    for failure in gates["failed"]:
        log.warning("%s explored by %s: %s", domain, params.method, failure)
    if gates["failed"] and params.failed_gate == "refuse":
        raise DataError(
            f"{domain} explored by {params.method}: {'; '.join(gates['failed'])}; raise explore_data.train_env_steps, "
            "take another explore_data.method, or set explore_data.failed_gate to keep, which trains nothing again"
        )
    work = checkpoints.work("episodes")
    kept = KeptEpisodes(work, {"stamp": checkpoints.fingerprint, "render": render})
    records = {n: record for n in range(len(paths)) if (record := kept.find(n)) is not None}
    advance(sum(len(paths[n].action) for n in records))
    todo = [(number, path) for number, path in enumerate(paths) if number not in records]
    draw, name = partial(_draw, domain, kept), f"{domain}, episode {{0[0]}}".format
    for record in with_envs(make, draw, todo, name, workers):
        records[record["index"]] = record
        advance(len(paths[record["index"]].action))
        if checkpoints.stop_requested:
            done = f"{len(records)} of {len(paths)} episodes of {domain}"
            raise StoppedError(f"stopped by a signal after drawing {done}; the same command resumes there")
    ordered = [records[number] for number in range(len(paths))]
    first_frames = np.stack([read_raw_episode(work / record["file"]).image[0] for record in ordered])
    gates["first_frame_distance"] = _mean_distance(first_frames)
    kept.publish(ordered, folder)
    source = {
        "name": f"explore-{domain}",
        "embodiment": domain,
        "action_dim": paths[0].action.shape[1],
        "task": None,
        "policy": params.method,
        "sigma": params.action_std if params.method in INTRINSIC_REWARDS else None,
        "seed": params.seed,
        "reward": "absent: the explorer's loop never reads it",
        "params": params.model_dump(),
        "gates": gates,
        "render": render,
        "versions": {name: importlib.metadata.version(name) for name in ("dm_control", "mujoco", "numpy", "torch")},
    }
    recorded = ("file", "seed", "first_env_step")
    write_manifest(folder, source, [{key: record[key] for key in recorded} for record in ordered])
    return gates


def _train_and_check(
    env: Body, domain: str, params: ExploreDataParams, advance: Advance, checkpoints: CheckpointStore
) -> tuple[list[StatePath], dict[str, Any]]:
    """The episodes to keep and the verdict on them, computed once."""
    total = check_exploration(params, env.max_env_steps)
    latest = checkpoints.latest()
    if latest and latest[0] == total + 1:
        paths, gates = load_paths(latest[1]["paths"]), latest[1]["gates"]
        advance(latest[1]["env_steps"])
        return paths, gates
    paths = explore(env, domain, params, advance, checkpoints)
    gates = check_gates(paths, random_reference(env, domain, params), domain, params.method)
    state = {"paths": plain_paths(paths), "gates": gates, "env_steps": total * env.max_env_steps}
    checkpoints.save(total + 1, state)
    return paths, gates


def _draw(domain: str, kept: KeptEpisodes, env: Body, item: tuple[int, StatePath]) -> dict[str, Any]:
    """Draw an episode under its number and keep it; returns its record."""
    number, path = item
    facts = {"seed": path.seed, "first_env_step": path.first_env_step}
    return kept.keep(number, render_path(env, path, domain), facts)


def _mean_distance(frames: UInt8[np.ndarray, "M C Y X"]) -> float:
    """Mean absolute difference of pixels over all pairs of frames, in [0, 1]; 0 for a single frame."""
    flat = frames.reshape(len(frames), -1).astype(np.int16)
    pairs = [np.abs(flat[i] - flat[j]).mean() for i in range(len(flat)) for j in range(i)]
    return float(np.mean(pairs)) / 255.0 if pairs else 0.0
