"""The verdict says what the runs show and no more; caveats appear when they apply."""

import shutil
from pathlib import Path

import pytest

from gsa.pipeline import run_name
from gsa.report.load import load_scores
from gsa.report.summary import HEADLINE, Summary, summarise
from gsa.report.verdict import caveats, verdict
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
    return summarise(load_scores(folder, params), params, folder / "floors")


@pytest.mark.parametrize(
    ("gsa", "scratch", "start"),
    [
        ((0.8, 0.9, 0.7), (0.2, 0.3, 0.1), "gsa scores higher than scratch: IQM 0.80 against 0.20;"),
        ((0.2, 0.3, 0.1), (0.8, 0.9, 0.7), "gsa scores lower than scratch: IQM 0.20 against 0.80;"),
        ((0.1, 0.5, 0.9), (0.2, 0.5, 0.7), "These runs do not separate gsa from scratch:"),
        ((0.9, 0.9, 0.9, 0.0, 0.0), (0.1,) * 5, "gsa has the higher IQM; whether"),
        ((0.1,) * 5, (0.9, 0.9, 0.9, 0.0, 0.0), "gsa has the lower IQM; whether"),
        ((0.8,), (0.2,), "gsa scores higher than scratch in these runs, too few for an interval:"),
        ((0.4,), (0.4,), "gsa scores no different from scratch in these runs, too few for an interval:"),
    ],
)
def test_with_many_tasks_the_verdict_follows_the_intervals_of_aggregates(
    tmp_path: Path,
    make_params: MakeParams,
    monkeypatch: pytest.MonkeyPatch,
    gsa: tuple[float, ...],
    scratch: tuple[float, ...],
    start: str,
) -> None:
    monkeypatch.setattr("gsa.report.summary.FEW_TASKS", 3)
    assert verdict(summary_of(tmp_path, make_params, {"gsa": gsa, "scratch": scratch}))[0].startswith(start)


@pytest.mark.parametrize(
    ("gsa", "scratch", "start"),
    [
        ((0.8, 0.9, 0.7), (0.2, 0.3, 0.1), "gsa scores higher than scratch: over 3 tasks the mean of normalised"),
        ((0.2, 0.3, 0.1), (0.8, 0.9, 0.7), "gsa scores lower than scratch: over 3 tasks"),
        ((0.1, 0.5, 0.9), (0.2, 0.5, 0.7), "These runs do not separate gsa from scratch: over 3 tasks"),
        ((0.9, 0.9, 0.0, 0.0), (0.1,) * 4, "gsa scores higher than scratch: over 3 tasks"),  # no IQM trims it
        ((0.8,), (0.2,), "gsa scores higher than scratch in these runs, too few for an interval:"),
        ((0.4,), (0.4,), "gsa scores no different from scratch in these runs, too few for an interval:"),
    ],
)
def test_with_few_tasks_the_verdict_follows_the_difference_of_means(
    tmp_path: Path, make_params: MakeParams, gsa: tuple[float, ...], scratch: tuple[float, ...], start: str
) -> None:
    assert verdict(summary_of(tmp_path, make_params, {"gsa": gsa, "scratch": scratch}))[0].startswith(start)


def test_with_few_tasks_the_verdict_has_every_task_and_every_other_method(
    tmp_path: Path, make_params: MakeParams
) -> None:
    finals = {"gsa": (0.8, 0.6), "scratch": (0.2, 0.2), "p": (0.5, 0.5)}
    summary = summary_of(tmp_path, make_params, finals)
    assert verdict(summary) == [
        "gsa scores higher than scratch: over 3 tasks the mean of normalised scores is 0.70 against 0.20.",
        "By task: mw-drawer-close 0.70 [0.60, 0.80] against 0.20 [0.20, 0.20]; dmc-walker-stand 700.0 [600.0, 800.0]"
        " against 200.0 [200.0, 200.0]; mw-reach 0.70 [0.60, 0.80] against 0.20 [0.20, 0.20].",
        verdict(summary)[2],
    ]
    assert verdict(summary)[2].startswith("Lead of gsa: over scratch +0.50 [")
    assert "; over p +0.20 [" in verdict(summary)[2]
    one = summary_of(tmp_path / "one", make_params, finals, matrix__finetune__tasks=["dmc-walker-stand"])
    assert verdict(one)[0].endswith(
        "on dmc-walker-stand the mean score is 700.0 [600.0, 800.0] against 200.0 [200.0, 200.0]."
    )
    assert verdict(one)[1] == "Lead of gsa: over scratch +500.0 [400.0, 600.0]; over p +200.0 [100.0, 300.0]."


def test_the_verdict_counts_what_is_absent(runs: Path, make_params: MakeParams) -> None:
    shutil.rmtree(runs / run_name("scratch", "mw-reach", 1))
    for missing, words in (("zero", "count as zero"), ("drop", "are left out")):
        params = make_params(report__missing=missing)
        summary = summarise(load_scores(runs, params), params, runs.parent / "floors")
        assert verdict(summary)[-1] == f"1 of 12 runs are not usable and {words}."


def test_no_verdict_without_the_baseline(tmp_path: Path, make_params: MakeParams) -> None:
    summary = summary_of(tmp_path, make_params, {"gsa": (0.5, 0.6), "p": (0.1, 0.2)})
    assert summary.comparison is None
    assert verdict(summary)[0].startswith("No verdict")
    assert summary.method("p").improvement is None


def test_no_aggregates_without_a_common_task(runs: Path, make_params: MakeParams) -> None:
    for task, method in zip(TASKS, ("gsa", "scratch", "gsa"), strict=True):
        for seed in (0, 1):
            shutil.rmtree(runs / run_name(method, task, seed))
    params = make_params(report__missing="drop")
    summary = summarise(load_scores(runs, params), params, runs.parent / "floors")
    assert summary.methods == ()
    assert verdict(summary)[0].startswith("No verdict")
    assert set(summary.task_means) == {
        ("scratch", TASKS[0]),
        ("gsa", TASKS[1]),
        ("scratch", TASKS[2]),
    }


def test_the_headline_needs_both_suites(runs: Path, make_params: MakeParams) -> None:
    params = make_params()
    both = summarise(load_scores(runs, params), params, runs.parent / "floors").method("gsa").aggregates[HEADLINE]
    assert both.value == pytest.approx(0.5 * (0.765 + (0.95 + 0.5) / 2))
    params = make_params(matrix__finetune__tasks=["mw-reach", "mw-drawer-close"])
    assert HEADLINE not in summarise(load_scores(runs, params), params, runs.parent / "floors").method("gsa").aggregates


def test_a_further_method_moves_no_others_interval(runs: Path, make_params: MakeParams) -> None:
    params = make_params()
    before = summarise(load_scores(runs, params), params, runs.parent / "floors")
    for task in TASKS:
        for seed in (0, 1):
            write_run(runs, "p", task, seed, {FRAMES: 0.3})
    params = make_params(methods=["p", "gsa", "scratch"])
    after = summarise(load_scores(runs, params), params, runs.parent / "floors")
    assert after.method("gsa") == before.method("gsa")
    assert after.comparison == before.comparison


def test_caveats_say_what_applies(tmp_path: Path, make_params: MakeParams) -> None:
    few = summary_of(tmp_path / "few", make_params, {"gsa": (0.8, 0.9), "scratch": (0.2, 0.3)})
    assert any("too narrow" in line for line in caveats(few))
    assert any("interval without width" in line for line in caveats(few))
    one = summary_of(tmp_path / "one", make_params, {"gsa": (0.8,), "scratch": (0.2,)})
    assert any("not meaningful" in line for line in caveats(one))
    many = [0.1 * i for i in range(10)]
    clean = summary_of(tmp_path / "many", make_params, {"gsa": tuple(many), "scratch": tuple(many[::-1])})
    assert caveats(clean) == []


def test_curves_end_at_the_scores_of_the_tables(runs: Path, make_params: MakeParams) -> None:
    shutil.rmtree(runs / run_name("gsa", "mw-reach", 0))
    write_run(runs, "gsa", "mw-reach", 0, {0: 0.0, 3000: 0.1, 6200: 0.3, 9000: 1.0})
    params = make_params()
    summary = summarise(load_scores(runs, params), params, runs.parent / "floors")
    curve = summary.task_curves["gsa", "mw-reach"]
    assert curve.frames.tolist() == [0, 3000, 6000]
    assert curve.value[-1] == pytest.approx(summary.task_means["gsa", "mw-reach"].value) == pytest.approx(0.45)
    assert summary.iqm_curves["gsa"].value[-1] == pytest.approx(summary.method("gsa").aggregates["iqm"].value)


def test_a_run_counted_as_zero_is_zero_throughout(runs: Path, make_params: MakeParams) -> None:
    shutil.rmtree(runs / run_name("gsa", "dmc-walker-stand", 1))
    params = make_params(report__missing="zero")
    summary = summarise(load_scores(runs, params), params, runs.parent / "floors")
    assert summary.task_curves["gsa", "dmc-walker-stand"].value.tolist() == pytest.approx([0.0, 200.0, 360.0])
