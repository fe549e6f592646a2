"""Policies that nobody trained: noise, Meta-World's scripted experts, and noise on what any policy would do."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from gsa.envs.base import Policy
from gsa.episode import Step
from gsa.errors import DataError
from gsa.tasks import TaskSpec

OU_DECAY = 0.15
"""Share of the Ornstein-Uhlenbeck process that is lost each decision: it forgets within about 7."""


class UniformPolicy:
    """A fresh uniform draw from [-1, 1] each decision: the floor to compare other data with."""

    name = "random"

    def __init__(self, action_dim: int, rng: np.random.Generator):
        self._action_dim, self._rng = action_dim, rng

    def act(self, step: Step) -> np.ndarray:
        """Float32 ``(A,)``."""
        return self._rng.uniform(-1.0, 1.0, self._action_dim).astype(np.float32)


class ConstantPolicy:
    """The same ``action``, floats ``(A,)`` in [-1, 1], at every decision."""

    def __init__(self, name: str, action: Sequence[float]):
        self.name, self._action = name, np.array(action, np.float32)

    def act(self, step: Step) -> np.ndarray:
        """Float32 ``(A,)``."""
        return self._action


class OUPolicy:
    """x <- (1 - OU_DECAY) x + sigma N(0, I), clipped to [-1, 1] when executed; restarts at 0 with each episode.

    Its stationary standard deviation is sigma / sqrt(1 - (1 - OU_DECAY)^2), about 1.9 sigma.
    """

    name = "ou"

    def __init__(self, action_dim: int, sigma: float, rng: np.random.Generator):
        self._sigma, self._rng = sigma, rng
        self._noise = np.zeros(action_dim)

    def act(self, step: Step) -> np.ndarray:
        """Float32 ``(A,)``."""
        if step.is_first:
            self._noise = np.zeros_like(self._noise)
        self._noise = (1.0 - OU_DECAY) * self._noise + self._sigma * self._rng.standard_normal(self._noise.shape)
        return np.clip(self._noise, -1.0, 1.0).astype(np.float32)


def expert_class_name(task: str) -> str:
    """The class in ``metaworld.policies`` of a task, e.g. ``drawer-close`` -> ``SawyerDrawerCloseV3Policy``."""
    if task == "peg-insert-side":  # the only one that is not named after its task
        return "SawyerPegInsertionSideV3Policy"
    return f"Sawyer{task.title().replace('-', '')}V3Policy"


class ScriptedExpert:
    """The expert of a Meta-World task (``gsa.policies.check_policy``)."""

    name = "expert"

    def __init__(self, spec: TaskSpec):
        import metaworld.policies  # late: it loads the simulator

        self._expert: Any = getattr(metaworld.policies, expert_class_name(spec.task))()

    def act(self, step: Step) -> np.ndarray:
        """What it asks for in the 39-D state of ``step``, ``(4,)``; far from its goal that is more than 1."""
        if step.state is None:
            raise DataError("the scripted expert needs Step.state, which this environment does not give")
        with warnings.catch_warnings():
            # Says that asking for more than 1 gets clipped, which is what becomes of it.
            warnings.filterwarnings("ignore", r"Constant\(s\) may be too high", UserWarning)
            return np.asarray(self._expert.get_action(step.state), np.float64)


class Noisy:
    """clip(a + sigma * N(0, I), -1, 1) with the policy's own action a clipped to [-1, 1] first: data of mixed quality.

    Scripted experts ask for more than 1 where they are far from their goal; noise is added to what the arm would do, so
    that sigma means the same everywhere. The action is drawn once per decision and held over its simulator steps.
    """

    def __init__(self, policy: Policy, sigma: float, rng: np.random.Generator):
        self.name = getattr(policy, "name", type(policy).__name__)
        self._policy, self._sigma, self._rng = policy, sigma, rng

    def act(self, step: Step) -> np.ndarray:
        """The noisy action, float32 ``(A,)``."""
        action = np.asarray(self._policy.act(step), np.float64).clip(-1.0, 1.0)
        noise = self._sigma * self._rng.standard_normal(action.shape)
        return np.clip(action + noise, -1.0, 1.0).astype(np.float32)
