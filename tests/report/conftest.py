"""Small comparisons: parameters, and run folders as the fine-tuning stage leaves them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gsa.config import Params, load_params
from gsa.pipeline import run_name
from gsa.runs.fingerprint import fingerprint
from gsa.runs.scores import FLOORS_FILE, SCORES_FILE, ScoreRow, score_line
from gsa.tasks import get_task
from tests.conftest import ROOT
from tests.factories import write_record

TASKS = ["mw-drawer-close", "dmc-walker-stand", "mw-reach"]
FRAMES = 6000

MakeParams = Callable[..., Params]


def small_params(*, methods: Sequence[str] = ("gsa", "scratch"), **overrides: Any) -> Params:
    """The repository's parameters with 3 tasks × 2 methods × 2 seeds and few resamples; ``a__b`` overrides ``a.b``."""
    values = {
        "matrix.finetune.tasks": TASKS,
        "matrix.finetune.methods": {
            "gsa": [name for name in methods if name != "scratch"],
            "dreamer": [name for name in methods if name == "scratch"],
        },
        "matrix.finetune.seeds": [0, 1],
        "matrix.pretrain.models": {"all": ["sawyer", "walker", "pendulum"]},  # the last one is of test_own_tasks
        "finetune.total_frames": FRAMES,
        "report.resamples": 200,
        "report.missing": "fail",
        "report.treatment": "gsa",
        "report.baseline": "scratch",
    }
    return load_params(ROOT / "params.yaml", values | {k.replace("__", "."): v for k, v in overrides.items()})


@pytest.fixture
def make_params() -> MakeParams:
    return small_params


def score_row(method: str, task: str, seed: int, frames: int, score: float) -> ScoreRow:
    """An evaluation of 10 episodes whose normalised score is ``score``, in tenths for a success rate."""
    if get_task(task).metric == "return":
        return ScoreRow(task, method, seed, frames, tuple([1000.0 * score] * 10))
    wins = tuple(int(i < round(10 * score)) for i in range(10))
    return ScoreRow(task, method, seed, frames, tuple([50.0] * 10), wins, wins)


def write_run(
    runs: Path,
    method: str,
    task: str,
    seed: int,
    scores: dict[int, float],
    clone: float | None = None,
    losses: Sequence[dict[str, Any]] = (),
    **record: Any,
) -> Path:
    """A finished run: normalised scores by frames, and the run.json that a stage would write.

    ``clone`` is the score of its cloned policy, ``losses`` the rows of its losses.jsonl, as far as there are any.
    """
    folder = runs / run_name(method, task, seed)
    folder.mkdir(parents=True)
    rows = (score_row(method, task, seed, frames, score) for frames, score in scores.items())
    (folder / SCORES_FILE).write_text("".join(map(score_line, rows)))
    if clone is not None:
        (folder / FLOORS_FILE).write_text(score_line(score_row("bc", task, seed, 0, clone)))
    if losses:
        (folder / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in losses))
    facts = {
        "stage": "finetune",
        "fingerprint": fingerprint([method, task, seed]),
        "params": {"finetune.total_frames": FRAMES, f"methods.{method}": {"pretrained": method == "gsa"}},
        "inputs": {"model": "a" * 64} if method == "gsa" else {},
        "code": "c" * 64,
        "git_revision": "0123456789abcdef",
        "python": "3.11.7",
        "versions": {"numpy": "2.4", "torch": "2.13"},
        "duration_s": 90.0,
    }
    write_record(folder, **facts | record)
    return folder


def write_floors(folder: Path, task: str, scores: dict[str, float]) -> None:
    """What ``gsa floors`` makes: normalised scores by policy."""
    (folder / task).mkdir(parents=True)
    rows = (score_row(policy, task, 0, 0, score) for policy, score in scores.items())
    (folder / task / FLOORS_FILE).write_text("".join(map(score_line, rows)))
    write_record(folder / task)


FINALS = {
    ("gsa", "mw-drawer-close"): (0.9, 1.0),
    ("gsa", "dmc-walker-stand"): (0.72, 0.81),
    ("gsa", "mw-reach"): (0.4, 0.6),
    ("scratch", "mw-drawer-close"): (0.2, 0.5),
    ("scratch", "dmc-walker-stand"): (0.35, 0.41),
    ("scratch", "mw-reach"): (0.1, 0.2),
}
"""Normalised final scores of seeds 0 and 1."""


def write_runs(folder: Path) -> None:
    """Twelve finished runs: 3 tasks × 2 methods × 2 seeds."""
    for (method, task), finals in FINALS.items():
        for seed, final in enumerate(finals):
            write_run(folder, method, task, seed, {0: 0.0, 3000: round(final / 2, 1), FRAMES: final})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_runs(tmp_path / "runs")
    return tmp_path / "runs"
