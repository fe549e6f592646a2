"""A body without a simulator: a point pushed by two motors, with whatever reward a test wants."""

from collections.abc import Callable

import numpy as np

from gsa.episode import IMAGE_SIZE, Step, check_action


class PointBody:
    """x <- x + 0.2 a inside [-1, 1]^2. State ``[x, y]``; the picture's grey levels are the position."""

    name = "point"
    action_dim = 2

    def __init__(self, max_env_steps: int = 10, reward: Callable[[np.ndarray], float] = lambda x: 0.0):
        self.max_env_steps = max_env_steps
        self.reward = reward
        self.position = np.zeros(2)
        self.count = 0

    def reset(self, seed: int | None = None) -> Step:
        self.position = np.random.default_rng(seed).uniform(-0.1, 0.1, 2)
        self.count = 0
        return self._step()

    def step(self, action: np.ndarray) -> Step:
        action = check_action(action, 2, "point")
        self.position = (self.position + 0.2 * action).clip(-1.0, 1.0)
        self.count += 1
        return self._step()

    def physics_state(self) -> np.ndarray:
        return self.position.copy()

    def render_state(self, state: np.ndarray) -> np.ndarray:
        image = np.zeros((3, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        image[:2] = np.round((state + 1.0) * 127).astype(np.uint8)[:, None, None]
        return image

    def close(self) -> None:
        pass

    def _step(self) -> Step:
        black = np.zeros((3, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        is_last = self.count == self.max_env_steps
        reward = self.reward(self.position)
        return Step(black, reward, self.count == 0, is_last, state=self.position.copy())
