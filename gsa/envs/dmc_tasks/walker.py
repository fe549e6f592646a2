"""Walker backwards and upside down. Rewards: TASKS.md, after TD-MPC2's ``envs/tasks/walker.py``."""

import math
from typing import Any

from dm_control.rl.control import Environment
from dm_control.suite import walker
from dm_control.utils.rewards import tolerance

STAND_HEIGHT = 1.2
"""Torso height in metres from which the walker stands."""

FEET_UP_HEIGHT = 1.1
THIGHS_UP_HEIGHT = 1.0
WALK_SPEED = 1.0
RUN_SPEED = 8.0
FLIP_SPEED = 0.75 * RUN_SPEED


def _backwards(physics: Any, speed: float) -> float:
    """1 from ``speed`` m/s backwards on, falling linearly to 0.5 at half of it and on to 0."""
    velocity = physics.horizontal_velocity()
    return tolerance(velocity, (-math.inf, -speed), margin=speed / 2, value_at_margin=0.5, sigmoid="linear")


class WalkBackwards(walker.PlanarWalker):
    """Stand and move backwards at ``move_speed`` m/s: the suite's walk and run with the sign of x turned."""

    def get_reward(self, physics: Any) -> float:
        """stand * (5 move + 1) / 6, in [0, 1]."""
        standing = tolerance(physics.torso_height(), (STAND_HEIGHT, math.inf), margin=STAND_HEIGHT / 2)
        upright = (1 + physics.torso_upright()) / 2
        stand = (3 * standing + upright) / 4
        return stand * (5 * _backwards(physics, self._move_speed) + 1) / 6


class Backflip(walker.PlanarWalker):
    """Get feet and thighs up while moving backwards at ``FLIP_SPEED``."""

    def get_reward(self, physics: Any) -> float:
        """up * (5 move + 1) / 6, in [0, 1]."""
        height = physics.named.data.xpos
        feet = (height["left_foot", "z"] + height["right_foot", "z"]) / 2
        thighs = (height["left_thigh", "z"] + height["right_thigh", "z"]) / 2
        feet_up = tolerance(feet, (FEET_UP_HEIGHT, math.inf), margin=FEET_UP_HEIGHT / 2)
        thighs_up = tolerance(thighs, (THIGHS_UP_HEIGHT, math.inf), margin=THIGHS_UP_HEIGHT / 2)
        up = (3 * feet_up + 2 * thighs_up) / 5
        return up * (5 * _backwards(physics, FLIP_SPEED) + 1) / 6


def _environment(task: walker.PlanarWalker) -> Environment:
    physics = walker.Physics.from_xml_string(*walker.get_model_and_assets())
    # The suite draws its floor from 2 m behind the start, and a backwards run would leave it. TD-MPC2 doubles it too;
    # contacts ignore a plane's size.
    physics.named.model.geom_size["floor", 0] *= 2
    return Environment(physics, task, time_limit=25, control_timestep=0.025)


def walk_backwards() -> Environment:
    """Walk backwards at 1 m/s."""
    return _environment(WalkBackwards(WALK_SPEED, random=0))


def run_backwards() -> Environment:
    """Run backwards at 8 m/s."""
    return _environment(WalkBackwards(RUN_SPEED, random=0))


def backflip() -> Environment:
    """Feet over head, backwards."""
    return _environment(Backflip(FLIP_SPEED, random=0))
