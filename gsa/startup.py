"""What a command does before anything that takes time: it sees to its parent, to signals, to UTF-8 and its streams.

Only the standard library is imported here, so that all of it holds from the first moments of a command on.
"""

import codecs
import ctypes
import io
import locale
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from gsa.errors import Stop, StoppedError

POLITE = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask a command to end."""

SWEEP = "GSA_SWEEP"
"""Set by ``gsa sweep`` for what it runs, to the name of the item."""

LAUNCHERS = {"DVC_STAGE": "dvc", "TORCHELASTIC_RUN_ID": "torch", SWEEP: "sweep"}
"""Variables that dvc, torchrun and ``gsa sweep`` set for what they run, with a word of their own command line."""


def begin() -> None:
    """Everything below, for a command; it may start the same command anew in its place, in UTF-8."""
    tie_to_launcher()
    for number in POLITE:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` and the like keep their word
            signal.signal(number, _stop)
    sys.unraisablehook = _cannot_rise
    use_utf8()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, POLITE)
    keep_streams()


def finish() -> None:
    """The work is done and its exit code known: what asks to stop from here on comes too late."""
    for number in POLITE:
        signal.signal(number, signal.SIG_IGN)


def die_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent dies. Whoever calls this looks afterwards whether it is dead already."""
    pr_set_pdeathsig = 1
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def tie_to_launcher() -> None:
    """Under a launcher, end when it ends: else a stage would train on, unseen, and the next start beside it."""
    words = [word for variable, word in LAUNCHERS.items() if variable in os.environ]
    if words:
        die_with_parent()
        if _is_orphan(words):  # the launcher died before this line: no signal will come any more
            end_at_once("the end of what started it")


def _is_orphan(words: list[str]) -> bool:
    """Whether the parent is who takes orphans: process 1, or a manager of sessions; ``words`` name a launcher."""
    parent = os.getppid()
    try:
        line = Path(f"/proc/{parent}/cmdline").read_text(encoding="utf-8", errors="replace")
        elsewhere = os.getsid(0) not in (os.getpid(), os.getsid(parent))
    except OSError:  # not ours to look at
        return True
    return (parent == 1 or elsewhere) and not any(word in line for word in words)


def _stop(number: int, frame: FrameType | None) -> None:
    """Nothing is kept yet. An import may take an exception for a missing module, so it is left without one."""
    reason = signal.Signals(number).name
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            end_at_once(reason)
        frame = frame.f_back
    raise Stop(f"stopped by {reason}; the same command starts over")


def _cannot_rise(unraisable: "sys.UnraisableHookArgs") -> None:
    """Where a signal comes while an object is deleted or C calls back, Python drops its exception and would go on."""
    if isinstance(unraisable.exc_value, Stop):
        end_with(f"StoppedError: {unraisable.exc_value}")
    sys.__unraisablehook__(unraisable)


def end_at_once(reason: str) -> NoReturn:
    """``end_with`` the line of a stopped command."""
    end_with(f"StoppedError: stopped by {reason}; the same command starts over")


def end_with(line: str) -> NoReturn:
    """Say the line and end with the exit code of a stop, without anything that Python does at an end."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())
    os._exit(StoppedError.exit_code)


def use_utf8() -> None:
    """Whatever the locale: files, names of files and output are UTF-8, here and in what this process starts.

    Python decides that when it starts. So it starts anew, in the same process, where the locale says otherwise.
    """
    encodings = {sys.getfilesystemencoding(), locale.getencoding()}
    if sys.flags.utf8_mode or {codecs.lookup(name).name for name in encodings} == {"utf-8"}:
        return
    os.environ["PYTHONUTF8"] = "1"
    signal.pthread_sigmask(signal.SIG_BLOCK, POLITE)  # a signal waits until its handler is there again
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def keep_streams() -> None:
    """A closed stdin, stdout or stderr is /dev/null, and what can no longer be written to them is lost in silence.

    Otherwise the next file that is opened takes their place, and a reader that went away (``| head``) ends the work.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)
    sys.stdin = sys.stdin or io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout, sys.stderr = _Lossy(1), _Lossy(2)


class _Lossy(io.TextIOWrapper):
    """Text that is lost in silence from the first write on that fails: the reader is gone, the disk is full.

    Lines go out at once: a log shows how far the work is.
    """

    def __init__(self, descriptor: int) -> None:
        raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            self._lose()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self._lose()

    def _lose(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())  # for children and libraries, too
        os.close(null)
        super().flush()
