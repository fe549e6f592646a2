"""Who explores a body without a task: a curious DDPG agent on states, or noise that learns nothing.

An explorer sees states and its own actions, never a reward: no function here takes one. The learner is DDPG with two
Q heads, a target copy and constant clipped noise; its reward is intrinsic (docs/baselines.md).
"""

import copy
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsa.config import ExploreDataParams
from gsa.envs.base import Policy
from gsa.episode import Step
from gsa.errors import ParamsError, TrainingError
from gsa.policies.curiosity import INTRINSIC_REWARDS, Ensemble, linear
from gsa.policies.untrained import OUPolicy, UniformPolicy

TARGET_FRACTION = 0.01
"""How far the target moves towards the critic in an update."""
NOISE_CLIP = 0.3
"""Noise of actions inside updates is clipped here; noise while acting is not."""
OU_STD = 0.3
"""Noise of ``ou`` per decision; its actions then have a standard deviation of 0.57 before clipping."""


@runtime_checkable
class Explorer(Policy, Protocol):
    """Acts on ``Step.state``, float ``(S,)``, in float32 ``(A,)`` in [-1, 1], and may learn from what followed."""

    def learn(self, action: np.ndarray, next_state: np.ndarray) -> None:
        """The state of the last ``act`` and this action led to ``next_state``."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that another explorer of the same arguments needs to go on from here, between two episodes."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""


class NoiseExplorer:
    """A policy that looks at nothing and learns nothing: all it has is its generator ``rng``."""

    def __init__(self, policy: Policy, rng: np.random.Generator) -> None:
        self.act, self.rng = policy.act, rng

    def learn(self, action: np.ndarray, next_state: np.ndarray) -> None:
        """Nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Where the generator stands."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See ``Explorer``."""
        self.rng.bit_generator.state = state["rng"]


NOISES: dict[str, Callable[[int, np.random.Generator], Policy]] = {
    "random": UniformPolicy,
    "ou": lambda action_dim, rng: OUPolicy(action_dim, OU_STD, rng),
}
"""Policies that learn nothing, by the name of the parameter ``explore_data.method``."""


class Transitions(NamedTuple):
    """``next_state`` is what was seen ``nstep`` decisions after ``state``; ``action`` was the first of them."""

    state: Float[Tensor, "B S"]
    action: Float[Tensor, "B A"]
    next_state: Float[Tensor, "B S"]


class TransitionReplay:
    """Every row of the history, and which rows have a successor ``nstep`` decisions later in the same episode.

    ``capacity`` counts rows: decisions plus one for each episode. Nothing is ever dropped.
    """

    def __init__(self, capacity: int, state_dim: int, action_dim: int, nstep: int) -> None:
        self.state, self.action = torch.zeros(capacity, state_dim), torch.zeros(capacity, action_dim)
        self.starts = torch.zeros(capacity, dtype=torch.int64)
        self.nstep = nstep
        self.rows = self.num_starts = self.episode_start = 0

    def begin(self, state: np.ndarray) -> None:
        """Open an episode with its first state."""
        self.episode_start = self.rows
        self._append(state)

    def add(self, action: np.ndarray, next_state: np.ndarray) -> None:
        """The action taken in the newest row, and the row it led to."""
        self.action[self.rows - 1] = torch.from_numpy(action)
        self._append(next_state)
        start = self.rows - 1 - self.nstep
        if start >= self.episode_start:
            self.starts[self.num_starts] = start
            self.num_starts += 1

    def _append(self, state: np.ndarray) -> None:
        self.state[self.rows] = torch.from_numpy(state)
        self.rows += 1

    def sample(self, batch_size: int, rng: np.random.Generator) -> Transitions:
        """Uniform draws with replacement; never across the end of an episode."""
        rows = self.starts[torch.from_numpy(rng.integers(0, self.num_starts, batch_size))]
        return Transitions(self.state[rows], self.action[rows], self.state[rows + self.nstep])

    def state_dict(self) -> dict[str, Tensor]:
        """The rows so far, as views."""
        used = {"state": self.state[: self.rows], "action": self.action[: self.rows]}
        return {**used, "starts": self.starts[: self.num_starts]}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the rows of a replay of the same width, whose last episode is over."""
        self.rows, self.num_starts = len(state["state"]), len(state["starts"])
        for name, values in self.state_dict().items():
            values.copy_(state[name])


def state_actor(state_dim: int, action_dim: int, hidden: int, generator: torch.Generator) -> nn.Sequential:
    """S -> hidden, LayerNorm, tanh -> hidden ReLU -> A, tanh: mean actions ``(B, A)`` of states ``(B, S)``."""
    widths = itertools.pairwise([state_dim, hidden, hidden, action_dim])
    first, second, last = (linear(*pair, generator) for pair in widths)
    return nn.Sequential(first, nn.LayerNorm(hidden), nn.Tanh(), second, nn.ReLU(inplace=True), last, nn.Tanh())


class StateCritic(nn.Module):
    """(S + A) -> hidden, LayerNorm, tanh, then two heads hidden ReLU -> 1; the action enters at the first layer."""

    def __init__(self, state_dim: int, action_dim: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        first = linear(state_dim + action_dim, hidden, generator)
        self.trunk = nn.Sequential(first, nn.LayerNorm(hidden), nn.Tanh())
        self.heads = Ensemble(2, (hidden, hidden, 1), generator)

    def forward(self, state: Float[Tensor, "B S"], action: Float[Tensor, "B A"]) -> Float[Tensor, "2 B"]:
        """Both heads' values."""
        return self.heads(self.trunk(torch.cat([state, action], -1))).squeeze(-1)


class CuriousExplorer:
    """DDPG on intrinsic reward. The first ``seed_env_steps`` decisions are uniform, without updates.

    Order of one update: the intrinsic model is trained on the batch, then pays for it, then critic,
    actor and target follow. Episodes end by time limit only, so the discount is never 0.

    Args:
        capacity: rows of history, decisions plus episodes.
        seeds: draws every weight, action and batch.
    """

    def __init__(
        self, state_dim: int, action_dim: int, params: ExploreDataParams, capacity: int, seeds: np.random.SeedSequence
    ) -> None:
        self.params = params
        acting, sampling, weights = seeds.spawn(3)
        self.rng, self.batch_rng = np.random.default_rng(acting), np.random.default_rng(sampling)
        self.generator = torch.Generator().manual_seed(int(weights.generate_state(1)[0]))
        self.actor = state_actor(state_dim, action_dim, params.hidden, self.generator)
        self.critic = StateCritic(state_dim, action_dim, params.hidden, self.generator)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.intrinsic = INTRINSIC_REWARDS[params.method](state_dim, action_dim, params.hidden, self.generator)
        trained = {"actor": self.actor, "critic": self.critic, "intrinsic": self.intrinsic}
        self.networks = nn.ModuleDict({**trained, "target": self.target})
        self.optimizers = {
            name: torch.optim.Adam([p for p in module.parameters() if p.requires_grad], params.lr, fused=True)
            for name, module in trained.items()
        }
        self.replay = TransitionReplay(capacity, state_dim, action_dim, params.intrinsic_nstep)
        self.uniform = UniformPolicy(action_dim, self.rng)
        self.env_steps = self.updates = 0

    @torch.no_grad()
    def act(self, step: Step) -> np.ndarray:
        """Uniform at first, then the actor's mean plus unclipped noise."""
        assert step.state is not None, "gsa.loops.explore looks at every state"
        if step.is_first:
            self.replay.begin(step.state)
        if self.env_steps < self.params.seed_env_steps:
            return self.uniform.act(step)
        mean = self.actor(torch.from_numpy(step.state.astype(np.float32))[None])[0].numpy()
        noise = self.params.action_std * self.rng.standard_normal(len(mean))
        return (mean + noise).clip(-1.0, 1.0).astype(np.float32)

    def learn(self, action: np.ndarray, next_state: np.ndarray) -> None:
        """Remember, and update when due."""
        self.replay.add(action, next_state)
        self.env_steps += 1
        if self.env_steps >= self.params.seed_env_steps and self.env_steps % self.params.update_every == 0:
            self.update(self.replay.sample(self.params.batch_size, self.batch_rng))

    def state_dict(self) -> dict[str, Any]:
        """See ``Explorer``; tensors are views."""
        return {
            "networks": self.networks.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "replay": self.replay.state_dict(),
            "acting": self.rng.bit_generator.state,
            "sampling": self.batch_rng.bit_generator.state,
            "noise": self.generator.get_state(),
            "env_steps": self.env_steps,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See ``Explorer``."""
        self.networks.load_state_dict(state["networks"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.replay.load_state_dict(state["replay"])
        self.rng.bit_generator.state, self.batch_rng.bit_generator.state = state["acting"], state["sampling"]
        self.generator.set_state(state["noise"])
        self.env_steps, self.updates = state["env_steps"], state["updates"]

    def update(self, batch: Transitions) -> dict[str, float]:
        """One update of everything on one batch; returns its mean losses and intrinsic reward.

        Raises:
            TrainingError: a loss is not finite; nothing of that loss was applied.
        """
        losses = {"intrinsic": self._step("intrinsic", self.intrinsic.loss(*batch))}
        reward = self.intrinsic.reward(*batch)
        with torch.no_grad():
            next_value = self.target(batch.next_state, self._noisy(self.actor(batch.next_state))).amin(0)
            value = reward + self.params.discount**self.params.intrinsic_nstep * next_value
        losses["critic"] = self._step("critic", (self.critic(batch.state, batch.action) - value).square().mean(1).sum())
        self.critic.requires_grad_(False)  # the actor's loss passes through the critic and must leave no gradient there
        actor_value = self.critic(batch.state, self._noisy(self.actor(batch.state))).amin(0)
        losses["actor"] = self._step("actor", -actor_value.mean())
        self.critic.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.critic.parameters()), TARGET_FRACTION)
        self.updates += 1
        return {**losses, "reward": float(reward.mean())}

    def _noisy(self, mean: Tensor) -> Tensor:
        """Mean plus clipped noise in [-1, 1]; the clamp passes gradients straight through."""
        noise = self.params.action_std * torch.randn(mean.shape, generator=self.generator)
        action = mean + noise.clamp(-NOISE_CLIP, NOISE_CLIP)
        return action + (action.clamp(-1.0 + 1e-6, 1.0 - 1e-6) - action).detach()

    def _step(self, name: str, loss: Tensor) -> float:
        value = float(loss.detach())
        if not np.isfinite(value):
            raise TrainingError(
                f"exploration ({self.params.method}): {name} loss is {value} at update {self.updates}; "
                "lower explore_data.lr or look for non-finite states"
            )
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[name].step()
        return value


def make_explorer(
    state_dim: int, action_dim: int, params: ExploreDataParams, capacity: int, seeds: np.random.SeedSequence
) -> Explorer:
    """The explorer named by ``params.method``; ``capacity`` matters only to those that remember.

    Raises:
        ParamsError: no such method.
    """
    if params.method in INTRINSIC_REWARDS:
        return CuriousExplorer(state_dim, action_dim, params, capacity, seeds)
    if params.method not in NOISES:
        known = ", ".join([*INTRINSIC_REWARDS, *NOISES])
        raise ParamsError(f"unknown exploration method {params.method!r}; one of {known}")
    rng = np.random.default_rng(seeds)
    return NoiseExplorer(NOISES[params.method](action_dim, rng), rng)
