"""What an environment and a policy are to the rest of the house."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from gsa.episode import Step


@runtime_checkable  # beartype, in the tests, asks isinstance
class Env(Protocol):
    """A pixel environment with action repeat applied; one per process unless all rendering shares dm_control's Physics.

    ``action_dim`` is the native width; ``max_env_steps`` the decisions of a full episode; ``name`` the task's.
    """

    name: str
    action_dim: int
    max_env_steps: int

    def reset(self, seed: int | None = None) -> Step:
        """Start an episode; the same seed gives the same episode (0 <= seed < 2**32). None continues the stream."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """Take one decision: float ``(action_dim,)`` in [-1, 1]. NaN or a wrong shape raises DataError."""
        ...

    def close(self) -> None:
        """Free the render context."""
        ...


@runtime_checkable  # beartype, in the tests, asks isinstance
class Policy(Protocol):
    """Something that acts. Recurrent policies forget at ``step.is_first``."""

    def act(self, step: Step) -> np.ndarray:
        """The action for what was just seen, float ``(action_dim,)``."""
        ...


MakeEnv = Callable[[], Env]
"""A factory: run loops receive these, so a test can drive the real loop with the counting environment."""
