"""How fast: updates per second by size, work, precision and mode, beside what the arithmetic and the memory allow."""

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.gpu.cases import run
from benchmarks.gpu.context import Context, Row, Table
from benchmarks.gpu.updates import WORK, Update, least_bytes, operations
from gsa.runs.training_log import Stopwatch

COLUMNS = ("size", "work", "precision", "mode", "updates_per_s", "first_s", "peak_gb", "data_wait", "of_arithmetic",
           "of_memory", "note")  # fmt: skip

CASE_SECONDS = 60.0
"""Of a case, with what it compiles. One that needs longer is stopped, and its row says so."""

TIMED_SECONDS = 3.0
MOST_UPDATES = 200

WARM_UP = 3
"""Updates before those that are timed: the first compiles, the next record CUDA graphs."""


class Case(NamedTuple):
    """A row of the table. ``mode`` is ``machine.compile`` or eager, with ``recorded``: as one CUDA graph."""

    size: str
    work: str
    precision: str
    mode: str

    @property
    def compile(self) -> str:
        """``machine.compile``."""
        first = self.mode.partition(",")[0]
        return first if first in ("default", "reduce-overhead") else "none"


EAGER, RECORDED, DEFAULT, BOTH, REDUCED = "eager", "recorded", "default", "default, recorded", "reduce-overhead"

CASES = (
    *(Case("paper", work, "bfloat16", mode) for mode, work in product((EAGER, RECORDED, BOTH, DEFAULT), WORK)),
    *(Case(size, work, "bfloat16", mode) for size, work, mode in product("sm", WORK, (EAGER, BOTH))),
    *(Case(size, work, "float32", mode) for size, work, mode in product(("paper", "s"), WORK, (EAGER, RECORDED))),
    *(Case("paper", work, "bfloat16", REDUCED) for work in WORK),
    *(Case(size, work, "bfloat16", mode) for size, work, mode in product("sm", WORK, (RECORDED, DEFAULT, REDUCED))),
)
"""In order of value: the time may not suffice for all."""

REHEARSED = (
    *(Case("xs", work, precision, EAGER) for work, precision in product(WORK, ("float32", "bfloat16"))),
    Case("xs", "pretraining", "bfloat16", RECORDED),
)
"""The last fails without a GPU: the others must not be lost by it."""


def step(context: Context) -> None:
    """Write ``fast.csv``, and the measured ceilings into ``machine.csv``."""
    machine = Table(context.out / "machine.csv", ("what", "found"))
    table = Table(context.out / "fast.csv", COLUMNS)
    ceilings: dict[str, float] = {}
    for _, row in run({"ceilings": partial(measure_ceilings, context)}, context.at_most(30.0)):
        if "note" in row:
            table.add({"size": "ceilings", **row})
        else:
            ceilings[str(row["what"])] = float(str(row["rate"]))
            machine.add({"what": row["what"], "found": f"{float(str(row['rate'])) / 1e12:.3g} {row['unit']}"})
    if context.release is not None:
        from benchmarks.gpu.release import cases as release_cases

        for _, row in run(release_cases(context), context.at_most(CASE_SECONDS)):
            table.add(row)
    with tempfile.TemporaryDirectory() as folder:
        for case in REHEARSED if context.rehearse else CASES:
            if context.left < 10:
                table.add({**case._asdict(), "note": "not reached"})
                continue
            one = partial(measure, context, case, ceilings, Path(folder) / "store")
            for _, row in run({"case": one}, context.at_most(CASE_SECONDS)):
                table.add({**case._asdict(), **row})


def measure(context: Context, case: Case, ceilings: dict[str, float], folder: Path) -> Iterator[Row]:
    """The row of a case."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    precision = {"pretrain__precision": case.precision, "dreamer__precision": case.precision}
    workers = 2 if case.mode == EAGER and not context.rehearse else 0
    params = context.params(case.size, machine__compile=case.compile, machine__loader_workers=workers, **precision)
    started = time.perf_counter()
    with WORK[case.work](params, context.device, folder, case.mode.endswith(RECORDED)) as (update, watch):
        update()
        first = time.perf_counter() - started
        for _ in range(WARM_UP - 1):
            update()
        seconds, wait = timed(update, watch, 0.3 if context.rehearse else TIMED_SECONDS)
    peak = torch.cuda.max_memory_reserved() if context.device == "cuda" else 0
    row: Row = {"updates_per_s": 1 / seconds, "first_s": first, "peak_gb": peak / 1e9 if peak else ""}
    if case.work == "pretraining" and not case.mode.endswith(RECORDED):
        row["data_wait"] = wait
    if rate := ceilings.get(f"matrix product, {case.precision}"):
        row["of_arithmetic"] = operations(params, case.work) / rate / seconds
    if rate := ceilings.get("copy"):
        row["of_memory"] = least_bytes(params, case.work) / rate / seconds
    yield row


def timed(update: Update, watch: Stopwatch, least: float) -> tuple[float, float]:
    """Seconds per update, and the share of them that waited for data."""
    watch.read(1, torch.device("cpu"))
    started, count = time.perf_counter(), 0
    while count < MOST_UPDATES and (count < 3 or time.perf_counter() - started < least):
        update()
        count += 1
    seconds = (time.perf_counter() - started) / count
    return seconds, float(watch.read(count, torch.device("cpu"))["data_wait"])


def measure_ceilings(context: Context) -> Iterator[Row]:
    """Operations per second of a large matrix product, bytes per second of a large copy (read and written)."""
    torch.backends.cuda.matmul.allow_tf32 = False
    device, size = context.device, 256 if context.rehearse else 8192
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        seconds = fastest(partial(torch.matmul, left, right), device)
        yield {"what": f"matrix product, {precision}", "rate": 2 * size**3 / seconds, "unit": "TFLOP/s"}
    source = torch.empty(size**2 * 8, device=device)
    target = torch.empty_like(source)
    seconds = fastest(lambda: target.copy_(source), device)
    yield {"what": "copy", "rate": 2 * source.nbytes / seconds, "unit": "TB/s"}


def fastest(work: Update, device: str, repeats: int = 10) -> float:
    """Seconds of the fastest of some runs, after two to warm up."""
    found = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return min(found[2:])
