"""Aggregates against hand-computed values, SciPy and the definitions of Agarwal et al. 2021."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from gsa.report.aggregate import (
    STATISTICS,
    Bootstrap,
    Strata,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stream,
    suite_score,
    task_mean,
    trimmed_mean,
)


def strata(*groups: list[float]) -> Strata:
    return Strata.of([np.array(group, dtype=np.float64) for group in groups])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    table = strata([0.0, 0.9], [0.1, 0.2], [0.3, 0.4], [1.0, 0.8])
    assert float(iqm(table.values, table)) == pytest.approx((0.2 + 0.3 + 0.4 + 0.8) / 4)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 7, 8, 216])
def test_the_trimmed_mean_is_scipys(size: int) -> None:
    values = rng().random((3, size))
    np.testing.assert_allclose(trimmed_mean(values), stats.trim_mean(values, 0.25, axis=-1))


def test_optimality_gap_counts_nothing_beyond_the_target() -> None:
    table = strata([0.25, 0.75], [1.0, 3.0])
    assert float(optimality_gap(table.values, table)) == pytest.approx(1.0 - (0.25 + 0.75 + 1.0 + 1.0) / 4)


def test_mean_and_median_are_over_task_means() -> None:
    table = strata([0.0, 0.2], [0.4, 0.4, 0.4], [1.0])
    assert float(mean(table.values, table)) == pytest.approx((0.1 + 0.4 + 1.0) / 3)
    assert float(median(table.values, table)) == pytest.approx(0.4)


def test_the_headline_score_weighs_suites_not_tasks() -> None:
    table = strata([0.2, 0.4], [0.6, 0.6], [1.0, 0.0])
    headline = suite_score(["dmc", "mw", "mw"])
    assert float(headline(table.values, table)) == pytest.approx(0.5 * (0.3 + (0.6 + 0.5) / 2))
    with pytest.raises(ValueError, match="both suites"):
        suite_score(["mw", "mw"])


def test_probability_of_improvement_by_hand() -> None:
    ours, theirs = strata([1.0, 2.0], [3.0, 3.0]), strata([1.0, 0.0], [3.0, 4.0])
    # Task 1: (1,1) ties, three wins: 3.5 / 4. Task 2: two ties, two losses: 1 / 4.
    assert probability_of_improvement(ours, theirs, 10, rng()).value == pytest.approx((3.5 / 4 + 1 / 4) / 2)


def test_probability_of_improvement_is_the_mann_whitney_statistic() -> None:
    generator = rng()
    ours = [generator.integers(0, 4, size) / 4 for size in (2, 5, 3)]
    theirs = [generator.integers(0, 4, size) / 4 for size in (4, 1, 3)]
    expected = np.mean(
        [stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in zip(ours, theirs, strict=True)]
    )
    assert probability_of_improvement(Strata.of(ours), Strata.of(theirs), 1, rng()).value == pytest.approx(expected)


def test_improvement_over_oneself_is_even() -> None:
    table = strata([0.1, 0.5, 0.9], [0.2, 0.2, 0.3])
    found = probability_of_improvement(table, table, 2000, rng())
    assert found.value == pytest.approx(0.5)
    assert found.low is not None and found.high is not None
    assert found.low < 0.5 < found.high


def test_resamples_stay_within_their_task() -> None:
    table = strata([1.0] * 3, [2.0] * 5, [3.0] * 2)
    positions = table.draw(rng(), 500)
    np.testing.assert_array_equal(table.values[positions], np.broadcast_to(table.values, (500, 10)))
    assert set(positions.ravel()) == set(range(10))


def test_seeds_are_drawn_uniformly_with_replacement() -> None:
    positions = strata([0.0] * 4, [0.0] * 4).draw(rng(), 20_000)
    counts = np.bincount(positions.ravel())
    assert np.abs(counts / counts.mean() - 1).max() < 0.03


def test_the_interval_is_the_exact_one_of_all_resamples() -> None:
    groups = ([0.0, 0.6], [0.2, 1.0])
    table = strata(*groups)
    every = [
        np.mean([np.mean(a), np.mean(b)]) for a in product(groups[0], repeat=2) for b in product(groups[1], repeat=2)
    ]
    found = Bootstrap.of(table, {"mean": mean}, 40_000, rng()).estimate("mean")
    low, high = np.quantile(every, [0.025, 0.975], method="inverted_cdf")  # 16 equally likely values
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_spread_of_resamples_is_the_analytic_one() -> None:
    generator = rng()
    groups = [generator.random(size) for size in (3, 5, 4)]
    draws = Bootstrap.of(Strata.of(groups), {"mean": mean}, 40_000, generator).draws["mean"]
    expected = np.sqrt(sum(group.var() / len(group) for group in groups)) / 3
    assert draws.std() == pytest.approx(expected, rel=0.02)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    table = strata([0.1, 0.7, 0.4], [0.9, 0.2, 0.5])
    whole = Bootstrap.of(table, STATISTICS, 500, rng())
    monkeypatch.setattr("gsa.report.aggregate.CHUNK", 100)
    parts = Bootstrap.of(table, STATISTICS, 500, rng())
    for name in STATISTICS:
        np.testing.assert_array_equal(whole.draws[name], parts.draws[name])


@pytest.mark.parametrize("groups", [([0.1, 0.5],), ([0.1], [0.5]), ([0.1, 0.2], [0.5])])
def test_one_seed_or_one_task_has_no_interval(groups: tuple[list[float], ...]) -> None:
    table = strata(*groups)
    found = [
        Bootstrap.of(table, STATISTICS, 100, rng()).estimate("iqm"),
        probability_of_improvement(table, table, 100, rng()),
    ]
    for estimate in found:
        assert estimate.low is None and estimate.high is None
        assert "not meaningful" in estimate.note


def test_the_difference_resamples_both_methods() -> None:
    ours, theirs = strata([0.5, 0.7], [0.9, 0.7]), strata([0.1, 0.1], [0.3, 0.3])
    fixed, moving = (Bootstrap.of(t, {"mean": mean}, 4000, rng()) for t in (theirs, ours))
    found = moving.difference(fixed, "mean")
    own = moving.estimate("mean")
    assert own.low is not None and own.high is not None
    assert found.value == pytest.approx(0.7 - 0.2)
    assert (found.low, found.high) == pytest.approx((own.low - 0.2, own.high - 0.2))


def test_one_tasks_mean_and_interval() -> None:
    found = task_mean(np.array([200.0, 400.0]), 4000, rng())
    assert (found.value, found.low, found.high) == (300.0, 200.0, 400.0)
    assert task_mean(np.array([200.0]), 100, rng()).low is None


def test_performance_profile_by_hand() -> None:
    table = strata([0.2, 0.5], [0.5, 1.0])
    share, low, high = performance_profile(table, np.array([0.0, 0.2, 0.5, 1.0]), 500, rng())
    np.testing.assert_allclose(share, [1.0, 0.75, 0.25, 0.0])
    assert (low <= share).all() and (share <= high).all()
    # Tasks are strata: a resample is (0.2 or 0.5 twice) and (0.5 or 1.0 twice), so all of it exceeds 0.2 at times.
    np.testing.assert_allclose(high, [1.0, 1.0, 0.5, 0.0])


def test_streams_are_independent_and_reproducible() -> None:
    assert stream(0, "gsa").random() == stream(0, "gsa").random()
    assert len({stream(*key).random() for key in ((0, "gsa"), (1, "gsa"), (0, "p"), (0, "gsa", "p"))}) == 4


def test_an_empty_task_is_no_stratum() -> None:
    with pytest.raises(ValueError, match="at least one score"):
        Strata.of([np.array([0.1]), np.array([])])
