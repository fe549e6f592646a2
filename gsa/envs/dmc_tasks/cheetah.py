"""Cheetah backwards, on one leg and in the air. Rewards: TASKS.md, after TD-MPC2's ``envs/tasks/cheetah.py``."""

import math
from typing import Any

from dm_control.rl.control import Environment
from dm_control.suite import cheetah
from dm_control.utils.rewards import tolerance

UP_HEIGHT = 1.2
"""Height in metres from which a raised foot or the torso counts in full."""

BACKWARDS_SPEED = 8.0
ONE_LEG_SPEED = 6.0
STILL_SPEED = 0.5
FEET = ("bfoot", "ffoot")


def _up(height: float) -> float:
    return tolerance(height, (UP_HEIGHT, math.inf), margin=UP_HEIGHT / 2)


class RunBackwards(cheetah.Cheetah):
    """Run backwards at ``BACKWARDS_SPEED`` m/s."""

    def get_reward(self, physics: Any) -> float:
        """Speed backwards as a share of the target's, in [0, 1]."""
        bounds = (-math.inf, -BACKWARDS_SPEED)
        return tolerance(physics.speed(), bounds, margin=BACKWARDS_SPEED, value_at_margin=0, sigmoid="linear")


class RunOnOneLeg(cheetah.Cheetah):
    """Run at ``ONE_LEG_SPEED`` m/s with ``raised_foot`` (``bfoot`` or ``ffoot``) up."""

    def __init__(self, raised_foot: str, random: int | None = None):
        super().__init__(random=random)
        self._raised_foot = raised_foot

    def get_reward(self, physics: Any) -> float:
        """up * (5 move + 1) / 6, in [0, 1]."""
        height = physics.named.data.xpos
        up = (3 * _up(height[self._raised_foot, "z"]) + 2 * _up(height["torso", "z"])) / 5
        bounds = (ONE_LEG_SPEED, math.inf)
        move = tolerance(physics.speed(), bounds, margin=ONE_LEG_SPEED, value_at_margin=0, sigmoid="linear")
        return up * (5 * move + 1) / 6


class Jump(cheetah.Cheetah):
    """Raise torso and both feet on the spot."""

    def get_reward(self, physics: Any) -> float:
        """Mean over both feet of (5 up + still) / 6, in [0, 1]."""
        height = physics.named.data.xpos
        up = [_up((height["torso", "z"] + height[foot, "z"]) / 2) for foot in FEET]
        bounds = (-STILL_SPEED, STILL_SPEED)
        still = tolerance(physics.speed(), bounds, margin=STILL_SPEED, value_at_margin=0, sigmoid="linear")
        return (5 * sum(up) / len(up) + still) / 6


def _environment(task: cheetah.Cheetah) -> Environment:
    physics = cheetah.Physics.from_xml_string(*cheetah.get_model_and_assets())
    # The suite draws its floor from 2 m behind the start, and a backwards run would leave it. TD-MPC2 doubles it too;
    # contacts ignore a plane's size.
    physics.named.model.geom_size["ground", 0] *= 2
    return Environment(physics, task, time_limit=10)


def run_backwards() -> Environment:
    """Run backwards at 8 m/s."""
    return _environment(RunBackwards(random=0))


def run_front() -> Environment:
    """Run on the front leg, the back foot up."""
    return _environment(RunOnOneLeg("bfoot", random=0))


def run_back() -> Environment:
    """Run on the back leg, the front foot up."""
    return _environment(RunOnOneLeg("ffoot", random=0))


def jump() -> Environment:
    """Get off the ground."""
    return _environment(Jump(random=0))
