"""Every change that Python makes to a file, as a numbered point at which something can go wrong.

A tap counts points below the working directory: opening for writing, each write, fsync, rename, new folder, removal.
At its point it acts: it kills the process, raises an error, or exchanges a file. Libraries that write by themselves
(torch, Arrow) are not counted; a limit on file sizes and kills at random moments reach them.
"""

import builtins
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Act = Callable[[str, str], None]
"""Told what happens and to which path, before it happens; what it raises comes out of the operation."""

WRITES = ("create", "write", "fsync", "rename", "mkdir", "remove")
READS = ("read",)
STARTS = ("thread", "process")

_AUDITED = {"os.rename": "rename", "os.mkdir": "mkdir", "os.remove": "remove", "os.rmdir": "remove"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

can_exchange = True
"""False: folders cannot change places in one step, as on file systems that do not know how."""

_listener: Act | None = None
_root = ""
_busy = False


def listen(act: Act | None) -> None:
    """Call ``act`` at every point of this process from now on; None ends it."""
    global _listener, _root
    _listener, _root = act, f"{Path.cwd()}{os.sep}"


def at(kinds: tuple[str, ...], number: int, act: Act) -> Act:
    """Acts at the ``number``-th point (from 0) of these kinds, once."""
    seen = -1

    def count(kind: str, path: str) -> None:
        nonlocal seen
        seen += kind in kinds
        if seen == number and kind in kinds:
            seen += 1_000_000
            act(kind, path)

    return count


def install() -> None:
    """Put the taps in place, once per process tree, before anything is forked."""
    sys.addaudithook(_audit)
    fsync, start, popen = os.fsync, threading.Thread.start, subprocess.Popen.__init__
    plain_open = io.open

    def tapped_fsync(target: Any) -> None:
        number = target if isinstance(target, int) else target.fileno()
        _tell("fsync", str(Path(f"/proc/self/fd/{number}").readlink()) if _listener else "")
        fsync(target)

    def tapped_start(self: threading.Thread) -> None:
        _tell("thread", _root)
        start(self)

    def tapped_popen(self: Any, *args: Any, **more: Any) -> None:
        _tell("process", _root)
        popen(self, *args, **more)

    def tapped_open(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **more: Any) -> Any:
        if _listener is None or not set(mode) & set("wax") or not _inside(file):
            return plain_open(file, mode, buffering, *args, **more)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        both = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return both
        text = io.TextIOWrapper(both, *args, **more)
        text.mode = mode  # type: ignore[misc]
        return text

    from gsa.runs import publish

    exchange = publish.exchange

    def tapped_exchange(one: Path, other: Path) -> bool:
        _tell("rename", other)
        return can_exchange and exchange(one, other)

    publish.exchange = tapped_exchange
    os.fsync, threading.Thread.start = tapped_fsync, tapped_start  # type: ignore[assignment,method-assign]
    subprocess.Popen.__init__ = tapped_popen  # type: ignore[method-assign]
    io.open = builtins.open = tapped_open


class _Raw(io.FileIO):
    """A file whose writes are points."""

    def write(self, data: Any) -> int:
        _tell("write", str(self.name))
        return super().write(data)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _listener is None:
        return
    if event == "open":
        path, mode, flags = args
        if isinstance(path, str | bytes | Path):
            writing = bool(flags & _WRITING) if isinstance(flags, int) else bool(set(mode or "") & set("wax+"))
            _tell("create" if writing else "read", path)
    elif event in _AUDITED:
        relative = len(args) > 1 and isinstance(args[-1], int) and args[-1] != -1  # to an open folder, as in rmtree
        _tell(_AUDITED[event], _root if relative else args[0])


def _inside(path: Any) -> bool:
    try:
        return f"{Path.cwd() / os.fsdecode(path)}".startswith(_root)
    except TypeError:
        return False


def _tell(kind: str, path: Any) -> None:
    global _busy
    if _listener is None or _busy or not _inside(path):
        return
    _busy = True  # what the listener does is not counted
    try:
        _listener(kind, os.fsdecode(path))
    finally:
        _busy = False
