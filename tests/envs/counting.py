"""An environment whose right answers are known, so that tests of order need no simulator."""

import numpy as np

from gsa.envs.base import SuiteEnv
from gsa.episode import IMAGE_SIZE, Step


class CountingEnv(SuiteEnv):
    """Paints its step index into every image and rewards it: at step t pixels are t mod 256 and the reward is t / 10.

    ``state`` is ``[t, *previous action]``. The first row of pixels shows the seed (mod 256), so equal seeds give equal
    episodes and others do not. ``success`` is raised at the last step. Without a seed the previous one plus 1
    is taken.
    """

    def __init__(self, action_dim: int = 2, max_env_steps: int = 10):
        super().__init__("counting", action_dim, max_env_steps)
        self._seed = 0

    def _begin(self, seed: int | None) -> Step:
        self._seed = self._seed + 1 if seed is None else seed
        return self._step(np.zeros(self.action_dim, np.float32))

    def _decide(self, action: np.ndarray, where: str) -> Step:
        return self._step(action)

    def _step(self, action: np.ndarray) -> Step:
        image = np.full((3, IMAGE_SIZE, IMAGE_SIZE), self._count % 256, np.uint8)
        image[:, 0] = self._seed % 256
        is_last = self._count == self.max_env_steps
        state = np.array([self._count, *action], np.float64)
        return Step(image, self._count / 10, self._count == 0, is_last, success=is_last, state=state)
