"""Long work: how far it is, and items of which one that fails does not stop the others.

Progress is a bar with rate and time left on a terminal, a line at least every half minute elsewhere.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from gsa.errors import DataError, TrainingError

log = logging.getLogger(__name__)

HEARTBEAT_S = 30.0
"""Longest silence on a pipe or in a log file, as long as the work itself advances."""

Advance = Callable[[int], None]
Item = TypeVar("Item")


@contextmanager
def progress(total: int, description: str, heartbeat_s: float = HEARTBEAT_S) -> Iterator[Advance]:
    """Show how far ``total`` units of work are; yields the function to call with the units just done.

    Written to stderr, so that what a command prints stays clean.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=description) as bar:
            yield bar.update
    else:
        yield _heartbeat(total, description, heartbeat_s)


def _heartbeat(total: int, description: str, heartbeat_s: float) -> Advance:
    """Plain lines: one when something happens and the last line is ``heartbeat_s`` old, one at the end."""
    started = printed = time.monotonic()
    done = 0

    def advance(units: int) -> None:
        nonlocal done, printed
        done, now = done + units, time.monotonic()
        if now - printed >= heartbeat_s or done >= total:
            printed, rate = now, done / max(now - started, 1e-9)
            left_s = max(total - done, 0) / rate if rate else float("inf")
            line = f"{description}: {done}/{total}, {rate:.1f}/s, {left_s:.0f} s left"
            print(line, file=sys.stderr, flush=True)

    return advance


def each(items: Sequence[Item], run: Callable[[Item], None]) -> None:
    """Run every item; what any other error or a signal says holds for all of them, and ends this at once.

    Raises:
        DataError, TrainingError: of the items that failed, after the others; one line names them all.
    """
    failed: list[DataError | TrainingError] = []
    for number, item in enumerate(items, start=1):
        try:
            run(item)
        except (DataError, TrainingError) as error:
            failed.append(error)
            if number < len(items):
                log.warning("%s; going on with the next of %d", error, len(items))
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise type(failed[0])(f"{len(failed)} of {len(items)} failed: " + "; ".join(str(error) for error in failed))
