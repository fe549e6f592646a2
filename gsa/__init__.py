"""GSA: one world model pre-trained on reward-free trajectories makes pixel reinforcement learning faster."""

__version__ = "0.1.0"
