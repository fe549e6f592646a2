"""Diagnostics that runs log beside their losses: the keys ``diag_...`` of losses.jsonl, as one table."""

import json
import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np

from gsa.errors import ArtifactError
from gsa.report.load import Run, Scores
from gsa.report.table import Cell, Table

LOSSES_FILE = "losses.jsonl"
PREFIX = "diag_"

MEANINGS = {
    "imag_reward": "reward that the model imagines",
    "real_reward": "reward that the same decisions earned",
    "shuffled_reward": "imagined reward with the actions of other windows: as high as with the true ones where the"
    " model does not listen to actions",
    "critic": "the critic's value",
    "real_return": "discounted return that followed",
    "saturation": "share of the actor's actions at -1 or 1",
    "entropy": "entropy of the actor's actions",
    "reward_loss": "cross-entropy of the predicted reward",
    "reward_entropy": "entropy of all rewards in the batch: a reward head whose loss is no lower knows nothing",
}
"""What a key measures, by its name without prefix and origin; keys that are not here are shown by name."""

ORIGINS = {
    "own": "windows of the agent's own decisions",
    "guided": "windows in which the cloned policy acted",
    "retrieved": "retrieved windows",
}


def last_diagnostics(scores: Scores) -> dict[tuple[str, str], dict[str, float]]:
    """By (method, task): for each diagnostic the mean over seeds of its last finite value; empty without any.

    Raises:
        ArtifactError: a run's losses.jsonl is damaged.
    """
    found = {}
    for cell in product(scores.methods, scores.tasks):
        rows = [_last(run) for run in scores.cells[cell] if run.status == "present"]
        keys = dict.fromkeys(key for row in rows for key in row)
        if keys:
            found[cell] = {key: float(np.mean([row[key] for row in rows if key in row])) for key in keys}
    return found


def diagnostics_table(found: Mapping[tuple[str, str], Mapping[str, float]]) -> Table:
    """A row per method and task, a column per diagnostic."""
    keys = list(dict.fromkeys(key for values in found.values() for key in values))
    rows: list[tuple[Cell, ...]] = [(*cell, *(values.get(key) for key in keys)) for cell, values in found.items()]
    labels = [key.removeprefix(PREFIX).replace("_", " ") for key in keys]
    caption = "Means over seeds of the last logged values."
    return Table.plain("diagnostics", caption, ["method", "task", *labels], rows, digits=3)


def meanings(found: Mapping[tuple[str, str], Mapping[str, float]]) -> dict[str, str]:
    """A line for each diagnostic and each origin that occurs, by label."""
    names = [key.removeprefix(PREFIX) for values in found.values() for key in values]
    parts = [name.rpartition("_") for name in names]
    stems = [head if tail in ORIGINS else name for name, (head, _, tail) in zip(names, parts, strict=True)]
    lines = {stem.replace("_", " "): MEANINGS[stem] for stem in MEANINGS if stem in stems}
    return lines | {name: text for name, text in ORIGINS.items() if any(tail == name for _, _, tail in parts)}


def read_losses(path: Path, prefix: str = "") -> list[dict[str, float]]:
    """The rows of a losses.jsonl, of a run or a model: finite values whose key begins with ``prefix``.

    Raises:
        ArtifactError: a line is not an object of numbers.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = {str(key): value for key, value in json.loads(line).items() if key.startswith(prefix)}
            rows.append({key: float(value) for key, value in row.items() if math.isfinite(value)})
        except (ValueError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{path}, line {number}: expected an object of numbers: {error}") from error
    return rows


def _last(run: Run) -> dict[str, float]:
    """The last finite value of each diagnostic in a run's losses; none where it has no such file."""
    listed = run.record is not None and LOSSES_FILE in run.record["outputs"]
    rows = read_losses(run.folder / LOSSES_FILE, PREFIX) if listed else []
    return {key: value for row in rows for key, value in row.items()}
