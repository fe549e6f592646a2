"""Gaussian noise on whatever a policy would do: data of mixed quality (SPEC.md section 1)."""

import numpy as np

from gsa.envs.base import Policy
from gsa.episode import Step


class Noisy:
    """clip(a + sigma * N(0, I), -1, 1) with the policy's own action a clipped to [-1, 1] first.

    Scripted experts ask for more than 1 where they are far from their goal; noise is added to what the arm would do, so
    that sigma means the same everywhere. The action is drawn once a decision and held over its simulator steps.
    """

    def __init__(self, policy: Policy, sigma: float, rng: np.random.Generator):
        self.name = getattr(policy, "name", type(policy).__name__)
        self._policy, self._sigma, self._rng = policy, sigma, rng

    def act(self, step: Step) -> np.ndarray:
        """The noisy action, float32 ``(A,)``."""
        action = np.asarray(self._policy.act(step), np.float64).clip(-1.0, 1.0)
        noise = self._sigma * self._rng.standard_normal(action.shape)
        return np.clip(action + noise, -1.0, 1.0).astype(np.float32)
