"""A row per method: aggregates over tasks × seeds, and the probability of improvement over the baseline."""

from gsa.report.published import Published
from gsa.report.summary import HEADLINE, Summary
from gsa.report.tables.table import Cell, Head, Table

LABELS = {
    "iqm": "IQM",
    "optimality_gap": "optimality gap",
    "mean": "mean",
    "median": "median",
    HEADLINE: "½(DMC + MW)",
}


def build(summary: Summary, published: Published) -> Table:
    """Normalised scores; empty where nothing can be aggregated."""
    names = [name for name in LABELS if summary.methods and name in summary.methods[0].aggregates]
    heads = [Head("method"), Head("runs"), *(Head(LABELS[name]) for name in names), Head("P(improvement)")]
    rows = []
    for method in summary.methods:
        cells: list[Cell] = [method.name, method.num_runs]
        rows.append((*cells, *(method.aggregates[name] for name in names), method.improvement))
    scores = summary.scores
    notes = {estimate.note for method in summary.methods for estimate in method.aggregates.values()} - {""}
    how = "; ".join(sorted(notes)) or f"95% intervals from {summary.resamples} stratified-bootstrap resamples"
    caption = (
        f"Aggregates of normalised final scores over {len(scores.compared_tasks)} tasks and {len(scores.seeds)} seeds"
        f" ({how}). Higher is better, but for the optimality gap."
        " P(improvement): probability that a run beats one of the baseline on the same task, ties half."
    )
    return Table("aggregates", caption, tuple(heads), tuple(rows), (2,) * len(rows))
