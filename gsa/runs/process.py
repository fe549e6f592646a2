"""A run as a process: it holds a lock on what it writes and stops where its work is kept."""

import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Protocol, runtime_checkable

from gsa.errors import LockError, StoppedError

log = logging.getLogger(__name__)

STOP_GRACE_S = 30.0
"""Seconds between a polite signal and giving up on reaching the next checkpoint."""

SAME_REQUEST_S = 2.0
"""Signals this close together are one request: a group is told to end, then each child that its parent is gone."""


def lock_of(output: Path) -> Path:
    """The lock file of an output folder: beside it, because the folder itself is replaced."""
    return output.with_name(f".{output.name}.lock")


@contextmanager
def hold_lock(lock: Path, guarded: Path) -> Iterator[None]:
    """Hold an exclusive ``flock`` on the file ``lock`` for the length of the block; it vanishes with the process.

    Raises:
        LockError: another process holds it; the message names its pid, host and start.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = lock.open("a+", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            holder = handle.read().strip() or "an unknown process"
            handle.close()
            raise LockError(f"{guarded} is being written by {holder}; wait for it or stop it") from error
        # The last holder unlinks the file: a lock on a name that is gone (or is another file by now) protects nothing.
        if lock.exists() and os.fstat(handle.fileno()).st_ino == lock.stat().st_ino:
            break
        handle.close()
    try:
        handle.truncate(0)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        handle.write(f"pid {os.getpid()} on {socket.gethostname()} since {started}")
        handle.flush()
        yield
    finally:
        lock.unlink(missing_ok=True)
        handle.close()


@runtime_checkable
class Stoppable(Protocol):
    """Work that polls ``stop_requested`` and then saves; before it is ``in_use`` there is nothing to save.

    ``next_start`` says what the same command would do now, e.g. "starts over".
    """

    stop_requested: bool
    in_use: bool

    @property
    def next_start(self) -> str:
        """See the class."""
        ...


@contextmanager
def stop_on_signals(store: Stoppable) -> Iterator[None]:
    """First signal: stop at the next checkpoint, or at once where none is kept; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    asked_at = 0.0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked_at
        name = signal.Signals(number).name
        if store.stop_requested and time.monotonic() - asked_at < SAME_REQUEST_S:
            return
        if store.stop_requested or not store.in_use:
            raise StoppedError(f"stopped by {name}; the same command {store.next_start}")
        log.warning("%s: stopping at the next checkpoint, at most %d s", name, STOP_GRACE_S)
        store.stop_requested, asked_at = True, time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, STOP_GRACE_S)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    previous = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in previous.items():
            signal.signal(number, handler)
