"""JSON files that are checked when they are read, and our own ones sealed by a digest of what they say.

A flipped bit in a JSON file is often another valid JSON file: another seed, another length. Files of ours therefore
carry ``seal``, the sha256 of all other entries, and a reader refuses what does not fit it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gsa.errors import GSAError

SEAL = "seal"


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
    """A JSON file that holds an object.

    Raises:
        error: missing, not readable, not JSON or another type; the message names the file and ends with ``fix``.
    """
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise error(f"{path} is missing or damaged ({problem}); {fix}") from problem
    if not isinstance(body, dict):
        raise error(f"{path} holds {type(body).__name__}, expected an object; {fix}")
    return body


def _seal(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
