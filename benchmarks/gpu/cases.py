"""Cases of a step, each in a process of its own: what one yields arrives at once, and its end harms no other.

Processes are forked, so that what the step has imported need not be imported again. That is allowed because the step
itself never uses the GPU, OpenGL or a second thread.
"""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from benchmarks.gpu.context import Row
from gsa.startup import die_with_parent

Case = Callable[[], Iterator[Row]]

_FORK = multiprocessing.get_context("fork")


@dataclass
class _Running:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    until: float


def run(cases: Mapping[str, Case], seconds: float, at_once: int = 1) -> Iterator[tuple[str, Row]]:
    """What each case yields, with its name; ``at_once`` of them run at a time, each for at most ``seconds``.

    A case that raises, dies or takes too long yields a last row with the key ``note``, which says so.
    """
    waiting, running = list(cases.items()), dict[str, _Running]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                name, case = waiting.pop(0)
                running[name] = _start(case, seconds)
            soonest = min(one.until for one in running.values())
            wait([one.pipe for one in running.values()], max(0.0, soonest - time.monotonic()))
            for name, one in list(running.items()):
                row, is_over = _read(one, seconds)
                if row is not None:
                    yield name, row
                if is_over:
                    _end(one)
                    del running[name]
    finally:
        for one in running.values():
            _end(one)


def _start(case: Case, seconds: float) -> _Running:
    receive, send = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_work, args=(case, send))
    process.start()
    send.close()
    return _Running(process, receive, time.monotonic() + seconds)


def _work(case: Case, pipe: Connection) -> None:
    os.setpgid(0, 0)  # with all that it starts
    die_with_parent()
    try:
        for row in case():
            pipe.send(row)
        pipe.send(None)
    except BaseException as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        pipe.send({"note": f"{type(error).__name__}: {lines[0][:120]}"})


def _read(one: _Running, seconds: float) -> tuple[Row | None, bool]:
    """A row, if there is one, and whether it was the last."""
    if one.pipe.poll():
        try:
            row = one.pipe.recv()
        except EOFError:
            one.process.join(5)
            return {"note": f"died with exit status {one.process.exitcode}"}, True
        return row, row is None or "note" in row
    late = time.monotonic() >= one.until
    return ({"note": f"stopped after {seconds:.0f} s"} if late else None), late


def _end(one: _Running) -> None:
    if one.process.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(one.process.pid, signal.SIGKILL)
    one.process.kill()
    one.process.join(10)
    one.pipe.close()
