"""Quadruped standing, jumping and rolling. Rewards: TASKS.md, after the URL benchmark's ``custom_dmc_tasks``."""

import math
from typing import Any

import numpy as np
from dm_control.rl.control import Environment
from dm_control.suite import common, quadruped
from dm_control.utils.rewards import tolerance

JUMP_HEIGHT = 1.0
ROLL_SPEED = 0.5
ROLL_FAST_SPEED = 5.0


def _upright(physics: Any) -> float:
    """1 with the torso's z-axis up, 0 upside down, linear in its projection between."""
    upright = float(physics.torso_upright())
    return tolerance(upright, (1, math.inf), margin=2, value_at_margin=0, sigmoid="linear")


class Stand(quadruped.Move):
    """Keep the torso upright. Starts like the suite's walk: a random orientation lifted clear of the floor."""

    def get_reward(self, physics: Any) -> float:
        """How upright the torso is, in [0, 1]."""
        return _upright(physics)


class Jump(quadruped.Move):
    """Upright with the centre of mass at ``JUMP_HEIGHT`` metres."""

    def get_reward(self, physics: Any) -> float:
        """upright * height, in [0, 1]."""
        # Equal to a subtreecom sensor on the torso, without adding one to the suite's model.
        height = float(physics.named.data.subtree_com["torso", "z"])
        bounds = (JUMP_HEIGHT, math.inf)
        return _upright(physics) * tolerance(height, bounds, margin=JUMP_HEIGHT, value_at_margin=0.5, sigmoid="linear")


class Roll(quadruped.Move):
    """Move the torso at ``desired_speed`` m/s in any direction of its own frame."""

    def get_reward(self, physics: Any) -> float:
        """upright * move, in [0, 1]."""
        speed = float(np.linalg.norm(physics.torso_velocity()))
        bounds, margin = (self._desired_speed, math.inf), self._desired_speed
        return _upright(physics) * tolerance(speed, bounds, margin=margin, value_at_margin=0.5, sigmoid="linear")


def _environment(task: quadruped.Move) -> Environment:
    xml = quadruped.make_model(floor_size=10)  # as for the suite's walk: time limit x walking speed
    physics = quadruped.Physics.from_xml_string(xml, common.ASSETS)
    return Environment(physics, task, time_limit=20, control_timestep=0.02)


def stand() -> Environment:
    """Stand."""
    return _environment(Stand(0, random=0))


def jump() -> Environment:
    """Jump."""
    return _environment(Jump(0, random=0))


def roll() -> Environment:
    """Move at 0.5 m/s in any direction."""
    return _environment(Roll(ROLL_SPEED, random=0))


def roll_fast() -> Environment:
    """Move at 5 m/s in any direction."""
    return _environment(Roll(ROLL_FAST_SPEED, random=0))
