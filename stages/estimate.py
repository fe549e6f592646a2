"""What work will cost, said before it starts: measured on this machine, by as many processes as will do it."""

import time

import typer

from gsa.config import Params
from gsa.cost.counts import Line, collect_lines, count, explore_lines
from gsa.cost.pace import DECISIONS, measure, trials
from gsa.parallel.workers import default_workers

WORTH_MEASURING = 100
"""A stage with less work than so many times a trial's decisions is begun without an estimate."""


def say_cost(stage: str, params: Params) -> None:
    """Print one line, hours and gigabytes of ``collect-data`` or ``explore-data`` as ``params`` ask for, to stderr.

    Says nothing where the work is so little that the measurement would be a part of it.

    Raises:
        ResourceError: no OpenGL back-end.
    """
    tune = params.finetune.model_copy(update={"tasks": []})
    collect, explore = params.collect_data, params.explore_data
    if stage == "collect-data":
        explore, workers, lines = explore.model_copy(update={"domains": []}), collect.workers, collect_lines
    else:
        collect, workers, lines = collect.model_copy(update={"tasks": []}), explore.workers, explore_lines
    only = params.model_copy(update={"collect_data": collect, "explore_data": explore, "finetune": tune})
    workers = workers or default_workers()
    if count(only).rows < WORTH_MEASURING * DECISIONS * workers:
        return
    begin = time.monotonic()
    found = lines(only, measure(only, trials(only, workers), workers), workers)
    hours, size = (sum(values) for values in zip(*((line.hours, line.gb) for line in found), strict=True))
    typer.echo(
        f"{stage}: {count(only).episodes} episodes, {count(only).rows} rows, about {hours:.1f} hours with {workers} "
        f"processes and {size:.1f} GB, measured in {time.monotonic() - begin:.0f} s",
        err=True,
    )


def table(lines: list[Line]) -> str:
    """Lines as columns, with the sum of those that make data."""
    data = [line for line in lines if line.gb or line.stage == "explore-data"]
    total = Line("data", "", "", sum(line.hours for line in data), sum(line.gb for line in data))
    rows = [(n.stage, n.work, n.rate, f"{n.hours:.2f}", f"{n.gb:.2f}" if n.gb else "") for n in [*lines, total]]
    cells = [("stage", "work", "rate", "hours", "GB"), *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    aligned = [[row[i].ljust(widths[i]) for i in range(3)] + [row[i].rjust(widths[i]) for i in (3, 4)] for row in cells]
    return "\n".join("  ".join(row).rstrip() for row in aligned)
