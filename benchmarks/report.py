"""Time a whole report: 216 runs (36 tasks × 2 methods × 3 seeds), 50k bootstrap resamples, page, figures and tables.

Prints the seconds of reading the runs, of the numbers and of everything, measured in one process on made-up scores.
Usage: python benchmarks/report.py [--tasks 36] [--seeds 3] [--resamples 50000]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from gsa.config import load_params
from gsa.pipeline import run_name
from gsa.runs.scores import ScoreRow, score_line
from gsa.tasks import EXTRA_TASKS, TASKS, get_task

ROOT = Path(__file__).resolve().parents[1]
METHODS = ["gsa", "scratch"]
FRAMES = 150_000
EVALUATIONS = 15


def write_runs(folder: Path, tasks: list[str], seeds: int) -> int:
    """Made-up learning curves, one evaluation every 10k frames; returns the number of runs."""
    rng = np.random.default_rng(0)
    count = 0
    for method in METHODS:
        for task in tasks:
            for seed in range(seeds):
                run = folder / run_name(method, task, seed)
                run.mkdir(parents=True)
                final = rng.random()
                for point in range(1, EVALUATIONS + 1):
                    level = final * point / EVALUATIONS
                    frames = FRAMES * point // EVALUATIONS
                    if get_task(task).metric == "return":
                        row = ScoreRow(task, method, seed, frames, tuple(1000.0 * level * rng.random(5)))
                    else:
                        wins = tuple(int(win) for win in rng.random(5) < level)
                        row = ScoreRow(task, method, seed, frames, (1.0,) * 5, wins, wins)
                    with (run / "scores.jsonl").open("a", encoding="utf-8") as file:
                        file.write(score_line(row))
                count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=36)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=50_000)
    args = parser.parse_args()
    published = [task for task in TASKS if task not in EXTRA_TASKS]
    tasks = [published[i * len(published) // args.tasks] for i in range(args.tasks)]  # both suites
    overrides = {
        "matrix.finetune.tasks": tasks,
        "matrix.finetune.methods": {"gsa": METHODS[:1], "dreamer": METHODS[1:]},
        "matrix.finetune.seeds": list(range(args.seeds)),
        "finetune.total_frames": FRAMES,
        "report.resamples": args.resamples,
        "world_model.action_dim": 12,
    }
    params = load_params(ROOT / "params.yaml", overrides)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_runs(folder / "runs", tasks, args.seeds)
        (folder / "reports").mkdir()
        clock, cpu = time.perf_counter(), time.process_time()
        from gsa.report.build import build_report
        from gsa.report.load import load_scores
        from gsa.report.summary import summarise

        imported = time.perf_counter()
        scores = load_scores(folder / "runs", params)
        loaded = time.perf_counter()
        between = time.process_time()
        summarise(scores, params, folder / "floors")  # build_report does it again: left out of the total below
        summarised, twice = time.perf_counter(), time.process_time() - between
        out = folder / "reports"
        places = (
            folder / "data",
            [folder / "model"],
            ROOT / "data" / "reference",
            folder / "floors",
            folder / "probes",
        )
        build_report(scores, params, out, out, *places)
        built, cpu = time.perf_counter(), time.process_time() - cpu - twice
        size = (out / "index.html").stat().st_size
    print(f"{count} runs, {args.resamples} resamples, {len(tasks)} tasks, page {size / 1e6:.1f} MB")
    print(f"imports {imported - clock:.1f} s, reading {loaded - imported:.1f} s, numbers {summarised - loaded:.1f} s")
    total = (loaded - clock) + (built - summarised)
    print(f"whole report, numbers included: {total:.1f} s, of which {cpu:.1f} s on the CPU (target 10 s)")


if __name__ == "__main__":
    main()
