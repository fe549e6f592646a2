"""Random windows as training batches, from episodes in memory or on disk."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from gsa.episode import IMAGE_SIZE, Batch, Episode, check_episode
from gsa.errors import DataError
from gsa.storage.episode_log import EpisodeLog, Mark

Pixels = UInt8[np.ndarray, "T 64 64 3"]
"""Images as they lie in memory and on disk: height, width, channel."""

ROW_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3
"""Of an image."""


@runtime_checkable  # beartype, in the tests, asks isinstance
class EpisodeSet(Protocol):
    """Episodes by position; ``Replay`` cuts windows from it without knowing whether it is memory or Parquet."""

    lengths: Int64[np.ndarray, " N"]
    """Rows of each episode."""

    def window(self, index: int, start: int, length: int, into: Pixels | None = None) -> Episode:
        """Rows ``start .. start + length`` of episode ``index``; flags and reward as stored.

        The images are written to ``into`` where that is given, which spares a copy.
        """
        ...


_LABELS = ("action", "is_first", "is_last", "is_terminal", "reward", "success")
"""What an episode has a row of for each of its images; the last two may be missing."""


class EpisodeBuffer:
    """Complete episodes, in order of arrival, all of one action width; meets ``EpisodeSet``.

    With ``join_short`` a window that begins in an episode shorter than itself goes on in the next ones, so that tasks
    which may end early learn from such episodes too; ``is_first`` tells where each begins.

    Images (12 kB per row) are kept as height-width-channel bytes, in memory or, where one is given, in a ``log``, and
    handed out as channels-first views. All else is kept in memory.
    """

    def __init__(self, join_short: bool = False, log: EpisodeLog | None = None) -> None:
        self.join_short = join_short
        self._log = log
        self._forget()

    def _forget(self) -> None:
        self._labels: list[dict[str, np.ndarray]] = []
        self._infos: list[dict[str, Any]] = []
        self._images: list[Pixels] = []  # in memory
        self._places: list[int] = []  # in the log
        self.lengths = np.zeros(0, np.int64)
        """Rows of each episode."""
        self.terminated = np.zeros(0, bool)
        """Whether each ends in a terminal state."""

    def __len__(self) -> int:
        return len(self.lengths)

    def add(self, episode: Episode) -> None:
        """Append an episode.

        Raises:
            DataError: it breaks the layout, or has other actions or rewards than the first one.
            ResourceError: the log's disk is full.
        """
        where = f"online episode {len(self)}"
        check_episode(episode, where)
        labels = {name: values for name in _LABELS if (values := getattr(episode, name)) is not None}
        if len(self):
            first = self._labels[0]
            width, expected = episode.action.shape[1], first["action"].shape[1]
            if width != expected:
                raise DataError(f"{where}: action width {width}, expected {expected}")
            if labels.keys() != first.keys():
                raise DataError(f"{where}: reward or success present in some episodes only; a buffer holds one kind")
        image = np.ascontiguousarray(episode.image.transpose(0, 2, 3, 1))
        if self._log is None:
            self._images.append(image)
        else:
            self._places.append(self._log.append(labels, image, episode.info))
        self._note(labels, episode.info)

    def _note(self, labels: dict[str, np.ndarray], info: dict[str, Any]) -> None:
        self._labels.append(labels)
        self._infos.append(info)
        self.lengths = np.append(self.lengths, len(labels["action"]))
        self.terminated = np.append(self.terminated, labels["is_terminal"][-1])

    def window(self, index: int, start: int, length: int, into: Pixels | None = None) -> Episode:
        """Rows ``start .. start + length`` of an episode, as views; images in ``into`` where that is given.

        Raises:
            DataError: the window leaves the episode.
            ArtifactError: the log cannot be read.
        """
        held = int(self.lengths[index])
        if self.join_short and start == 0 and length > held:
            return self._joined(index, length, into)
        if start < 0 or length < 1 or start + length > held:
            raise DataError(f"rows {start}..{start + length} of online episode {index}, which has {held} rows")
        rows = slice(start, start + length)
        image = self.pixels(index, start, length, into).transpose(0, 3, 1, 2)
        return Episode(image, **{name: x[rows] for name, x in self._labels[index].items()}, info=self._infos[index])

    def pixels(self, index: int, start: int, length: int, into: Pixels | None = None) -> Pixels:
        """The images alone, of rows that the episode has; ArtifactError where the log cannot be read."""
        if self._log is not None:
            into = np.empty((length, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8) if into is None else into
            self._log.read_into(into.data, self._places[index] + start * ROW_BYTES)
            return into
        pixels = self._images[index][start : start + length]
        if into is None:
            return pixels
        into[:] = pixels
        return into

    def _joined(self, index: int, length: int, into: Pixels | None) -> Episode:
        image = np.empty((length, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8) if into is None else into
        parts: list[Episode] = []
        rows = 0
        while rows < length:
            number = (index + len(parts)) % len(self)
            some = slice(rows, min(length, rows + int(self.lengths[number])))
            parts.append(self.window(number, 0, some.stop - rows, image[some]))
            rows = some.stop
        labels = {name: np.concatenate([getattr(part, name) for part in parts]) for name in self._labels[index]}
        return Episode(image.transpose(0, 3, 1, 2), info=parts[0].info, **labels)

    def labels(self, index: int) -> dict[str, np.ndarray]:
        """All of an episode but its images, by name."""
        return self._labels[index]

    def read(self, index: int) -> Episode:
        """A whole episode."""
        return self.window(index, 0, int(self.lengths[index]))

    def mark(self) -> Mark:
        """Flush the log to disk; what ``restore`` needs. The log's errors."""
        assert self._log is not None
        return self._log.mark()

    def restore(self, mark: Mapping[str, Any] | None) -> None:
        """Hold the log's episodes up to ``mark``, or none; ArtifactError where the log is damaged or too short."""
        assert self._log is not None
        self._forget()
        if mark is None:
            self._log.clear()
            return
        for record in self._log.restore(mark):
            self._places.append(record.images_at)
            self._note(record.labels, record.info)

    def verify(self) -> None:
        """Compare every byte of the log with what was written; ArtifactError where one differs."""
        assert self._log is not None
        self._log.verify(self._log.mark())


class Replay:
    """Random windows of a source as batches: batch n is a function of the seed, n and the source alone.

    Every window of every episode is equally likely, so a longer episode is drawn more often. With ``groups`` each group
    is equally likely instead, and within it each window. Episodes shorter than a window take no part, unless the source
    joins them, when each counts as one window; when none is long enough, drawing raises.

    Args:
        source: episodes; without groups it may grow between calls.
        action_dim: width to which actions are zero-padded.
        seed: of all draws.
        groups: a label of each episode, e.g. its embodiment.
    """

    def __init__(
        self, source: EpisodeSet, action_dim: int, seed: int, groups: Sequence[str] | np.ndarray | None = None
    ) -> None:
        self.source = source
        self.action_dim = action_dim
        self.seed = seed
        self._groups = None if groups is None else np.unique(groups, return_inverse=True)[1]
        self._cache_key: tuple[int, int, int] = (-1, -1, -1)
        self._order = self._begins = self._ends = self._bounds = np.zeros(0, np.int64)

    def draw(
        self, number: int, batch_size: int, batch_length: int
    ) -> tuple[Int64[np.ndarray, " B"], Int64[np.ndarray, " B"]]:
        """Episode and first row of each window of batch ``number``, without reading any; errors as in ``batch``."""
        self._count_windows(batch_length)
        rng = np.random.default_rng([self.seed, number])
        group = rng.integers(0, len(self._bounds) - 1, batch_size)
        place = rng.integers(self._bounds[group], self._bounds[group + 1])
        found = np.searchsorted(self._ends, place, side="right")
        return self._order[found], place - self._begins[found]

    def batch(self, number: int, batch_size: int, batch_length: int, rows: slice = slice(None)) -> Batch:
        """Batch ``number`` of ``batch_size`` windows of ``batch_length`` rows, or some ``rows`` of it.

        It is the same whenever and in whichever process it is asked for.

        ``image`` is a channels-first view of height-width-channel memory: flattened over B and T it is channels_last,
        which convolutions read without a copy. ``is_first`` is as stored: a window may start in mid-episode.

        Raises:
            DataError: no episodes, none as long as a window, or actions wider than ``action_dim``.
        """
        episodes, starts = (drawn[rows] for drawn in self.draw(number, batch_size, batch_length))
        return self.windows(episodes, starts, batch_length)

    def windows(self, episodes: Int64[np.ndarray, " B"], starts: Int64[np.ndarray, " B"], batch_length: int) -> Batch:
        """The windows that begin there, as ``batch`` gives them."""
        batch_size = len(episodes)
        image = np.empty((batch_size, batch_length, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        action = np.zeros((batch_size, batch_length, self.action_dim), np.float32)
        reward = np.zeros((batch_size, batch_length), np.float32)
        has_reward = np.zeros(batch_size, bool)
        flags = np.empty((2, batch_size, batch_length), bool)
        for row, (index, start) in enumerate(zip(episodes, starts, strict=True)):
            window = self.source.window(int(index), int(start), batch_length, into=image[row])
            width = window.action.shape[1]
            if width > self.action_dim:
                raise DataError(f"episode {index}: {width} actions > {self.action_dim}; raise world_model.action_dim")
            action[row, :, :width] = window.action
            flags[0, row], flags[1, row] = window.is_first, window.is_terminal
            if window.reward is not None:
                reward[row], has_reward[row] = window.reward, True
        rest = (torch.from_numpy(x) for x in (action, reward, has_reward, *flags))
        return Batch(torch.from_numpy(image).permute(0, 1, 4, 2, 3), *rest)

    def _count_windows(self, batch_length: int) -> None:
        """Number the windows, group by group: ``_begins`` and ``_ends`` of each episode, ``_bounds`` of each group."""
        lengths = self.source.lengths
        key = (len(lengths), int(lengths.sum()), batch_length)
        if key == self._cache_key:
            return
        if not len(lengths):
            raise DataError("no episodes to sample from; collect or select some first")
        joins = isinstance(self.source, EpisodeBuffer) and self.source.join_short and lengths.sum() >= batch_length
        windows = np.maximum(lengths - batch_length + 1, int(joins))
        if not windows.any():
            longest = int(np.argmax(lengths))
            raise DataError(
                f"all {len(lengths)} episodes are shorter than a window of {batch_length} rows (the longest, episode "
                f"{longest}, has {lengths[longest]}); lower batch_length or collect longer episodes"
            )
        groups = np.zeros(len(lengths), np.int64) if self._groups is None else self._groups
        self._order = np.argsort(groups, kind="stable")
        self._ends = np.cumsum(windows[self._order])
        self._begins = self._ends - windows[self._order]
        per_group = np.bincount(groups, weights=windows).astype(np.int64)
        self._bounds = np.concatenate([[0], np.cumsum(per_group[per_group > 0])])
        self._cache_key = key
