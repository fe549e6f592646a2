"""Every run the parameters name is usable or named with its reason; what else lies on disk does not count."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gsa.errors import ArtifactError, DataError
from gsa.pipeline import run_name
from gsa.report.load import load_scores
from gsa.tasks import get_task
from tests.factories import write_record
from tests.report.conftest import FRAMES, MakeParams, score_row, write_run


def test_all_present(runs: Path, make_params: MakeParams) -> None:
    scores = load_scores(runs, make_params())
    assert not scores.unusable
    np.testing.assert_allclose(scores.finals("gsa", "dmc-walker-stand"), [0.72, 0.81])
    np.testing.assert_allclose(scores.finals("gsa", "dmc-walker-stand", normalised=False), [720, 810])
    np.testing.assert_allclose(scores.finals("scratch", "mw-drawer-close"), [0.2, 0.5])


def test_the_parameters_decide_what_counts_not_the_disk(runs: Path, make_params: MakeParams) -> None:
    write_run(runs, "gsa", "mw-reach", 7, {FRAMES: 1.0})
    (runs / "gsa_mw-reach_s0.tmp.42").mkdir()
    scores = load_scores(runs, make_params(matrix__finetune__seeds=[1]))
    np.testing.assert_allclose(scores.finals("gsa", "mw-reach"), [0.6])
    assert "gsa_mw-reach_s7" in scores.extra and "gsa_mw-reach_s0" in scores.extra
    assert not any(".tmp." in name for name in scores.extra)


def break_run(runs: Path, how: str) -> None:
    folder = runs / run_name("scratch", "mw-reach", 1)
    if how == "damaged":
        (folder / "scores.jsonl").write_text('{"task": ')
        write_record(folder)
    elif how == "damaged without a record":
        (folder / "run.json").unlink()
    elif how == "damaged by an edit":
        write = (folder / "scores.jsonl").read_text().replace('"seed": 1', '"seed":  1')
        (folder / "scores.jsonl").write_text(write)
    elif how == "damaged run.json":
        (folder / "run.json").write_text("{}")
    else:
        shutil.rmtree(folder)
        if how == "failed":
            folder.mkdir()
            (folder / "failed.json").write_text(json.dumps({"reason": "loss is NaN at update 812"}))
        elif how == "short":
            write_run(runs, "scratch", "mw-reach", 1, {0: 0.0, 3000: 0.9})
        elif how == "damaged as it is another's":
            write_run(runs, "gsa", "mw-reach", 5, {FRAMES: 1.0}).rename(folder)


BROKEN = {
    "missing": "no such folder",
    "failed": "loss is NaN at update 812",
    "short": "3000 of 6000 frames",
    "damaged": "line 1",
    "damaged without a record": "run.json is missing",
    "damaged by an edit": "scores.jsonl is",
    "damaged run.json": "run.json has no 'seal'",
    "damaged as it is another's": "gsa on mw-reach, seed 5",
}


@pytest.mark.parametrize(("how", "detail"), BROKEN.items())
def test_a_run_that_is_not_usable_is_named(runs: Path, make_params: MakeParams, how: str, detail: str) -> None:
    break_run(runs, how)
    (run,) = load_scores(runs, make_params(), "drop").unusable
    assert (run.name, run.status) == ("scratch on mw-reach, seed 1", how.split()[0])
    assert detail in run.detail


@pytest.mark.parametrize("how", BROKEN)
def test_fail_refuses_and_names_the_command(runs: Path, make_params: MakeParams, how: str) -> None:
    break_run(runs, how)
    with pytest.raises(ArtifactError) as caught:
        load_scores(runs, make_params())
    assert "`gsa finetune --task mw-reach --method scratch --seed 1`" in str(caught.value)
    assert "1 of 12 runs" in str(caught.value)


@pytest.mark.parametrize("how", BROKEN)
def test_zero_and_drop_treat_every_reason_alike(runs: Path, make_params: MakeParams, how: str) -> None:
    break_run(runs, how)
    np.testing.assert_allclose(load_scores(runs, make_params(), "zero").finals("scratch", "mw-reach"), [0.1, 0.0])
    np.testing.assert_allclose(load_scores(runs, make_params(), "drop").finals("scratch", "mw-reach"), [0.1])


def test_the_parameter_decides_when_no_flag_does(runs: Path, make_params: MakeParams) -> None:
    break_run(runs, "missing")
    assert load_scores(runs, make_params(report__missing="zero")).missing == "zero"


def test_a_long_list_of_absent_runs_is_counted(runs: Path, make_params: MakeParams) -> None:
    for path in list(runs.iterdir())[1:]:
        shutil.rmtree(path)
    with pytest.raises(ArtifactError, match=r"11 of 12 runs.*and 7 more"):
        load_scores(runs, make_params())


@pytest.mark.parametrize("missing", ["fail", "zero", "drop"])
def test_nothing_at_all_is_never_a_report(tmp_path: Path, make_params: MakeParams, missing: str) -> None:
    with pytest.raises(ArtifactError, match=r"none of 12 runs is usable.*gsa finetune"):
        load_scores(tmp_path / "runs", make_params(report__missing=missing))


def test_tasks_that_a_method_lacks_leave_the_comparison(runs: Path, make_params: MakeParams) -> None:
    for seed in (0, 1):
        shutil.rmtree(runs / run_name("scratch", "mw-reach", seed))
    assert load_scores(runs, make_params(), "drop").compared_tasks == ("mw-drawer-close", "dmc-walker-stand")
    assert len(load_scores(runs, make_params(), "zero").compared_tasks) == 3


def test_a_longer_run_gains_nothing(runs: Path, make_params: MakeParams) -> None:
    shutil.rmtree(runs / run_name("gsa", "mw-reach", 0))
    write_run(runs, "gsa", "mw-reach", 0, {3000: 0.1, 6200: 0.3, 9000: 1.0})
    np.testing.assert_allclose(load_scores(runs, make_params()).finals("gsa", "mw-reach"), [0.3, 0.6])


@pytest.mark.parametrize(
    ("task", "score", "floor"),
    [("dmc-walker-stand", 1.2, 0.0), ("dmc-walker-stand", -0.01, 0.0), ("dmc-walker-walk-hard", -0.3, -244.949)],
)
def test_a_score_outside_the_range_is_refused_however_absence_counts(
    runs: Path, make_params: MakeParams, task: str, score: float, floor: float
) -> None:
    assert get_task(task).possible_scores[0] == pytest.approx(floor, abs=1e-3)
    write_run(runs, "p", task, 0, {FRAMES: score})
    params = make_params(methods=["p"], matrix__finetune__tasks=[task], matrix__finetune__seeds=[0])
    with pytest.raises(DataError, match=rf"p on {task}, seed 0, scores {1000 * score:g} at 6000 frames"):
        load_scores(runs, params, "zero")


def test_an_idle_agent_of_a_hard_task_may_score_below_zero(tmp_path: Path, make_params: MakeParams) -> None:
    write_run(tmp_path, "p", "dmc-walker-walk-hard", 0, {FRAMES: -0.02})
    params = make_params(methods=["p"], matrix__finetune__tasks=["dmc-walker-walk-hard"], matrix__finetune__seeds=[0])
    np.testing.assert_allclose(load_scores(tmp_path, params).finals("p", "dmc-walker-walk-hard"), [-0.02])


def test_the_fixture_scores_what_it_says() -> None:
    assert score_row("gsa", "mw-reach", 0, 0, 0.3).score == pytest.approx(0.3)
