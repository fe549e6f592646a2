"""Meta-World's scripted experts with Gaussian action noise: demonstrations of mixed quality (SPEC.md section 1)."""

import warnings
from typing import Any

import metaworld.policies
import numpy as np

from gsa.episode import Step
from gsa.errors import DataError
from gsa.tasks import TaskSpec

_POLICY_NAMES = {"peg-insert-side": "SawyerPegInsertionSideV3Policy"}
"""Experts whose class is not named after their task."""


def expert_class_name(task: str) -> str:
    """The class in ``metaworld.policies`` of a task, e.g. ``drawer-close`` -> ``SawyerDrawerCloseV3Policy``."""
    camel = "".join(word.capitalize() for word in task.split("-"))
    return _POLICY_NAMES.get(task, f"Sawyer{camel}V3Policy")


class NoisyExpert:
    """clip(a + sigma * N(0, I), -1, 1) with the expert's own action a clipped to [-1, 1] first.

    The experts ask for more than 1 where they are far from their goal; noise is added to what the arm would do, so that
    sigma means the same everywhere. The action is drawn once a decision and held over its simulator steps.
    """

    name = "expert"

    def __init__(self, spec: TaskSpec, sigma: float, rng: np.random.Generator):
        """``spec`` is a Meta-World task (``gsa.sources.check_policy``), ``sigma`` the noise's standard deviation."""
        self._expert: Any = getattr(metaworld.policies, expert_class_name(spec.task))()
        self._sigma = sigma
        self._rng = rng

    def act(self, step: Step) -> np.ndarray:
        """The noisy action for the 39-D state of ``step``, float32 ``(4,)``."""
        if step.state is None:
            raise DataError("the scripted expert needs Step.state, which this environment does not give")
        with warnings.catch_warnings():
            # Says that asking for more than 1 gets clipped, which is what the next line does.
            warnings.filterwarnings("ignore", r"Constant\(s\) may be too high", UserWarning)
            action = np.asarray(self._expert.get_action(step.state), np.float64).clip(-1.0, 1.0)
        noise = self._sigma * self._rng.standard_normal(action.shape)
        return np.clip(action + noise, -1.0, 1.0).astype(np.float32)
