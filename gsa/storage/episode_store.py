"""Random windows and whole episodes from an offline store, with memory independent of the data's size."""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8

from gsa.episode import ACTION_LIMIT, IMAGE_SIZE, Episode
from gsa.errors import ArtifactError, DataError, one_line
from gsa.files import sha256_file
from gsa.storage.replay import Pixels
from gsa.storage.schema import MANIFEST, STEPS_SCHEMA, content_digest, footer_digest
from gsa.storage.store_files import FIX, check_schema, read_episodes, read_store_manifest
from gsa.storage.store_writer import group_rows

MAX_OPEN_SHARDS = 16


class _Place(NamedTuple):
    """What reading an episode needs of its row of the episodes table."""

    episode_id: int
    action_dim: int
    length: int
    is_terminal: bool
    shard: str
    row_group_start: int
    row_group_count: int


class EpisodeStore:
    """The episodes of ``data/offline``, or some of them, by position in ``episodes`` (sorted by embodiment).

    Opening checks the manifest, the size of every file and the digest of the episodes table; opening a shard checks its
    footer and reading checks every page, so damage is an error, never data. ``verify`` reads everything. The outcomes
    table is not opened. One store belongs to one process; pickled, it leaves its open shards behind.

    Raises:
        DataError: nothing at ``path``.
        ArtifactError: a file is missing, damaged or from another version; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.manifest = read_store_manifest(self.path)
        self.sha256 = sha256_file(self.path / MANIFEST)
        """Names the store's contents: an index is bound to it."""
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._list(read_episodes(self.path, self.manifest))

    def _list(self, episodes: pd.DataFrame) -> None:
        self.episodes = episodes
        self.lengths = episodes["length"].to_numpy(np.int64)
        """Rows of each episode."""
        # Plain tuples: pandas' iloc costs more than reading a window.
        rows = episodes[list(_Place._fields)].itertuples(index=False, name=None)
        self._rows = [_Place(*row) for row in rows]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_open": OrderedDict()}

    def __len__(self) -> int:
        return len(self.lengths)

    def window(self, index: int, start: int, length: int, into: Pixels | None = None) -> Episode:
        """Rows ``start .. start + length`` of an episode, without reward.

        ``image`` is a channels-first view of height-width-channel memory: of ``into`` where that is given.

        Raises:
            DataError: the window leaves the episode.
            ArtifactError: the shard is damaged; the message names file and row groups.
        """
        place = self._rows[index]
        rows, group = place.length, place.row_group_start
        if start < 0 or length < 1 or start + length > rows:
            raise DataError(f"{self.path}: rows {start}..{start + length} of episode {index}, which has {rows} rows")
        size = group_rows(rows, place.row_group_count)
        first, last = start // size, (start + length - 1) // size
        table = self._read(place.shard, range(group + first, group + last + 1), ["image", "action"])
        action = _actions(table.column(1), place.action_dim)
        held = min((last + 1) * size, rows) - first * size
        if len(table) != held or action is None or not np.abs(action).max() <= ACTION_LIMIT:  # not <=: NaN too
            where = f"{self.path / place.shard}, row groups {group + first}..{group + last}"
            if len(table) != held or action is None:
                raise ArtifactError(f"{where}: {len(table)} rows, expected {held} of one action width; {FIX}")
            row = first * size + int(np.argmin((np.abs(action) <= ACTION_LIMIT).all(1)))
            raise ArtifactError(f"{where}: action at row {row} is not within [-1, 1]; {FIX}")
        skip = start - first * size
        step = np.arange(start, start + length)
        is_last = step == rows - 1
        return Episode(
            image=_images(table.column(0).slice(skip, length), into).transpose(0, 3, 1, 2),
            action=action[skip : skip + length],
            # Only the first and last row can carry a flag, so the table of episodes knows them all (see verify).
            is_first=step == 0,
            is_last=is_last,
            is_terminal=is_last & place.is_terminal,
            info={"episode_id": place.episode_id},
        )

    def read(self, index: int) -> Episode:
        """A whole episode; ``info`` holds its row of the episodes table."""
        episode = self.window(index, 0, self._rows[index].length)
        episode.info.update({str(key): value for key, value in self.episodes.iloc[index].to_dict().items()})
        return episode

    def first_images(self, indices: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "N C Y X"]:
        """The first image of each episode, in the order asked for (the keys of retrieval)."""
        out = np.empty((len(indices), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        for position in np.argsort(np.asarray(indices, np.int64), kind="stable"):
            self.window(int(indices[position]), 0, 1, into=out[position : position + 1])
        return out.transpose(0, 3, 1, 2)

    def positions_of(self, embodiments: Sequence[str]) -> np.ndarray:
        """Positions of these embodiments' episodes, in order; DataError where the store has none of one."""
        bodies = self.episodes["embodiment"]
        held = sorted(bodies.unique())
        if missing := [body for body in embodiments if body not in held]:
            raise DataError(
                f"{self.path} has no episodes of {', '.join(missing)}, which matrix.pretrain.models lists; it has "
                f"{', '.join(held) or 'none'}; collect them and run `gsa convert`, or change the list"
            )
        return np.flatnonzero(bodies.isin(embodiments).to_numpy())

    def select(self, indices: Sequence[int] | np.ndarray) -> "EpisodeStore":
        """Some of the episodes, renumbered from 0 in the order given.

        Raises:
            DataError: an index the store does not have, or the same one twice.
        """
        chosen = np.asarray(indices, np.int64)
        if ((chosen < 0) | (chosen >= len(self))).any():
            raise DataError(f"{self.path}: episodes {chosen.tolist()} of a store of {len(self)}")
        if len(np.unique(chosen)) != len(chosen):
            raise DataError(f"{self.path}: an episode is selected twice in {chosen.tolist()}")
        subset = copy.copy(self)
        subset._list(self.episodes.iloc[chosen].reset_index(drop=True))
        return subset

    def verify(self) -> None:
        """Check every byte; ArtifactError for the first file whose digest differs, then for the first such episode."""
        for name, facts in self.manifest["files"].items():
            if sha256_file(self.path / name) != facts["sha256"]:
                raise ArtifactError(f"{self.path / name} is damaged (sha256 differs from {MANIFEST}); {FIX}")
        for index, (place, digest) in enumerate(zip(self._rows, self.episodes["sha256"], strict=True)):
            episode = self.window(index, 0, place.length)
            groups = range(place.row_group_start, place.row_group_start + place.row_group_count)
            labels = self._read(place.shard, groups, ["is_first", "is_last", "is_terminal", "step", "episode_id"])
            number = np.full(place.length, place.episode_id)
            expected = (episode.is_first, episode.is_last, episode.is_terminal, np.arange(place.length), number)
            agree = all(np.array_equal(a.to_numpy(), b) for a, b in zip(labels.columns, expected, strict=True))
            if content_digest(episode) != digest or not agree:
                raise ArtifactError(f"{self.path / place.shard}: episode {place.episode_id} differs; {FIX}")

    def _read(self, name: str, groups: range, columns: list[str]) -> pa.Table:
        try:
            if name not in self._open:
                self._open_shard(name)
            self._open.move_to_end(name)
            return self._open[name].read_row_groups(list(groups), columns=columns, use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            # Arrow's own messages name neither the file nor the place.
            where = f"{self.path / name}, row groups {groups[0]}..{groups[-1]}"
            raise ArtifactError(f"{where}: damaged ({one_line(error)}); {FIX}") from error

    def _open_shard(self, name: str) -> None:
        file = self.path / name
        facts = self.manifest["files"].get(name)
        if facts is None or footer_digest(file) != facts["footer_sha256"]:
            raise ArtifactError(f"{file} is damaged (its footer differs from {MANIFEST}); {FIX}")
        shard = pq.ParquetFile(file, memory_map=True, pre_buffer=False, page_checksum_verification=True)
        check_schema(file, shard.schema_arrow, STEPS_SCHEMA)
        self._open[name] = shard
        if len(self._open) > MAX_OPEN_SHARDS:
            self._open.popitem(last=False)[1].close()


def _images(column: pa.ChunkedArray, into: Pixels | None) -> Pixels:
    """All rows, copied into ``into``; without it a read-only view of Arrow's memory where that lies in one piece."""
    parts = []
    for chunk in column.chunks:
        pixels = np.frombuffer(chunk.buffers()[1], np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)
        parts.append(pixels[chunk.offset : chunk.offset + len(chunk)])
    if into is None and len(parts) == 1:
        return parts[0]
    return np.concatenate(parts, out=into)


def _actions(column: pa.ChunkedArray, width: int) -> np.ndarray | None:
    """All rows as ``(rows, width)``, or None where their widths differ."""
    flat = np.concatenate([chunk.values.to_numpy() for chunk in column.chunks])
    return flat.reshape(len(column), width) if len(flat) == len(column) * width else None
