"""What an environment and a policy are to the rest of the project, and the frame that all suites share."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol, runtime_checkable

import numpy as np

from gsa.episode import Step, check_action
from gsa.errors import DataError


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
"""A factory: run loops receive these, so a test can drive the real loop with an environment of its own."""


class SuiteEnv:
    """The frame of an ``Env``: actions are checked, decisions counted, and none is taken outside an episode.

    A suite adds ``_begin``, which starts an episode, and ``_decide``, which holds an action for the task's simulator
    steps and sums their rewards. ``_count`` are the decisions begun; ``_opened`` is what ``close`` closes, last first.
    """

    pixels = True
    """Whether steps carry a picture, which may change at any time; otherwise a black frame, and nothing is drawn."""

    def __init__(self, name: str, action_dim: int | None, max_env_steps: int):
        assert action_dim is not None
        self.name, self.action_dim, self.max_env_steps = name, action_dim, max_env_steps
        self._count, self._is_running, self._opened = 0, False, ExitStack()

    def reset(self, seed: int | None = None) -> Step:
        """Start an episode; see ``Env.reset``."""
        self._count, self._is_running = 0, False
        first = self._begin(seed)
        self._is_running = True
        return first

    def step(self, action: np.ndarray) -> Step:
        """Take one decision; see ``Env.step``.

        Raises:
            DataError: the action is malformed, the episode is over, or the simulation diverged.
        """
        where = f"{self.name}, step {self._count}"
        if not self._is_running:
            raise DataError(f"{where}: the episode is over or was never begun; call reset first")
        action = check_action(action, self.action_dim, where)
        self._count, self._is_running = self._count + 1, False  # a decision that fails ends the episode
        step = self._decide(action, where)
        self._is_running = not step.is_last
        return step

    def close(self) -> None:
        """Free the render contexts; the environment must not be used afterwards."""
        self._is_running = False
        self._opened.close()

    def _begin(self, seed: int | None) -> Step:
        raise NotImplementedError

    def _decide(self, action: np.ndarray, where: str) -> Step:
        raise NotImplementedError
