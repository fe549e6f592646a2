"""Reading the manifest of an offline store: which files it has and what they must weigh."""

import re
from pathlib import Path
from typing import Any

from gsa.errors import ArtifactError, DataError
from gsa.json_files import read_sealed
from gsa.storage.schema import EPISODES, FORMAT, MANIFEST, OUTCOMES, SCHEMA_VERSION, SHARDS

FIX = "run `gsa convert` again"

_SHARD = re.compile(rf"{SHARDS}/[A-Za-z0-9][A-Za-z0-9_.-]*-\d{{5}}\.parquet")


def read_store_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the store at ``path``, after checking that its files are there with their sizes.

    Raises:
        DataError: nothing at ``path``.
        ArtifactError: the manifest is damaged or of another version, a file is missing or of another size.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise DataError(f"no offline data at {path}, {MANIFEST} is missing; run `gsa convert` first")
    manifest = read_sealed(file, ArtifactError, FIX)
    if manifest.get("format") != FORMAT or manifest.get("version") != SCHEMA_VERSION:
        found = f"{manifest.get('format')} version {manifest.get('version')}"
        raise ArtifactError(f"{file} says {found}, expected {FORMAT} version {SCHEMA_VERSION}; {FIX}")
    try:
        files = {name: f["bytes"] for name, f in manifest["files"].items() if f["sha256"] and f["footer_sha256"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{file} is damaged ({error!r}); {FIX}") from error
    for name in sorted({EPISODES, OUTCOMES} - set(files)):
        raise ArtifactError(f"{file} does not list {name}; {FIX}")
    for name, size in files.items():
        if name not in (EPISODES, OUTCOMES) and _SHARD.fullmatch(name) is None:
            raise ArtifactError(f"{file} lists {name!r}, which is not a file of a store; {FIX}")
        member = path / name
        if not member.is_file():
            raise ArtifactError(f"{member} is missing; {FIX}")
        if member.stat().st_size != size:
            raise ArtifactError(f"{member} has {member.stat().st_size} bytes, expected {size}; {FIX}")
    return manifest
