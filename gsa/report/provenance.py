"""What made the numbers: revisions, code stamps, versions, inputs and durations of the runs, from their run.json."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gsa.report.load import Run, Scores
from gsa.runs.fingerprint import leaves

UNKNOWN = "not recorded"

REVISION = "git revision"
"""The only fact in which equal runs may differ: the code stamp says whether the code changed between two revisions."""


@dataclass(frozen=True)
class Provenance:
    """``facts``: by label the values that runs record, with the runs behind each; they should have one value each.

    ``params`` are the parameters as the runs recorded them: dotted key to its values as JSON. ``hours`` is the wall
    time by method: (number of runs that record it, total, mean). ``foreign`` are sentences on runs whose model or
    data is not what the page shows.
    """

    facts: dict[str, dict[str, list[Run]]]
    params: dict[str, list[str]]
    foreign: list[str]
    hours: dict[str, tuple[int, float, float]]

    @property
    def warnings(self) -> list[str]:
        """What makes the runs unequal; a method's own switches have keys of their own."""
        differing = {
            label: len(values) for label, values in self.facts.items() if len(values) > 1 and label != REVISION
        }
        found = [f"The runs have {count} different values of {label}." for label, count in differing.items()]
        for key, values in self.params.items():
            if len(values) > 1:
                found.append(f"The runs differ in the parameter {key}: {', '.join(values)}.")
        return found + self.foreign


def trace(scores: Scores, shown: Mapping[str, Collection[str]] = {}) -> Provenance:
    """Gather what the usable runs record about themselves.

    ``shown`` are digests of what the page shows beside the runs, by the name of the input; none where it shows none.
    """
    facts: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    params: dict[str, set[str]] = defaultdict(set)
    seconds: dict[str, list[float]] = defaultdict(list)
    for run in scores.runs:
        if run.status != "present":
            continue
        record = run.record or {}
        for label, value in _facts(record):
            facts[label][value].append(run)
        for key, value in leaves(record.get("params") or {}).items():
            if value != {}:
                params[key].add(json.dumps(value))
        if isinstance(record.get("duration_s"), int | float):
            seconds[run.method].append(record["duration_s"])
    inputs_last = sorted(facts, key=lambda label: label if label.startswith("input ") else "")
    return Provenance(
        facts={label: facts[label] for label in inputs_last},
        params={key: sorted(found) for key, found in sorted(params.items())},
        foreign=_foreign(scores, shown),
        hours={name: (len(s), sum(s) / 3600, sum(s) / 3600 / len(s)) for name, s in seconds.items()},
    )


def _foreign(scores: Scores, shown: Mapping[str, Collection[str]]) -> list[str]:
    used = Counter(
        (name, run.record["inputs"][name])
        for run in scores.runs
        for name in shown
        if run.record and run.status == "present" and name in run.record["inputs"]
    )
    return [
        f"{count} runs used the input {name} {digest[:12]}, which is none of those shown here: it was made again since,"
        " or the runs are from elsewhere."
        for (name, digest), count in used.items()
        if shown[name] and digest not in shown[name]
    ]


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and value. Runs of one learner are compared in their code, those with an input in that input."""
    versions, inputs = record.get("versions"), record.get("inputs")
    listed = ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) if isinstance(versions, dict) else UNKNOWN
    facts = [
        (REVISION, str(record.get("git_revision") or UNKNOWN)),
        (f"code stamp of {record.get('stage', 'a stage')}", str(record.get("code") or UNKNOWN)[:12]),
        ("python", str(record.get("python") or UNKNOWN)),
        ("packages", listed),
    ]
    digests = inputs.items() if isinstance(inputs, dict) else ()
    return facts + [(f"input {name}", str(digest or UNKNOWN)[:12]) for name, digest in digests]
