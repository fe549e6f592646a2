"""The manifest and the tables of an offline store, held against each other and the files before a row is used."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gsa.errors import ArtifactError, DataError, one_line
from gsa.files import read_sealed, sha256_file
from gsa.storage.schema import (
    EPISODES,
    EPISODES_SCHEMA,
    FORMAT,
    MANIFEST,
    OUTCOMES,
    OUTCOMES_SCHEMA,
    SCHEMA_VERSION,
    SHARDS,
)

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


def read_episodes(folder: Path, manifest: dict[str, Any]) -> pd.DataFrame:
    """The episodes table.

    Raises:
        ArtifactError: damaged, of another schema, or rows that point nowhere or say something impossible.
    """
    file = folder / EPISODES
    table = _read(file, manifest, EPISODES_SCHEMA)
    count = table["row_group_count"]
    problems = {
        "episode_id": table["episode_id"].duplicated(),
        "length": table["length"] < 2,
        "action_dim": table["action_dim"] < 1,
        "row_group_start": table["row_group_start"] < 0,
        "row_group_count": (count < 1) | (count > table["length"]),
        "shard": ~table["shard"].isin(manifest["files"]),
    }
    for column, bad in problems.items():
        if bad.any():
            row = int(np.argmax(bad))
            what = f"{column} of row {row} is {table[column].iloc[row]}"
            raise ArtifactError(f"{file}: {what}, which is impossible or given twice; {FIX}")
    return table


def read_outcomes(folder: Path, manifest: dict[str, Any]) -> pd.DataFrame:
    """Returns and successes by episode, for people; nothing that learns calls this. Errors as ``read_episodes``."""
    return _read(folder / OUTCOMES, manifest, OUTCOMES_SCHEMA)


def check_schema(file: Path, found: pa.Schema, expected: pa.Schema) -> None:
    """ArtifactError, naming the file and the first column that differs, for other columns or types."""
    if found.names != expected.names:
        raise ArtifactError(f"{file} has columns {found.names}, expected {expected.names}; {FIX}")
    for field in expected:
        if not found.field(field.name).equals(field):
            has = found.field(field.name)
            raise ArtifactError(f"{file}: column {field.name} is {has.type}, expected {field.type}; {FIX}")


def read_table(file: Path) -> pa.Table:
    """A small table, read by this thread alone: where another cannot start, for want of memory, Arrow waits for ever.

    Raises:
        pa.ArrowException, OSError: it is damaged or cannot be read.
    """
    with pq.ParquetFile(file, memory_map=True, pre_buffer=False, page_checksum_verification=True) as table:
        return table.read(use_threads=False)


def _read(file: Path, manifest: dict[str, Any], schema: pa.Schema) -> pd.DataFrame:
    try:
        if sha256_file(file) != manifest["files"][file.name]["sha256"]:
            raise ArtifactError(f"{file} is damaged (sha256 differs from {MANIFEST}); {FIX}")
        table = read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{file} is not a readable Parquet table ({one_line(error)}); {FIX}") from error
    check_schema(file, table.schema, schema)
    return table.to_pandas(use_threads=False)
