"""Progress of long work: a bar with rate and time left on a terminal, a line at least every half minute elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HEARTBEAT_S = 30.0
"""Longest silence on a pipe or in a log file, as long as the work itself advances."""

Advance = Callable[[int], None]


@contextmanager
def progress(total: int, description: str, heartbeat_s: float = HEARTBEAT_S) -> Iterator[Advance]:
    """Show how far ``total`` units of work are; yields the function to call with the units just done.

    Written to stderr, so that what a command prints stays clean.
    """
    if sys.stderr.isatty():
        with _bar(total, description) as advance:
            yield advance
    else:
        yield _Heartbeat(total, description, heartbeat_s)


@contextmanager
def _bar(total: int, description: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, rate=0.0)

        def advance(units: int = 1) -> None:
            bar.update(task, advance=units, rate=bar.tasks[task].speed or 0.0)

        yield advance


class _Heartbeat:
    """Plain lines: one when something happens and the last line is ``heartbeat_s`` old, one at the end."""

    def __init__(self, total: int, description: str, heartbeat_s: float) -> None:
        self.total, self.description, self.heartbeat_s = total, description, heartbeat_s
        self.done = 0
        self.started = self.printed = time.monotonic()

    def __call__(self, units: int = 1) -> None:
        self.done += units
        now = time.monotonic()
        if now - self.printed < self.heartbeat_s and self.done < self.total:
            return
        self.printed = now
        rate = self.done / max(now - self.started, 1e-9)
        left_s = max(self.total - self.done, 0) / rate if rate else float("inf")
        line = f"{self.description}: {self.done}/{self.total}, {rate:.1f}/s, {left_s:.0f} s left"
        print(line, file=sys.stderr, flush=True)
