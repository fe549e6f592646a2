"""What a learner is to the rest of the project: it acts, it is updated, it is kept. ``gsa.pipeline.LEARNERS`` lists them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from gsa.config import Params
from gsa.envs.base import Policy
from gsa.episode import Step
from gsa.pipeline import LEARNERS
from gsa.storage.replay import EpisodeBuffer
from gsa.tasks import TaskSpec

STREAMS = ("env", "behaviour", "bc", "online", "retrieved")
"""Random streams of a run; the first one seeds episodes and belongs to the loop."""


@dataclass
class Progress:
    """Where a run stands. ``frames`` are simulator steps of training, ``env_steps`` its decisions."""

    frames: int = 0
    env_steps: int = 0
    episodes: int = 0
    updates: int = 0


@dataclass(frozen=True)
class Schedule:
    """When updates are due: ``per_env_step`` per decision, none before ``start_frames`` or ``start_episodes``.

    The earlier of the two starts them. ``owed``: what the time before would have had is made up for then.
    ``while_acting``: they are made between decisions, not after the episode.
    """

    per_env_step: float
    start_frames: int = 0
    start_episodes: int | None = None
    owed: bool = True
    while_acting: bool = False

    def started(self, progress: Progress) -> bool:
        """Whether updates may be made."""
        enough = self.start_episodes is not None and progress.episodes >= self.start_episodes
        return progress.frames >= self.start_frames or enough


@dataclass(frozen=True)
class Setting:
    """What a learner is made from. ``action_dim`` and ``max_env_steps`` are the environment's, native and per episode.

    ``method`` is the method's own parameters, ``streams`` the run's seeds by name (``STREAMS``), independent of each other.
    """

    spec: TaskSpec
    action_dim: int
    max_env_steps: int
    params: Params
    method: Any
    streams: Mapping[str, np.random.SeedSequence]
    device: torch.device

    def generator(self, stream: str) -> np.random.Generator:
        """A fresh generator of that stream."""
        return np.random.default_rng(self.streams[stream])

    def seed(self, stream: str) -> int:
        """A seed for batches by number (``gsa.storage.replay.Replay``)."""
        return int(self.streams[stream].generate_state(1)[0])


@runtime_checkable  # beartype, in the tests, asks isinstance
class Learner(Protocol):
    """An agent that learns one task online. The loop of ``gsa.loops.finetune`` drives it; torch's generator is shared.

    ``schedule`` says when updates are due. ``action_dim`` is the task's native width.
    """

    schedule: Schedule

    def prepare(self, offline: Any, first_step: Callable[[], Step]) -> dict[str, Any]:
        """Before the first episode: use what was made offline (``gsa.loops.finetune.Offline``, None without inputs).

        ``first_step`` resets the training environment. Returns facts for the run's record.
        """
        ...

    def behaviour(self, progress: Progress) -> Policy:
        """Who acts in the next training episode."""
        ...

    def policy(self) -> Policy:
        """Who is evaluated."""
        ...

    def update(self, online: EpisodeBuffer, number: int) -> dict[str, float]:
        """Update ``number`` (from 0) on the episodes so far; returns losses and diagnostics."""
        ...

    def weights(self) -> dict[str, torch.Tensor]:
        """What ``policy`` acts with: kept in the run's folder."""
        ...

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """The inverse of ``weights``."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything an exact resume needs beside the online episodes and torch's generator; tensors and plain values."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        ...


def make_learner(setting: Setting) -> Learner:
    """The learner that the setting's method names, untrained.

    Raises:
        DataError, ParamsError: the task does not fit the parameters.
    """
    module, _, name = LEARNERS[setting.method.learner].make.partition(":")
    learner: Learner = getattr(import_module(module), name)(setting)
    return learner
