"""DMControl tasks that the suite does not ship (docs/tasks.md): subclasses of the suite's tasks on the suite's models.

Rewards of walker and cheetah follow TD-MPC2's ``envs/tasks``, those of the quadruped the URL benchmark's
``custom_dmc_tasks``. Heights are in metres, speeds in metres per second.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from dm_control.rl.control import Environment
from dm_control.suite import acrobot, cheetah, common, quadruped, walker
from dm_control.utils.rewards import tolerance

WALKER_HEIGHT, FEET_UP_HEIGHT, THIGHS_UP_HEIGHT = 1.2, 1.1, 1.0
WALK_SPEED, RUN_SPEED = 1.0, 8.0
FLIP_SPEED = 0.75 * RUN_SPEED

CHEETAH_UP_HEIGHT = 1.2
"""Height from which a raised foot or the torso counts in full."""
CHEETAH_BACKWARDS_SPEED, ONE_LEG_SPEED, STILL_SPEED = 8.0, 6.0, 0.5

JUMP_HEIGHT, ROLL_SPEED, ROLL_FAST_SPEED = 1.0, 0.5, 5.0
"""Of the quadruped."""

ACTION_COST = 0.1
"""Cost of the action's Euclidean norm, each simulator step; an agent that acts in vain scores below zero."""


def _linear(x: float, low: float, high: float, margin: float, value_at_margin: float = 0.0) -> float:
    """1 between ``low`` and ``high``, falling linearly to ``value_at_margin`` at ``margin`` from there, and on to 0."""
    return tolerance(x, (low, high), margin=margin, value_at_margin=value_at_margin, sigmoid="linear")


def _high(height: float, target: float) -> float:
    """1 from the target height on, 0.1 at half of it, gaussian."""
    return tolerance(height, (target, math.inf), margin=target / 2)


def _walker_backwards(physics: Any, speed: float) -> float:
    """1 from ``speed`` backwards on, falling linearly to 0.5 at half of it and on to 0."""
    return _linear(physics.horizontal_velocity(), -math.inf, -speed, speed / 2.0, 0.5)


class WalkerBackwards(walker.PlanarWalker):
    """Stand and move backwards at ``move_speed``: the suite's walk and run with the sign of x turned."""

    def get_reward(self, physics: Any) -> float:
        """stand * (5 move + 1) / 6, in [0, 1]."""
        standing = _high(physics.torso_height(), WALKER_HEIGHT)
        upright = (1 + physics.torso_upright()) / 2
        stand = (3 * standing + upright) / 4
        return stand * (5 * _walker_backwards(physics, self._move_speed) + 1) / 6


class WalkerBackflip(walker.PlanarWalker):
    """Get feet and thighs up while moving backwards at ``FLIP_SPEED``."""

    def get_reward(self, physics: Any) -> float:
        """up * (5 move + 1) / 6, in [0, 1]."""
        height = physics.named.data.xpos
        feet = (height["left_foot", "z"] + height["right_foot", "z"]) / 2
        thighs = (height["left_thigh", "z"] + height["right_thigh", "z"]) / 2
        up = (3 * _high(feet, FEET_UP_HEIGHT) + 2 * _high(thighs, THIGHS_UP_HEIGHT)) / 5
        return up * (5 * _walker_backwards(physics, FLIP_SPEED) + 1) / 6


class CheetahBackwards(cheetah.Cheetah):
    """Run backwards at ``CHEETAH_BACKWARDS_SPEED``."""

    def get_reward(self, physics: Any) -> float:
        """Speed backwards as a share of the target's, in [0, 1]."""
        return _linear(physics.speed(), -math.inf, -CHEETAH_BACKWARDS_SPEED, CHEETAH_BACKWARDS_SPEED)


class CheetahOnOneLeg(cheetah.Cheetah):
    """Run at ``ONE_LEG_SPEED`` with ``raised_foot`` (``bfoot`` or ``ffoot``) up."""

    def __init__(self, raised_foot: str, random: int | None = None):
        super().__init__(random=random)
        self._raised_foot = raised_foot

    def get_reward(self, physics: Any) -> float:
        """up * (5 move + 1) / 6, in [0, 1]."""
        foot, torso = (_high(physics.named.data.xpos[x, "z"], CHEETAH_UP_HEIGHT) for x in (self._raised_foot, "torso"))
        move = _linear(physics.speed(), ONE_LEG_SPEED, math.inf, ONE_LEG_SPEED)
        return (3 * foot + 2 * torso) / 5 * (5 * move + 1) / 6


class CheetahJump(cheetah.Cheetah):
    """Raise torso and both feet on the spot."""

    def get_reward(self, physics: Any) -> float:
        """Mean over both feet of (5 up + still) / 6, in [0, 1]."""
        height = physics.named.data.xpos
        means = [(height["torso", "z"] + height[foot, "z"]) / 2 for foot in ("bfoot", "ffoot")]
        up = [_high(mean, CHEETAH_UP_HEIGHT) for mean in means]
        still = _linear(physics.speed(), -STILL_SPEED, STILL_SPEED, STILL_SPEED)
        return (5 * sum(up) / len(up) + still) / 6


class QuadrupedStand(quadruped.Move):
    """Keep the torso upright. Starts like the suite's walk: a random orientation lifted clear of the floor."""

    def get_reward(self, physics: Any) -> float:
        """1 with the torso's z-axis up, 0 upside down, linear in its projection between."""
        return _linear(float(physics.torso_upright()), 1.0, math.inf, 2.0)


class QuadrupedJump(QuadrupedStand):
    """Upright with the centre of mass at ``JUMP_HEIGHT``."""

    def get_reward(self, physics: Any) -> float:
        """upright * height, in [0, 1]."""
        # Equal to a subtreecom sensor on the torso, without adding one to the suite's model.
        height = float(physics.named.data.subtree_com["torso", "z"])
        return super().get_reward(physics) * _linear(height, JUMP_HEIGHT, math.inf, JUMP_HEIGHT, 0.5)


class QuadrupedRoll(QuadrupedStand):
    """Move the torso at ``desired_speed`` in any direction of its own frame."""

    def get_reward(self, physics: Any) -> float:
        """upright * move, in [0, 1]."""
        speed = float(np.linalg.norm(physics.torso_velocity()))
        return super().get_reward(physics) * _linear(speed, self._desired_speed, math.inf, self._desired_speed, 0.5)


def hardened(task: Any, threshold: float) -> Any:
    """The task's class with rewards below ``threshold`` counted as 0, minus ``ACTION_COST`` times the action's norm."""

    class Hard(task):
        def get_reward(self, physics: Any) -> float:
            reward = super().get_reward(physics)
            return (reward if reward >= threshold else 0.0) - ACTION_COST * float(np.linalg.norm(physics.control()))

    return Hard


def _environment(body: Any, task: Callable[..., Any], *args: Any, floor: str = "", **times: Any) -> Environment:
    """A task, made with ``args``, on the suite's model of a body.

    ``floor`` names a ground to be doubled, as TD-MPC2 does: the suite draws it from 2 m behind the start, and a
    backwards run would leave it. Contacts ignore a plane's size.
    """
    # The quadruped's floor is as for the suite's walk: time limit x walking speed.
    model = (quadruped.make_model(floor_size=10), common.ASSETS) if body is quadruped else body.get_model_and_assets()
    physics = body.Physics.from_xml_string(*model)
    if floor:
        physics.named.model.geom_size[floor, 0] *= 2
    return Environment(physics, task(*args, random=0), **times)


_HARD_WALKER = partial(_environment, walker, time_limit=25, control_timestep=0.025)
_WALKER = partial(_HARD_WALKER, floor="floor")
_HARD_CHEETAH = partial(_environment, cheetah, time_limit=10)
_CHEETAH = partial(_HARD_CHEETAH, floor="ground")
_QUADRUPED = partial(_environment, quadruped, time_limit=20, control_timestep=0.02)

CUSTOM_TASKS: dict[tuple[str, str], Callable[[], Environment]] = {
    ("acrobot", "swingup-hard"): partial(_environment, acrobot, hardened(acrobot.Balance, 0.6), False, time_limit=10),
    ("walker", "walk-hard"): partial(_HARD_WALKER, hardened(walker.PlanarWalker, 0.6), WALK_SPEED),
    ("cheetah", "run-hard"): partial(_HARD_CHEETAH, hardened(cheetah.Cheetah, 0.2)),
    ("walker", "walk-backwards"): partial(_WALKER, WalkerBackwards, WALK_SPEED),
    ("walker", "run-backwards"): partial(_WALKER, WalkerBackwards, RUN_SPEED),
    ("walker", "backflip"): partial(_WALKER, WalkerBackflip, FLIP_SPEED),
    ("cheetah", "run-backwards"): partial(_CHEETAH, CheetahBackwards),
    ("cheetah", "run-front"): partial(_CHEETAH, CheetahOnOneLeg, "bfoot"),
    ("cheetah", "run-back"): partial(_CHEETAH, CheetahOnOneLeg, "ffoot"),
    ("cheetah", "jump"): partial(_CHEETAH, CheetahJump),
    ("quadruped", "stand"): partial(_QUADRUPED, QuadrupedStand, 0),
    ("quadruped", "jump"): partial(_QUADRUPED, QuadrupedJump, 0),
    ("quadruped", "roll"): partial(_QUADRUPED, QuadrupedRoll, ROLL_SPEED),
    ("quadruped", "roll-fast"): partial(_QUADRUPED, QuadrupedRoll, ROLL_FAST_SPEED),
}
"""(domain, task) to a factory of the environment; tasks not listed come from ``dm_control.suite`` as they are.

``run-front`` runs on the front leg, the back foot up; ``run-back`` the other way round.
"""
