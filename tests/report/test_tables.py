"""Tables keep measured and published apart, in every format."""

import csv
import io
from pathlib import Path

import pytest

from gsa.report.aggregate import Estimate
from gsa.report.load import load_scores
from gsa.report.published import load_published
from gsa.report.summary import summarise
from gsa.report.table import FORMATS, Head, Table
from gsa.report.tables import build_tables
from tests.report.conftest import MakeParams

SMALL = Table(
    "small",
    "50% of a_b",
    (Head("task"), Head("gsa", "Measured here"), Head("GSA @ 150k", "Published")),
    (("mw-reach", Estimate(1 / 3, 0.25, 0.5), 0.3), ("dmc_x", Estimate(-0.001), None)),
    (2, 1),
)


@pytest.fixture
def tables(runs: Path, make_params: MakeParams, root: Path) -> dict[str, Table]:
    params = make_params()
    summary = summarise(load_scores(runs, params), params, runs.parent / "floors")
    return build_tables(summary, load_published(root / "data" / "reference"))


def test_csv_keeps_full_precision_and_intervals() -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](SMALL))))
    assert float(rows[0]["measured here: gsa"]) == 1 / 3
    assert rows[0]["measured here: gsa high"] == "0.5"
    assert rows[0]["published: GSA @ 150k"] == "0.3"
    assert (rows[1]["measured here: gsa low"], rows[1]["published: GSA @ 150k"]) == ("", "")


def test_markdown() -> None:
    assert FORMATS["md"](SMALL).splitlines()[2:] == [
        "| task | Measured here: gsa | Published: GSA @ 150k |",
        "| --- | --- | --- |",
        "| mw-reach | 0.33 [0.25, 0.50] | 0.30 |",
        "| dmc_x | 0.0 | – |",  # noqa: RUF001 - no minus zero, and a dash where nothing is published
    ]


def test_latex_escapes_and_groups() -> None:
    text = FORMATS["tex"](SMALL)
    assert r"\caption{50\% of a\_b}" in text
    assert r" & \multicolumn{1}{c}{Measured here} & \multicolumn{1}{c}{Published} \\" in text
    assert r"\cmidrule(lr){2-2}\cmidrule(lr){3-3}" in text
    assert r"dmc\_x & 0.0 & -- \\" in text


def test_every_row_has_a_cell_for_every_head(tables: dict[str, Table]) -> None:
    for table in tables.values():
        assert table.rows
        assert len(table.digits) == len(table.rows)
        assert {len(row) for row in table.rows} == {len(table.heads)}


def test_per_task_shows_both_worlds_side_by_side(tables: dict[str, Table]) -> None:
    table = tables["per_task"]
    labels = [(head.group, head.label) for head in table.heads]
    row = dict(zip(labels, table.texts()[1], strict=True))
    assert row["", "task"] == "dmc-walker-stand"
    assert row["Measured here", "gsa"] == "765.0 [720.0, 810.0]"
    assert row["Published", "GSA @ 150k"] == "969.4"
    assert row["Published", "Dreamer v3 @ 1M"] == "–"  # noqa: RUF001


def test_published_aggregates_on_these_tasks_come_from_rows(tables: dict[str, Table]) -> None:
    row = next(row for row in tables["published_on_these_tasks"].rows if row[0] == "GSA @ 150k")
    assert row[1:3] == (3, pytest.approx((0.9 + 0.9694 + 0.3) / 3))


def test_the_doubtful_printed_mean_is_marked(tables: dict[str, Table]) -> None:
    rows = {row[:3]: row[3:] for row in tables["published_aggregates"].rows}
    assert rows["Meta-World", "Dreamer v3 @ 1M", "mean"] == ("0.900", pytest.approx(0.6559, abs=1e-4), "no")
