"""The verdict says what the runs show and no more; caveats appear when they apply."""

import shutil
from pathlib import Path

import pytest

from gsa.pipeline import run_name
from gsa.report.load import load_scores
from gsa.report.summary import HEADLINE, Summary, summarise
from tests.report.conftest import FRAMES, TASKS, MakeParams, write_run


def summary_of(
    folder: Path, make_params: MakeParams, finals: dict[str, tuple[float, ...]], **overrides: object
) -> Summary:
    """All tasks get the same final scores: a method's, by seed."""
    for method, scores in finals.items():
        for task in overrides.get("matrix__finetune__tasks", TASKS):  # type: ignore[attr-defined]
            for seed, score in enumerate(scores):
                write_run(folder, method, task, seed, {0: 0.0, FRAMES: score})
    seeds = list(range(len(next(iter(finals.values())))))
    params = make_params(methods=list(finals), matrix__finetune__seeds=seeds, **overrides)
    return summarise(load_scores(folder, params), params)


@pytest.mark.parametrize(
    ("gsa", "scratch", "start"),
    [
        ((0.8, 0.9, 0.7), (0.2, 0.3, 0.1), "gsa scores higher than scratch: IQM 0.80 against 0.20;"),
        ((0.2, 0.3, 0.1), (0.8, 0.9, 0.7), "gsa scores lower than scratch: IQM 0.20 against 0.80;"),
        ((0.1, 0.5, 0.9), (0.2, 0.5, 0.7), "These runs do not separate gsa from scratch:"),
        ((0.9, 0.9, 0.9, 0.0, 0.0), (0.1,) * 5, "gsa has the higher IQM; whether"),
        ((0.1,) * 5, (0.9, 0.9, 0.9, 0.0, 0.0), "gsa has the lower IQM; whether"),
        ((0.8,), (0.2,), "gsa scores higher than scratch in these runs, too few for an interval:"),
        ((0.4,), (0.4,), "gsa scores no different than scratch in these runs, too few for an interval:"),
    ],
)
def test_the_verdict_follows_the_intervals(
    tmp_path: Path, make_params: MakeParams, gsa: tuple[float, ...], scratch: tuple[float, ...], start: str
) -> None:
    assert summary_of(tmp_path, make_params, {"gsa": gsa, "scratch": scratch}).verdict.startswith(start)


def test_the_verdict_counts_what_is_absent(runs: Path, make_params: MakeParams) -> None:
    shutil.rmtree(runs / run_name("scratch", "mw-reach", 1))
    for missing, words in (("zero", "count as zero"), ("drop", "are left out")):
        params = make_params(report__missing=missing)
        assert f"1 of 12 runs are not usable and {words}." in summarise(load_scores(runs, params), params).verdict


def test_no_verdict_without_the_baseline(tmp_path: Path, make_params: MakeParams) -> None:
    summary = summary_of(tmp_path, make_params, {"gsa": (0.5, 0.6), "p": (0.1, 0.2)})
    assert summary.comparison is None
    assert summary.verdict.startswith("No verdict")
    assert summary.method("p").improvement is None


def test_no_aggregates_without_a_common_task(runs: Path, make_params: MakeParams) -> None:
    for task, method in zip(TASKS, ("gsa", "scratch", "gsa"), strict=True):
        for seed in (0, 1):
            shutil.rmtree(runs / run_name(method, task, seed))
    params = make_params(report__missing="drop")
    summary = summarise(load_scores(runs, params), params)
    assert summary.methods == ()
    assert summary.verdict.startswith("No verdict")
    assert set(summary.task_means) == {
        ("scratch", TASKS[0]),
        ("gsa", TASKS[1]),
        ("scratch", TASKS[2]),
    }


def test_the_headline_needs_both_suites(runs: Path, make_params: MakeParams) -> None:
    params = make_params()
    both = summarise(load_scores(runs, params), params).method("gsa").aggregates[HEADLINE]
    assert both.value == pytest.approx(0.5 * (0.765 + (0.95 + 0.5) / 2))
    params = make_params(matrix__finetune__tasks=["mw-reach", "mw-drawer-close"])
    assert HEADLINE not in summarise(load_scores(runs, params), params).method("gsa").aggregates


def test_a_further_method_moves_no_others_interval(runs: Path, make_params: MakeParams) -> None:
    params = make_params()
    before = summarise(load_scores(runs, params), params)
    for task in TASKS:
        for seed in (0, 1):
            write_run(runs, "p", task, seed, {FRAMES: 0.3})
    params = make_params(methods=["p", "gsa", "scratch"])
    after = summarise(load_scores(runs, params), params)
    assert after.method("gsa") == before.method("gsa")
    assert after.comparison == before.comparison


def test_caveats_say_what_applies(tmp_path: Path, make_params: MakeParams) -> None:
    few = summary_of(tmp_path / "few", make_params, {"gsa": (0.8, 0.9), "scratch": (0.2, 0.3)})
    assert any("too narrow" in line for line in few.caveats)
    assert any("interval without width" in line for line in few.caveats)
    one = summary_of(tmp_path / "one", make_params, {"gsa": (0.8,), "scratch": (0.2,)})
    assert any("not meaningful" in line for line in one.caveats)
    many = [0.1 * i for i in range(10)]
    clean = summary_of(tmp_path / "many", make_params, {"gsa": tuple(many), "scratch": tuple(many[::-1])})
    assert clean.caveats == []


def test_curves_end_at_the_scores_of_the_tables(runs: Path, make_params: MakeParams) -> None:
    shutil.rmtree(runs / run_name("gsa", "mw-reach", 0))
    write_run(runs, "gsa", "mw-reach", 0, {0: 0.0, 3000: 0.1, 6200: 0.3, 9000: 1.0})
    params = make_params()
    summary = summarise(load_scores(runs, params), params)
    curve = summary.task_curves["gsa", "mw-reach"]
    assert curve.frames.tolist() == [0, 3000, 6000]
    assert curve.value[-1] == pytest.approx(summary.task_means["gsa", "mw-reach"].value) == pytest.approx(0.45)
    assert summary.iqm_curves["gsa"].value[-1] == pytest.approx(summary.method("gsa").aggregates["iqm"].value)


def test_a_run_counted_as_zero_is_zero_throughout(runs: Path, make_params: MakeParams) -> None:
    shutil.rmtree(runs / run_name("gsa", "dmc-walker-stand", 1))
    params = make_params(report__missing="zero")
    summary = summarise(load_scores(runs, params), params)
    assert summary.task_curves["gsa", "dmc-walker-stand"].value.tolist() == pytest.approx([0.0, 200.0, 360.0])
