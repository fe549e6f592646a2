"""Policies that look at nothing: a floor to compare data with, and data for bodies without an expert."""

import numpy as np

from gsa.episode import Step

OU_DECAY = 0.15
"""Share of the Ornstein-Uhlenbeck process that is lost each decision: it forgets within about 7."""


class UniformPolicy:
    """A fresh uniform draw from [-1, 1] each decision; sigma plays no part."""

    name = "random"

    def __init__(self, action_dim: int, sigma: float, rng: np.random.Generator):
        self._action_dim = action_dim
        self._rng = rng

    def act(self, step: Step) -> np.ndarray:
        """Float32 ``(A,)``."""
        return self._rng.uniform(-1.0, 1.0, self._action_dim).astype(np.float32)


class OUPolicy:
    """x <- (1 - OU_DECAY) x + sigma N(0, I), clipped to [-1, 1] when executed; restarts at 0 with each episode.

    Its stationary standard deviation is sigma / sqrt(1 - (1 - OU_DECAY)^2), about 1.9 sigma.
    """

    name = "ou"

    def __init__(self, action_dim: int, sigma: float, rng: np.random.Generator):
        self._sigma = sigma
        self._rng = rng
        self._noise = np.zeros(action_dim)

    def act(self, step: Step) -> np.ndarray:
        """Float32 ``(A,)``."""
        if step.is_first:
            self._noise = np.zeros_like(self._noise)
        self._noise = (1.0 - OU_DECAY) * self._noise + self._sigma * self._rng.standard_normal(self._noise.shape)
        return np.clip(self._noise, -1.0, 1.0).astype(np.float32)
