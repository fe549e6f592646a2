"""Work spread over spawned processes that are replaced when they die, hang or break; what they were at is redone.

An item's result must depend on the item alone: then neither the number of processes nor a replacement changes it.
"""

import logging
import multiprocessing
import os
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from gsa.errors import BrokenWorkerError, ResourceError
from gsa.startup import die_with_parent

log = logging.getLogger(__name__)

MAX_FAILURES = 3
"""A worker that fails at the same item as often as this stops the run: the item, not the worker, is at fault."""

START_SECONDS = 600.0
"""How long a process may take to import and build what it works with, on a machine that does much else."""

SILENCE_SECONDS = 120.0
"""A worker that has not given a sign of life for this long hangs."""

TIDY_SECONDS = 10.0
"""How long a worker without work may take to close what it opened."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Beat = Callable[[], None]
"""A worker's sign of life, to be given at least every ``silence_s``."""

Start = Callable[[Beat], Callable[[Item], Result]]
"""Run once in each process: builds what the work needs and returns the work. Must be picklable."""


def run_workers(
    start: Start[Item, Result],
    items: Sequence[Item],
    name: Callable[[Item], str],
    workers: int,
    silence_s: float = SILENCE_SECONDS,
) -> Iterator[Result]:
    """The result of each item, in the order in which they are done.

    A process that ends, is silent for ``silence_s`` or raises ``BrokenWorkerError`` is replaced, and its item redone.
    Processes are spawned: a forked one hangs where its parent has used torch or OpenGL.

    At most ``workers`` (at least 1) processes are started; ``start`` and the items are pickled. ``name`` says in
    messages which item it is.

    Raises:
        ResourceError: an item has failed ``MAX_FAILURES`` processes.
        Exception: as the work raises it.
    """
    todo, failures = deque(enumerate(items)), Counter[int]()
    busy: list[_ItemWorker] = []
    leaving: list[_ItemWorker] = []
    try:
        while todo or busy:
            while todo and len(busy) < workers:
                busy.append(_ItemWorker(start, *todo.popleft()))
            # At most a second, so that silence is noticed too.
            wait([worker.pipe for worker in busy], timeout=1.0)
            for worker in list(busy):
                try:
                    outcome = worker.outcome(silence_s)
                except (LostWorkerError, BrokenWorkerError) as error:
                    busy.remove(worker)
                    worker.kill()
                    failures[worker.number] += 1
                    where = f"{name(worker.item)}: {error}"
                    if failures[worker.number] == MAX_FAILURES:
                        others = f"as {MAX_FAILURES - 1} others did at the same place before it"
                        raise ResourceError(f"{where}, {others}") from error
                    log.warning("%s; another process redoes it", where)
                    todo.appendleft((worker.number, worker.item))
                    continue
                if outcome is None:
                    continue
                if todo:
                    worker.give(*todo.popleft())
                else:
                    busy.remove(worker)
                    leaving.append(worker)
                    worker.tell(None)
                yield outcome[0]
        for worker in leaving:
            worker.process.join(TIDY_SECONDS)
    finally:
        for worker in busy + leaving:
            worker.kill()


class LostWorkerError(Exception):
    """A process died or hangs; whatever it was at is lost."""


class Worker:
    """A process that runs ``work`` on the other end of ``pipe``; it can be given up, and ends when its parent does.

    ``context`` says how it is started, e.g. ``multiprocessing.get_context("spawn")``; ``work`` must be picklable.
    """

    def __init__(self, context: Any, work: Callable[[Connection], None]) -> None:
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_live, args=(work, theirs), daemon=True)
        # Ctrl-C reaches the whole group; a process that is importing would answer it with a traceback.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def tell(self, message: Any) -> None:
        """Send a message; where the process is gone, ``hear`` says so."""
        with suppress(OSError):
            self.pipe.send(message)

    def hear(self) -> Any:
        """Its next message, waited for; LostWorkerError where it died."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join(TIDY_SECONDS)
            raise LostWorkerError(f"its process died (exit code {self.process.exitcode})") from error

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def hangs(seconds: float) -> LostWorkerError:
    """The error for a process that has been silent for so long."""
    return LostWorkerError(f"its process hangs (no sign of life for {seconds:.0f} s)")


def _live(work: Callable[[Connection], None], pipe: Connection) -> None:
    die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():
        os._exit(1)  # killed while this process was importing: no signal will come any more
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    work(pipe)


class _ItemWorker(Worker):
    """A process at work on one item."""

    def __init__(self, start: Start[Any, Any], number: int, item: Any):
        context = multiprocessing.get_context("spawn")
        self._last_beat = context.RawValue("d", 0.0)
        super().__init__(context, partial(_serve, start, self._last_beat))
        self.give(number, item)

    def give(self, number: int, item: Any) -> None:
        self.number, self.item, self._given = number, item, time.monotonic()
        self.tell((item,))

    def outcome(self, silence_s: float) -> tuple[Any] | None:
        """A result; None while it is at work. LostWorkerError where it died or hangs, else what the work raised."""
        if self.pipe.poll():
            message: tuple[Any] | Exception = self.hear()
            if isinstance(message, Exception):
                raise message
            return message
        last = self._last_beat.value
        quiet = time.monotonic() - max(last, self._given)  # one clock for all processes of a machine
        if quiet > (silence_s if last else START_SECONDS):
            raise hangs(quiet)
        return None


def _serve(start: Start[Any, Any], last_beat: Any, pipe: Connection) -> None:
    def beat() -> None:
        last_beat.value = time.monotonic()

    try:
        work = start(beat)
        while True:
            beat()
            message = pipe.recv()
            if message is None:
                return
            beat()
            pipe.send((work(*message),))
    except Exception as error:  # raised again by the parent, with this process's traceback as a note
        error.add_note(traceback.format_exc())
        pipe.send(error)


def default_workers() -> int:
    """A process per core of this process's share: OMP_NUM_THREADS where that says less than every usable core."""
    cores = len(os.sched_getaffinity(0))
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(threads))) if threads.isdigit() else cores
