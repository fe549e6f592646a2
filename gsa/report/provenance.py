"""What made the numbers: revisions, code stamps, versions, inputs and durations of the runs, from their run.json."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from gsa.report.load import Run, Scores

UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Fact:
    """One thing that every run records, with the runs behind each value.

    Where a fact is ``decisive``, runs with different values are no equals. A git revision is not: the code stamp says
    whether the code that makes a run changed between two revisions.
    """

    label: str
    values: dict[str, tuple[Run, ...]]
    decisive: bool = True

    @property
    def differs(self) -> bool:
        """Whether the runs disagree on something that decides their scores."""
        return self.decisive and len(self.values) > 1


@dataclass(frozen=True)
class Provenance:
    """``facts`` should have one value each.

    ``hours`` is the wall time by method: (number of runs that record it, total, mean). ``params`` are the parameters as
    the runs recorded them: dotted key to its values as JSON.
    """

    facts: tuple[Fact, ...]
    params: dict[str, tuple[str, ...]]
    hours: dict[str, tuple[int, float, float]]

    @property
    def differing_params(self) -> dict[str, tuple[str, ...]]:
        """Parameters on which runs disagree; a method's own switches have keys of their own."""
        return {key: values for key, values in self.params.items() if len(values) > 1}

    @property
    def warnings(self) -> list[str]:
        """What makes the runs unequal."""
        found = [f"The runs have {len(f.values)} different values of {f.label}." for f in self.facts if f.differs]
        for key, values in self.differing_params.items():
            found.append(f"The runs differ in the parameter {key}: {', '.join(values)}.")
        return found


def trace(scores: Scores) -> Provenance:
    """Gather what the usable runs record about themselves."""
    runs = [run for run in scores.runs if run.status == "present"]
    facts = [
        _fact("git revision", {run: str(_record(run).get("git_revision") or UNKNOWN) for run in runs}, decisive=False),
        _fact("code stamp", {run: _short(_record(run).get("code")) for run in runs}),
        _fact("python", {run: str(_record(run).get("python") or UNKNOWN) for run in runs}),
        _fact("packages", {run: _listing(_record(run).get("versions")) for run in runs}),
    ]
    for name in sorted({name for run in runs for name in _inputs(run)}):
        # A method that learns from scratch has no inputs: only runs with this input are compared.
        facts.append(_fact(f"input {name}", {run: _short(_inputs(run)[name]) for run in runs if name in _inputs(run)}))
    hours = {}
    for method in scores.methods:
        recorded = [_record(run).get("duration_s") for run in runs if run.method == method]
        seconds = [value for value in recorded if isinstance(value, int | float)]
        if seconds:
            hours[method] = (len(seconds), sum(seconds) / 3600, sum(seconds) / 3600 / len(seconds))
    return Provenance(tuple(facts), _params(runs), hours)


def _params(runs: list[Run]) -> dict[str, tuple[str, ...]]:
    values: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for key, value in _flat(_record(run).get("params") or {}).items():
            values[key].add(json.dumps(value))
    return {key: tuple(sorted(found)) for key, found in sorted(values.items())}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _fact(label: str, value_of: dict[Run, str], decisive: bool = True) -> Fact:
    values: dict[str, list[Run]] = defaultdict(list)
    for run, value in value_of.items():
        values[value].append(run)
    return Fact(label, {value: tuple(group) for value, group in values.items()}, decisive)


def _record(run: Run) -> dict[str, Any]:
    return run.record or {}


def _inputs(run: Run) -> dict[str, Any]:
    inputs = _record(run).get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _short(digest: Any) -> str:
    return str(digest)[:12] if digest else UNKNOWN


def _listing(versions: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) if isinstance(versions, dict) else UNKNOWN
