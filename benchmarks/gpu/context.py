"""What every step is given: where it writes, how long it may take, whether it rehearses; and its tables."""

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gsa.config import Params
from stages.profile import load_profile

ROOT = Path(__file__).resolve().parents[2]
"""The checkout; profiles are read from it."""

Row = dict[str, object]

TINY = {
    "world_model.size": "xs",
    "pretrain.batch_size": 4,
    "pretrain.batch_length": 4,
    "dreamer.batch_size": 4,
    "dreamer.batch_length": 4,
    "dreamer.imag_horizon": 3,
    "dreamer.units": 32,
}
"""Of a rehearsal, in the place of every size."""


@dataclass(frozen=True)
class Context:
    """Of a step. ``until`` is the time (of ``time.time``) at which it is stopped; ``data`` and ``release`` are folders
    that the user named."""

    out: Path
    until: float
    rehearse: bool
    data: Path | None = None
    release: Path | None = None

    @property
    def device(self) -> str:
        """The GPU; in a rehearsal the CPU."""
        return "cpu" if self.rehearse else "cuda"

    @property
    def left(self) -> float:
        """Seconds until this step is stopped."""
        return self.until - time.time()

    def at_most(self, seconds: float) -> float:
        """The limit of a case: so many seconds, or what is left of the step. A rehearsal is not pressed for time."""
        return max(min(seconds * (10 if self.rehearse else 1), self.left - 2), 1.0)

    def params(self, size: str, **settings: object) -> Params:
        """The paper's parameters at a size; ``settings`` are dotted keys with ``__`` for the dot. Tiny in a rehearsal.

        Must be called in the checkout.
        """
        values: dict[str, object] = {"world_model.size": size, "machine.compile": "none"}
        values |= {key.replace("__", "."): value for key, value in settings.items()}
        values |= TINY if self.rehearse else {}
        return load_profile("paper", settings=[f"{key}={value}" for key, value in values.items()])

    def arguments(self, step: str) -> list[str]:
        """The command line that runs a step with this context."""
        words = [sys.executable, "-m", "benchmarks.gpu", "--step", step, "--out", str(self.out)]
        words += ["--until", str(self.until), *(["--rehearse"] if self.rehearse else [])]
        for flag, folder in (("--data", self.data), ("--release", self.release)):
            words += [flag, str(folder)] if folder else []
        return words


def of_arguments(arguments: argparse.Namespace) -> Context:
    """The inverse of ``Context.arguments``."""
    return Context(arguments.out, arguments.until, arguments.rehearse, arguments.data, arguments.release)


class Table:
    """A CSV file that holds each row as soon as it is added; the columns are those of the first row."""

    def __init__(self, path: Path, columns: tuple[str, ...]):
        self.path, self.columns = path, columns
        if not path.exists():
            self._append(columns)

    def add(self, row: Row) -> None:
        """One more row; a column that it lacks stays empty. It is also printed, for the log."""
        assert not row.keys() - set(self.columns), row.keys() - set(self.columns)
        self._append([_text(row.get(name, "")) for name in self.columns])
        print("  ".join(f"{name}={_text(value)}" for name, value in row.items() if value != ""), flush=True)

    def _append(self, words: tuple[str, ...] | list[str]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(words)


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def read_rows(path: Path) -> Iterator[list[str]]:
    """The lines of a table, heads first; none where there is no table."""
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.reader(file)
