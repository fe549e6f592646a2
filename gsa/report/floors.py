"""Floors beside the methods: what needs no learning, and which method scores less than that.

``gsa floors`` scores random, zero and the best constant actions and the scripted expert; ``bc`` is the cloned policy
that runs of a guided method score once, before they learn. All estimates are in native units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from gsa.report.aggregate import Estimate, stream, task_mean
from gsa.report.load import Scores, load_floors
from gsa.runs.fingerprint import check_output
from gsa.runs.scores import ScoreRow
from gsa.tasks import get_task

CLONED = "bc"

FLOORS = {
    "random": ("random actions", "a uniform draw from [-1, 1] at every decision"),
    "nothing": ("doing nothing", "the zero action at every decision"),
    "constant": ("the best constant action", "found on other seeds than it is scored on, in a coarse grid"),
    CLONED: ("the cloned policy", "cloned from the retrieved episodes before anything is learned online"),
}
"""What a method should beat, by name: how a sentence names it, and what it is."""

CEILINGS = {"expert": ("the scripted expert", "Meta-World's, which sees the simulator's state, without noise")}
"""What is shown beside the floors, and what nobody is expected to beat."""

SHOWN = FLOORS | CEILINGS


@dataclass(frozen=True)
class FloorScores:
    """``means`` by (policy, task), as far as there are any, and ``clones``: scores of the cloned policy by seed.

    The interval of a mean is over episodes, that of ``bc`` over seeds. ``missing`` are tasks without ``gsa floors``.
    """

    means: dict[tuple[str, str], Estimate]
    clones: dict[str, np.ndarray]
    missing: tuple[str, ...]

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies that have a score on some task, in the order of the report."""
        return tuple(name for name in SHOWN if any(found == name for found, _ in self.means))

    @property
    def command(self) -> str:
        """What makes the floors that are missing."""
        return "gsa floors" + "".join(f" --task {task}" for task in self.missing)


def gather_floors(scores: Scores, folder: Path, resamples: int, seed: int) -> FloorScores:
    """Every floor of the compared runs' tasks: of ``folder/TASK``, and of the runs themselves.

    Raises:
        ArtifactError: a file is damaged.
    """
    means: dict[tuple[str, str], Estimate] = {}
    clones: dict[str, np.ndarray] = {}
    missing = []
    for task in scores.tasks:
        place = folder / task
        rows = load_floors(place, task, check_output(place)) if place.is_dir() else ()
        if not rows:
            missing.append(task)
        for row in rows:
            if row.method in SHOWN:
                means[row.method, task] = task_mean(_by_episode(row), resamples, stream(seed, row.method, task))
        if len(found := _clones(scores, task)):
            clones[task] = found
            means[CLONED, task] = task_mean(found, resamples, stream(seed, CLONED, task))
    return FloorScores(means, clones, tuple(missing))


def shortfalls(
    scores: Scores, task_means: Mapping[tuple[str, str], Estimate], floors: FloorScores
) -> dict[tuple[str, str], str]:
    """A sentence for each (method, task) whose mean is below a floor's."""
    lines = {}
    for task, method in product(scores.tasks, scores.methods):
        own = task_means.get((method, task))
        if own is None:
            continue
        digits = get_task(task).digits
        above = {name: floors.means[name, task] for name in FLOORS if (name, task) in floors.means}
        named = [f"{FLOORS[n][0]} ({e.value:.{digits}f})" for n, e in above.items() if own.value < e.value]
        if named:
            interval = "" if own.low is None or own.high is None else f" [{own.low:.{digits}f}, {own.high:.{digits}f}]"
            listed = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
            lines[method, task] = f"{method} on {task} scores {own.value:.{digits}f}{interval}, below {listed}."
    return lines


def _by_episode(row: ScoreRow) -> np.ndarray:
    """Scores of the episodes, whose mean is the row's score."""
    values = row.episode_returns if get_task(row.task).metric == "return" else row.successes_final
    return np.array(values, dtype=np.float64)


def _clones(scores: Scores, task: str) -> np.ndarray:
    """The clone's score by seed, float ``(num_seeds,)``: of the first method that has one, for a seed has one clone."""
    found: dict[int, float] = {}
    for run in scores.runs:
        if run.task == task:
            for row in run.floors:
                if row.method == CLONED:
                    found.setdefault(run.seed, row.score)
    return np.array([found[seed] for seed in sorted(found)], dtype=np.float64)
