"""From played episodes to a score: what an episode comes to, and the ``ScoreRow`` of several."""

from collections.abc import Iterable

import numpy as np

from gsa.episode import Episode
from gsa.runs.scores import ScoreRow
from gsa.tasks import get_task

Outcome = tuple[float, bool, bool]
"""Return, success at the last step and success at any step of an episode."""


def outcome(episode: Episode) -> Outcome:
    """What an episode played by ``gsa.envs.rollout`` comes to."""
    assert episode.reward is not None and episode.success is not None
    return float(np.sum(episode.reward)), bool(episode.success[-1]), bool(episode.success.any())


def score_row(task: str, method: str, seed: int, frames: int, outcomes: Iterable[Outcome]) -> ScoreRow:
    """The evaluation that the episodes are; a task that is scored by return keeps no success."""
    returns, final, ever = zip(*outcomes, strict=True)
    if get_task(task).metric != "success":
        final, ever = (), ()
    return ScoreRow(task, method, seed, frames, returns, final, ever)
