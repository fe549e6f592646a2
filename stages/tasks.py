"""``gsa tasks``: the table of tasks."""

from pathlib import Path
from typing import Annotated

import typer

from stages.options import PARAMS, ParamsFile, Plugin, Settings, import_plugin, open_params

REFERENCE = Path(__file__).resolve().parents[1] / "data/reference"
"""The paper's printed scores, committed with the code."""

WIDTH = 110
"""Columns of the table when it does not go to a terminal."""


def tasks(
    match: Annotated[str, typer.Option(help="Only tasks whose name contains this.")] = "",
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """List the tasks, your own too, with body, action width, metric and the paper's scores at 150k frames."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from gsa.report.published import BUDGET, Column, load_published
    from gsa.tasks import EXTRA_TASKS, TASKS

    if params.is_file() or params != PARAMS:
        open_params(params, sets, plugin)  # registers its own_tasks
    elif plugin:
        import_plugin(plugin)
    published = load_published(REFERENCE)
    columns = [Column(method, BUDGET) for method in ("gsa", "dreamerv3", "drqv2")]
    table = Table(box=None, pad_edge=False)
    for heading in ("task", "embodiment"):
        table.add_column(heading, no_wrap=True)
    for heading in ("actions", "metric", *(column.label for column in columns)):
        table.add_column(heading, no_wrap=True, justify="right")
    shown = [spec for spec in TASKS.values() if match in spec.name]
    for spec in shown:
        scores = [published.scores[column].get(spec.name) for column in columns]
        cells = ["-" if score is None else f"{score:g}" for score in scores]
        width = "-" if spec.action_dim is None else str(spec.action_dim)
        table.add_row(spec.name, spec.embodiment, width, spec.metric, *cells)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
    extra, own = sum(spec.name in EXTRA_TASKS for spec in shown), sum(spec.suite == "own" for spec in shown)
    more = f" and {extra} more" if extra else ""
    typer.echo(f"{len(shown) - extra - own} of the paper's 72 tasks{more}" + (f"; {own} of your own" if own else ""))
