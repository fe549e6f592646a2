"""The two tables of a store, held against the manifest, the schema and themselves before a row is used."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gsa.errors import ArtifactError
from gsa.files import sha256_file
from gsa.storage.schema import EPISODES, EPISODES_SCHEMA, MANIFEST, OUTCOMES, OUTCOMES_SCHEMA
from gsa.storage.store_manifest import FIX


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
    """Returns and successes by episode, for people; nothing that learns calls this.

    Raises:
        ArtifactError: damaged or of another schema.
    """
    return _read(folder / OUTCOMES, manifest, OUTCOMES_SCHEMA)


def check_schema(file: Path, found: pa.Schema, expected: pa.Schema) -> None:
    """Refuse other columns or types.

    Raises:
        ArtifactError: naming the file and the first column that differs.
    """
    if found.names != expected.names:
        raise ArtifactError(f"{file} has columns {found.names}, expected {expected.names}; {FIX}")
    for field in expected:
        if not found.field(field.name).equals(field):
            has = found.field(field.name)
            raise ArtifactError(f"{file}: column {field.name} is {has.type}, expected {field.type}; {FIX}")


def _read(file: Path, manifest: dict[str, Any], schema: pa.Schema) -> pd.DataFrame:
    try:
        if sha256_file(file) != manifest["files"][file.name]["sha256"]:
            raise ArtifactError(f"{file} is damaged (sha256 differs from {MANIFEST}); {FIX}")
        table = pq.read_table(file, partitioning=None, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(
            f"{file} is not a readable Parquet table ({' '.join(str(error).split())}); {FIX}"
        ) from error
    check_schema(file, table.schema, schema)
    return table.to_pandas()
