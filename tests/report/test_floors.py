"""Floors and diagnostics of the report: where they come from, what falls short, and that older runs still make one."""

from pathlib import Path

import pytest

from gsa.errors import ArtifactError
from gsa.report.diagnostics import diagnostics_table, meanings
from gsa.report.figures import draw_floors
from gsa.report.load import load_scores
from gsa.report.published import load_published
from gsa.report.summary import Summary, summarise
from gsa.report.tables import build_tables
from gsa.report.verdict import verdict
from tests.factories import write_record
from tests.report.conftest import FRAMES, TASKS, MakeParams, write_floors, write_run

FLOORS = {"random": 0.1, "nothing": 0.4, "constant": 0.5, "expert": 1.0}
LOSSES = [
    {"frames": 1, "diag_saturation": 0.9, "diag_imag_reward_own": 1.0, "actor_loss": 3.0},
    {"frames": 2, "diag_saturation": float("nan"), "diag_imag_reward_own": 3.0, "actor_loss": 3.0},
]


@pytest.fixture
def summary(tmp_path: Path, make_params: MakeParams) -> Summary:
    """gsa, with clones, and scratch on three tasks; floors of two of them."""
    for task in TASKS:
        for seed, (ours, clone) in enumerate(((0.3, 0.4), (0.5, 0.6))):
            write_run(tmp_path / "runs", "gsa", task, seed, {FRAMES: ours}, clone=clone, losses=LOSSES)
            write_run(tmp_path / "runs", "scratch", task, seed, {FRAMES: 0.7})
    for task in TASKS[:2]:
        write_floors(tmp_path / "floors", task, FLOORS)
    params = make_params()
    return summarise(load_scores(tmp_path / "runs", params), params, tmp_path / "floors")


def test_a_mean_below_a_floor_is_said_to_be_and_no_other(summary: Summary) -> None:
    assert list(summary.shortfalls.values()) == [
        "gsa on mw-drawer-close scores 0.40 [0.30, 0.50], below the best constant action (0.50) and the cloned policy"
        " (0.50).",  # as much as doing nothing is not below it
        "gsa on dmc-walker-stand scores 400.0 [300.0, 500.0], below the best constant action (500.0) and the cloned"
        " policy (500.0).",
        "gsa on mw-reach scores 0.40 [0.30, 0.50], below the cloned policy (0.50).",
    ]
    assert verdict(summary)[-1] == "gsa is below a floor on mw-drawer-close, dmc-walker-stand, mw-reach."


def test_the_clone_is_compared_over_seeds_and_floors_over_episodes(summary: Summary) -> None:
    clone = summary.floors.means["bc", "dmc-walker-stand"]
    assert (clone.value, clone.low, clone.high) == (500.0, 400.0, 600.0)
    floor = summary.floors.means["constant", "mw-drawer-close"]
    assert floor.value == 0.5 and floor.low is not None and 0.1 <= floor.low < 0.5
    gaps = {gap.other: gap for gap in summary.differences}
    assert list(gaps) == ["scratch", "bc"]
    assert gaps["bc"].mean is not None and gaps["bc"].mean.value == pytest.approx(-0.1)
    assert gaps["bc"].by_task["mw-reach"].low == pytest.approx(-0.3)


def test_tables_and_figure_hold_them(summary: Summary, root: Path) -> None:
    tables = build_tables(summary, load_published(root / "data" / "reference"))
    labels = [head.label for head in tables["floors"].heads]
    assert labels == ["task", "score", "gsa", "scratch", "random", "nothing", "constant", "bc", "expert"]
    assert tables["floors"].texts()[2][4:] == ["–", "–", "–", "0.50 [0.40, 0.60]", "–"]  # noqa: RUF001 - none of mw-reach
    results = tables["results"]
    assert [(head.group, head.label) for head in results.heads[4:]] == [
        ("Mean score", "bc"),
        ("gsa less", "scratch"),
        ("gsa less", "bc"),
    ]
    assert results.texts()[-1][:2] == ["mean over tasks", "0 to 1"] and results.texts()[-1][2].startswith("0.40 [")
    assert tables["diagnostics"].rows
    axes = draw_floors(summary).axes
    assert [len(ax.get_yticks()) for ax in axes] == [7] * 3
    assert axes[1].get_xlim() == (0.0, 1000.0)


def test_runs_without_floors_make_a_report_that_says_what_makes_them(runs: Path, make_params: MakeParams) -> None:
    params = make_params()
    found = summarise(load_scores(runs, params), params, runs / "nowhere")
    assert found.floors.policies == () and found.shortfalls == {} and found.clone is None
    assert found.floors.command == "gsa floors --task mw-drawer-close --task dmc-walker-stand --task mw-reach"
    assert [gap.other for gap in found.differences] == ["scratch"]
    assert draw_floors(found).axes


def test_wrong_floors_are_named(tmp_path: Path, runs: Path, make_params: MakeParams) -> None:
    write_floors(tmp_path / "floors", "mw-reach", FLOORS)
    params = make_params()
    for folder in (tmp_path / "floors" / "mw-reach", runs / "gsa_mw-reach_s0"):
        rows = (tmp_path / "floors" / "mw-reach" / "floors.jsonl").read_text()
        (folder / "floors.jsonl").write_text(rows + rows.splitlines()[0] + "\n")
        write_record(folder)
    with pytest.raises(ArtifactError, match=r"floors\.jsonl, line 5: expected one row per policy"):
        summarise(load_scores(runs, params, "drop"), params, tmp_path / "floors")
    scores = load_scores(runs, params, "drop")
    assert [run.status for run in scores.unusable] == ["damaged"]


def test_diagnostics_are_the_last_finite_values(summary: Summary) -> None:
    table = diagnostics_table(summary.diagnostics)
    assert [head.label for head in table.heads] == ["method", "task", "saturation", "imag reward own"]
    assert table.rows[0] == ("gsa", "mw-drawer-close", 0.9, 3.0) and len(table.rows) == 3  # scratch logs none
    assert list(meanings(summary.diagnostics)) == ["imag reward", "saturation", "own"]
