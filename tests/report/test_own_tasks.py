"""Tasks of the user's in the report: their own range, below zero too, and nothing said that holds for ours alone."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsa.pipeline import run_name
from gsa.report.curves import run_curves
from gsa.report.figures import draw_learning_curves, draw_sample_efficiency
from gsa.report.load import load_scores
from gsa.report.page import published_lines
from gsa.report.panels import draw_panel_svg
from gsa.report.published import load_published
from gsa.report.summary import HEADLINE, Summary, summarise
from gsa.report.tables import build_tables
from gsa.runs.scores import SCORES_FILE, ScoreRow, score_line
from gsa.tasks import TASKS
from tests.factories import write_record
from tests.report.conftest import FRAMES, MakeParams

OWN = "pendulum"
FACTS = {"env": "Pendulum-v1", "metric": "return", "score_range": [-1600, 0], "max_frames": 200}
RETURNS = {("gsa", 0): -400.0, ("gsa", 1): 80.0, ("scratch", 0): -1200.0, ("scratch", 1): -2000.0}
"""Of -1600 to 0; two leave the range."""


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    before = dict(TASKS)
    yield
    TASKS.clear()
    TASKS.update(before)


@pytest.fixture
def both(runs: Path, make_params: MakeParams) -> tuple[Path, Any]:
    """The twelve runs on our tasks and four on the user's."""
    params = make_params(own_tasks={OWN: FACTS}, matrix__finetune__tasks=["mw-drawer-close", "dmc-walker-stand", OWN])
    for (method, seed), value in RETURNS.items():
        folder = runs / run_name(method, OWN, seed)
        folder.mkdir()
        rows = [ScoreRow(OWN, method, seed, frames, (score,)) for frames, score in ((0, -1600.0), (FRAMES, value))]
        (folder / SCORES_FILE).write_text("".join(map(score_line, rows)))
        write_record(folder)
    return runs, params


def summary_of(both: tuple[Path, Any]) -> Summary:
    return summarise(load_scores(*both), both[1], both[0].parent / "floors")


def test_scores_outside_the_range_count_and_normalise_outside(both: tuple[Path, Any]) -> None:
    scores = load_scores(*both)
    np.testing.assert_allclose(scores.finals("gsa", OWN), [0.75, 1.05])
    np.testing.assert_allclose(scores.finals("scratch", OWN), [0.25, -0.25])
    np.testing.assert_allclose(scores.finals("scratch", OWN, normalised=False), [-1200, -2000])


def test_an_absent_run_that_counts_as_zero_has_the_low_end_of_the_range(both: tuple[Path, Any]) -> None:
    shutil.rmtree(both[0] / run_name("gsa", OWN, 0))
    scores = load_scores(*both, "zero")
    np.testing.assert_allclose(scores.finals("gsa", OWN), [0.0, 1.05])
    np.testing.assert_allclose(scores.finals("gsa", OWN, normalised=False), [-1600, 80])
    assert run_curves(scores, "gsa", OWN)[0][1].tolist() == [-1600, -1600]


def test_the_headline_is_of_dmcontrol_and_meta_world_alone(
    both: tuple[Path, Any], make_params: MakeParams, root: Path
) -> None:
    runs, params = both
    mixed = summary_of(both)
    assert HEADLINE not in mixed.method("gsa").aggregates
    published = load_published(root / "data" / "reference")
    assert "do not cover exactly these two suites" in published_lines(mixed, published)[-1]
    for tasks, has in ((["mw-reach", OWN], False), (["mw-reach", "dmc-walker-stand"], True)):
        params = make_params(own_tasks={OWN: FACTS}, matrix__finetune__tasks=tasks)
        assert (
            HEADLINE in summarise(load_scores(runs, params), params, runs.parent / "floors").method("gsa").aggregates
        ) is has


def test_panels_span_the_range_and_what_leaves_it(both: tuple[Path, Any]) -> None:
    summary = summary_of(both)
    ticks = re.findall(r'class="tick" text-anchor="end">([^<]*)<', draw_panel_svg(summary, OWN))
    assert ticks == ["-1600", "-1200", "-800", "-400", "0"]
    heights = [float(y) for y in re.findall(r'<path d="M[0-9.]+ ([0-9.-]+)', draw_panel_svg(summary, OWN))]
    assert heights and all(20 <= y <= 170 for y in heights)
    ours = re.findall(r'class="tick" text-anchor="end">([^<]*)<', draw_panel_svg(summary, "dmc-walker-stand"))
    assert ours == ["0", "250", "500", "750", "1000"]
    ax = next(ax for ax in draw_learning_curves(summary).axes if ax.get_title("left").startswith(OWN))
    assert ax.get_yticks().tolist() == [-1600, -800, 0]
    low, high = ax.get_ylim()
    assert low < min(curve.extent[0] for curve in summary.curves_of(OWN).values()) <= -1600
    assert high > max(curve.extent[1] for curve in summary.curves_of(OWN).values())
    (efficiency,) = draw_sample_efficiency(summary).axes
    assert efficiency.get_yticks().tolist() == [0.0, 0.5, 1.0]


def test_captions_and_decimals_follow_the_tasks(both: tuple[Path, Any], make_params: MakeParams, root: Path) -> None:
    published = load_published(root / "data" / "reference")
    summary = summary_of(both)
    table = build_tables(summary, published)["per_task"]
    assert "DMControl: episode return, 0 to 1000." in table.caption
    assert "Meta-World: success at the episode's last step, 0 to 1." in table.caption
    assert "pendulum: episode return, -1600 to 0." in table.caption
    row = dict(zip([head.label for head in table.heads], table.texts()[2], strict=True))
    assert row["gsa"].startswith("-160.0 [") and row["GSA @ 150k"] == "–"  # noqa: RUF001
    params = make_params(own_tasks={OWN: FACTS}, matrix__finetune__tasks=[OWN])
    tables = build_tables(summarise(load_scores(both[0], params), params, both[0].parent / "floors"), published)
    assert "DMControl" not in tables["per_task"].caption and "Meta-World" not in tables["per_task"].caption
    assert tables["published_on_these_tasks"].rows == ()
