"""Meta-World's scripted experts."""

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


class ScriptedExpert:
    """The expert of a Meta-World task (``gsa.sources.check_policy``)."""

    name = "expert"

    def __init__(self, spec: TaskSpec):
        self._expert: Any = getattr(metaworld.policies, expert_class_name(spec.task))()

    def act(self, step: Step) -> np.ndarray:
        """What it asks for in the 39-D state of ``step``, ``(4,)``; far from its goal that is more than 1."""
        if step.state is None:
            raise DataError("the scripted expert needs Step.state, which this environment does not give")
        with warnings.catch_warnings():
            # Says that asking for more than 1 gets clipped, which is what becomes of it.
            warnings.filterwarnings("ignore", r"Constant\(s\) may be too high", UserWarning)
            return np.asarray(self._expert.get_action(step.state), np.float64)
