"""Aggregates over tasks × seeds with stratified-bootstrap intervals, after Agarwal et al. 2021 (arXiv 2108.13264).

All scores are normalised. Tasks are strata: a resample draws, within each task, as many seeds as there are, with
replacement. A caveat the report repeats: with few seeds the percentile bootstrap is too narrow; simulated for 72
tasks, its nominal 95% covers the truth in about 89% of cases with 3 seeds, 92% with 5 and 93% with 10.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
TARGET = 1.0
"""The optimality gap's target: the normalised score beyond which more does not count."""

CHUNK = 4_000_000
"""Resampled values held at once: 32 MB."""

NOT_MEANINGFUL = "interval not meaningful: it needs at least two tasks, and two seeds on each"


@dataclass(frozen=True)
class Estimate:
    """A point estimate with its interval. ``low`` and ``high`` are None, and ``note`` says why, where none is valid."""

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Strata:
    """One method's scores, flat ``(N,)`` and grouped by task: task t owns ``values[starts[t]:][:counts[t]]``."""

    values: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, groups: Sequence[np.ndarray]) -> "Strata":
        """From an array of scores per task, each with at least one."""
        counts = np.array([len(group) for group in groups], dtype=np.int64)
        if not len(counts) or not counts.all():
            raise ValueError("every task needs at least one score")
        return cls(np.concatenate(groups), np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)

    @property
    def interval_is_meaningful(self) -> bool:
        """Whether resampling says anything: at least two tasks, and at least two seeds on each of them."""
        return len(self.counts) > 1 and int(self.counts.min()) > 1

    def draw(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Positions in ``values`` of ``num`` stratified resamples, int ``(num, N)``."""
        starts, counts = np.repeat(self.starts, self.counts), np.repeat(self.counts, self.counts)
        # random() < 1, but its product with a count may round up to the count.
        within = np.minimum((rng.random((num, len(self.values))) * counts).astype(np.int64), counts - 1)
        return starts + within

    def task_means(self, values: np.ndarray) -> np.ndarray:
        """Means per task, ``(..., N)`` to ``(..., T)``."""
        return np.add.reduceat(values, self.starts, axis=-1) / self.counts


Statistic = Callable[[np.ndarray, Strata], np.ndarray]
"""From scores ``(..., N)`` laid out as in the strata to values ``(...)``."""


def iqm(values: np.ndarray, strata: Strata) -> np.ndarray:
    """Inter-quartile mean: the mean of all runs on all tasks less the int(N/4) lowest and the int(N/4) highest."""
    return trimmed_mean(values)


def optimality_gap(values: np.ndarray, strata: Strata) -> np.ndarray:
    """How far scores fall short of the target on average: mean of ``TARGET - min(score, TARGET)``; lower is better."""
    return np.asarray(TARGET - np.minimum(values, TARGET).mean(axis=-1))


def mean(values: np.ndarray, strata: Strata) -> np.ndarray:
    """Mean of the tasks' means."""
    return np.asarray(strata.task_means(values).mean(axis=-1))


def median(values: np.ndarray, strata: Strata) -> np.ndarray:
    """Median of the tasks' means."""
    return np.asarray(np.median(strata.task_means(values), axis=-1))


STATISTICS: dict[str, Statistic] = {"iqm": iqm, "optimality_gap": optimality_gap, "mean": mean, "median": median}
"""The aggregates of one method, by name, in the order of the report."""


def trimmed_mean(values: np.ndarray) -> np.ndarray:
    """``scipy.stats.trim_mean(values, 0.25)`` along the last axis (whose import alone takes a second)."""
    size = values.shape[-1]
    cut = size // 4
    if not cut:
        return np.asarray(values.mean(axis=-1))
    return np.asarray(np.partition(values, (cut, size - cut - 1), axis=-1)[..., cut : size - cut].mean(axis=-1))


def suite_score(suites: Sequence[str]) -> Statistic:
    """The paper's headline score, ½·(mean DMControl return / 1000 + mean Meta-World success).

    ``suites`` is the suite of each task, dmc or mw; both must occur.
    """
    if set(suites) != {"dmc", "mw"}:
        raise ValueError("the headline score needs tasks of both suites and of no other")
    is_dmc = np.array([suite == "dmc" for suite in suites])

    def headline(values: np.ndarray, strata: Strata) -> np.ndarray:
        means = strata.task_means(values)
        return np.asarray(0.5 * (means[..., is_dmc].mean(axis=-1) + means[..., ~is_dmc].mean(axis=-1)))

    return headline


def stream(seed: int, *names: str) -> np.random.Generator:
    """A random stream of its own for each name, so that adding a method moves no other method's interval."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


@dataclass(frozen=True)
class Bootstrap:
    """Statistics of one method: their values and, where intervals are meaningful, their resampled values ``(num,)``."""

    points: dict[str, float]
    draws: dict[str, np.ndarray]

    @classmethod
    def of(
        cls, strata: Strata, statistics: dict[str, Statistic], resamples: int, rng: np.random.Generator
    ) -> "Bootstrap":
        """All statistics see the same resamples."""
        points = {name: float(statistic(strata.values, strata)) for name, statistic in statistics.items()}
        if not strata.interval_is_meaningful:
            return cls(points, {})
        draws: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
        for num in _chunks(resamples, len(strata.values)):
            values = strata.values[strata.draw(rng, num)]
            for name, statistic in statistics.items():
                draws[name].append(statistic(values, strata))
        return cls(points, {name: np.concatenate(parts) for name, parts in draws.items()})

    def estimate(self, name: str) -> Estimate:
        """The statistic with its percentile interval."""
        return _estimate(self.points[name], self.draws.get(name))

    def difference(self, other: "Bootstrap", name: str) -> Estimate:
        """This method's statistic less the other's; the two were resampled independently."""
        point = self.points[name] - other.points[name]
        both = name in self.draws and name in other.draws
        return _estimate(point, self.draws[name] - other.draws[name] if both else None)


def probability_of_improvement(ours: Strata, theirs: Strata, resamples: int, rng: np.random.Generator) -> Estimate:
    """Probability that a run of ours beats one of theirs on the same task, ties half, averaged over tasks.

    Both list the same tasks in the same order; the numbers of seeds may differ.
    """
    if len(ours.counts) != len(theirs.counts):
        raise ValueError(f"{len(ours.counts)} tasks against {len(theirs.counts)}")
    point = float(_beats(ours.values[None], theirs.values[None], ours, theirs)[0])
    if not (ours.interval_is_meaningful and theirs.interval_is_meaningful):
        return _estimate(point, None)
    draws = []
    for num in _chunks(resamples, len(ours.values) + len(theirs.values)):
        x, y = ours.values[ours.draw(rng, num)], theirs.values[theirs.draw(rng, num)]
        draws.append(_beats(x, y, ours, theirs))
    return _estimate(point, np.concatenate(draws))


def task_mean(scores: np.ndarray, resamples: int, rng: np.random.Generator) -> Estimate:
    """Mean over the seeds of one task, scores ``(num_seeds,)``; no interval for a single seed."""
    if len(scores) < 2:
        return Estimate(float(scores.mean()), note="one seed: interval not meaningful")
    return _estimate(float(scores.mean()), _mean_draws(scores, resamples, rng))


def task_difference(ours: np.ndarray, theirs: np.ndarray, resamples: int, rng: np.random.Generator) -> Estimate:
    """Mean of ours ``(n,)`` less mean of theirs ``(m,)`` on one task, resampled independently of each other."""
    point = float(ours.mean() - theirs.mean())
    if min(len(ours), len(theirs)) < 2:
        return Estimate(point, note="one seed: interval not meaningful")
    return _estimate(point, _mean_draws(ours, resamples, rng) - _mean_draws(theirs, resamples, rng))


def _mean_draws(scores: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(scores[rng.integers(len(scores), size=(resamples, len(scores)))].mean(axis=-1))


def performance_profile(
    strata: Strata, taus: np.ndarray, resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of runs that score above each tau (increasing), with pointwise interval: three arrays shaped as ``taus``.

    Where an interval is not meaningful both bounds equal the share.
    """
    # A score exceeds exactly the first `above` taus, so a resample's profile is a reversed cumulative count.
    above = np.searchsorted(taus, strata.values, side="left")
    size, width = len(strata.values), len(taus) + 1

    def profile(positions: np.ndarray) -> np.ndarray:
        cells = above[positions] + width * np.arange(len(positions))[:, None]
        counts = np.bincount(cells.ravel(), minlength=width * len(positions)).reshape(-1, width)
        return np.cumsum(counts[:, :0:-1], axis=1)[:, ::-1] / size

    share = profile(np.arange(size)[None])[0]
    if not strata.interval_is_meaningful:
        return share, share, share
    draws = np.concatenate([profile(strata.draw(rng, num)) for num in _chunks(resamples, max(size, width))])
    low, high = interval(draws)
    return share, low, high


def interval(draws: np.ndarray) -> np.ndarray:
    """Percentile interval of the resampled values ``(num, ...)``: the low and the high bound, ``(2, ...)``."""
    return np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)


def _estimate(point: float, draws: np.ndarray | None) -> Estimate:
    if draws is None:
        return Estimate(point, note=NOT_MEANINGFUL)
    low, high = interval(draws).tolist()
    return Estimate(point, low, high)


def _beats(x: np.ndarray, y: np.ndarray, ours: Strata, theirs: Strata) -> np.ndarray:
    """Mean over tasks of P(x > y) + P(x = y) / 2, from ``(num, N)`` and ``(num, M)`` to ``(num,)``."""
    weights = 1.0 / (ours.counts * theirs.counts * len(ours.counts))
    lead = np.zeros(len(x))  # P(x > y) - P(x < y)
    for i in range(ours.counts.max()):
        for j in range(theirs.counts.max()):
            on = (ours.counts > i) & (theirs.counts > j)
            lead += np.sign(x[:, ours.starts[on] + i] - y[:, theirs.starts[on] + j]) @ weights[on]
    return 0.5 * (1.0 + lead)


def _chunks(resamples: int, row: int) -> Iterator[int]:
    """Numbers of resamples that add up to ``resamples``, each with at most ``CHUNK`` values of ``row`` a resample."""
    size = max(1, CHUNK // row)
    for done in range(0, resamples, size):
        yield min(size, resamples - done)
