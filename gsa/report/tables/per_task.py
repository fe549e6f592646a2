"""A row per task: each method's final score with its interval, and beside it what the paper prints."""

from collections.abc import Iterable

from gsa.report.published import SOURCE, Published
from gsa.report.summary import Summary
from gsa.report.tables.table import MEASURED, PUBLISHED, Cell, Head, Table
from gsa.tasks import get_task


def build(summary: Summary, published: Published) -> Table:
    """Native units; the number of runs is given where it is not the number of seeds."""
    scores = summary.scores
    columns = published.columns(scores.tasks)
    heads = [Head("task"), Head("score")]
    heads += [Head(method, MEASURED) for method in scores.methods]
    heads += [Head("runs", MEASURED)]
    heads += [Head(column.label, PUBLISHED) for column in columns]
    rows, digits = [], []
    for task in scores.tasks:
        spec = get_task(task)
        cells: list[Cell] = [task, "return" if spec.metric == "return" else "success"]
        cells += [summary.task_means.get((method, task)) for method in scores.methods]
        cells.append(_counts(summary, task))
        cells += [published.score(column, task) for column in columns]
        rows.append(tuple(cells))
        digits.append(spec.digits)
    caption = (
        f"Final score at {scores.total_frames} environment frames: mean over seeds with 95% interval."
        f" {_units(scores.tasks)}"
        f" Published: {SOURCE}, means without spread; another budget, model size and implementation than ours."
    )
    return Table("per_task", caption, tuple(heads), tuple(rows), tuple(digits))


def _units(tasks: Iterable[str]) -> str:
    """A sentence per unit: which tasks are scored by what, and the range of it."""
    names: dict[str, list[str]] = {}
    for spec in map(get_task, tasks):
        what = "episode return" if spec.metric == "return" else "success at the episode's last step"
        unit = "{}, {:g} to {:g}".format(what, *spec.score_range)
        names.setdefault(unit, []).append({"dmc": "DMControl", "mw": "Meta-World"}.get(spec.suite, spec.name))
    return " ".join(f"{', '.join(dict.fromkeys(found))}: {unit}." for unit, found in names.items())


def _counts(summary: Summary, task: str) -> str:
    """``3`` where all methods have as many runs, else ``3/2`` in the methods' order."""
    counts = [len(summary.scores.finals(method, task)) for method in summary.scores.methods]
    return str(counts[0]) if len(set(counts)) == 1 else "/".join(str(count) for count in counts)
