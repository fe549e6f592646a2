"""The paper's printed results (``data/reference/``): task rows under our names, and aggregates recomputed from them.

Published numbers are only ever shown beside measured ones, in columns of their own: no interval, no pooling.
"""

import csv
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gsa.errors import DataError
from gsa.files import sha256_file
from gsa.tasks import TASKS

SOURCE = "Zhao et al., arXiv 2502.19544, Tables 2 to 4"
ROWS_FILE = "paper_results.csv"
AGGREGATES_FILE = "paper_aggregates.csv"

SUMS_FILE = "SHA256SUMS"
"""The digests of both files, as ``sha256sum`` prints them: an edited number would pass for the paper's."""

_RENAMED = {
    "dmc-walker-walk-backward": "dmc-walker-walk-backwards",
    "dmc-walker-run-backward": "dmc-walker-run-backwards",
}

LABELS = {"gsa": "GSA", "dreamerv3": "Dreamer v3", "drqv2": "DrQ v2"}

COUNTERPARTS = {"gsa": "gsa", "scratch": "dreamerv3"}
"""Which of the paper's methods one of ours re-implements."""

BUDGET = 150_000
"""Frames at which the paper compares all methods."""


@dataclass(frozen=True)
class Column:
    """One method at one budget of environment frames, as the paper prints it."""

    method: str
    frames: int

    @property
    def label(self) -> str:
        """For table heads."""
        size = f"{self.frames // 1_000_000}M" if self.frames % 1_000_000 == 0 else f"{self.frames // 1000}k"
        return f"{LABELS[self.method]} @ {size}"


@dataclass(frozen=True)
class Claim:
    """A printed aggregate beside what its task rows give; ``suite`` is dmc or mw, ``statistic`` mean or median."""

    suite: str
    column: Column
    statistic: str
    printed: str
    recomputed: float

    @property
    def follows(self) -> bool:
        """Whether the printed value is the recomputed one, within one unit of its last digit."""
        _, _, decimals = self.printed.partition(".")
        return abs(float(self.printed) - self.recomputed) <= 1.0001 * 10.0 ** -len(decimals)


@dataclass(frozen=True)
class Published:
    """Every printed task score by column and task (our names; unnormalised; absent where the paper prints a dash)."""

    scores: dict[Column, dict[str, float]]
    claims: tuple[Claim, ...]

    def columns(self, tasks: Iterable[str]) -> list[Column]:
        """The columns that have a score on at least one of the tasks."""
        wanted = set(tasks)
        return [column for column, scores in self.scores.items() if wanted & set(scores)]

    def headlines(self, column: Column) -> tuple[float, float]:
        """½·(mean DMControl return / 1000 + mean Meta-World success): from the means as printed, and from the rows."""
        means = {claim.suite: claim for claim in self.claims if (claim.column, claim.statistic) == (column, "mean")}
        dmc, mw = means["dmc"], means["mw"]
        printed = 0.5 * (float(dmc.printed) / 1000.0 + float(mw.printed))
        return printed, 0.5 * (dmc.recomputed / 1000.0 + mw.recomputed)


def our_name(benchmark: str, paper_task_name: str) -> str:
    """The task's name in ``TASKS`` for the paper's: ``mw``, ``Pick Out of Hole`` gives ``mw-pick-out-of-hole``.

    Raises:
        DataError: we have no such task.
    """
    slug = f"{benchmark}-{paper_task_name.strip().lower().replace(' ', '-')}"
    name = _RENAMED.get(slug, slug)
    if name not in TASKS:
        raise DataError(f"the published task {paper_task_name!r} of {benchmark!r} is none of ours")
    return name


def load_published(folder: Path) -> Published:
    """Read the two committed files.

    Raises:
        DataError: a file is missing, was changed, or a row is malformed, unknown or duplicated; the message names file
            and line.
    """
    _check_sums(folder)
    found: dict[Column, dict[str, float]] = {}
    for where, column, row in _rows(folder / ROWS_FILE, "paper_task_name"):
        task = our_name(row["benchmark"], row["paper_task_name"])
        if not row["value"]:
            continue
        value = _number(row["value"], where)
        if task in found.setdefault(column, {}):
            raise DataError(f"{where}: {task} has a score in {column.label} already")
        found[column][task] = value
    order = sorted(found, key=lambda c: (c.frames != BUDGET, c.frames, list(LABELS).index(c.method)))
    claims = []
    for where, column, row in _rows(folder / AGGREGATES_FILE, "statistic"):
        suite, name = row["benchmark"], row["statistic"]
        _number(row["value"], where)
        values = [value for task, value in found.get(column, {}).items() if TASKS[task].suite == suite]
        if name not in ("mean", "median") or not values:
            raise DataError(f"{where}: no rows for the {name} of {column.label} on {suite}")
        recomputed = statistics.fmean(values) if name == "mean" else statistics.median(values)
        claims.append(Claim(suite, column, name, row["value"], recomputed))
    return Published({column: found[column] for column in order}, tuple(claims))


def _check_sums(folder: Path) -> None:
    sums = folder / SUMS_FILE
    if not sums.is_file():
        raise DataError(f"no published numbers at {sums}; the file is part of the repository: {_git(sums)}")
    listed = {
        name: digest
        for digest, _, name in (line.partition("  ") for line in sums.read_text("utf-8", "replace").splitlines())
    }
    for path in (folder / ROWS_FILE, folder / AGGREGATES_FILE):
        if not path.is_file():
            raise DataError(f"no published numbers at {path}; the file is part of the repository: {_git(path)}")
        if sha256_file(path) != listed.get(path.name):
            raise DataError(f"{path} was changed: its sha256 is not the one in {SUMS_FILE}; {_git(path)}")


def _git(path: Path) -> str:
    return f"`git checkout {path}`"


def _rows(path: Path, further: str) -> Iterator[tuple[str, Column, dict[str, str]]]:
    """Where a row stands, what it is about, and the row; all columns have text, with ``further`` among them."""
    needed = ("benchmark", further, "method", "env_steps", "value")
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            where = f"{path}, line {number}"
            if any(row.get(name) is None for name in needed):
                raise DataError(f"{where}: expected the columns {', '.join(needed)}, found {row}")
            if row["method"] not in LABELS or not row["env_steps"].isdigit():
                raise DataError(f"{where}: unknown method {row['method']!r} or budget {row['env_steps']!r}")
            yield where, Column(row["method"], int(row["env_steps"])), row


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise DataError(f"{where}: {text!r} is not a number") from error
    if not abs(value) <= 1000.0:  # NaN too
        raise DataError(f"{where}: {text} is outside every task's range")
    return value
