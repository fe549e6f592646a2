"""``gsa tasks``: the table of tasks."""

from pathlib import Path
from typing import Annotated

import typer

REFERENCE = Path(__file__).resolve().parents[1] / "data/reference"
"""The paper's printed scores, committed with the code."""

WIDTH = 110
"""Columns of the table when it does not go to a terminal."""


def tasks(
    match: Annotated[str, typer.Option(help="Only tasks whose name contains this.")] = "",
) -> None:
    """List the tasks with body, action width, metric and the paper's scores at 150k frames."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from gsa.report.published import BUDGET, Column, load_published
    from gsa.tasks import EXTRA_TASKS, TASKS

    published = load_published(REFERENCE)
    columns = [Column(method, BUDGET) for method in ("gsa", "dreamerv3", "drqv2")]
    table = Table(box=None, pad_edge=False)
    for heading in ("task", "embodiment"):
        table.add_column(heading, no_wrap=True)
    for heading in ("actions", "metric", *(column.label for column in columns)):
        table.add_column(heading, no_wrap=True, justify="right")
    shown = [spec for spec in TASKS.values() if match in spec.name]
    for spec in shown:
        scores = [published.score(column, spec.name) for column in columns]
        cells = ["-" if score is None else f"{score:g}" for score in scores]
        table.add_row(spec.name, spec.embodiment, str(spec.action_dim), spec.metric, *cells)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
    extra = sum(spec.name in EXTRA_TASKS for spec in shown)
    typer.echo(f"{len(shown) - extra} of the paper's 72 tasks" + (f" and {extra} more" if extra else ""))
