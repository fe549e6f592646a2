"""Learning curves: scores over environment frames, per task and over all tasks, with pointwise 95% intervals."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gsa.report.aggregate import Strata, interval, iqm, stream
from gsa.report.load import Scores, final_row
from gsa.tasks import get_task

CURVE_RESAMPLES = 1000
"""Resamples behind a curve's band: enough for a drawing, where the aggregates' many would only cost time."""


@dataclass(frozen=True)
class Curve:
    """A mean or IQM over runs at ``frames`` ``(P,)`` with its interval, if there is one."""

    frames: np.ndarray
    value: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    @property
    def extent(self) -> tuple[float, float]:
        """The lowest and the highest value or bound: where a drawing must reach."""
        low, high = (self.value if bound is None else bound for bound in (self.low, self.high))
        return float(np.min(low)), float(np.max(high))


def drawn_range(scores: tuple[float, float], curves: Iterable[Curve]) -> tuple[float, float]:
    """The whole range of ``scores``, so that a small difference looks small; wider for what leaves it."""
    lows, highs = zip(scores, *(curve.extent for curve in curves), strict=True)
    return min(lows), max(highs)


def run_curves(scores: Scores, method: str, task: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(frames, native scores) of each run that counts, up to its final score, which is placed at the budget.

    A run counted as zero has the score that normalises to 0 throughout.
    """
    curves = []
    for run in scores.cells[method, task]:
        if run.status == "present":
            rows = run.rows[: run.rows.index(final_row(run.rows, scores.total_frames)) + 1]
            frames = np.array([float(min(row.frames, scores.total_frames)) for row in rows])
            curves.append((frames, np.array([row.score for row in rows])))
        elif scores.missing == "zero":
            curves.append((np.array([0.0, scores.total_frames]), np.full(2, get_task(task).score_range[0])))
    return curves


def task_curve(scores: Scores, method: str, task: str, seed: int) -> Curve:
    """Mean over seeds in native units, on the frames that all runs cover. At least one run must count."""
    curves = run_curves(scores, method, task)
    grid = _grid(curves)
    values = _at(curves, grid)  # (S, P)
    if len(values) < 2:
        return Curve(grid, values[0])
    rng = stream(seed, "curve", method, task)
    draws = values[rng.integers(len(values), size=(CURVE_RESAMPLES, len(values)))].mean(axis=1)
    return Curve(grid, values.mean(axis=0), *interval(draws))


def iqm_curve(scores: Scores, method: str, seed: int) -> Curve:
    """Normalised IQM over the compared tasks, of which there must be one."""
    per_task = [(run_curves(scores, method, task), get_task(task)) for task in scores.compared_tasks]
    grid = _grid([curve for curves, _ in per_task for curve in curves])
    groups = [spec.normalise(_at(curves, grid)) for curves, spec in per_task]  # per task (S, P)
    strata = [Strata.of([group[:, point] for group in groups]) for point in range(len(grid))]
    value = np.array([float(iqm(s.values, s)) for s in strata])
    if not strata[0].interval_is_meaningful:
        return Curve(grid, value)
    positions = strata[0].draw(stream(seed, "curve", method), CURVE_RESAMPLES)  # whole runs are drawn, as units
    return Curve(grid, value, *interval(np.stack([iqm(s.values[positions], s) for s in strata], axis=1)))


def _grid(curves: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Every evaluated frame count from the latest first evaluation on."""
    start = max(float(frames[0]) for frames, _ in curves)
    every = np.unique(np.concatenate([frames for frames, _ in curves]))
    return every[every >= start]  # never empty: every run ends at the budget


def _at(curves: list[tuple[np.ndarray, np.ndarray]], grid: np.ndarray) -> np.ndarray:
    """Scores at the grid's frames, linear between evaluations: ``(num_runs, len(grid))``."""
    return np.stack([np.interp(grid, frames, values) for frames, values in curves])
