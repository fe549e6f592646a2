"""``ScoreRow``: one evaluation of one agent, and ``scores.jsonl``, the file of such rows. Needs no torch.

A run's ``scores.jsonl`` holds one row per evaluation, frames strictly increasing: its learning curve.
"""

import json
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from gsa.errors import ArtifactError, GSAError
from gsa.tasks import get_task

SCORES_FILE = "scores.jsonl"

FLOORS_FILE = "floors.jsonl"
"""Rows of policies that did not learn the task, one each: of ``gsa floors``, or a run's cloned policy."""


def _plain(values: Any) -> Any:
    """A tuple of plain numbers: ours may hold NumPy scalars and booleans; a list is JSON's, which may not."""
    if isinstance(values, tuple):
        return tuple(int(value) if isinstance(value, bool) else value for value in np.asarray(values).tolist())
    return tuple(values) if isinstance(values, list) else values


Count = Annotated[int, Field(ge=0)]
Returns = Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], BeforeValidator(_plain)]
Successes = Annotated[tuple[Annotated[int, Field(ge=0, le=1)], ...], BeforeValidator(_plain)]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class ScoreRow:
    """The outcome of evaluating one agent for ``num_episodes`` episodes.

    ``frames`` are the simulator steps (action repeat included) the agent had trained on; ``episode_returns`` are sums
    of rewards, one per episode. ``successes_final`` (at an episode's last step) and ``successes_any`` (at any step) are
    0 or 1, one per episode; both are empty where the task has no success signal (DMControl).

    Raises:
        ArtifactError: a value is non-finite, out of range or of the wrong type, or the lists differ in length.
    """

    task: str
    method: Annotated[str, Field(min_length=1)]
    seed: Count
    frames: Count
    episode_returns: Returns
    successes_final: Successes = ()
    successes_any: Successes = ()

    @model_validator(mode="after")
    def _agrees(self) -> "ScoreRow":
        get_task(self.task)
        final, ever = self.successes_final, self.successes_any
        if not self.episode_returns:
            raise ValueError("no episodes")
        for name, values in (("successes_final", final), ("successes_any", ever)):
            if len(values) not in (0, self.num_episodes):
                raise ValueError(f"{len(values)} {name} for {self.num_episodes} episodes")
        if len(final) != len(ever):
            raise ValueError("successes_final and successes_any must both be given, or neither")
        if any(map(operator.gt, final, ever)):
            raise ValueError("an episode succeeds at its last step but at none")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _or_artifact_error(cls, values: ArgsKwargs, validate: ModelWrapValidatorHandler["ScoreRow"]) -> "ScoreRow":
        try:
            return validate(values)
        except (ValidationError, GSAError) as error:
            given = dict(zip(_KEYS, values.args, strict=False)) | (values.kwargs or {})
            raise ArtifactError(f"bad score of {_who(given)}: {_one_line(error)}") from error

    @property
    def num_episodes(self) -> int:
        """Evaluation episodes behind this row."""
        return len(self.episode_returns)

    @property
    def episode_return(self) -> float:
        """Mean return over the episodes."""
        return _mean(self.episode_returns)

    @property
    def success_final(self) -> float | None:
        """Share of episodes that succeed at their last step, in [0, 1]; None without a success signal."""
        return _mean(self.successes_final) if self.successes_final else None

    @property
    def success_any(self) -> float | None:
        """Share of episodes that succeed at any step, in [0, 1]; None without a success signal."""
        return _mean(self.successes_any) if self.successes_any else None

    @property
    def score(self) -> float:
        """The task's headline number, unnormalised: mean return, or success at the last step (``TaskSpec.metric``)."""
        if get_task(self.task).metric == "return":
            return self.episode_return
        if self.success_final is None:
            who = _who(vars(self))
            raise ArtifactError(f"score of {who}: the task is scored by success, found no successes_final")
        return self.success_final


_KEYS = tuple(ScoreRow.__dataclass_fields__)

_MEANS = ("num_episodes", "episode_return", "success_final", "success_any")


def score_line(row: ScoreRow) -> str:
    """The row's line of the file. The means are written beside the lists, for readers of the bare file."""
    record = asdict(row) | {name: getattr(row, name) for name in _MEANS}
    return json.dumps(record, allow_nan=False) + "\n"


def read_scores(path: Path) -> list[ScoreRow]:
    """All rows of one run.

    Raises:
        ArtifactError: the file is missing or empty, or a line is not a JSON object, lacks a key or has an unknown one,
            holds NaN, contradicts its own means, belongs to another run than the first line's, or does not come after
            the line before; the message names file and line.
    """
    rows: list[ScoreRow] = []
    for where, row in _rows(path):
        if rows and (first := _who(vars(rows[0]))) != (found := _who(vars(row))):
            raise ArtifactError(f"{where}: expected {first}, found {found}; one file holds one run")
        if rows and row.frames <= rows[-1].frames:
            raise ArtifactError(f"{where}: frames must increase, found {row.frames} after {rows[-1].frames}")
        rows.append(row)
    return rows


def read_floors(path: Path, task: str) -> list[ScoreRow]:
    """All rows of a ``floors.jsonl`` of that task.

    Raises:
        ArtifactError: as ``read_scores``, or a row is of another task, or a policy has two.
    """
    rows: list[ScoreRow] = []
    for where, row in _rows(path):
        if row.task != task or row.method in {other.method for other in rows}:
            raise ArtifactError(f"{where}: expected one row per policy, all on {task!r}, found {_who(vars(row))}")
        rows.append(row)
    return rows


def _rows(path: Path) -> Iterator[tuple[str, ScoreRow]]:
    """Where a row stands, and the row; at least one."""
    if not path.is_file():
        raise ArtifactError(f"no scores at {path}")
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines:
        raise ArtifactError(f"{path} is empty, expected a line per evaluation")
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        yield where, _parse(line, where)


def _parse(line: str, where: str) -> ScoreRow:
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ArtifactError(f"{where}: not a line of JSON: {error}") from error
    if not isinstance(record, dict):
        raise ArtifactError(f"{where}: expected an object, found {type(record).__name__}")
    missing, unknown = set(_KEYS).difference(record), set(record).difference(_KEYS, _MEANS)
    if missing or unknown:
        raise ArtifactError(f"{where}: missing keys {sorted(missing)}, unknown keys {sorted(unknown)}")
    try:
        row = ScoreRow(**{name: record[name] for name in _KEYS})
    except ArtifactError as error:
        raise ArtifactError(f"{where}: {error}") from error
    for name in _MEANS:
        if name in record and not _same(record[name], getattr(row, name)):
            raise ArtifactError(f"{where}: {name} is {record[name]!r}, but its episodes give {getattr(row, name)!r}")
    return row


def _one_line(error: ValidationError | GSAError) -> str:
    """Each wrong value of a row: which, as it is, what was expected."""
    if isinstance(error, GSAError):
        return str(error)
    problems = [(".".join(map(str, e["loc"])), e["input"], e["msg"]) for e in error.errors()]
    return "; ".join(f"{name} = {found!r}: {what}" if name else what for name, found, what in problems)


def _mean(values: Sequence[float] | Sequence[int]) -> float:
    return math.fsum(values) / len(values)


def _same(found: Any, expected: float | int | None) -> bool:
    if not isinstance(found, int | float) or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)


def _who(row: dict[str, Any]) -> str:
    return "{method!r} on {task!r}, seed {seed!r}".format_map(row)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number a score may have")
