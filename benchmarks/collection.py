"""Decisions a second of ``gsa collect-data`` with several workers against one: ``python -m benchmarks.collection``.

Each worker is a process with one environment and one thread. Both numbers of workers take turns. Only the middle of a
run counts, while every worker is at work: not the start of the processes, nor the last episodes, when some have none.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from gsa.config import RenderParams
from gsa.loops.collect import CollectJob, collect
from gsa.parallel.workers import default_workers
from gsa.tasks import get_task


def rate(job: CollectJob, workers: int, episodes_a_worker: int) -> float:
    """Decisions a second of that many workers together."""
    done: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        work, out = Path(folder) / "work", Path(folder) / "out"
        out.mkdir()

        def advance(env_steps: int) -> None:
            done.append((time.perf_counter(), env_steps))

        collect(job, workers * (episodes_a_worker + 2), out, work, workers=workers, advance=advance)
    counted = done[workers : len(done) - workers]
    return sum(steps for _, steps in counted) / (counted[-1][0] - done[workers - 1][0])


def main(
    task: Annotated[list[str], typer.Option(help="Tasks to collect.")] = ["mw-drawer-close", "dmc-walker-walk"],  # noqa: B006
    workers: Annotated[int, typer.Option(help="Workers to compare with one; 0 is one a core.")] = 0,
    episodes: Annotated[int, typer.Option(help="Episodes a worker that count.")] = 6,
    turns: Annotated[int, typer.Option(help="How often each is measured.")] = 3,
    quality: Annotated[str, typer.Option(help="shipped or fast.")] = "fast",
) -> None:
    workers = workers or default_workers()
    render = RenderParams.model_validate({"quality": quality, "backend": "auto"})
    print(f"{'task':22s}{'1 worker':>10s}{f'{workers} workers':>12s}{'ratio':>8s}{'a worker':>10s}   (decisions/s)")
    for name in task:
        job = CollectJob(get_task(name), "expert" if name.startswith("mw-") else "random", 0.5, 0, render)
        pairs = [(rate(job, 1, episodes), rate(job, workers, episodes)) for _ in range(turns)]
        one, many = (median(rates) for rates in zip(*pairs, strict=True))
        print(f"{name:22s}{one:10.1f}{many:12.1f}{many / one:8.2f}{many / one / workers:10.2f}", flush=True)


if __name__ == "__main__":
    typer.run(main)
