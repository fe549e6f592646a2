"""A command run in a forked process, as fast as its work: imports are done once, by the process that forks.

Importing torch and the simulators takes seconds, a tiny stage less than one. What forks has no threads, no OpenGL
context and has never computed: so a fork is as good as a new process (``check_forks`` compares).
"""

import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = """
torch torch._dynamo safetensors.torch faiss pyarrow.parquet pyarrow.dataset pandas tensorboardX
matplotlib.pyplot scipy.stats PIL.Image gsa.envs.dmc gsa.envs.metaworld gsa.envs.gymnasium gsa.agents.gsa
gsa.agents.drqv2 gsa.agents.dreamer gsa.loops.build_index gsa.loops.collect gsa.loops.convert
gsa.loops.draw_explored gsa.loops.evaluate gsa.loops.finetune gsa.loops.floors gsa.loops.import_model
gsa.loops.pretrain gsa.loops.probe_actions gsa.report.build gsa.report.page gsa.report.figures
gsa.inspection.folders gsa.cost.counts gsa.cpu gsa.cpu.images gsa.cpu.recurrence gsa.visual.pictures
gsa.visual.predictions stages.cli stages.commands
"""
"""What commands import."""

HANG_S = 60.0
"""A command that has not computed for so long hangs."""

BUSY_S = 120.0
"""A tiny command that has computed for so long will not end."""

ORPHAN_S = 5.0
"""How long processes of a command that has ended may take to notice."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: ``code`` is its exit status, or minus the signal that killed it."""

    code: int
    out: str
    err: str
    seconds: float
    cpu_s: float = 0.0
    hung: bool = False
    orphans: int = 0

    @property
    def traceback(self) -> bool:
        """Whether it showed a bug of ours."""
        return "Traceback (most recent call last)" in self.err + self.out

    @property
    def last_line(self) -> str:
        """What it said last, for messages."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1][-300:] if lines else "(nothing on stderr)"


def prepare() -> None:
    """Import everything a command needs and put the taps in place; then this process may fork."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # Arrow's allocator would start one
    from gsa.envs.rendering import choose_backend

    choose_backend("auto")  # in a child of its own; what we fork finds the answer
    import multiprocessing
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in MODULES.split():
            try:
                import_module(module)
            except ModuleNotFoundError as error:
                if not (error.name or "").startswith(("gsa.", "stages.", "numba")):
                    raise  # a module of ours may be renamed: then the child imports what it needs, which is slower
    _hasten_exploration()
    fork = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda method=None: fork  # type: ignore[assignment]  # workers, too, start at once
    os.register_at_fork(after_in_child=_like_a_new_process)
    from tests.faults import taps

    taps.install()
    tasks = len(list(Path("/proc/self/task").iterdir()))
    assert tasks == 1, f"{tasks} threads: {threading.enumerate()}"
    adopt_orphans()


def adopt_orphans() -> None:
    """Let what outlives its parent become this process's child, so that it is seen and waited for."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)


def reap_orphans() -> None:
    """Wait for all children that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _hasten_exploration() -> None:
    """Its physics is real; its pictures, 60 per second on a CPU, are the bytes of the state. It saves each episode."""
    import numpy as np

    from gsa.envs.dmc import DMCEnv
    from gsa.loops import explore

    def painted(self: DMCEnv, state: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        return np.resize(np.frombuffer(state.tobytes(), np.uint8), (3, 64, 64))

    DMCEnv.render_state = painted  # type: ignore[method-assign]
    explore.SAVE_EVERY_S, explore.SAVE_SHARE = 0.0, 1e9


def _like_a_new_process() -> None:
    """A spawned worker inherits neither signal handlers nor locks."""
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    for link in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):  # the listing's own is closed by now
            if link.readlink().name.endswith(".lock"):
                os.close(int(link.name))


def command_line() -> Callable[[], Any]:
    """What the console script ``gsa`` calls."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    module, _, name = text.split("[project.scripts]\ngsa = ")[1].splitlines()[0].strip('"').partition(":")
    entry: Callable[[], Any] = getattr(import_module(module), name)
    return entry


def run(
    project: Path,
    args: tuple[str, ...],
    before: Callable[[], None] = lambda: None,
    meanwhile: Callable[[int], None] = lambda pid: None,
) -> Ended:
    """``gsa ARGS`` in ``project``, in a process of its own with its own session.

    ``before`` is called in that process before the command; ``meanwhile`` here, with its pid.
    """
    pipes = [_pipe(), _pipe()]
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _become(project, args, [write for _, write in pipes], before)
    meanwhile(pid)
    status, cpu_s, hung = _wait(pid, project)
    seconds = time.monotonic() - started
    orphans = _end_session(pid, project)
    out, err = (_read(*pipe) for pipe in pipes)
    return Ended(os.waitstatus_to_exitcode(status), out, err, seconds, cpu_s, hung, orphans)


def _pipe() -> tuple[int, int]:
    """Where words go: not a file, which a limit on sizes would cut."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 2**20)
    os.set_blocking(read, False)
    return read, write


def _read(read: int, write: int) -> str:
    data = b""
    with suppress(BlockingIOError):
        while part := os.read(read, 2**20):
            data += part
    os.close(read)
    os.close(write)
    return data.decode(errors="replace")


def _become(project: Path, args: tuple[str, ...], outs: list[int], before: Callable[[], None]) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(project)
        for number, descriptor in enumerate(outs, start=1):
            os.dup2(descriptor, number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["gsa", *args]
        sys.path.insert(0, "")
        command = command_line()
        before()
        command()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        code = _at_exit(code)
        os._exit(code)


def _at_exit(code: int) -> int:
    """What the interpreter does at its end."""
    import atexit

    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        return 120
    return code


def _wait(pid: int, project: Path) -> tuple[int, float, bool]:
    """Exit status, seconds of computing, and whether it had to be ended: no work for ``HANG_S``, or too much."""
    pause, used, since = 0.002, 0.0, time.monotonic()
    while True:
        found, status, use = os.wait4(pid, os.WNOHANG)
        if found:
            return status, use.ru_utime + use.ru_stime, False
        time.sleep(pause)
        pause = min(pause * 1.2, 0.03)
        if time.monotonic() - since > 1.0 and (now := _cpu_seconds(pid, project)) != used:
            used, since = now, time.monotonic()
        if time.monotonic() - since > HANG_S or used > BUSY_S:
            os.kill(pid, signal.SIGKILL)
            return os.waitpid(pid, 0)[1], used, True


def _cpu_seconds(session: int, project: Path) -> float:
    """What the processes of a session have computed: a busy machine is no reason to call them hung."""
    total = 0
    for pid in members(session, project):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def members(session: int, project: Path) -> list[int]:
    """Living processes of a session, and any other that works in the project."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] in "ZX" or int(folder.name) == os.getpid():
                continue
            if int(fields[3]) == session or (folder / "cwd").readlink().is_relative_to(project):
                found.append(int(folder.name))
    return found


def _end_session(session: int, project: Path) -> int:
    """How many processes outlived their command; they are ended."""
    deadline = time.monotonic() + ORPHAN_S
    while (left := members(session, project)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    reap_orphans()
    return len(left)
