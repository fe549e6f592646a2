"""What identifies data: a digest of contents, taken from ``run.json`` where a stage made the folder.

``digest_path`` is the identity of an input; ``stat_path`` a cheap token that changes when a file is touched, so that
the end of a run can tell at no cost that nothing moved beneath it.
"""

import hashlib
import json
from collections.abc import Container, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from gsa.errors import ArtifactError
from gsa.files import read_json, sha256_file

RUN_FILE = "run.json"
"""Name of the file in which every output folder describes itself."""

LOG_DIR = "log"
"""Part of an output that says how its making went (rates, times): checked like the rest, left out of its identity."""


plain = partial(to_jsonable_python, by_alias=True)
"""A value as JSON types: pydantic models become dicts, paths text, tuples lists."""


def leaves(tree: Mapping[str, Any], prefix: str = "", whole: Container[str] = ()) -> dict[str, Any]:
    """The values of nested mappings by dotted key; an empty mapping is a value, and so is one named in ``whole``."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        below = isinstance(value, Mapping) and value and key not in whole
        found |= leaves(value, f"{prefix}{key}.", whole) if below else {f"{prefix}{key}": value}
    return found


def fingerprint(value: Any) -> str:
    """sha256 of the canonical JSON of ``value`` (models, dicts, lists, numbers, text); key order does not matter."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_files(folder: Path) -> dict[str, dict[str, Any]]:
    """``{relative path: {sha256, bytes}}`` of every file below ``folder`` but its own run.json, sorted by path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / RUN_FILE)
    return {p.relative_to(folder).as_posix(): {"sha256": sha256_file(p), "bytes": p.stat().st_size} for p in files}


def identity(outputs: Mapping[str, Any]) -> str:
    """The digest of an output folder whose files ``hash_files`` has listed: equal for equal content, however made."""
    return fingerprint({name: facts for name, facts in outputs.items() if not name.startswith(f"{LOG_DIR}/")})


def read_run(folder: Path) -> dict[str, Any] | None:
    """The run.json of an output folder, or None when no stage made it.

    Raises:
        ArtifactError: run.json is not readable JSON or lacks the keys every stage writes.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        return None
    record = read_json(path, ArtifactError, fix := f"run the stage that makes {folder} again")
    try:
        outputs, digest = dict(record["outputs"]), record["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged ({error!r}); {fix}") from error
    if digest != identity(outputs):
        raise ArtifactError(f"{path} is damaged: its digest does not fit its list of outputs; make {folder} again")
    return record


def digest_path(path: Path) -> str:
    """sha256 identity of a file or folder by content.

    A folder with a run.json is identified by the digest recorded there, after checking that the files it lists
    exist with their recorded sizes; other folders by their members, recursively.

    Raises:
        ArtifactError: a recorded file is missing or has another size.
    """
    if path.is_file():
        return sha256_file(path)
    record = read_run(path)
    if record is None:
        members = sorted(p for p in path.iterdir() if not _transient(p.name))
        return fingerprint({p.name: digest_path(p) for p in members})
    for name, expected in record["outputs"].items():
        file = path / name
        found = file.stat().st_size if file.is_file() else None
        if found != expected["bytes"]:
            what = "missing" if found is None else f"{found} bytes"
            raise ArtifactError(f"{file} is {what}, run.json says {expected['bytes']} bytes; make {path} again")
    return str(record["digest"])


def verify(folder: Path) -> int:
    """How many files a folder has; ArtifactError for the first that is missing, not listed or of another sha256."""
    record = read_run(folder)
    if record is None:
        raise ArtifactError(f"{folder} has no {RUN_FILE}; nothing says what it should hold")
    found = hash_files(folder)
    for name in sorted({*record["outputs"], *found}):
        if record["outputs"].get(name) != found.get(name):
            expected, actual = record["outputs"].get(name, "nothing"), found.get(name, "nothing")
            raise ArtifactError(f"{folder / name} is damaged: expected {expected}, found {actual}; make {folder} again")
    return len(found)


def stat_path(path: Path) -> str:
    """A token over names, sizes and modification times below ``path``; "missing" when it is gone."""
    if not path.exists():
        return "missing"
    if path.is_dir():
        return fingerprint([[p.name, stat_path(p)] for p in sorted(path.iterdir()) if not _transient(p.name)])
    return fingerprint([path.stat().st_size, path.stat().st_mtime_ns])


def _transient(name: str) -> bool:
    """Locks and half-written neighbours (see run_dir) are not content, nor is anything hidden (``._x`` of macOS)."""
    return ".tmp." in name or ".old." in name or name.startswith(".")
