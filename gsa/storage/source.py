"""Where windows come from: the narrow interface between a pile of episodes and ``Replay``."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from gsa.episode import Episode

Pixels = UInt8[np.ndarray, "T 64 64 3"]
"""Images as they lie in memory and on disk: height, width, channel."""


@runtime_checkable  # beartype, in the tests, asks isinstance
class EpisodeSource(Protocol):
    """Episodes by position; ``Replay`` cuts windows from it without knowing whether it is memory or Parquet."""

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each episode, int64 ``(num_episodes,)``."""
        ...

    def window(self, index: int, start: int, length: int, into: Pixels | None = None) -> Episode:
        """Rows ``start .. start + length`` of episode ``index``; flags and reward as stored.

        The images are written to ``into`` where that is given, which spares a copy.
        """
        ...
