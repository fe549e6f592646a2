"""``gsa tasks``: the table of tasks."""

import difflib
import logging
from pathlib import Path
from typing import Annotated

import typer
from tabulate import tabulate

from gsa.errors import ParamsError
from gsa.tasks import EXTRA_TASKS, TASKS
from stages.options import PARAMS, ParamsFile, Plugin, Settings, import_plugin, open_params

log = logging.getLogger(__name__)

REFERENCE = Path(__file__).resolve().parents[1] / "data/reference"
"""The paper's printed scores, committed with the code."""


def tasks(
    match: Annotated[str, typer.Argument(help="Only tasks whose name contains this.")] = "",
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """List the tasks with body, action width, metric and the paper's scores at 150k frames; your own tasks too."""
    from gsa.report.published import BUDGET, Column, load_published

    if plugin:
        import_plugin(plugin)
    if params.is_file() or params != PARAMS:
        try:
            open_params(params, sets)
        except ParamsError as error:
            log.warning("tasks of your own may be missing from this list: %s", error)
    shown = [spec for spec in TASKS.values() if match in spec.name]
    if not shown:
        near = difflib.get_close_matches(match, TASKS, n=3, cutoff=0.3)
        raise ParamsError(f"no task has {match!r} in its name" + (f"; nearest: {', '.join(near)}" if near else ""))
    published = load_published(REFERENCE)
    methods = [Column(method, BUDGET) for method in ("gsa", "dreamerv3", "drqv2")]
    rows: list[tuple[str, ...]] = [("task", "body", "width", "metric", "GSA", "Dreamer", "DrQ v2")]
    for spec in shown:
        scores = [published.scores[column].get(spec.name) for column in methods]
        cells = ["-" if score is None else f"{score:g}" for score in scores]
        rows.append((spec.name, spec.embodiment, str(spec.action_dim or "-"), spec.metric, *cells))
    typer.echo(tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=("left", "left", *["right"] * 5)))
    own, extra = sum(spec.suite == "own" for spec in shown), sum(spec.name in EXTRA_TASKS for spec in shown)
    parts = [f"{len(shown) - extra - own} of the paper's 72 tasks"]
    parts += [f"{count} {what}" for count, what in ((extra, "more"), (own, "of your own")) if count]
    typer.echo(f"{' and '.join(parts)}; the paper's scores are at {BUDGET // 1000}k frames")
