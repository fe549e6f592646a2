"""``ScoreRow``: one evaluation of one agent, and ``scores.jsonl``, the file of such rows. Needs no torch.

A run's ``scores.jsonl`` holds one row per evaluation, frames strictly increasing: its learning curve.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gsa.errors import ArtifactError, GSAError
from gsa.tasks import get_task

SCORES_FILE = "scores.jsonl"


@dataclass(frozen=True)
class ScoreRow:
    """The outcome of evaluating one agent for ``num_episodes`` episodes.

    ``frames`` are the simulator steps (action repeat included) the agent had trained on; ``episode_returns`` are sums
    of rewards, one per episode. ``successes_final`` (at an episode's last step) and ``successes_any`` (at any step) are
    0 or 1, one per episode; both are empty where the task has no success signal (DMControl).

    Raises:
        ArtifactError: a value is non-finite, out of range or of the wrong type, or the lists differ in length.
    """

    task: str
    method: str
    seed: int
    frames: int
    episode_returns: tuple[float, ...]
    successes_final: tuple[int, ...] = ()
    successes_any: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in _LISTS:
            object.__setattr__(self, name, tuple(_plain(value) for value in getattr(self, name)))
        problem = _problem(self)
        if problem:
            raise ArtifactError(f"bad score of {self.method!r} on {self.task!r}, seed {self.seed!r}: {problem}")

    @classmethod
    def of(cls, record: dict[str, Any]) -> "ScoreRow":
        """From its fields as JSON keeps them, which knows no tuples."""
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}
        return cls(**fields)

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
            raise ArtifactError(
                f"score of {self.method!r} on {self.task!r}, seed {self.seed}: the task is scored by success,"
                " found no successes_final"
            )
        return self.success_final


_LISTS = ("episode_returns", "successes_final", "successes_any")

_KINDS: dict[str, tuple[type, ...]] = {
    "task": (str,),
    "method": (str,),
    "seed": (int,),
    "frames": (int,),
    "episode_returns": (int, float),
    "successes_final": (int,),
    "successes_any": (int,),
}
"""What JSON must hold for each field; lists hold these. ``type`` is compared, for a bool would pass as an int."""

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
    if not path.is_file():
        raise ArtifactError(f"no scores at {path}")
    rows: list[ScoreRow] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        where = f"{path}, line {number}"
        row = _parse(line, where)
        if rows and (row.task, row.method, row.seed) != (rows[0].task, rows[0].method, rows[0].seed):
            raise ArtifactError(f"{where}: expected {_who(rows[0])}, found {_who(row)}; one file holds one run")
        if rows and row.frames <= rows[-1].frames:
            raise ArtifactError(f"{where}: frames must increase, found {row.frames} after {rows[-1].frames}")
        rows.append(row)
    if not rows:
        raise ArtifactError(f"{path} is empty, expected a line per evaluation")
    return rows


def _parse(line: str, where: str) -> ScoreRow:
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ArtifactError(f"{where}: not a line of JSON: {error}") from error
    if not isinstance(record, dict):
        raise ArtifactError(f"{where}: expected an object, found {type(record).__name__}")
    missing, unknown = set(_KINDS).difference(record), set(record).difference(_KINDS, _MEANS)
    if missing or unknown:
        raise ArtifactError(f"{where}: missing keys {sorted(missing)}, unknown keys {sorted(unknown)}")
    for name, kinds in _KINDS.items():
        values = record[name] if name in _LISTS else [record[name]]
        if not isinstance(values, list) or any(type(value) not in kinds for value in values):
            expected = ("a list of " if name in _LISTS else "") + " or ".join(kind.__name__ for kind in kinds)
            raise ArtifactError(f"{where}: {name} = {record[name]!r}, expected {expected}")
    try:
        row = ScoreRow(
            task=record["task"],
            method=record["method"],
            seed=record["seed"],
            frames=record["frames"],
            episode_returns=tuple(float(value) for value in record["episode_returns"]),
            successes_final=tuple(record["successes_final"]),
            successes_any=tuple(record["successes_any"]),
        )
    except GSAError as error:
        raise ArtifactError(f"{where}: {error}") from error
    for name in _MEANS:
        if name in record and not _same(record[name], getattr(row, name)):
            raise ArtifactError(f"{where}: {name} is {record[name]!r}, but its episodes give {getattr(row, name)!r}")
    return row


def _problem(row: ScoreRow) -> str | None:
    """What is wrong with the row, None if nothing is."""
    try:
        get_task(row.task)
    except GSAError as error:
        return str(error)
    if not isinstance(row.method, str) or not row.method:
        return f"method must be a name, found {row.method!r}"
    for name in ("seed", "frames"):
        value = getattr(row, name)
        if type(value) is not int or value < 0:
            return f"{name} must be a whole number >= 0, found {value!r}"
    if not row.episode_returns:
        return "no episodes"
    for value in row.episode_returns:
        if type(value) not in (int, float) or not math.isfinite(value):
            return f"returns must be finite numbers, found {value!r}"
    for name in ("successes_final", "successes_any"):
        values: Sequence[Any] = getattr(row, name)
        if len(values) not in (0, row.num_episodes):
            return f"{len(values)} {name} for {row.num_episodes} episodes"
        if any(type(value) is not int or value not in (0, 1) for value in values):
            return f"{name} must be 0 or 1, found {list(values)}"
    if len(row.successes_final) != len(row.successes_any):
        return "successes_final and successes_any must both be given, or neither"
    if any(final > ever for final, ever in zip(row.successes_final, row.successes_any, strict=True)):
        return "an episode succeeds at its last step but at none"
    return None


def _plain(value: Any) -> Any:
    """NumPy scalars and booleans as the plain numbers JSON keeps; anything else as it is, for ``_problem`` to judge."""
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, bool) else value


def _mean(values: Sequence[float] | Sequence[int]) -> float:
    return math.fsum(values) / len(values)


def _same(found: Any, expected: float | int | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return isinstance(found, int | float) and math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)


def _who(row: ScoreRow) -> str:
    return f"{row.method} on {row.task}, seed {row.seed}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number a score may have")
