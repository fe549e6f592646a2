"""What it learns: a model of size s, pre-trained for two minutes, then runs of three methods on two tasks.

Everything is done by the commands that a user types, in a folder of its own. Runs that are not finished when the time
is over are asked to stop; their last evaluation counts.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.gpu.cases import run
from benchmarks.gpu.context import ROOT, Context, Row, Table
from gsa.config import Params, load_params
from gsa.config.load import overridden
from gsa.cost.update_pace import pretraining_pace
from gsa.runs.scores import FLOORS_FILE, SCORES_FILE, read_scores

COLUMNS = ("task", "method", "seed", "frames", "score", "return", "bc", "note")

TASKS = ("mw-window-close", "mw-door-unlock")
METHODS = ("gsa", "p", "scratch")
MODEL = "mw"

SETTINGS = {
    "world_model.size": "s",
    "pretrain.batch_size": 64,
    "pretrain.optimizer.lr": 3.0e-4,
    "pretrain.precision": "bfloat16",
    "dreamer.batch_size": 16,
    "dreamer.replay_ratio": 40.0,
    "dreamer.model_optimizer.lr": 3.0e-4,
    "finetune.eval_every_frames": 1500,
    "machine.workers": len(os.sched_getaffinity(0)),
}
"""In the place of the quickstart's values."""

TINY = {
    "world_model.size": "xs",
    "collect_data.episodes": 1,
    "pretrain.batch_size": 2,
    "dreamer.batch_size": 4,
    "dreamer.replay_ratio": 1.0,
    "dreamer.warmup_frames": 200,
    "gsa.retrieve_episodes": 1,
    "gsa.bc.updates": 2,
    "finetune.total_frames": 400,
    "finetune.eval_every_frames": 200,
    "finetune.eval_episodes": 1,
    "machine.workers": 1,
}
"""Of a rehearsal, in theirs."""

PRETRAIN_SHARE = 0.5
"""Of the step's time until data and model are there."""

GRACE_SECONDS = 8.0
"""For runs to stop in."""


def step(context: Context) -> None:
    """Write ``learns.csv``."""
    table = Table(context.out / "learns.csv", COLUMNS)
    try:
        for row in learned(context):
            table.add(row)
    except subprocess.CalledProcessError as error:
        table.add({"note": f"gsa {error.cmd[3]} ended with exit status {error.returncode}; the log says why"})


def learned(context: Context) -> Iterator[Row]:
    """The rows, as they come."""
    begun, whole = time.time(), context.left
    settings = {**SETTINGS, **(TINY if context.rehearse else {})}
    tasks, methods = (TASKS[:1], METHODS[:1]) if context.rehearse else (TASKS, METHODS)
    sigmas = [0.1] if context.rehearse else [0.1, 0.5, 1.0]
    settings |= {"matrix.collect_data.tasks": list(tasks), "matrix.collect_data.sigmas": sigmas}
    settings |= {"matrix.collect_noise.tasks": [], "matrix.explore_data.domains": [], "machine.device": context.device}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        gsa = partial(command, work)
        write_params(work / "params.yaml", settings)
        if context.data is None:
            gsa("collect-data")
            gsa("convert")
        else:
            (work / "data").mkdir()
            (work / "data/offline").symlink_to(context.data)
        data_s = time.time() - begun
        params = load_params(work / "params.yaml")
        pace = next(
            row for _, row in run({"pace": partial(measure_pace, params, context.device)}, context.at_most(60.0))
        )
        if "note" in pace:
            yield {"note": f"pace of pre-training: {pace['note']}"}
            return
        available = max(begun + PRETRAIN_SHARE * whole - time.time() - 10, 1.0)
        updates = 5 if context.rehearse else max(10, int(0.8 * available / float(str(pace["seconds"]))))
        write_params(work / "params.yaml", settings | {"pretrain.updates": updates})
        gsa("pretrain")
        gsa("build-index")
        told = f"data in {data_s:.0f} s, {updates} updates of pre-training; after {time.time() - begun:.0f} s"
        yield {"note": told}
        seeds = range(max(1, (len(os.sched_getaffinity(0)) - 2) // (len(tasks) * len(methods))))
        yield from learn(context, work, list(product(tasks, methods, seeds)))


def measure_pace(params: Params, device: str) -> Iterator[Row]:
    """Seconds per update of pre-training, alone."""
    yield {"seconds": pretraining_pace(params, device, float("inf")).seconds}


def write_params(path: Path, settings: dict[str, object]) -> None:
    """params.yaml with other values: in flags, they would be part of every output's name."""
    yaml = YAML()
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(overridden(yaml.load(ROOT / "params.yaml"), settings, "the step learns"), file)


def words(name: str, *flags: str) -> list[str]:
    """The command line of ``gsa name``."""
    return [sys.executable, "-m", "stages.cli", name, *flags]


def command(work: Path, name: str, *flags: str) -> None:
    """Run ``gsa name`` to its end; an error where it fails, for nothing after it would have its input."""
    subprocess.run(words(name, *flags), cwd=work, check=True)


def learn(context: Context, work: Path, items: list[tuple[str, str, int]]) -> Iterator[Row]:
    """Start all runs, wait for them until the time is nearly over, stop the rest, and tell what each has reached."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = {}
    for task, method, seed in items:
        flags = ("--task", task, "--method", method, "--seed", str(seed))
        running[task, method, seed] = subprocess.Popen(words("finetune", *flags), cwd=work, env=environment)
    for child in running.values():
        try:
            child.wait(max(context.left - GRACE_SECONDS, 0.1))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGTERM)
    for (task, method, seed), child in running.items():
        try:
            code = child.wait(max(context.left - 2, 0.1))
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
        yield {"task": task, "method": method, "seed": seed, **reached(work, task, method, seed, code)}


def reached(work: Path, task: str, method: str, seed: int, code: int) -> Row:
    """The last evaluation of a run, finished or not."""
    files = [*work.glob(f"runs/{method}_{task}_s{seed}*/{SCORES_FILE}")]
    files += work.glob(f".gsa/checkpoints/*-{method}_{task}_s{seed}*/*/{SCORES_FILE}")
    how = {0: "", 75: "stopped"}.get(code, f"exit status {code}")
    if not files:
        return {"note": f"{how}, no evaluation".strip(", ")}
    last = read_scores(files[0])[-1]
    row: Row = {"frames": last.frames, "score": last.score, "return": last.episode_return, "note": how}
    floors = files[0].with_name(FLOORS_FILE)
    if floors.exists():
        row["bc"] = read_scores(floors)[0].score
    return row
