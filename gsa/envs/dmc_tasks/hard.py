"""The ``-hard`` variants (TASKS.md): small rewards count as none, and acting costs."""

from typing import Any

import numpy as np
from dm_control.rl.control import Environment
from dm_control.suite import acrobot, cheetah, walker

ACTION_COST = 0.1
"""Cost of the action's Euclidean norm, each simulator step; an agent that acts in vain scores below zero."""


def harden(reward: float, control: np.ndarray, threshold: float) -> float:
    """The reward where it reaches the threshold, else 0, minus ``ACTION_COST`` times the action's norm."""
    return (reward if reward >= threshold else 0.0) - ACTION_COST * float(np.linalg.norm(control))


class HardSwingup(acrobot.Balance):
    """Acrobot swing-up with the smooth reward cut below 0.6."""

    def get_reward(self, physics: Any) -> float:
        """In [-0.1, 1]."""
        return harden(super().get_reward(physics), physics.control(), 0.6)


class HardWalk(walker.PlanarWalker):
    """Walker walk with the reward cut below 0.6."""

    def get_reward(self, physics: Any) -> float:
        """In [-0.25, 1]."""
        return harden(super().get_reward(physics), physics.control(), 0.6)


class HardRun(cheetah.Cheetah):
    """Cheetah run with the reward cut below 0.2."""

    def get_reward(self, physics: Any) -> float:
        """In [-0.25, 1]."""
        return harden(super().get_reward(physics), physics.control(), 0.2)


def acrobot_swingup_hard() -> Environment:
    """Hard acrobot-swingup."""
    physics = acrobot.Physics.from_xml_string(*acrobot.get_model_and_assets())
    return Environment(physics, HardSwingup(sparse=False, random=0), time_limit=10)


def walker_walk_hard() -> Environment:
    """Hard walker-walk."""
    physics = walker.Physics.from_xml_string(*walker.get_model_and_assets())
    return Environment(physics, HardWalk(move_speed=1, random=0), time_limit=25, control_timestep=0.025)


def cheetah_run_hard() -> Environment:
    """Hard cheetah-run."""
    physics = cheetah.Physics.from_xml_string(*cheetah.get_model_and_assets())
    return Environment(physics, HardRun(random=0), time_limit=10)
