"""What a learner is to the rest of the project: it acts, it is updated, it is kept. ``LEARNERS`` lists them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from gsa.config import Params
from gsa.envs.base import Policy
from gsa.episode import Episode, Step
from gsa.pipeline import LEARNERS
from gsa.schedule import Progress, Schedule
from gsa.storage.replay import EpisodeBuffer
from gsa.tasks import TaskSpec

CPU = torch.device("cpu")

STREAMS = ("env", "behaviour", "bc", "online", "retrieved", "shift", "drawn")
"""Random streams of a run; the first one seeds episodes and belongs to the loop."""


@dataclass(frozen=True)
class Setting:
    """What a learner is made from. ``action_dim`` and ``max_env_steps`` are the environment's, native and per episode.

    ``method`` names a row of ``params.methods``. ``seed`` is the run's; ``STREAMS`` of it are independent. ``inputs``
    are folders of earlier stages by name (``gsa.pipeline.FOLDERS``): none where a finished agent is only evaluated.
    """

    spec: TaskSpec
    action_dim: int
    max_env_steps: int
    params: Params
    method: str
    seed: int
    device: torch.device = CPU
    inputs: Mapping[str, Path] = field(default_factory=dict)

    def generator(self, stream: str) -> np.random.Generator:
        """A fresh generator of that stream."""
        return np.random.default_rng(self._stream(stream))

    def batch_seed(self, stream: str) -> int:
        """A seed for batches by number (``gsa.storage.replay.Replay``)."""
        return int(self._stream(stream).generate_state(1)[0])

    def _stream(self, name: str) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.seed).spawn(len(STREAMS))[STREAMS.index(name)]


@runtime_checkable  # beartype, in the tests, asks isinstance
class Learner(Protocol):
    """An agent that learns one task online; ``gsa.loops.finetune`` drives it. All randomness of torch is the process's.

    ``schedule`` says when updates are due. ``networks`` hold all weights that ``policy`` acts with.
    """

    schedule: Schedule
    networks: nn.Module

    def prepare(self, first_step: Callable[[], Step]) -> dict[str, Any]:
        """Before the first episode of a fresh run: use what was made offline. Returns facts for the run's record.

        ``first_step`` resets the training environment.
        """
        ...

    def floors(self) -> dict[str, Callable[[], Policy]]:
        """After ``prepare``: what makes the policies, by name, that learning should beat; the run scores them once."""
        ...

    def behaviour(self, progress: Progress) -> Policy:
        """Who acts in the next training episode; ``progress`` goes on while it does."""
        ...

    def policy(self) -> Policy:
        """Who is evaluated."""
        ...

    def update(self, online: EpisodeBuffer, number: int) -> dict[str, float]:
        """Update ``number`` (from 0) on the episodes so far; returns losses and diagnostics."""
        ...

    def diagnose(self, evaluated: Sequence[Episode], online: EpisodeBuffer) -> dict[str, float]:
        """Cheap numbers that tell why the learner does well or badly, by name; ``evaluated`` are episodes of
        ``policy`` that it has not learned from. May be empty."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything an exact resume needs, less the online episodes and torch's generator: tensors, plain values."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``, in the place of ``prepare``."""
        ...


def make_learner(setting: Setting) -> Learner:
    """The learner that the setting's method names, untrained.

    Raises:
        ParamsError: the environment does not fit the parameters.
    """
    spec, frames = setting.spec, setting.max_env_steps * setting.spec.action_repeat
    setting.params.check_fit(setting.method, replace(spec, action_dim=setting.action_dim, max_frames=frames))
    module, _, name = LEARNERS[setting.params.methods[setting.method].learner].make.partition(":")
    learner: Learner = getattr(import_module(module), name)(setting)
    return learner
