"""Execution guidance: when the cloned policy, or a control, acts instead of the RL policy."""

import numpy as np

from gsa.agents.bc import BCPolicy
from gsa.agents.dreamer import DreamerPolicy
from gsa.config import GuidanceParams
from gsa.envs.base import Policy
from gsa.episode import Step


def guidance_prob(params: GuidanceParams, env_step: int) -> float:
    """Probability of a guidance window, linear from ``start`` to ``end`` over ``env_steps`` decisions, then ``end``."""
    done = min(env_step / params.env_steps, 1.0)
    return params.start + (params.end - params.start) * done


def draw_window(prob: float, max_env_steps: int, rng: np.random.Generator) -> range:
    """With probability ``prob`` the decisions of a window, 10%, 20%, ... or 100% of the episode, placed uniformly.

    Else none.
    """
    if rng.random() >= prob:
        return range(0)
    length = round(max_env_steps * int(rng.integers(1, 11)) / 10)
    start = int(rng.integers(0, max_env_steps - length + 1))
    return range(start, start + length)


class GuidedPolicy:
    """The RL policy, with another acting inside a window; the latent is filtered through every step."""

    def __init__(self, policy: DreamerPolicy, guide: Policy, window: range):
        self.policy, self.guide, self.window = policy, guide, window
        self.env_step = 0

    def act(self, step: Step) -> np.ndarray:
        """The action of whoever's turn it is."""
        action = self.policy.act(step)
        if self.env_step in self.window:
            action = self.guide.act(step)
            self.policy.executed(action)
        elif isinstance(self.guide, BCPolicy):
            self.guide.see(step)
        self.env_step += 1
        return action
