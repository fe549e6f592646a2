"""Reading the manifest of an offline store: which files it has and what they must weigh."""

import json
from pathlib import Path
from typing import Any

from gsa.errors import ArtifactError, DataError
from gsa.storage.schema import FORMAT, MANIFEST, SCHEMA_VERSION

MEND = "run `gsa convert` again"


def read_store_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the store at ``path``, after checking that its files are there with their sizes.

    Raises:
        DataError: nothing at ``path``.
        ArtifactError: the manifest is damaged or of another version, a file is missing or of another size.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise DataError(f"no offline data at {path}; run `gsa convert` first")
    try:
        manifest = json.loads(file.read_text())
        files = {name: f["bytes"] for name, f in manifest["files"].items() if f["sha256"] and f["footer_sha256"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{file} is damaged ({error!r}); {MEND}") from error
    if manifest.get("format") != FORMAT or manifest.get("version") != SCHEMA_VERSION or not files:
        found = f"{manifest.get('format')} version {manifest.get('version')}"
        raise ArtifactError(f"{file} says {found}, expected {FORMAT} version {SCHEMA_VERSION}; {MEND}")
    for name, size in files.items():
        member = path / name
        if not member.is_file():
            raise ArtifactError(f"{member} is missing; {MEND}")
        if member.stat().st_size != size:
            raise ArtifactError(f"{member} has {member.stat().st_size} bytes, expected {size}; {MEND}")
    return manifest
