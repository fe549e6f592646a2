"""Work spread over spawned processes that are replaced when they die, hang or break; what they were at is redone.

An item's result must depend on the item alone: then neither the number of processes nor a replacement changes it.
"""

import ctypes
import logging
import multiprocessing
import os
import platform
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from gsa.errors import BrokenWorkerError, ResourceError

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
    Processes are spawned: a forked one hangs where its parent has used torch or OpenGL (M15 of RELIABILITY.md).

    Args:
        start: see ``Start``; it and the items are pickled.
        items: what to work on.
        name: says in messages which item it is.
        workers: processes, at least 1; no more are started than there are items.
        silence_s: see ``Beat``.

    Raises:
        ResourceError: an item has failed ``MAX_FAILURES`` processes.
        Exception: as the work raises it.
    """
    todo, failures = deque(enumerate(items)), Counter[int]()
    busy: list[_Worker] = []
    leaving: list[_Worker] = []
    try:
        while todo or busy:
            while todo and len(busy) < workers:
                busy.append(_Worker(start, *todo.popleft()))
            # At most a second, so that silence is noticed too.
            wait([worker.connection for worker in busy], timeout=1.0)
            for worker in list(busy):
                outcome = worker.outcome(silence_s)
                if isinstance(outcome, _Failure):
                    busy.remove(worker)
                    worker.kill()
                    failures[worker.number] += 1
                    where = f"{name(worker.item)}: {outcome}"
                    if failures[worker.number] == MAX_FAILURES:
                        raise ResourceError(f"{where}, as {MAX_FAILURES - 1} others did at the same place before it")
                    log.warning("%s; another process redoes it", where)
                    todo.appendleft((worker.number, worker.item))
                elif outcome is not None:
                    if todo:
                        worker.give(*todo.popleft())
                    else:
                        busy.remove(worker)
                        leaving.append(worker)
                        worker.dismiss()
                    yield outcome[0]
        for worker in leaving:
            worker.join()
    finally:
        for worker in busy + leaving:
            worker.kill()


class _Failure(str):
    """Why a process must be replaced."""


class _Worker:
    """A process at work on one item."""

    def __init__(self, start: Start[Any, Any], number: int, item: Any):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._last_beat = context.RawValue("d", 0.0)
        self._process = context.Process(target=_serve, args=(start, theirs, self._last_beat))
        self._process.start()
        theirs.close()
        self.give(number, item)

    def give(self, number: int, item: Any) -> None:
        self.number, self.item, self._given = number, item, time.monotonic()
        with suppress(ConnectionError):  # it died between two items: outcome says so
            self.connection.send((item,))

    def outcome(self, silence_s: float) -> "tuple[Any] | _Failure | None":
        """A result, or why the process must be replaced; None while it is at work.

        Raises:
            Exception: what the work raised.
        """
        try:
            message = self.connection.recv() if self.connection.poll() else None
        except (EOFError, ConnectionError):
            self._process.join()
            return _Failure(f"the process died (exit code {self._process.exitcode})")
        if isinstance(message, BrokenWorkerError):
            return _Failure(message)
        if isinstance(message, Exception):
            raise message
        # CLOCK_MONOTONIC is one clock for all processes of a machine.
        last = self._last_beat.value
        quiet = time.monotonic() - max(last, self._given)
        if message is None and quiet > (silence_s if last else START_SECONDS):
            return _Failure(f"the process hangs (no sign of life for {quiet:.0f} s)")
        return message

    def dismiss(self) -> None:
        """Nothing more to do."""
        with suppress(ConnectionError):
            self.connection.send(None)

    def join(self) -> None:
        """Wait until it has tidied up."""
        self._process.join(timeout=TIDY_SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(start: Start[Any, Any], connection: Connection, last_beat: Any) -> None:
    die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():
        os._exit(1)  # killed while this process was importing: no signal will come any more
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides

    def beat() -> None:
        last_beat.value = time.monotonic()

    try:
        work = start(beat)
        while True:
            beat()
            message = connection.recv()
            if message is None:
                return
            beat()
            connection.send((work(*message),))
    except Exception as error:  # raised again by the parent, with this process's traceback as a note
        error.add_note(traceback.format_exc())
        connection.send(error)


def die_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent dies, so that killing dvc (or a pool's owner) leaves no orphan training."""
    pr_set_pdeathsig = 1
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def default_workers() -> int:
    """One process a core of this process's share: OMP_NUM_THREADS where that says less than every usable core."""
    cores = len(os.sched_getaffinity(0))
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(threads))) if threads.isdigit() else cores
