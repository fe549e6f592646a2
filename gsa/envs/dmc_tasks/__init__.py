"""DMControl tasks that the suite does not ship (TASKS.md); each subclasses the suite's task on the suite's model."""

from collections.abc import Callable

from dm_control.rl.control import Environment

from gsa.envs.dmc_tasks import cheetah, hard, quadruped, walker

CUSTOM_TASKS: dict[tuple[str, str], Callable[[], Environment]] = {
    ("acrobot", "swingup-hard"): hard.acrobot_swingup_hard,
    ("walker", "walk-hard"): hard.walker_walk_hard,
    ("cheetah", "run-hard"): hard.cheetah_run_hard,
    ("walker", "walk-backwards"): walker.walk_backwards,
    ("walker", "run-backwards"): walker.run_backwards,
    ("walker", "backflip"): walker.backflip,
    ("cheetah", "run-backwards"): cheetah.run_backwards,
    ("cheetah", "run-front"): cheetah.run_front,
    ("cheetah", "run-back"): cheetah.run_back,
    ("cheetah", "jump"): cheetah.jump,
    ("quadruped", "stand"): quadruped.stand,
    ("quadruped", "jump"): quadruped.jump,
    ("quadruped", "roll"): quadruped.roll,
    ("quadruped", "roll-fast"): quadruped.roll_fast,
}
"""(domain, task) to a factory of the environment; tasks not listed come from ``dm_control.suite`` as they are."""
