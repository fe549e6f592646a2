"""Who explores a body without a task: a curious DDPG agent on states, or noise that learns nothing.

An explorer sees states and its own actions, never a reward: no function here takes one. The learner is DDPG with two
Q heads, a target copy and constant clipped noise (BASELINES.md sections 1.2 and 11.1); its reward is intrinsic.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsa.config import ExploreDataParams
from gsa.errors import ParamsError, TrainingError
from gsa.sources.curiosity import INTRINSIC_REWARDS, IntrinsicReward, linear, stack_layers
from gsa.sources.random import OU_DECAY

TARGET_FRACTION = 0.01
NOISE_CLIP = 0.3
"""Noise of actions inside updates is clipped here; noise while acting is not."""
OU_STD = 0.3
"""Noise of ``ou`` a decision; its actions then have a standard deviation of 0.57 before clipping."""


@runtime_checkable
class Explorer(Protocol):
    """Acts on states and may learn from what followed."""

    def act(self, state: np.ndarray, is_first: bool) -> np.ndarray:
        """The action for a state, float32 ``(A,)`` in [-1, 1]."""
        ...

    def learn(self, action: np.ndarray, next_state: np.ndarray) -> None:
        """The last ``act``'s state and this action led to ``next_state``."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that another explorer of the same arguments needs to go on from here, between two episodes."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        ...


class NoiseExplorer:
    """Learns nothing: all it has is a generator."""

    def __init__(self, action_dim: int, rng: np.random.Generator) -> None:
        self.action_dim, self.rng = action_dim, rng

    def learn(self, action: np.ndarray, next_state: np.ndarray) -> None:
        """Nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Where the generator stands."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See ``Explorer``."""
        self.rng.bit_generator.state = state["rng"]


class RandomExplorer(NoiseExplorer):
    """Uniform actions in [-1, 1]: the reference every method has to beat."""

    def act(self, state: np.ndarray, is_first: bool) -> np.ndarray:
        """A fresh draw."""
        return self.rng.uniform(-1.0, 1.0, self.action_dim).astype(np.float32)


class OUExplorer(NoiseExplorer):
    """Ornstein-Uhlenbeck noise x <- 0.85 x + 0.3 N(0, I), clipped to [-1, 1], restarted at 0 with each episode."""

    def __init__(self, action_dim: int, rng: np.random.Generator) -> None:
        super().__init__(action_dim, rng)
        self.noise = np.zeros(action_dim)

    def act(self, state: np.ndarray, is_first: bool) -> np.ndarray:
        """The next point of the walk."""
        self.noise = np.zeros(self.action_dim) if is_first else self.noise * (1.0 - OU_DECAY)
        self.noise = self.noise + OU_STD * self.rng.standard_normal(self.action_dim)
        return self.noise.clip(-1.0, 1.0).astype(np.float32)


NOISES: dict[str, Callable[[int, np.random.Generator], Explorer]] = {"random": RandomExplorer, "ou": OUExplorer}
"""Explorers that learn nothing, by the name of the parameter ``explore_data.method``."""


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
        self.state = np.zeros((capacity, state_dim), np.float32)
        self.action = np.zeros((capacity, action_dim), np.float32)
        self.starts = np.zeros(capacity, np.int64)
        self.nstep = nstep
        self.rows = self.num_starts = self.episode_start = 0

    def begin(self, state: np.ndarray) -> None:
        """Open an episode with its first state."""
        self.episode_start = self.rows
        self._append(state)

    def add(self, action: np.ndarray, next_state: np.ndarray) -> None:
        """The action taken in the newest row, and the row it led to."""
        self.action[self.rows - 1] = action
        self._append(next_state)
        start = self.rows - 1 - self.nstep
        if start >= self.episode_start:
            self.starts[self.num_starts] = start
            self.num_starts += 1

    def _append(self, state: np.ndarray) -> None:
        self.state[self.rows] = state
        self.rows += 1

    def sample(self, batch_size: int, rng: np.random.Generator) -> Transitions:
        """Uniform draws with replacement; never across the end of an episode."""
        rows = self.starts[rng.integers(0, self.num_starts, batch_size)]
        arrays = (self.state[rows], self.action[rows], self.state[rows + self.nstep])
        return Transitions(*(torch.from_numpy(array) for array in arrays))

    def state_dict(self) -> dict[str, Tensor]:
        """The rows so far, as views."""
        used = {"state": self.state[: self.rows], "action": self.action[: self.rows]}
        return {key: torch.from_numpy(a) for key, a in (used | {"starts": self.starts[: self.num_starts]}).items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the rows of a replay of the same width, whose last episode is over."""
        self.rows, self.num_starts = len(state["state"]), len(state["starts"])
        self.state[: self.rows], self.action[: self.rows] = state["state"].numpy(), state["action"].numpy()
        self.starts[: self.num_starts] = state["starts"].numpy()


class StateActor(nn.Module):
    """S -> hidden, LayerNorm, tanh -> hidden ReLU -> A, tanh: the mean action."""

    def __init__(self, state_dim: int, action_dim: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.net = nn.Sequential(
            linear(state_dim, hidden, generator),
            nn.LayerNorm(hidden),
            nn.Tanh(),
            linear(hidden, hidden, generator),
            nn.ReLU(inplace=True),
            linear(hidden, action_dim, generator),
            nn.Tanh(),
        )

    def forward(self, state: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """Mean actions in (-1, 1)."""
        return self.net(state)


class StateCritic(nn.Module):
    """(S + A) -> hidden, LayerNorm, tanh, then two heads hidden ReLU -> 1; the action enters at the first layer.

    Both heads run as one batched product: at this size the time goes to calls, not to arithmetic.
    """

    def __init__(self, state_dim: int, action_dim: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        first = linear(state_dim + action_dim, hidden, generator)
        self.trunk = nn.Sequential(first, nn.LayerNorm(hidden), nn.Tanh())
        self.hidden_weight, self.hidden_bias = stack_layers([linear(hidden, hidden, generator) for _ in range(2)])
        self.value_weight, self.value_bias = stack_layers([linear(hidden, 1, generator) for _ in range(2)])

    def forward(self, state: Float[Tensor, "B S"], action: Float[Tensor, "B A"]) -> Float[Tensor, "2 B"]:
        """Both heads' values."""
        trunk = self.trunk(torch.cat([state, action], -1)).expand(2, -1, -1)
        hidden = torch.baddbmm(self.hidden_bias, trunk, self.hidden_weight).relu_()
        return torch.baddbmm(self.value_bias, hidden, self.value_weight).squeeze(-1)


class CuriousExplorer:
    """DDPG on intrinsic reward. The first ``seed_env_steps`` decisions are uniform, without updates.

    Order of one update (BASELINES.md 11.1): the intrinsic model is trained on the batch, then pays for it, then critic,
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
        self.actor = StateActor(state_dim, action_dim, params.hidden, self.generator)
        self.critic = StateCritic(state_dim, action_dim, params.hidden, self.generator)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        make = INTRINSIC_REWARDS[params.method]
        self.intrinsic: IntrinsicReward = make(state_dim, action_dim, params.hidden, self.generator)
        self.optimizers = {
            name: torch.optim.Adam([p for p in module.parameters() if p.requires_grad], params.lr, fused=True)
            for name, module in (("actor", self.actor), ("critic", self.critic), ("intrinsic", self.intrinsic))
        }
        self.replay = TransitionReplay(capacity, state_dim, action_dim, params.intrinsic_nstep)
        self.random = RandomExplorer(action_dim, self.rng)
        self.env_steps = self.updates = 0

    @torch.no_grad()
    def act(self, state: np.ndarray, is_first: bool) -> np.ndarray:
        """Uniform at first, then the actor's mean plus unclipped noise."""
        if is_first:
            self.replay.begin(state)
        if self.env_steps < self.params.seed_env_steps:
            return self.random.act(state, is_first)
        mean = self.actor(torch.from_numpy(state.astype(np.float32))[None])[0].numpy()
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
            "modules": {name: module.state_dict() for name, module in self._modules().items()},
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
        for name, module in self._modules().items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.replay.load_state_dict(state["replay"])
        self.rng.bit_generator.state, self.batch_rng.bit_generator.state = state["acting"], state["sampling"]
        self.generator.set_state(state["noise"])
        self.env_steps, self.updates = state["env_steps"], state["updates"]

    def _modules(self) -> dict[str, nn.Module]:
        return {"actor": self.actor, "critic": self.critic, "target": self.target, "intrinsic": self.intrinsic}

    def update(self, batch: Transitions) -> dict[str, float]:
        """One update of everything on one batch; returns its mean losses and intrinsic reward.

        Raises:
            TrainingError: a loss is not finite; nothing of that loss was applied.
        """
        losses = {"intrinsic": self._step("intrinsic", self.intrinsic.loss(*batch))}
        reward = self.intrinsic.reward(*batch)
        with torch.no_grad():
            next_action = self._noisy(self.actor(batch.next_state))
            discount = self.params.discount**self.params.intrinsic_nstep
            value = reward + discount * self.target(batch.next_state, next_action).amin(0)
        losses["critic"] = self._step("critic", (self.critic(batch.state, batch.action) - value).square().mean(1).sum())
        self.critic.requires_grad_(False)  # the actor's loss passes through the critic and must leave no gradient there
        losses["actor"] = self._step(
            "actor", -self.critic(batch.state, self._noisy(self.actor(batch.state))).amin(0).mean()
        )
        self.critic.requires_grad_(True)
        update_target(self.target, self.critic)
        self.updates += 1
        return {**losses, "reward": float(reward.mean())}

    def _noisy(self, mean: Tensor) -> Tensor:
        """Mean plus clipped noise in [-1, 1]; the clamp passes gradients straight through."""
        noise = (self.params.action_std * torch.randn(mean.shape, generator=self.generator)).clamp(
            -NOISE_CLIP, NOISE_CLIP
        )
        action = mean + noise
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


@torch.no_grad()
def update_target(target: nn.Module, source: nn.Module, fraction: float = TARGET_FRACTION) -> None:
    """target <- fraction * source + (1 - fraction) * target, weight by weight."""
    for slow, fast in zip(target.parameters(), source.parameters(), strict=True):
        slow.lerp_(fast, fraction)


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
    return NOISES[params.method](action_dim, np.random.default_rng(seeds))
