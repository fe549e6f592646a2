"""A counting environment for spawned workers, which import this module: some die where a test wants."""

import os
from pathlib import Path

import numpy as np

from gsa.config import RenderParams
from gsa.episode import Step
from gsa.tasks import TaskSpec
from tests.envs.counting import CountingEnv


def make_mortal(folder: Path, spec: TaskSpec, render: RenderParams) -> CountingEnv:
    """Stands for ``gsa.envs.make_env``; the processes leave marks in ``folder``."""
    return MortalEnv(folder)


class MortalEnv(CountingEnv):
    """Kills its process in the middle of an episode, unless one has died already."""

    def __init__(self, folder: Path):
        super().__init__(4, 6)
        self.grave = folder / "grave"

    def step(self, action: np.ndarray) -> Step:
        if self._count == 3 and not self.grave.exists():
            self.grave.touch()
            os.kill(os.getpid(), 9)
        return super().step(action)
