"""Floors of a task: what policies that do not learn score on it. A learned score says little without them.

random: uniform actions. nothing: zero actions. expert: Meta-World's scripted expert without noise, where there is one.
constant: the best constant action, found by a short search.

    play every candidate on a few search seeds
    play the best few on more search seeds
    score the winner on other seeds than it was searched on

No pictures are drawn. Each episode depends on the task, the seed and its number alone: all policies meet the same ones.
"""

import itertools
import logging
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from gsa.config import FloorsParams
from gsa.envs.base import Env
from gsa.envs.rollout import rollout
from gsa.errors import DataError
from gsa.loops.scoring import Outcome, outcome, score_row
from gsa.loops.watched import with_envs
from gsa.policies import POLICIES
from gsa.policies.untrained import ConstantPolicy
from gsa.runs.scores import ScoreRow
from gsa.tasks import TaskSpec

log = logging.getLogger(__name__)

MAX_CANDIDATES = 81
"""Constant actions that are tried: all of {-1, 0, 1} in up to 4 dimensions."""

MAX_ATTEMPTS = 3
"""How often an episode whose simulation diverges is begun anew, each time with another seed."""


@dataclass(frozen=True)
class Turn:
    """``episodes`` episodes of one policy on the seeds of ``stream``, search or score.

    ``action`` is the constant one, or None for a row of ``POLICIES``.
    """

    policy: str
    stream: str
    episodes: int
    action: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Floors:
    """Rows by policy, each with ``frames`` 0, and how the constant action was found."""

    rows: tuple[ScoreRow, ...]
    constant: dict[str, Any]


def measure_floors(
    spec: TaskSpec,
    params: FloorsParams,
    make: Callable[[], Env],
    workers: int | None = None,
    advance: Callable[[int], None] = lambda episodes: None,
) -> Floors:
    """Search the constant and score all floors of a task.

    Args:
        spec: The task.
        params: Numbers of episodes and the seed.
        make: Makes the environment, in each process that uses it; picklable.
        workers: Processes, watched (``with_envs``). None plays in this one.
        advance: Told the episodes that were just played; ``planned_episodes`` of them in all.

    Raises:
        DataError: simulations diverge under every candidate, or under another policy again and again.
        ParamsError: an environment of the user's that cannot be made.
        ResourceError: no OpenGL back-end, or an episode that no worker survives.
    """

    def rows(turns: Sequence[Turn]) -> list[ScoreRow | None]:
        """The score of each turn; None where no simulation holds."""
        found: dict[Turn, list[Outcome]] = {}
        for turn, outcomes in with_envs(make, partial(play, spec, params.seed), turns, _name, workers):
            found[turn] = outcomes
            advance(turn.episodes)
        return [score_row(spec.name, t.policy, params.seed, 0, found[t]) if found[t] else None for t in turns]

    zero = (0.0,) * _width(spec, make)
    fixed = [Turn("random", "score", params.episodes), Turn("nothing", "score", params.episodes, zero)]
    fixed += [Turn("expert", "score", params.episodes)] if spec.suite == "mw" else []
    candidates = constant_candidates(len(zero), np.random.default_rng(params.seed))
    search = [Turn("constant", "search", params.search_episodes, action) for action in candidates]
    played = rows([*fixed, *search])
    floors, tried = played[: len(fixed)], played[len(fixed) :]
    best = _ranked(search, tried)[: params.finalists]
    again = [replace(turn, episodes=params.episodes) for turn in best]
    final = rows(again)
    winner = _ranked(again, final)[0]
    floors += rows([replace(winner, stream="score")])
    found_row = final[again.index(winner)]
    assert found_row is not None
    constant = {
        "action": list(winner.action or ()),
        "candidates": len(candidates),
        "search_score": found_row.score,
        "search_return": found_row.episode_return,
    }
    return Floors(tuple(row for row in floors if row is not None), constant)


def planned_episodes(spec: TaskSpec, params: FloorsParams) -> int:
    """How many episodes a task takes; at most, where only the environment knows the width of its actions."""
    known = spec.action_dim and len(constant_candidates(spec.action_dim, np.random.default_rng(params.seed)))
    count = known or MAX_CANDIDATES
    scored = 3 + (spec.suite == "mw") + min(params.finalists, count)
    return params.search_episodes * count + params.episodes * scored


def constant_candidates(width: int, rng: np.random.Generator) -> list[tuple[float, ...]]:
    """Constant actions to try, at most ``MAX_CANDIDATES``, the zero action first.

    All of {-1, 0, 1} in every dimension where they are few enough; else the axes and random corners of the cube.
    """
    if 3**width <= MAX_CANDIDATES:
        return list(itertools.product((0.0, -1.0, 1.0), repeat=width))
    axes = np.concatenate([np.zeros((1, width)), np.eye(width), -np.eye(width)]) + 0.0  # no negative zero
    corners = rng.choice((-1.0, 1.0), (MAX_CANDIDATES * 4, width))
    return list(dict.fromkeys(map(tuple, np.concatenate([axes, corners]).tolist())))[:MAX_CANDIDATES]


def play(spec: TaskSpec, seed: int, env: Env, turn: Turn) -> tuple[Turn, list[Outcome]]:
    """All episodes of a turn; none for a constant action under which a simulation diverges while it is searched.

    Raises:
        DataError: ``MAX_ATTEMPTS`` simulations in a row diverge while a policy is scored.
    """
    try:
        return turn, [_episode(spec, seed, env, turn, number) for number in range(turn.episodes)]
    except DataError as error:
        if turn.stream != "search":
            raise
        log.warning("%s; the constant action %s is no candidate", error, turn.action)
        return turn, []


def _episode(spec: TaskSpec, seed: int, env: Env, turn: Turn, number: int) -> Outcome:
    spec = replace(spec, action_dim=env.action_dim)
    for attempt in range(MAX_ATTEMPTS):
        words = [seed, zlib.crc32(f"{spec.name} {turn.stream}".encode()), number, attempt]
        env_stream, policy_stream = np.random.SeedSequence(words).spawn(2)
        if turn.action is None:
            policy = POLICIES[turn.policy](spec, 0.0, np.random.default_rng(policy_stream), None)
        else:
            policy = ConstantPolicy(turn.policy, turn.action)
        try:
            return outcome(rollout(env, policy, int(env_stream.generate_state(1)[0])))
        except DataError as error:
            failure = error
    raise failure


def _ranked(turns: Sequence[Turn], rows: Sequence[ScoreRow | None]) -> list[Turn]:
    """The turns with a score, best first: by the task's metric, then by return, then in their order."""
    scored = [(turn, row) for turn, row in zip(turns, rows, strict=True) if row is not None]
    if not scored:
        raise DataError(f"the simulation diverges under each of {len(turns)} constant actions; look into the log")
    scored.sort(key=lambda pair: (pair[1].score, pair[1].episode_return), reverse=True)
    return [turn for turn, _ in scored]


def _name(turn: Turn) -> str:
    return f"floor {turn.policy}" + (f" {turn.action}" if turn.action else "")


def _width(spec: TaskSpec, make: Callable[[], Env]) -> int:
    if spec.action_dim is not None:
        return spec.action_dim
    with closing(make()) as env:
        return env.action_dim
