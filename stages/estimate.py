"""What work will cost, said before it starts: measured on this machine, by as many processes as will do it."""

import time

import typer
from tabulate import tabulate

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
    other, lists = ("explore_data", "domains") if stage == "collect-data" else ("collect_data", "tasks")
    none = {"finetune": ("tasks", params.matrix.finetune), other: (lists, getattr(params.matrix, other))}
    left_out = {name: section.model_copy(update={key: []}) for name, (key, section) in none.items()}
    only = params.model_copy(update={"matrix": params.matrix.model_copy(update=left_out)})
    lines = collect_lines if stage == "collect-data" else explore_lines
    workers = params.machine.workers or default_workers()
    if count(only).rows < WORTH_MEASURING * DECISIONS * workers:
        return
    begin = time.monotonic()
    found = lines(only, measure(only, trials(only, workers), workers), workers)
    hours, gigabytes = (sum(values) for values in zip(*((line.hours, line.gb) for line in found), strict=True))
    typer.echo(
        f"{stage}: {count(only).episodes} episodes, {count(only).rows} rows, about {duration(hours)} with {workers} "
        f"processes and {size(gigabytes)}, measured in {time.monotonic() - begin:.0f} s",
        err=True,
    )


def table(lines: list[Line]) -> str:
    """Lines as columns, with the sum of those that make data and of all."""
    data = [line for line in lines if line.gb or line.stage == "explore-data"]
    sums = [
        Line(name, "", "", sum(n.hours for n in part), sum(n.gb for n in part))
        for name, part in (("data", data), ("all", lines))
    ]
    rows = [(n.stage, n.work, n.rate, duration(n.hours), size(n.gb) if n.gb else "") for n in [*lines, *sums]]
    sides = ("left", "left", "left", "right", "right")
    return tabulate(
        [("stage", "work", "rate", "time", "size"), *rows], tablefmt="plain", disable_numparse=True, colalign=sides
    )


def duration(hours: float) -> str:
    """Seconds, minutes, hours or days."""
    for unit, per_hour, least in (("days", 1 / 24, 48.0), ("hours", 1.0, 2.0), ("min", 60.0, 1 / 30)):
        if hours >= least:
            return f"{hours * per_hour:,.1f} {unit}"
    return f"{hours * 3600:.0f} s"


def size(gigabytes: float) -> str:
    """Megabytes or gigabytes."""
    return f"{gigabytes:,.1f} GB" if gigabytes >= 1.0 else f"{gigabytes * 1000:,.0f} MB"
