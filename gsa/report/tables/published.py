"""The paper's aggregates: recomputed from its task rows, beside what it prints and on the tasks of this report."""

import statistics

import numpy as np

from gsa.report.aggregate import trimmed_mean
from gsa.report.published import SOURCE, Published
from gsa.report.summary import Summary
from gsa.report.tables.table import Cell, Head, Table
from gsa.tasks import get_task

SUITES = {"mw": "Meta-World", "dmc": "DMControl"}


def build_claims(summary: Summary, published: Published) -> Table:
    """Every printed aggregate of a whole suite beside the value its rows give."""
    heads = (Head("suite"), Head("method"), Head("statistic"), Head("printed"), Head("from the rows"), Head("follows"))
    rows: list[tuple[Cell, ...]] = []
    digits = []
    for claim in published.claims:
        verdict = "yes" if claim.follows else "no"
        rows.append(
            (SUITES[claim.suite], claim.column.label, claim.statistic, claim.printed, claim.recomputed, verdict)
        )
        digits.append(3 if claim.suite == "mw" else 2)
    caption = (
        f"Aggregates printed in {SOURCE}, and the same recomputed from its task rows. Only recomputed values are used"
        " elsewhere in this report."
    )
    return Table("published_aggregates", caption, heads, tuple(rows), tuple(digits))


def build_subset(summary: Summary, published: Published) -> Table:
    """The published methods on this report's tasks alone, normalised; over task means, for no runs are published."""
    tasks = summary.scores.tasks
    heads = (Head("method"), Head("tasks"), Head("mean"), Head("median"), Head("IQM of task means"))
    rows: list[tuple[Cell, ...]] = []
    for column in published.columns(tasks):
        values = [
            get_task(task).normalise(score) for task in tasks if (score := published.score(column, task)) is not None
        ]
        trimmed = float(trimmed_mean(np.array(values)))
        rows.append((column.label, len(values), statistics.fmean(values), statistics.median(values), trimmed))
    caption = (
        f"Published methods ({SOURCE}) on the {len(tasks)} tasks of this report, normalised, computed from the task"
        " rows. Columns with fewer tasks cover only those with a printed number."
    )
    return Table("published_on_these_tasks", caption, heads, tuple(rows), (2,) * len(rows))
