"""What the parameters promise, looked up on disk: every method × task × seed, each usable or named with its reason.

The parameters decide what is looked for, never the disk: runs of dropped seeds or tasks stay there.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gsa.config import Params
from gsa.errors import ArtifactError, DataError
from gsa.pipeline import run_name
from gsa.runs.failure import read_failure
from gsa.runs.fingerprint import check_output
from gsa.runs.scores import FLOORS_FILE, SCORES_FILE, ScoreRow, read_floors, read_scores
from gsa.tasks import get_task

Status = Literal["present", "missing", "failed", "short", "damaged"]
Missing = Literal["fail", "zero", "drop"]

NAMED_IN_ERROR = 4
"""Unusable runs an error message names before it counts the rest."""


@dataclass(frozen=True)
class Run:
    """One cell of the comparison. ``detail`` says why it is not usable; ``record`` is the run.json of one that is.

    ``floors`` are the scores of what the learner had before it learned, such as the cloned policy.
    """

    method: str
    task: str
    seed: int
    folder: Path
    status: Status
    detail: str = ""
    rows: tuple[ScoreRow, ...] = ()
    floors: tuple[ScoreRow, ...] = ()
    record: dict[str, Any] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """How the report names the run."""
        return f"{self.method} on {self.task}, seed {self.seed}"

    @property
    def command(self) -> str:
        """What makes this run."""
        return f"gsa finetune --task {self.task} --method {self.method} --seed {self.seed}"


@dataclass(frozen=True)
class Scores:
    """All runs of the comparison, and how those that are not usable count.

    ``total_frames`` is the budget: a run's final score is its first evaluation at or after it, so that a longer run
    gains nothing. ``extra`` are folders in the runs' directory which the parameters do not name.
    """

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    total_frames: int
    missing: Missing
    runs: tuple[Run, ...]
    extra: tuple[str, ...] = ()

    @property
    def used(self) -> dict[str, Path]:
        """Folders of the runs that are present, by name."""
        return {run.folder.name: run.folder for run in self.runs if run.status == "present"}

    @property
    def unusable(self) -> tuple[Run, ...]:
        """The runs that are not present, in the parameters' order."""
        return tuple(run for run in self.runs if run.status != "present")

    @cached_property
    def compared_tasks(self) -> tuple[str, ...]:
        """Tasks that enter aggregates: those on which every method has a run that counts.

        Comparing methods over different tasks would compare the tasks.
        """
        return tuple(t for t in self.tasks if all(len(self.finals(m, t)) for m in self.methods))

    @cached_property
    def cells(self) -> dict[tuple[str, str], list[Run]]:
        """The runs of each method and task, by seed."""
        cells: dict[tuple[str, str], list[Run]] = defaultdict(list)
        for run in self.runs:
            cells[run.method, run.task].append(run)
        return cells

    def finals(self, method: str, task: str, *, normalised: bool = True) -> np.ndarray:
        """Final scores that count, float ``(num_runs,)``; normalised: ``score_range`` becomes 0 to 1."""
        spec, finals = get_task(task), []
        for run in self.cells[method, task]:
            if run.status == "present":
                finals.append(final_row(run.rows, self.total_frames).score)
            elif self.missing == "zero":
                finals.append(spec.score_range[0])
        native = np.array(finals, dtype=np.float64)
        return np.asarray(spec.normalise(native)) if normalised else native

    def groups(self, method: str) -> list[np.ndarray]:
        """Normalised final scores of one method, an array per compared task."""
        return [self.finals(method, task) for task in self.compared_tasks]


def load_scores(runs_dir: Path, params: Params, missing: Missing | None = None) -> Scores:
    """Find every run the parameters name and decide whether the comparison may be made.

    ``missing`` is how unusable runs count; the parameters' ``report.missing`` when None.

    Raises:
        DataError: a score lies outside its task's range (whatever ``missing`` says: a wrong scale is no absence).
        ArtifactError: runs are not usable and ``missing`` is ``fail``, or no run is usable at all; the message names
            runs, reasons and the commands that make them.
    """
    listed, total_frames = params.matrix.finetune, params.finetune.total_frames
    methods, tasks, seeds = listed.all_methods, tuple(listed.tasks), tuple(listed.seeds)
    runs = tuple(_load_run(runs_dir, *cell, total_frames) for cell in product(methods, tasks, seeds))
    # A dot in the name: a temporary folder or lock of a run under way.
    found = {p.name for p in runs_dir.iterdir() if p.is_dir() and "." not in p.name} if runs_dir.is_dir() else set()
    extra = tuple(sorted(found - {run.folder.name for run in runs}))
    scores = Scores(methods, tasks, seeds, total_frames, missing or params.report.missing, runs, extra)
    _refuse_unusable(scores)
    return scores


def final_row(rows: Sequence[ScoreRow], total_frames: int) -> ScoreRow:
    """The first evaluation at or after the budget; the rows must reach it."""
    return next(row for row in rows if row.frames >= total_frames)


def _load_run(runs_dir: Path, method: str, task: str, seed: int, total_frames: int) -> Run:
    folder = runs_dir / run_name(method, task, seed)
    run = partial(Run, method, task, seed, folder)
    if not folder.is_dir():
        return run("missing", "no such folder")
    if (reason := read_failure(folder)) is not None:
        return run("failed", reason)
    path = folder / SCORES_FILE
    try:
        record = check_output(folder)  # every file: what is shown of a run is its own
        rows, floors = tuple(read_scores(path)), load_floors(folder, task, record)
    except ArtifactError as error:
        return run("damaged", str(error))
    first = rows[0]
    if (first.method, first.task, first.seed) != (method, task, seed):
        return run("damaged", f"holds the scores of {first.method} on {first.task}, seed {first.seed}")
    for row in rows:
        _check_range(row, path)
    if rows[-1].frames < total_frames:
        detail = f"last evaluated at {rows[-1].frames} of {total_frames} frames"
        return run("short", detail, rows=rows, record=record)
    return run("present", rows=rows, floors=floors, record=record)


def load_floors(folder: Path, task: str, record: Mapping[str, Any]) -> tuple[ScoreRow, ...]:
    """The scores of policies that did not learn the task, of ``gsa floors`` or a run; none where it lists no such file.

    Raises:
        ArtifactError: the file's rows are wrong.
    """
    return tuple(read_floors(folder / FLOORS_FILE, task)) if FLOORS_FILE in record["outputs"] else ()


def _check_range(row: ScoreRow, path: Path) -> None:
    spec = get_task(row.task)
    low, high = spec.possible_scores
    slack = 1e-6 * spec.score_range[1]  # sums of float32 rewards
    values = row.episode_returns if spec.metric == "return" else [row.score]
    for value in values:
        if not low - slack <= value <= high + slack:
            raise DataError(
                f"{path}: {row.method} on {row.task}, seed {row.seed}, scores {value:g} at {row.frames} frames,"
                f" outside [{low:g}, {high:g}]; check the environment's reward or action repeat"
            )


def _refuse_unusable(scores: Scores) -> None:
    unusable = scores.unusable
    named = [f"{run.name}: {run.status} ({run.detail}), run `{run.command}`" for run in unusable[:NAMED_IN_ERROR]]
    if len(unusable) > NAMED_IN_ERROR:
        named.append(f"and {len(unusable) - NAMED_IN_ERROR} more")
    listing = "; ".join(named)
    if len(unusable) == len(scores.runs):
        raise ArtifactError(f"none of {len(scores.runs)} runs is usable: {listing}")
    if unusable and scores.missing == "fail":
        raise ArtifactError(
            f"{len(unusable)} of {len(scores.runs)} runs are not usable: {listing}; or choose how they count:"
            " `gsa report --missing zero` (as 0) or `--missing drop` (left out, and listed)"
        )
