"""Random windows as training batches, from episodes in memory or on disk."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from gsa.episode import IMAGE_SIZE, Batch, Episode, check_episode
from gsa.errors import ArtifactError, DataError

Pixels = UInt8[np.ndarray, "T 64 64 3"]
"""Images as they lie in memory and on disk: height, width, channel."""


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


_ROWS = ("image", "action", "is_first", "is_last", "is_terminal", "reward", "success")
"""What an episode has a row of for each of its images."""


class EpisodeBuffer:
    """Complete episodes in memory, in order of arrival, all of one action width; meets ``EpisodeSet``.

    With ``join_short`` a window that begins in an episode shorter than itself goes on in the next ones, so that tasks
    which may end early learn from such episodes too; ``is_first`` tells where each begins.

    Images are kept as height-width-channel bytes (12 kB per row) and handed out as channels-first views.
    """

    def __init__(self, join_short: bool = False) -> None:
        self.join_short = join_short
        self._episodes: list[Episode] = []
        self.lengths = np.zeros(0, np.int64)
        """Rows of each episode."""

    def __len__(self) -> int:
        return len(self._episodes)

    def add(self, episode: Episode) -> None:
        """Append an episode; DataError if it breaks the layout, or has other actions or rewards than the first one."""
        where = f"online episode {len(self)}"
        check_episode(episode, where)
        if self._episodes:
            first = self._episodes[0]
            if episode.action.shape[1] != first.action.shape[1]:
                raise DataError(f"{where}: action width {episode.action.shape[1]}, expected {first.action.shape[1]}")
            if (episode.reward is None, episode.success is None) != (first.reward is None, first.success is None):
                raise DataError(f"{where}: reward or success present in some episodes only; a buffer holds one kind")
        image = np.ascontiguousarray(episode.image.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        self._episodes.append(replace(episode, image=image))
        self.lengths = np.append(self.lengths, len(episode))

    def window(self, index: int, start: int, length: int, into: Pixels | None = None) -> Episode:
        """Rows ``start .. start + length`` of an episode, as views; images in ``into`` where that is given."""
        episode, rows = self._episodes[index], slice(start, start + length)
        if self.join_short and start == 0 and length > len(episode):
            return self._joined(index, length, into)
        if start < 0 or length < 1 or start + length > len(episode):
            raise DataError(f"rows {start}..{start + length} of online episode {index}, which has {len(episode)} rows")
        arrays = {name: values[rows] for name, values in _arrays(episode).items()}
        if into is not None:
            into[:] = arrays["image"].transpose(0, 2, 3, 1)
            arrays["image"] = into.transpose(0, 3, 1, 2)
        return Episode(**arrays, info=episode.info)

    def _joined(self, index: int, length: int, into: Pixels | None) -> Episode:
        parts: list[Episode] = []
        rows = 0
        while rows < length:
            number = (index + len(parts)) % len(self)
            some = slice(rows, min(length, rows + len(self._episodes[number])))
            parts.append(self.window(number, 0, some.stop - rows, None if into is None else into[some]))
            rows = some.stop
        names = ("action", "is_first", "is_last", "is_terminal", "reward", "success")
        arrays = {n: np.concatenate([getattr(p, n) for p in parts]) for n in names if getattr(parts[0], n) is not None}
        image = np.concatenate([p.image for p in parts]) if into is None else into.transpose(0, 3, 1, 2)
        return Episode(image, info=parts[0].info, **arrays)

    def read(self, index: int) -> Episode:
        """A whole episode."""
        return self._episodes[index]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything as arrays concatenated over rows (what ``np.savez`` stores), for ``load_state_dict``."""
        state = {"lengths": self.lengths}
        if not self._episodes:
            return state
        for name in _arrays(self._episodes[0]):
            parts = [getattr(episode, name) for episode in self._episodes]
            state[name] = np.concatenate([x.transpose(0, 2, 3, 1) for x in parts] if name == "image" else parts)
        info = json.dumps([e.info for e in self._episodes])
        state["info"] = np.frombuffer(info.encode(), np.uint8)
        return state

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Replace the contents by a saved buffer's; ArtifactError if arrays are missing or their rows do not add up."""
        self._episodes, self.lengths = [], np.zeros(0, np.int64)
        lengths = state["lengths"]
        if not len(lengths):
            return
        arrays = {name: state[name] for name in _ROWS if name in state}
        if len(arrays) < 5 or any(len(array) != lengths.sum() for array in arrays.values()):
            found = {name: len(array) for name, array in arrays.items()}
            raise ArtifactError(f"saved replay: arrays of {found} rows, expected {lengths.sum()}; start the run anew")
        infos = json.loads(state["info"].tobytes())
        for stop, length, info in zip(np.cumsum(lengths), lengths, infos, strict=True):
            rows = {name: array[stop - length : stop] for name, array in arrays.items()}
            rows["image"] = rows["image"].transpose(0, 3, 1, 2)
            self.add(Episode(**rows, info=info))


def _arrays(episode: Episode) -> dict[str, np.ndarray]:
    return {name: values for name in _ROWS if (values := getattr(episode, name)) is not None}


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
