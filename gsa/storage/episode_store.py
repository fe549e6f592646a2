"""Random windows and whole episodes from an offline store, with memory independent of the data's size."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64, UInt8

from gsa.episode import IMAGE_SIZE, Episode
from gsa.errors import ArtifactError, DataError
from gsa.files import sha256_file
from gsa.storage.schema import MANIFEST, STEPS_SCHEMA, content_digest, footer_digest
from gsa.storage.source import Pixels
from gsa.storage.store_manifest import FIX, read_store_manifest
from gsa.storage.store_tables import check_schema, read_episodes
from gsa.storage.store_writer import group_rows

MAX_OPEN_SHARDS = 16

ACTION_LIMIT = 1.0 + 1e-6
"""What ``check_episode`` allows an action's entries."""


class EpisodeStore:
    """The episodes of ``data/offline``, by position in ``episodes`` (sorted by embodiment).

    Opening checks the manifest, the size of every file and the digest of the episodes table; opening a shard checks its
    footer and reading checks every page, so damage is an error, never data. ``verify`` reads everything. The outcomes
    table is not opened. One store belongs to one process; pickled, it is opened anew.

    Raises:
        DataError: nothing at ``path``.
        ArtifactError: a file is missing, damaged or from another version; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.manifest = read_store_manifest(self.path)
        self.episodes = read_episodes(self.path, self.manifest)
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        # Plain arrays: pandas' iloc costs more than reading a window.
        self._shard = self.episodes["shard"].tolist()
        self._group_start = self.episodes["row_group_start"].to_numpy()
        self._group_count = self.episodes["row_group_count"].to_numpy()
        self._id = self.episodes["episode_id"].to_numpy()
        self._width = self.episodes["action_dim"].to_numpy()
        self._terminal = self.episodes["is_terminal"].to_numpy()
        self._lengths = self.episodes["length"].to_numpy(np.int64)

    def __reduce__(self) -> tuple[type["EpisodeStore"], tuple[Path]]:
        """Another process opens the files itself."""
        return EpisodeStore, (self.path,)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> Int64[np.ndarray, " N"]:
        """Rows of each episode."""
        return self._lengths

    def window(self, index: int, start: int, length: int, into: Pixels | None = None) -> Episode:
        """Rows ``start .. start + length`` of an episode, without reward.

        ``image`` is a channels-first view of height-width-channel memory: of ``into`` where that is given.

        Raises:
            DataError: the window leaves the episode.
            ArtifactError: the shard is damaged; the message names file and row groups.
        """
        rows = int(self._lengths[index])
        if start < 0 or length < 1 or start + length > rows:
            raise DataError(f"{self.path}: rows {start}..{start + length} of episode {index}, which has {rows} rows")
        size = group_rows(rows, int(self._group_count[index]))
        first, last = start // size, (start + length - 1) // size
        group = int(self._group_start[index])
        table = self._read(self._shard[index], list(range(group + first, group + last + 1)), ["image", "action"])
        action = _actions(table.column(1), int(self._width[index]))
        held = min((last + 1) * size, rows) - first * size
        if len(table) != held or action is None or not np.abs(action).max() <= ACTION_LIMIT:  # not <=: NaN too
            where = f"{self.path / self._shard[index]}, row groups {group + first}..{group + last}"
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
            is_terminal=is_last & self._terminal[index],
            info={"episode_id": int(self._id[index])},
        )

    def read(self, index: int) -> Episode:
        """A whole episode; ``info`` holds its row of the episodes table."""
        episode = self.window(index, 0, int(self._lengths[index]))
        episode.info.update({str(key): value for key, value in self.episodes.iloc[index].to_dict().items()})
        return episode

    def first_images(self, indices: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "N C Y X"]:
        """The first image of each episode, in the order asked for (the keys of retrieval)."""
        out = np.empty((len(indices), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        order = np.argsort(np.asarray(indices, np.int64), kind="stable")
        for position in order:
            out[position] = self.window(int(indices[position]), 0, 1).image[0].transpose(1, 2, 0)
        return out.transpose(0, 3, 1, 2)

    def select(self, indices: Sequence[int] | np.ndarray) -> "EpisodeSubset":
        """Some of the episodes, as a source of windows."""
        return EpisodeSubset(self, indices)

    def verify(self) -> None:
        """Check every byte: file digests, then every episode's content.

        Raises:
            ArtifactError: the first damaged file or episode.
        """
        for name, facts in self.manifest["files"].items():
            if sha256_file(self.path / name) != facts["sha256"]:
                raise ArtifactError(f"{self.path / name} is damaged (sha256 differs from {MANIFEST}); {FIX}")
        for index, digest in enumerate(self.episodes["sha256"]):
            episode = self.window(index, 0, int(self._lengths[index]))
            if content_digest(episode) != digest or not self._labels_agree(index, episode):
                raise ArtifactError(f"{self.path / self._shard[index]}: episode {self._id[index]} differs; {FIX}")

    def close(self) -> None:
        """Close the open shards."""
        while self._open:
            self._open.popitem()[1].close()

    def _labels_agree(self, index: int, episode: Episode) -> bool:
        """Whether the columns that ``window`` does not read say what it says."""
        first = int(self._group_start[index])
        groups = list(range(first, first + int(self._group_count[index])))
        labels = self._read(self._shard[index], groups, ["episode_id", "step", "is_first", "is_last", "is_terminal"])
        number, step, *flags = (column.to_numpy() for column in labels.columns)
        expected = (episode.is_first, episode.is_last, episode.is_terminal)
        same = all(np.array_equal(a, b) for a, b in zip(flags, expected, strict=True))
        return same and bool((number == self._id[index]).all()) and np.array_equal(step, np.arange(len(episode)))

    def _read(self, name: str, groups: list[int], columns: list[str]) -> pa.Table:
        try:
            if name not in self._open:
                self._open_shard(name)
            self._open.move_to_end(name)
            return self._open[name].read_row_groups(groups, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            # Arrow's own messages name neither the file nor the place.
            where = f"{self.path / name}, row groups {groups[0]}..{groups[-1]}"
            raise ArtifactError(f"{where}: damaged ({' '.join(str(error).split())}); {FIX}") from error

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


class EpisodeSubset:
    """Chosen episodes of a store, renumbered from 0 in the order given; meets ``EpisodeSource``.

    Raises:
        DataError: an index the store does not have, or the same one twice.
    """

    def __init__(self, store: EpisodeStore, indices: Sequence[int] | np.ndarray) -> None:
        self.store = store
        self.indices = np.asarray(indices, np.int64)
        if ((self.indices < 0) | (self.indices >= len(store))).any():
            raise DataError(f"{store.path}: episodes {self.indices.tolist()} of a store of {len(store)}")
        if len(np.unique(self.indices)) != len(self.indices):
            raise DataError(f"{store.path}: an episode is selected twice in {self.indices.tolist()}")
        self._lengths = store.lengths[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def lengths(self) -> Int64[np.ndarray, " N"]:
        """Rows of each episode."""
        return self._lengths

    @property
    def episodes(self) -> pd.DataFrame:
        """Their rows of the episodes table, in this order."""
        return self.store.episodes.iloc[self.indices].reset_index(drop=True)

    def window(self, index: int, start: int, length: int, into: Pixels | None = None) -> Episode:
        """Rows ``start .. start + length`` of an episode of the subset, as ``EpisodeStore.window``."""
        return self.store.window(int(self.indices[index]), start, length, into)

    def read(self, index: int) -> Episode:
        """A whole episode of the subset."""
        return self.store.read(int(self.indices[index]))


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
    parts = [chunk.values.to_numpy() for chunk in column.chunks]
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return flat.reshape(len(column), width) if len(flat) == len(column) * width else None
