"""What work will cost, said before it starts: measured on this machine, by as many processes as will do it."""

import time
from pathlib import Path

import torch
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

    Says nothing where the work is so little that the measurement would be a part of it. Without an OpenGL back-end the
    measurement raises a ResourceError.
    """
    explores = stage == "explore-data"
    part = count(params).explored if explores else count(params).collected
    episodes, rows = (sum(counts[n] for counts in part.values()) for n in (0, 1))
    workers = params.machine.workers or default_workers()
    if rows < WORTH_MEASURING * DECISIONS * workers:
        return
    begin = time.monotonic()
    todo = [trial for trial in trials(params, workers) if trial.explores == explores and trial.key[0] in part]
    lines = (explore_lines if explores else collect_lines)(params, measure(params, todo, workers), workers)
    cost = (
        f"{duration(sum(line.hours for line in lines))} with {workers} processes and {size(sum(n.gb for n in lines))}"
    )
    work, measured_s = f"{episodes} episodes, {rows} rows", time.monotonic() - begin
    typer.echo(f"{stage}: {work}, about {cost}, measured in {measured_s:.0f} s", err=True)


def say_space(
    item: str, params: Params, method: str, task: str, weights: int, device: torch.device, folder: Path
) -> None:
    """Print one line, the memory and disk that a fine-tuning needs, to stderr.

    ``weights`` are the bytes of its learner, ``folder`` is that of its checkpoints.

    Raises:
        ResourceError: the machine has less.
    """
    from gsa.cost.gpu_memory import BESIDE_TENSORS, check_gpu, finetuning_bytes
    from gsa.cost.space import check_space, finetuning_space
    from gsa.pipeline import LEARNERS

    on_gpu = device.type == "cuda"
    need = finetuning_space(params, method, task, weights, on_gpu)
    memory, disk = size(need.memory / 1e9), size(need.disk / 1e9)
    typer.echo(f"{item}: up to about {memory} of memory and, until it is done, {disk} of disk", err=True)
    check_space(need, item, folder)
    if on_gpu and "dreamer" in LEARNERS[params.method(method).learner].sections:
        bytes_there = finetuning_bytes(params) + BESIDE_TENSORS
        typer.echo(f"{item}: up to about {size(bytes_there / 1e9)} of memory on {device}", err=True)
        check_gpu(bytes_there, item, device)


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
