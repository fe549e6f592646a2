"""Work that misbehaves in the process that does it; imported by spawned workers, so without torch."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gsa.errors import BrokenWorkerError, DataError


def start(folder: Path, beat: Callable[[], None]) -> Callable[[str], tuple[str, int]]:
    """A worker; items name their fault: ``dies-once``, ``hangs-once``, ``broken-always``, ``slow``, ``bug``, ..."""
    return partial(work, folder, beat)


def work(folder: Path, beat: Callable[[], None], item: str) -> tuple[str, int]:
    """The item and who did it, or its fault."""
    fault, _, how_often = item.partition("-")
    tried = folder / item
    if how_often == "always" or (how_often == "once" and not tried.exists()):
        tried.touch()
        misbehave(fault)
    if fault == "slow":
        for _ in range(6):
            beat()
            time.sleep(0.5)
    return item, os.getpid()


def misbehave(fault: str) -> None:
    """Do what the fault says."""
    if fault == "dies":
        os.kill(os.getpid(), 9)
    if fault == "hangs":
        time.sleep(1000)
    if fault == "broken":
        raise BrokenWorkerError("the frame is black")
    if fault == "data":
        raise DataError("the policy acts outside its type")
    raise ZeroDivisionError(fault)
