"""The report's tables: of the comparison, of what is published, of the offline data and the model's predictions."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gsa.report.aggregate import trimmed_mean
from gsa.report.diagnostics import diagnostics_table
from gsa.report.floors import CLONED, SHOWN
from gsa.report.published import SOURCE, Published
from gsa.report.summary import HEADLINE, Summary
from gsa.report.table import MEASURED, PUBLISHED, Cell, Head, Table
from gsa.report.verdict import notes
from gsa.tasks import get_task
from gsa.visual.predictions import KINDS, error_rows

LABELS = {
    "iqm": "IQM",
    "optimality_gap": "optimality gap",
    "mean": "mean",
    "median": "median",
    HEADLINE: "½(DMC + MW)",
}
SUITES = {"mw": "Meta-World", "dmc": "DMControl"}


def build_tables(summary: Summary, published: Published) -> dict[str, Table]:
    """Every table of the comparison, by the name of its files."""
    tables = (
        results(summary),
        floors(summary),
        aggregates(summary),
        per_task(summary, published),
        published_aggregates(published),
        published_on_these_tasks(summary, published),
    )
    more = [diagnostics_table(summary.diagnostics)] if summary.diagnostics else []
    return {table.name: table for table in (*tables, *more)}


def results(summary: Summary) -> Table:
    """A row per task, in native units, and one of the means over tasks: methods, the clone, the treatment's lead."""
    scores, floors = summary.scores, summary.floors
    clone = [CLONED] if floors.clones else []
    heads = [Head("task"), Head("score"), *(Head(name, "Mean score") for name in (*scores.methods, *clone))]
    heads += [Head(d.other, f"{summary.treatment} less") for d in summary.differences]
    rows: list[tuple[Cell, ...]] = []
    for task in scores.tasks:
        means = [summary.task_means.get((method, task)) for method in scores.methods]
        means += [floors.means.get((name, task)) for name in clone]
        gaps = [d.by_task.get(task) for d in summary.differences]
        rows.append((task, _unit(task), *means, *gaps))
    if len(scores.compared_tasks) > 1:
        over = "mean over tasks" if scores.compared_tasks == scores.tasks else "mean over compared tasks"
        means = [*(method.aggregates["mean"] for method in summary.methods), *(summary.clone for _ in clone)]
        rows.append((over, "0 to 1", *means, *(d.mean for d in summary.differences)))
    caption = (
        f"Final score at {scores.total_frames} environment frames, with 95% bootstrap intervals: over seeds for a task,"
        f" stratified by task for the mean. {_units(scores.tasks)}"
    )
    if clone:
        caption += f" {CLONED}: {SHOWN[CLONED][0]}, {SHOWN[CLONED][1]}."
    digits = [get_task(task).digits for task in scores.tasks] + [2] * (len(rows) - len(scores.tasks))
    return Table("results", caption, tuple(heads), tuple(rows), tuple(digits))


def floors(summary: Summary) -> Table:
    """A row per task: the methods, then what was not learned."""
    scores, found = summary.scores, summary.floors
    heads = [Head("task"), Head("score"), *(Head(name, MEASURED) for name in scores.methods)]
    heads += [Head(name, "Not learned online") for name in found.policies]
    rows = []
    for task in scores.tasks:
        learned = [summary.task_means.get((method, task)) for method in scores.methods]
        rows.append((task, _unit(task), *learned, *(found.means.get((name, task)) for name in found.policies)))
    words = "; ".join(f"{name}: {SHOWN[name][0]}, {SHOWN[name][1]}" for name in found.policies)
    caption = (
        "Methods beside policies that learn nothing online. Intervals are over seeds, but for random, nothing, constant"
        f" and expert over episodes. {words or 'No floors were measured'}."
    )
    digits = tuple(get_task(task).digits for task in scores.tasks)
    return Table("floors", caption, tuple(heads), tuple(rows), digits)


def aggregates(summary: Summary) -> Table:
    """A row per method: normalised aggregates over tasks × seeds; empty where nothing can be aggregated."""
    names = [name for name in LABELS if summary.methods and name in summary.methods[0].aggregates]
    rows = [
        (method.name, method.num_runs, *(method.aggregates[name] for name in names), method.improvement)
        for method in summary.methods
    ]
    scores = summary.scores
    how = "; ".join(notes(summary)) or f"95% intervals from {summary.resamples} stratified-bootstrap resamples"
    caption = (
        f"Aggregates of normalised final scores over {len(scores.compared_tasks)} tasks and {len(scores.seeds)} seeds"
        f" ({how}). Higher is better, but for the optimality gap."
        " P(improvement): probability that a run beats one of the baseline on the same task, ties half."
    )
    heads = ["method", "runs", *(LABELS[name] for name in names), "P(improvement)"]
    return Table.plain("aggregates", caption, heads, rows)


def per_task(summary: Summary, published: Published) -> Table:
    """A row per task: each method's final score in native units with its interval, and what the paper prints.

    ``runs`` is ``3`` where all methods have as many, else ``3/2`` in the methods' order.
    """
    scores = summary.scores
    columns = published.columns(scores.tasks)
    heads = [Head("task"), Head("score"), *(Head(name, MEASURED) for name in (*scores.methods, "runs"))]
    heads += [Head(column.label, PUBLISHED) for column in columns]
    rows: list[tuple[Cell, ...]] = []
    for task in scores.tasks:
        means = [summary.task_means.get((method, task)) for method in scores.methods]
        counts = [str(len(scores.finals(method, task))) for method in scores.methods]
        runs = counts[0] if len(set(counts)) == 1 else "/".join(counts)
        rows.append((task, _unit(task), *means, runs, *(published.scores[column].get(task) for column in columns)))
    caption = (
        f"Final score at {scores.total_frames} environment frames: mean over seeds with 95% interval."
        f" {_units(scores.tasks)}"
        f" Published: {SOURCE}, means without spread; another budget, model size and implementation than ours."
    )
    digits = tuple(get_task(task).digits for task in scores.tasks)
    return Table("per_task", caption, tuple(heads), tuple(rows), digits)


def _unit(task: str) -> str:
    return "return" if get_task(task).metric == "return" else "success"


def _units(tasks: Iterable[str]) -> str:
    """A sentence per unit: which tasks are scored by what, and the range of it."""
    names: dict[str, list[str]] = {}
    for spec in map(get_task, tasks):
        what = "episode return" if spec.metric == "return" else "success at the episode's last step"
        unit = "{}, {:g} to {:g}".format(what, *spec.score_range)
        names.setdefault(unit, []).append(SUITES.get(spec.suite, spec.name))
    return " ".join(f"{', '.join(dict.fromkeys(found))}: {unit}." for unit, found in names.items())


def published_aggregates(published: Published) -> Table:
    """Every printed aggregate of a whole suite beside the value its task rows give."""
    rows = tuple(
        (SUITES[c.suite], c.column.label, c.statistic, c.printed, c.recomputed, "yes" if c.follows else "no")
        for c in published.claims
    )
    caption = (
        f"Aggregates printed in {SOURCE}, and the same recomputed from its task rows. Only recomputed values are used"
        " elsewhere in this report."
    )
    heads = tuple(map(Head, ("suite", "method", "statistic", "printed", "from the rows", "follows")))
    digits = tuple(3 if claim.suite == "mw" else 2 for claim in published.claims)
    return Table("published_aggregates", caption, heads, rows, digits)


def published_on_these_tasks(summary: Summary, published: Published) -> Table:
    """The published methods on this report's tasks alone, normalised; over task means, for no runs are published."""
    tasks = summary.scores.tasks
    rows = []
    for column in published.columns(tasks):
        printed = {task: published.scores[column].get(task) for task in tasks}
        values = [get_task(task).normalise(score) for task, score in printed.items() if score is not None]
        trimmed = float(trimmed_mean(np.array(values)))
        rows.append((column.label, len(values), statistics.fmean(values), statistics.median(values), trimmed))
    caption = (
        f"Published methods ({SOURCE}) on the {len(tasks)} tasks of this report, normalised, computed from the task"
        " rows. Columns with fewer tasks cover only those with a printed number."
    )
    heads = ("method", "tasks", "mean", "median", "IQM of task means")
    return Table.plain("published_on_these_tasks", caption, heads, rows)


def card_tables(card: Mapping[str, Any]) -> list[Table]:
    """The data card as tables: embodiments, quality, noise levels, sources. Keys a card lacks are dashes."""
    rows: list[list[Cell]] = []
    for name, facts in card.get("embodiments", {}).items():
        counts = [facts.get(key) for key in ("episodes", "holdout_episodes", "rows", "action_dim", "bytes_per_step")]
        actions = [facts.get(key) for key in ("action_std", "action_saturation")]
        rows.append([name, *counts, *(statistics.fmean(values) if values else None for values in actions)])
    heads = ("embodiment", "episodes", "held out", "rows", "action width", "bytes a row", "action std", "saturated")
    tables = [Table.plain("card_embodiments", "By embodiment", heads, rows)]
    for key, caption in (("by_quality", "By quality"), ("by_sigma", "By noise level"), ("sources", "By source")):
        if records := card.get(key):
            cells = [[record.get(name) for name in records[0]] for record in records]
            tables.append(Table.plain(f"card_{key}", caption, [name.replace("_", " ") for name in records[0]], cells))
    return tables


def open_loop_table(errors: Mapping[str, Any]) -> Table:
    """Held-out errors of ``open_loop.json`` by embodiment, what acted and horizon, beside their yardsticks."""
    rows: list[list[Cell]] = [[*names, horizon, *values] for *names, horizon, values in error_rows(errors)]
    heads = ("embodiment", "acted", "rows ahead", *KINDS.values())
    caption = "Squared error on held-out episodes, summed over the pixels of an image"
    return Table.plain("open_loop", caption, heads, rows, digits=1)


def probe_table(probes: Mapping[str, Mapping[str, Any]]) -> Table:
    """r2 of ``gsa probe-actions`` by task and horizon, and where the model sees the pictures; errors as ``(+-)``."""
    rows: list[list[Cell]] = []
    for task, probe in probes.items():
        for horizon in probe.get("horizons", ()):
            keys = ("r2", "standard_error", "r2_seen", "effect")
            rows.append([task, horizon, *(probe[key][str(horizon)] for key in keys)])
    heads = ("task", "decisions", "r2", "standard error", "r2 of seen pictures", "size of the difference")
    return Table.plain("probes", "Difference under opposite actions that the model explains", heads, rows, digits=2)
