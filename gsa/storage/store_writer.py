"""Episodes to an offline store: Parquet shards by embodiment, the episodes table, outcomes and a manifest."""

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gsa.config import ConvertParams
from gsa.episode import Episode
from gsa.errors import DataError
from gsa.files import replacing, sealed_json, sha256_file, write_atomic
from gsa.storage.raw import check_stored
from gsa.storage.schema import (
    EPISODES,
    EPISODES_SCHEMA,
    FORMAT,
    MANIFEST,
    OUTCOMES,
    OUTCOMES_SCHEMA,
    SCHEMA_VERSION,
    SHARDS,
    STEPS_SCHEMA,
    assign_split,
    check_embodiment,
    content_digest,
    episode_id,
    footer_digest,
    steps_table,
)

_REQUIRED_INFO = ("source", "file", "embodiment")

_OPTIONAL_INFO: dict[str, type[Any]] = {"task": str, "policy": str, "sigma": float, "seed": int}


def write_store(
    episodes: Iterable[Episode], out_dir: Path, params: ConvertParams, rejected: Sequence[dict[str, str]] = ()
) -> dict[str, Any]:
    """Stream episodes into an offline store and return its manifest.

    Memory holds one episode, and one open shard per embodiment. Same episodes in the same order, same bytes; the
    order between embodiments does not matter. ``episode.info`` must hold ``source``, ``file`` and ``embodiment`` and
    may hold ``task``, ``policy``, ``sigma``, ``seed``, ``render``, ``origin`` and ``versions``. Rewards and success go,
    summed, to the outcomes table and nowhere else.

    Args:
        episodes: at least one.
        out_dir: a new or empty folder.
        params: row group, shard and compression settings, and the share of episodes held out.
        rejected: what the caller left out, ``{"file", "reason"}`` each; read after the last episode, for the manifest.

    Raises:
        DataError: no episodes, a broken episode, an id seen twice, action widths that differ within an embodiment.
        ResourceError: the disk is full or not writable.
    """
    shards: dict[str, _Shards] = {}
    facts: dict[int, dict[str, Any]] = {}
    outcomes: dict[int, dict[str, Any]] = {}
    with ExitStack() as open_shards:
        for episode in episodes:
            where = _where(episode)
            check_stored(episode, where)
            row = _facts(episode)
            number, embodiment = row["episode_id"], row["embodiment"]
            if number in facts:
                raise DataError(f"{where}: the same source and file as an earlier episode; name each source once")
            if embodiment not in shards:
                shards[embodiment] = open_shards.enter_context(_Shards(out_dir, embodiment, row["action_dim"], params))
            facts[number] = row | shards[embodiment].write(number, episode, where)
            outcomes[number] = _outcome(number, episode)
        if not facts:
            raise DataError(f"no episodes to write to {out_dir}; run `gsa collect-data` first")
    manifest = _write_tables(out_dir, shards, list(facts.values()), outcomes, params)
    manifest["rejected"] = list(rejected)
    write_atomic(out_dir / MANIFEST, sealed_json(manifest))
    return manifest


class _Shards(ExitStack):
    """The shards of one embodiment, one open at a time; an episode never spans two. An error drops the open one."""

    def __init__(self, out_dir: Path, embodiment: str, action_dim: int, params: ConvertParams) -> None:
        super().__init__()
        self.out_dir, self.embodiment, self.action_dim, self.params = out_dir, embodiment, action_dim, params
        self.rows: dict[str, int] = {}
        self._file: Any = None
        self._writer: Any = None
        self._groups, self._name = 0, ""

    def write(self, number: int, episode: Episode, where: str) -> dict[str, Any]:
        """Append an episode; where it went, as columns of the episodes table."""
        if episode.action.shape[1] != self.action_dim:
            raise DataError(
                f"{where}: action width {episode.action.shape[1]}, but other {self.embodiment} episodes have "
                f"{self.action_dim}; give it an embodiment of its own"
            )
        if self._file is None:
            self._start()
        rows = group_rows(len(episode), -(-len(episode) // self.params.row_group_rows))
        name, first_group = self._name, self._groups
        for start in range(0, len(episode), rows):
            self._writer.write_table(steps_table(number, episode, start, min(start + rows, len(episode))))
            self._groups += 1
        self.rows[name] += len(episode)
        count = self._groups - first_group
        if self._file.tell() >= self.params.shard_mb * 1_000_000:
            self.close()
            self._file = None
        digest = content_digest(episode)
        return {"shard": name, "row_group_start": first_group, "row_group_count": count, "sha256": digest}

    def _start(self) -> None:
        self._name, self._groups = f"{SHARDS}/{self.embodiment}-{len(self.rows):05d}.parquet", 0
        self.rows[self._name] = 0
        tmp = self.enter_context(replacing(self.out_dir / self._name))
        self._file = self.enter_context(tmp.open("wb"))
        self._writer = pq.ParquetWriter(
            self._file,
            STEPS_SCHEMA,
            compression=self.params.codec,
            compression_level=self.params.level,
            use_dictionary=False,
            # Statistics of images are noise, and 24 kB of it per row group.
            write_statistics=["episode_id", "step"],
            write_page_checksum=True,
        )
        self.enter_context(self._writer)


def group_rows(length: int, count: int) -> int:
    """Rows of each row group but the last, for an episode of ``length`` rows in ``count`` groups."""
    return -(-length // count)


def _where(episode: Episode) -> str:
    for key in _REQUIRED_INFO:
        if not isinstance(episode.info.get(key), str):
            raise DataError(f"{episode!r}: info has no text {key!r}; the source must say what each episode is")
    check_embodiment(episode.info["embodiment"], f"{episode.info['source']}")
    return f"{episode.info['source']}/{episode.info['file']}"


def _facts(episode: Episode) -> dict[str, Any]:
    info = episode.info
    return {
        "episode_id": episode_id(str(info["source"]), str(info["file"])),
        "action_dim": episode.action.shape[1],
        "length": len(episode),
        "is_terminal": bool(episode.is_terminal[-1]),
        **{key: info[key] for key in _REQUIRED_INFO},
        **{key: _typed(episode, key, kinds) for key, kinds in _OPTIONAL_INFO.items()},
        **{key: json.dumps(info.get(key, {}), sort_keys=True) for key in ("render", "origin", "versions")},
    }


def _typed(episode: Episode, key: str, kind: type[Any]) -> Any:
    """What a manifest or a flag says, or None; a column holds one type, and a manifest may say anything."""
    value = episode.info.get(key)
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    too_large = isinstance(value, int) and not -(2**63) <= value < 2**63
    if value is None or (fits and not isinstance(value, bool) and not too_large):
        return value
    raise DataError(f"{_where(episode)}: {key} is {value!r}, expected {kind.__name__}; fix the source's manifest")


def _outcome(number: int, episode: Episode) -> dict[str, Any]:
    reward, success = episode.reward, episode.success
    return {
        "episode_id": number,
        "episode_return": None if reward is None else float(reward.sum(dtype=np.float64)),
        "success": None if success is None else bool(success[-1]),
        "success_any": None if success is None else bool(success.any()),
    }


def _write_tables(
    out_dir: Path,
    shards: dict[str, _Shards],
    facts: list[dict[str, Any]],
    outcomes: dict[int, dict[str, Any]],
    params: ConvertParams,
) -> dict[str, Any]:
    """Write the episodes table and the outcomes; the manifest of all files."""
    # Stable sort: within an embodiment the order of arrival, which is the order on disk.
    rows = sorted(facts, key=lambda row: row["embodiment"])
    table = pd.DataFrame(rows, columns=["episode_id", "embodiment", "policy"])
    split = assign_split(table, params.holdout_fraction)
    rows = [row | {"split": part} for row, part in zip(rows, split, strict=True)]
    counts = sorted((name, count) for body in shards.values() for name, count in body.rows.items())
    files = {name: _describe(out_dir / name, count) for name, count in counts}
    for name, schema, content in (
        (EPISODES, EPISODES_SCHEMA, rows),
        (OUTCOMES, OUTCOMES_SCHEMA, [outcomes[row["episode_id"]] for row in rows]),
    ):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(content, schema=schema), sink, compression="zstd", write_page_checksum=True)
        write_atomic(out_dir / name, sink.getvalue().to_pybytes())
        files[name] = _describe(out_dir / name, len(content))
    return {
        "format": FORMAT,
        "version": SCHEMA_VERSION,
        "episodes": len(rows),
        "rows": sum(row["length"] for row in rows),
        "params": params.model_dump(),
        "files": files,
    }


def _describe(path: Path, rows: int) -> dict[str, Any]:
    size, footer = path.stat().st_size, footer_digest(path)
    return {"sha256": sha256_file(path), "bytes": size, "rows": rows, "footer_sha256": footer}
