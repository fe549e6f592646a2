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

RETRACE_GAIN = 10.0
"""Action per metre between the hand and where it shall be; Meta-World's experts use 10 and 25."""

RETRACE_DECISIONS = 20
"""How long an expert that lost its success goes back the way it came before it tries afresh."""


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


class Staying:
    """An expert that stays where it succeeded: without motion, the gripper as it was, for as long as success lasts.

    Where success is lost (the object had momentum and went past its goal), the hand goes back the way it came, one
    decision of its path per decision, so that what it pushed can follow; after ``RETRACE_DECISIONS`` the expert acts
    again. Without this many experts move on and end their episode in failure (docs/experiments/scripted-experts.md).
    """

    name = "expert"

    def __init__(self, expert: Policy):
        self._expert = expert
        self._path: list[np.ndarray] = []
        self._reached: int | None = None  # where on the path success was found
        self._lost, self._grip = 0, 0.0  # decisions since success was lost; the gripper's last command

    def act(self, step: Step) -> np.ndarray:
        """What the expert does, or ``(4,)`` that stays or goes back."""
        if step.is_first:
            self._path, self._reached = [], None
        if step.state is not None:
            self._path.append(step.state[:3].copy())
        if step.success:
            self._lost = 0
            if self._reached is None:
                self._reached = len(self._path) - 1
            return np.array([0.0, 0.0, 0.0, self._grip])
        if self._reached is not None and self._lost < RETRACE_DECISIONS:
            self._lost += 1
            way = self._path[max(self._reached - self._lost, 0)] - self._path[-1]
            return np.append(RETRACE_GAIN * way, self._grip)
        self._reached = None
        action = self._expert.act(step)
        self._grip = float(np.clip(action[3], -1.0, 1.0))
        return action


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
