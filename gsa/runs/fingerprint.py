"""What identifies data: a digest of contents, taken from ``run.json`` where a stage made the folder.

``digest_path`` is the identity of an input, ``check_output`` holds an output against the sealed run.json in it, and
``stat_path`` is a cheap token that changes when a file is touched, so that the end of a run can tell at no cost that
nothing moved beneath it.
"""

import hashlib
import json
from collections.abc import Collection, Container, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from gsa.errors import ArtifactError
from gsa.files import read_sealed, sha256_file
from gsa.pipeline import SEALED, made_by, place, reads

RUN_FILE = "run.json"
"""Name of the file in which every output folder describes itself."""

LOG_DIR = "log"
"""Part of an output that says how its making went (rates, times): checked like the rest, left out of its identity."""

BULK = (".npz", ".parquet", ".safetensors", ".faiss")
"""Large files, whose reader holds them against the sealed record beside them (manifest.json, meta.json, index.json):
``check_output`` reads the record in their place."""

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
        ArtifactError: run.json is damaged, was edited, or lacks the keys every stage writes.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        return None
    record = read_sealed(path, ArtifactError, fix := f"run the stage that makes {folder} again")
    try:
        listed = all(facts["sha256"] and facts["bytes"] >= 0 for facts in record["outputs"].values())
        whole = listed and record["digest"] == identity(record["outputs"])
        record["params"].items(), record["inputs"].items()
    except (AttributeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged ({error!r}); {fix}") from error
    if not whole:
        raise ArtifactError(f"{path} is damaged: its digest does not fit its list of outputs; make {folder} again")
    return record


def check_output(folder: Path, only: Collection[str] | None = None) -> dict[str, Any]:
    """The run.json of an output folder, after holding the files it lists (or ``only`` these) against it.

    Of large files the size alone is compared, see ``BULK``. What run.json does not list is no part of the output.

    Raises:
        ArtifactError: run.json is missing or damaged, or a file is missing or is not what it lists.
    """
    record = read_run(folder)
    if record is None:
        raise ArtifactError(f"{folder / RUN_FILE} is missing: nothing says what {folder} should hold; make it again")
    for name in record["outputs"] if only is None else only:
        file, facts = folder / name, record["outputs"].get(name)
        if facts is None:
            raise ArtifactError(f"{folder / RUN_FILE} lists no {name}; make {folder} again")
        found = file.stat().st_size if file.is_file() else None
        if found != facts["bytes"]:
            what = "missing" if found is None else f"{found} bytes"
            raise ArtifactError(f"{file} is {what}, run.json says {facts['bytes']} bytes; make {folder} again")
        if file.suffix not in BULK and sha256_file(file) != facts["sha256"]:
            raise ArtifactError(f"{file} was changed: its sha256 is not the one in run.json; make {folder} again")
    return record


def digest_path(path: Path) -> str:
    """sha256 identity of a file or folder by content.

    A folder with a run.json is identified by the digest recorded there, after ``check_output``; other folders by their
    members, recursively.

    Raises:
        ArtifactError: an output of a stage is damaged.
    """
    if path.is_file():
        return sha256_file(path)
    if (path / RUN_FILE).is_file():
        return str(check_output(path)["digest"])
    members = sorted(p for p in path.iterdir() if not _transient(p.name))
    return fingerprint({p.name: digest_path(p) for p in members})


def digest_input(name: str, path: Path) -> str:
    """``digest_path`` of an input of a stage; ``name`` is that of ``gsa.pipeline.FOLDERS``, if it is one of the table.

    Raises:
        ArtifactError: it is missing or damaged, nothing says what it should hold, or it was made for another model
            than the pipeline keeps there.
    """
    if not path.exists():
        raise ArtifactError(f"no {name} at {path}: {made_by(name, path)}")
    if name not in SEALED or not (path / SEALED[name]).is_file():
        return digest_path(path)  # what reads a folder without its sealed file says so
    record, model = check_output(path), path.name
    bodies = reads("pretrain", model="")[-1]
    made_for = [key.removeprefix(bodies) for key in record["params"] if key.startswith(bodies)]
    if name != "offline" and path == place(name, model) and made_for and model not in made_for:
        what = f"{path} holds the {name} of {made_for[0]}, expected that of {model}"
        raise ArtifactError(f"{what}; {made_by(name, path)}")
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
