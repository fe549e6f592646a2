"""DMControl tasks that the suite does not ship (TASKS.md); each subclasses the suite's own task and model."""

from collections.abc import Callable

from dm_control.rl.control import Environment

CUSTOM_TASKS: dict[tuple[str, str], Callable[[], Environment]] = {}
"""(domain, task) to a factory of the environment."""
