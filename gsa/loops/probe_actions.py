"""Opposite actions from the same state, in the simulator and in the world model (``gsa.world_model.counterfactual``).

A simulator cannot go back. It begins the episode anew with the same seed and repeats the shared decisions, which leads
to the same state: that is checked.
"""

import json
import logging
import zlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
from jaxtyping import Float32

from gsa.config import ProbeActionsParams
from gsa.envs.base import Env, SuiteEnv
from gsa.envs.rendering import BLACK_FRAME
from gsa.episode import Step
from gsa.errors import DataError
from gsa.policies.untrained import OUPolicy
from gsa.visual.pictures import contact_sheet
from gsa.world_model.counterfactual import HORIZONS, SAMPLES, Branches, both_signs, draw_branches, imagine, score
from gsa.world_model.model import WorldModel

log = logging.getLogger(__name__)

WHOLE = 4
"""Of one start in so many every picture is drawn, for ``r2_seen``: pictures take most of the time."""

SHARED = (10, 30)
"""Fewest and most decisions before the branching, by correlated noise of ``SHARED_SIGMA``."""

SHARED_SIGMA = 0.5

MAX_DIRECTIONS = 4
"""Up to this width each action dimension is a direction; of wider actions so many directions are drawn at random."""

ATTEMPTS = 3
"""Times as many starts are tried as are wanted, where episodes end early or diverge."""

SHOWN_HORIZON = 10
"""Decisions after the branching at which the picture is drawn."""


def probe_actions(
    model: WorldModel,
    env: Env,
    seed: int,
    num_starts: int,
    samples: int = SAMPLES,
    advance: Callable[[int], None] = lambda starts: None,
) -> dict[str, Any]:
    """How much of the difference that opposite actions make in the simulator's pictures the model's pictures explain.

    ``play_branches`` and ``probe_branches`` in one; to compare several models play once. Errors as there.
    """
    return probe_branches(model, play_branches(env, seed, num_starts, advance), seed, samples)


def measured(model: WorldModel, env: Env, params: ProbeActionsParams, advance: Callable[[int], None]) -> dict[str, Any]:
    """``probe_actions``, or why an environment cannot be measured so, under ``not_measured``: no reason to stop."""
    try:
        return probe_actions(model, env, params.seed, params.starts, advance=advance)
    except DataError as error:
        return {"not_measured": str(error)}


def probe_branches(model: WorldModel, starts: Sequence[Branches], seed: int, samples: int = SAMPLES) -> dict[str, Any]:
    """``score`` of the model's imagination; ``r2_seen``, of what it draws where it sees the branches; ``picture``.

    The picture (uint8, Y X C) shows the first start.

    Raises:
        DataError: actions are wider than the model's, or opposite ones change nothing that is seen.
    """
    width = starts[0].directions.shape[1]
    if width > model.params.action_dim:
        raise DataError(
            f"actions are {width} wide, the model's {model.params.action_dim}; raise world_model.action_dim"
        )
    imagined = [imagine(model, start, seed + n, samples) for n, start in enumerate(starts)]
    result = score(starts, imagined, seed)
    if not any(result["effect"].values()):
        raise DataError("opposite actions change nothing in the pictures; is the environment drawn, and the arm in it?")
    facts = {"starts": len(starts), "samples": samples, "seed": seed, "horizons": list(HORIZONS)}
    picture = contact_sheet(draw_branches(starts[0].truth(), imagined[0], SHOWN_HORIZON), columns=6)
    whole = [start for start in starts if start.whole]
    seen = [imagine(model, start, seed + n, samples, seen=True) for n, start in enumerate(whole)]
    return facts | result | {"r2_seen": score(whole, seen, seed)["r2"], "picture": picture}


def play_branches(
    env: Env, seed: int, num_starts: int, advance: Callable[[int], None] = lambda starts: None
) -> list[Branches]:
    """Play every branch from ``num_starts`` states in the environment; about 300 decisions per start.

    Raises:
        DataError: the environment does not repeat an episode from its seed, or its episodes are too short.
    """
    words = [seed, zlib.crc32(env.name.encode())]
    directions = choose_directions(env.action_dim, np.random.default_rng(words))
    longest = min(SHARED[1], env.max_env_steps - max(HORIZONS))
    if longest < SHARED[0]:
        need = SHARED[0] + max(HORIZONS)
        raise DataError(f"{env.name}: an episode has {env.max_env_steps} decisions, this measure needs {need}")
    found: list[Branches] = []
    for attempt in range(ATTEMPTS * num_starts):
        rng = np.random.default_rng([*words, attempt])
        shared, whole = int(rng.integers(SHARED[0], longest + 1)), len(found) % WHOLE == 0
        start = _play(env, rng, shared, directions, whole)
        if start is not None:
            found.append(start)
            advance(1)
        if len(found) == num_starts:
            return found
    raise DataError(
        f"{env.name}: of {ATTEMPTS * num_starts} episodes only {len(found)} lasted {SHARED[0]} to {longest} decisions "
        f"and {max(HORIZONS)} more, expected {num_starts}; episodes that end so early cannot be measured"
    )


def choose_directions(width: int, rng: np.random.Generator) -> Float32[np.ndarray, "D A"]:
    """Actions to hold, the largest entry of each 1 or -1: one per dimension, or ``MAX_DIRECTIONS`` random ones."""
    if width <= MAX_DIRECTIONS:
        return np.eye(width, dtype=np.float32)
    drawn = rng.standard_normal((MAX_DIRECTIONS, width))
    return (drawn / np.abs(drawn).max(1, keepdims=True)).astype(np.float32)


def _play(
    env: Env, rng: np.random.Generator, shared: int, directions: Float32[np.ndarray, "D A"], whole: bool
) -> Branches | None:
    """The branches of one start; None where an episode ends before its time."""
    seed, noise = int(rng.integers(2**32)), OUPolicy(env.action_dim, SHARED_SIGMA, rng)
    prefix = [noise.act(Step(BLACK_FRAME, 0.0, is_first=n == 0, is_last=False)) for n in range(shared)]
    before = _run(env, seed, prefix, range(shared + 1))
    if before is None:
        return None
    rows = [shared + h for h in (range(1, max(HORIZONS) + 1) if whole else HORIZONS)]
    branch = []
    for action in both_signs(directions):
        steps = _run(env, seed, [*prefix, *[action] * max(HORIZONS)], [shared, *rows])
        if steps is None:
            return None
        _check_same(before[-1], steps[shared], f"{env.name}, seed {seed}, decision {shared}")
        branch.append([steps[row].image for row in rows])
    pictures = np.array(branch)
    return Branches(
        image=np.stack([step.image for step in before]),
        action=np.stack(prefix),
        directions=directions,
        branch=pictures.reshape(len(directions), 2, *pictures.shape[1:]),
    )


def _run(env: Env, seed: int, actions: Sequence[np.ndarray], drawn: Collection[int]) -> list[Step] | None:
    """The steps of an episode of these actions; rows that are not among ``drawn`` may have no picture.

    None where it ends before the last action, or diverges.
    """
    steps: list[Step] = []
    try:
        for row in range(len(actions) + 1):
            if isinstance(env, SuiteEnv):  # another environment draws what nobody looks at
                env.pixels = row in drawn
            steps.append(env.step(actions[row - 1]) if row else env.reset(seed))
            if steps[-1].is_last and row < len(actions):
                return None
    except DataError as error:
        log.warning("%s; another start is taken", error)
        return None
    finally:
        if isinstance(env, SuiteEnv):
            env.pixels = True
    return steps


def _check_same(expected: Step, found: Step, where: str) -> None:
    same = np.array_equal(expected.image, found.image)
    if expected.state is not None and found.state is not None:
        same &= np.array_equal(expected.state, found.state)
    if not same:
        raise DataError(
            f"{where}: the same seed and actions led to another state; this measure needs an environment that "
            "repeats an episode from its seed"
        )


def write_probe(folder: Path, result: dict[str, Any]) -> None:
    """``probe.json`` and ``branches.png``: a row per direction, the simulator's pictures under + and -, their
    difference (grey is none), and the model's three."""
    if "picture" in result:
        matplotlib.image.imsave(folder / "branches.png", result["picture"].repeat(2, 0).repeat(2, 1))
    rest = {key: value for key, value in result.items() if key != "picture"}
    (folder / "probe.json").write_text(json.dumps(rest, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def describe(task: str, result: dict[str, Any]) -> str:
    """One line for people."""
    if "not_measured" in result:
        return f"{task}: not measured: {result['not_measured']}"
    rows = [(result["r2"][str(h)], result["standard_error"][str(h)]) for h in HORIZONS]
    values = ", ".join("-" if r2 is None else f"{r2:.2f} (+-{error or 0:.2f})" for r2, error in rows)
    return (
        f"{task}: of what opposite actions change in the picture, the world model explains {values} "
        f"at {', '.join(map(str, HORIZONS))} decisions (r2, {result['starts']} starts)"
    )
