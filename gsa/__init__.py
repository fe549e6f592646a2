"""GSA: one world model pre-trained on reward-free trajectories makes pixel reinforcement learning faster."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``gsa.register_task``, loaded when asked for: imported above, it would tie every stage's code to the tasks."""
    if name == "register_task":
        return import_module(".tasks", __name__).register_task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
