"""Decisions with a picture per second, drawn on the GPU through EGL where that works: one process, and one per core."""

import os
import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.gpu.cases import run
from benchmarks.gpu.context import Context, Row, Table
from gsa.config import RenderParams
from gsa.envs import make_env
from gsa.envs.rendering import choose_backend
from gsa.errors import ResourceError

COLUMNS = ("task", "backend", "renderer", "processes", "per_s", "note")

TASKS = ("dmc-walker-walk", "dmc-quadruped-walk", "mw-door-unlock")

SECONDS = 3.0
"""For which each process plays, all at the same time."""

START_SECONDS = 12.0
"""Until they play: imports, models, contexts."""


def step(context: Context) -> None:
    """Write ``renders.csv``."""
    table = Table(context.out / "renders.csv", COLUMNS)
    seconds, wait = (0.5, 5.0) if context.rehearse else (SECONDS, START_SECONDS)
    cores = len(os.sched_getaffinity(0))
    try:
        choose_backend("auto")  # here, once: the processes inherit what was found
    except ResourceError as error:
        table.add({"note": str(error)})
        return
    for task in TASKS[:1] if context.rehearse else TASKS:
        for processes in sorted({1, cores}):
            if context.left < wait / 2:
                table.add({"task": task, "processes": processes, "note": "not reached"})
                continue
            begin = time.time() + min(wait, context.left / 2)
            cases = {str(number): partial(play, task, begin, seconds) for number in range(processes)}
            rows = [row for _, row in run(cases, context.at_most(wait + seconds + 20), at_once=processes)]
            table.add({"task": task, "processes": processes, **total(rows)})


def play(task: str, begin: float, seconds: float) -> Iterator[Row]:
    """Random decisions from ``begin`` (or from when it is ready) on, for some seconds."""
    env = make_env(task, RenderParams.model_validate({"quality": "fast", "backend": "auto"}))
    rng = np.random.default_rng(os.getpid())
    env.reset(0)
    late = max(0.0, time.time() - begin)
    time.sleep(max(0.0, begin - time.time()))
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        if env.step(rng.uniform(-1, 1, env.action_dim)).is_last:
            env.reset()
        count += 1
    rate = count / (time.perf_counter() - started)
    yield {"rate": rate, "backend": os.environ["MUJOCO_GL"], "renderer": renderer(), "late": late}


def renderer() -> str:
    """Who draws in this process's context, in the driver's words."""
    from OpenGL import GL

    found = GL.glGetString(GL.GL_RENDERER)
    return found.decode() if isinstance(found, bytes) else "unknown"


def total(rows: list[Row]) -> Row:
    """What all processes of a case make together, and what went wrong in one of them."""
    good = [row for row in rows if "rate" in row]
    notes = [str(row["note"]) for row in rows if "note" in row]
    if late := max((float(str(row["late"])) for row in good), default=0.0):
        notes.append(f"one began {late:.0f} s late, when others had played")
    found: Row = {"note": "; ".join(dict.fromkeys(notes))}
    if good:
        names = {name: "; ".join(sorted({str(row[name]) for row in good})) for name in ("backend", "renderer")}
        found |= {**names, "per_s": sum(float(str(row["rate"])) for row in good)}
    return found
