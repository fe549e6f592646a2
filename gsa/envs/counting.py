"""An environment whose right answers are known, so that tests of order need no simulator."""

import numpy as np

from gsa.episode import IMAGE_SIZE, Step, check_action
from gsa.errors import DataError


class CountingEnv:
    """Paints its step index into every image and rewards it: at step t pixels are t mod 256 and the reward is t / 10.

    ``state`` is ``[t, *previous action]``. The first row of pixels shows the seed (mod 256), so equal seeds give equal
    episodes and others do not. ``success`` is raised at the last step.
    """

    name = "counting"

    def __init__(self, action_dim: int = 2, max_env_steps: int = 10):
        self.action_dim = action_dim
        self.max_env_steps = max_env_steps
        self._count: int | None = None
        self._seed = 0

    def reset(self, seed: int | None = None) -> Step:
        """Start at 0; without a seed the previous one plus 1 is taken."""
        self._seed = self._seed + 1 if seed is None else seed
        self._count = 0
        return self._step(np.zeros(self.action_dim, np.float32))

    def step(self, action: np.ndarray) -> Step:
        """Count on."""
        if self._count is None or self._count == self.max_env_steps:
            raise DataError(
                f"{self.name}, step {self._count}: the episode is over or was never begun; call reset first"
            )
        action = check_action(action, self.action_dim, f"{self.name}, step {self._count}")
        self._count += 1
        return self._step(action)

    def close(self) -> None:
        """Nothing to free."""

    def _step(self, action: np.ndarray) -> Step:
        count = self._count
        assert count is not None
        image = np.full((3, IMAGE_SIZE, IMAGE_SIZE), count % 256, np.uint8)
        image[:, 0] = self._seed % 256
        is_last = count == self.max_env_steps
        state = np.array([count, *action], np.float64)
        return Step(image, count / 10, count == 0, is_last, success=is_last, state=state)
