"""The task of the attacked project: an environment that needs no simulator, so that a run takes a second."""

from typing import Any

import gymnasium
import numpy as np


class Arm(gymnasium.Env[np.ndarray, np.ndarray]):
    """A dot that actions push; it pays for being near the middle. The picture shows where it is and the seed's draw."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._at = np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin at a place that the seed draws."""
        super().reset(seed=seed)
        self._at = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        self._shade = int(self.np_random.integers(256))
        return self._at.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move by a tenth of the action."""
        self._at = np.clip(self._at + 0.1 * action, -1, 1).astype(np.float32)
        near = 1 - float(np.abs(self._at).max())
        return self._at.copy(), near, False, False, {"success": near > 0.5}

    def render(self) -> np.ndarray:
        """64 x 64 pixels in one shade, with the dot."""
        image = np.full((64, 64, 3), self._shade, np.uint8)
        row, column = ((self._at + 1) * 27).astype(int)
        image[row : row + 10, column : column + 10] = 255 - self._shade
        return image
