"""GSA: one world model pre-trained on reward-free trajectories makes pixel reinforcement learning faster."""

from gsa.tasks import register_task

__version__ = "0.1.0"
__all__ = ["__version__", "register_task"]
