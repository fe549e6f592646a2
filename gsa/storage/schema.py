"""Names, types and meaning of everything in an offline store. No table of steps or episodes has a reward column.

Three kinds of Parquet file: ``shards/<embodiment>-<number>.parquet`` (a row per step), ``episodes.parquet`` (a row per
episode) and ``outcomes.parquet``. The last holds what could tell a task's reward; only ``gsa inspect`` and the data
card open it.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gsa.episode import IMAGE_SIZE, Episode
from gsa.errors import DataError

SCHEMA_VERSION = 2
FORMAT = "gsa-offline"
IMAGE_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3

EPISODES = "episodes.parquet"
OUTCOMES = "outcomes.parquet"
MANIFEST = "manifest.json"
SHARDS = "shards"

TRAIN, HOLDOUT = "train", "holdout"

_EMBODIMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""What a body may be called: shards are files of that name, and a name is not a path."""


def _column(name: str, kind: pa.DataType, meaning: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})


_VERSION = {"gsa.schema_version": str(SCHEMA_VERSION)}

STEPS_SCHEMA = pa.schema(
    [
        _column("episode_id", pa.int64(), "as in episodes.parquet"),
        _column("step", pa.int32(), "0-based row of the episode; 0 is the reset observation"),
        _column("image", pa.binary(IMAGE_BYTES), f"uint8 {IMAGE_SIZE}x{IMAGE_SIZE}x3, row-major HWC, RGB"),
        _column(
            "action",
            pa.list_(pa.field("element", pa.float32(), nullable=False)),
            "native width, in [-1, 1]; chosen after seeing this row's image; zeros in the last row",
        ),
        _column("is_first", pa.bool_(), "reset observation"),
        _column("is_last", pa.bool_(), "no row of this episode follows"),
        _column("is_terminal", pa.bool_(), "discount 0: the task ended, not merely its time"),
    ],
    metadata=_VERSION | {"gsa.time_index": "row t: image_t flags_t action_t; action_t was chosen after seeing image_t"},
)

EPISODES_SCHEMA = pa.schema(
    [
        _column("episode_id", pa.int64(), "hash of source and file name"),
        _column("embodiment", pa.string(), "the body that acts"),
        _column("action_dim", pa.int32(), "native action width"),
        _column("length", pa.int32(), "rows: decisions + 1"),
        _column("is_terminal", pa.bool_(), "the last row has discount 0; no other row can"),
        _column("source", pa.string(), "name of the raw folder or importer"),
        _column("file", pa.string(), "file the episode came from"),
        _column("task", pa.string(), "task whose policy acted", nullable=True),
        _column("policy", pa.string(), "what acted", nullable=True),
        _column("sigma", pa.float64(), "std of the Gaussian noise on the policy's action", nullable=True),
        _column("seed", pa.int64(), "seed of the episode", nullable=True),
        _column("render", pa.string(), "image settings as JSON"),
        _column("origin", pa.string(), "how foreign frames, rates and actions became ours, as JSON; {} for our own"),
        _column("versions", pa.string(), "library versions as JSON"),
        _column("shard", pa.string(), "file of its steps"),
        _column("row_group_start", pa.int32(), "first row group in the shard"),
        _column("row_group_count", pa.int32(), "row groups of ceil(length / count) rows, the last may be shorter"),
        _column("sha256", pa.string(), "digest of images, actions and flags"),
        _column("split", pa.string(), "train or holdout"),
    ],
    metadata=_VERSION,
)

OUTCOMES_SCHEMA = pa.schema(
    [
        _column("episode_id", pa.int64(), "as in episodes.parquet"),
        _column("episode_return", pa.float64(), "sum of rewards; null where the source recorded none", nullable=True),
        _column("success", pa.bool_(), "success at the last row; null where unknown", nullable=True),
        _column("success_any", pa.bool_(), "success at any row; null where unknown", nullable=True),
    ],
    metadata=_VERSION,
)


def check_embodiment(name: object, where: str) -> str:
    """``name`` itself; DataError where it cannot be part of a file's name."""
    if not isinstance(name, str) or _EMBODIMENT.fullmatch(name) is None:
        raise DataError(f"{where}: embodiment {name!r} cannot name a file; use letters, digits, '_', '-' and '.'")
    return name


def episode_id(source: str, file: str) -> int:
    """A stable id in [0, 2**63): hash of where an episode came from, so it survives added data and reordering."""
    digest = hashlib.sha256(f"{source}\0{file}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def content_digest(episode: Episode) -> str:
    """Hex sha256 of an episode's images (HWC), actions and flags."""
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(episode.image.transpose(0, 2, 3, 1)).data)
    digest.update(np.ascontiguousarray(episode.action, dtype=np.float32).data)
    for flag in (episode.is_first, episode.is_last, episode.is_terminal):
        digest.update(np.ascontiguousarray(flag, dtype=bool).data)
    return digest.hexdigest()


def footer_digest(path: Path) -> str:
    """Hex sha256 of a Parquet file's footer, which page checksums do not cover."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little") + 8
        file.seek(max(size - length, 0))
        return hashlib.sha256(file.read()).hexdigest()


def steps_table(number: int, episode: Episode, start: int, stop: int) -> pa.Table:
    """Rows ``start .. stop`` of an episode whose id is ``number``, in the layout of ``STEPS_SCHEMA``."""
    rows, width = stop - start, episode.action.shape[1]
    image = np.ascontiguousarray(episode.image[start:stop].transpose(0, 2, 3, 1))
    action = np.ascontiguousarray(episode.action[start:stop], dtype=np.float32)
    offsets = pa.array(np.arange(0, (rows + 1) * width, width, dtype=np.int32))
    columns: list[Any] = [
        pa.array(np.full(rows, number, np.int64)),
        pa.array(np.arange(start, stop, dtype=np.int32)),
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(IMAGE_BYTES), rows, [None, pa.py_buffer(image)]),
        pa.ListArray.from_arrays(offsets, pa.array(action.reshape(-1)), type=STEPS_SCHEMA.field("action").type),
        pa.array(np.asarray(episode.is_first[start:stop])),
        pa.array(np.asarray(episode.is_last[start:stop])),
        pa.array(np.asarray(episode.is_terminal[start:stop])),
    ]
    return pa.Table.from_arrays(columns, schema=STEPS_SCHEMA)


UNKNOWN = "-"
"""The kind of an episode of which nobody said what acted."""


def kinds(episodes: pd.DataFrame) -> pd.Series:
    """What acted in each row of the episodes table: its policy, ``UNKNOWN`` where there is none."""
    return episodes["policy"].astype(object).where(episodes["policy"].notna(), UNKNOWN)


def assign_split(episodes: pd.DataFrame, holdout_fraction: float) -> list[str]:
    """``holdout`` for that fraction of the episodes of each embodiment and kind, those whose ids hash lowest.

    The rest is ``train``. With a fraction above 0, an embodiment's kind of two or more episodes keeps at least one out
    and at least one in: what a model makes of an arm that no expert moves is measured, too.
    """
    ids = episodes["episode_id"]
    order = pd.Series([hashlib.sha256(str(number).encode()).hexdigest() for number in ids], index=ids.index)
    split = pd.Series(TRAIN, index=ids.index)
    for _, group in order.groupby([episodes["embodiment"], kinds(episodes)]):
        count = round(holdout_fraction * len(group))
        if 0.0 < holdout_fraction < 1.0 and len(group) > 1:
            count = min(max(count, 1), len(group) - 1)
        split[group.sort_values().index[:count]] = HOLDOUT
    return split.tolist()
