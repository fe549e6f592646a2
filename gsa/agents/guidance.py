"""Execution guidance: when the cloned policy acts instead of the RL policy."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from gsa.config import GuidanceParams
from gsa.episode import Step


def guidance_prob(params: GuidanceParams, env_step: int) -> float:
    """Probability of a guidance window, linear from ``start`` to ``end`` over ``env_steps`` decisions, then ``end``."""
    done = min(env_step / params.env_steps, 1.0)
    return params.start + (params.end - params.start) * done


@dataclass(frozen=True)
class GuidanceWindow:
    """The decisions [guide_start, guide_start + guide_length) of one episode; empty when the length is 0."""

    guide_start: int = 0
    guide_length: int = 0

    def __contains__(self, env_step: int) -> bool:
        return self.guide_start <= env_step < self.guide_start + self.guide_length


def draw_window(prob: float, max_env_steps: int, rng: np.random.Generator) -> GuidanceWindow:
    """With probability ``prob`` a window of 10%, 20%, ... or 100% of the episode, placed uniformly; else none."""
    if rng.random() >= prob:
        return GuidanceWindow()
    length = round(max_env_steps * int(rng.integers(1, 11)) / 10)
    return GuidanceWindow(int(rng.integers(0, max_env_steps - length + 1)), length)


@runtime_checkable
class Guided(Protocol):
    """A recurrent policy that can be told which action was really taken (``DreamerPolicy``)."""

    def act(self, step: Step) -> np.ndarray:
        """Update the latent and choose an action."""
        ...

    def executed(self, action: np.ndarray) -> None:
        """Another policy's action was taken."""
        ...


@runtime_checkable
class Guide(Protocol):
    """A policy that can watch without acting (``BCPolicy``)."""

    def act(self, step: Step) -> np.ndarray:
        """See the image and choose an action."""
        ...

    def see(self, step: Step) -> None:
        """See the image only."""
        ...


class GuidedPolicy:
    """The RL policy, with the cloned policy acting inside a window; the latent is filtered through every step."""

    def __init__(self, policy: Guided, bc_policy: Guide, window: GuidanceWindow):
        self.policy, self.bc_policy, self.window = policy, bc_policy, window
        self.env_step = 0

    def act(self, step: Step) -> np.ndarray:
        """The action of whoever's turn it is."""
        action = self.policy.act(step)
        if self.env_step in self.window:
            action = self.bc_policy.act(step)
            self.policy.executed(action)
        else:
            self.bc_policy.see(step)
        self.env_step += 1
        return action
