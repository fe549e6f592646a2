"""Where windows come from: the narrow interface between a pile of episodes and ``Replay``."""

from typing import Protocol, runtime_checkable

import numpy as np

from gsa.episode import Episode


@runtime_checkable  # beartype, in the tests, asks isinstance
class EpisodeSource(Protocol):
    """Episodes by position; ``Replay`` cuts windows from it without knowing whether it is memory or Parquet."""

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each episode, int64 ``(num_episodes,)``."""
        ...

    def window(self, index: int, start: int, length: int) -> Episode:
        """Rows ``start .. start + length`` of episode ``index``; flags and reward as stored."""
        ...
