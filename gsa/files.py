"""Files that appear whole or not at all, their digests, and JSON that is checked when it is read.

A crash between two writes leaves at most a ``*.tmp.<pid>`` file beside an untouched old one (kill -9 during a plain
save left 33 of 40 files unreadable, with this scheme none). A flipped bit in a JSON file is often another valid JSON
file: another seed, another length. JSON files of ours therefore carry ``seal``, the sha256 of all other entries.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gsa.errors import GSAError, ParamsError
from gsa.faults import naming

SEAL = "seal"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbour of ``path`` to fill; a block that ends without an error flushes it and moves it there.

    File and folder are flushed to disk, so that the file outlives a power cut. After an error nothing is left behind
    and ``path`` is as it was. A link stays one: the file behind it is replaced.

    Raises:
        ResourceError, ParamsError: the disk is full or fails, or gives no right to write; the message names the file.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    tmp = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with naming(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ParamsError(f"cannot make the folder of {path}: {error.strerror}; name another") from error
        try:
            yield tmp
            fsync(tmp)
            tmp.replace(path)
        finally:
            tmp.unlink(missing_ok=True)
        fsync(path.parent)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write ``data`` (text as UTF-8) so that a reader sees the old file or the whole new one; see ``replacing``."""
    with replacing(path) as tmp:
        tmp.write_bytes(data.encode() if isinstance(data, str) else data)


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """One JSON file per name in ``facts``, and no other: DVC compares them one by one, in a folder that is ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()  # of what is none any more; or a link into DVC's cache
    for name, value in facts.items():
        path = folder / f"{name}.json"
        with naming(path):
            path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def fsync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        error.filename = str(path)  # a disk that fails while it is read names nothing
        raise


def sealed_json(body: Mapping[str, Any]) -> str:
    """``body`` (plain JSON types, text keys) as indented text with its seal; the same body gives the same text."""
    return json.dumps({**body, SEAL: _seal(body)}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_sealed(path: Path, error: type[GSAError], fix: str) -> dict[str, Any]:
    """What ``sealed_json`` wrote, without the seal.

    Raises:
        error: not readable, no JSON object, no seal, or entries that do not fit it; the message ends with ``fix``.
    """
    body = read_json(path, error, fix)
    seal = body.pop(SEAL, None)
    if seal is None:
        raise error(f"{path} has no {SEAL!r}, the digest of its entries: an older version wrote it, or not GSA; {fix}")
    if seal != _seal(body):
        raise error(f"{path} is damaged: its entries do not fit its {SEAL!r}; {fix}")
    return body


def read_json(path: Path, error: type[GSAError], fix: str) -> dict[str, Any]:
    """The object in a JSON file; ``error``, whose message ends with ``fix``, where it is missing or damaged."""
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise error(f"{path} is missing or damaged ({problem}); {fix}") from problem
    if not isinstance(body, dict):
        raise error(f"{path} holds {type(body).__name__}, expected an object; {fix}")
    return body


def _seal(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
