"""DrQ-v2 (arXiv 2107.09645): an off-policy actor-critic from pixels that learns without a model.

repeat for every decision:
    act with the mean action plus noise whose standard deviation falls over the run
    every second decision: draw n-step transitions, shift their images at random,
        move both critics and the encoder towards  y = R + discount * min Qbar(h', a'),
        move the actor towards actions that the smaller critic values more, the target critic towards the critic

Where the paper is silent: the batch of an update and its shifts are a function of the run's seed and the update's
number; images are 64 x 64, with the pad of 4 that was published for 84 x 84; what follows a termination is in
``gsa.storage.transitions``.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from gsa.agents.base import Setting
from gsa.agents.frames import FrameStack, random_shift
from gsa.config import DrQv2Params, OptimizerParams
from gsa.envs.base import Policy
from gsa.episode import IMAGE_SIZE, Episode, Step
from gsa.nets.blocks import init_orthogonal
from gsa.nets.conv import channels_last, scale_image
from gsa.nets.optimizer import Optimizer
from gsa.schedule import Progress
from gsa.storage.replay import EpisodeBuffer
from gsa.storage.transitions import Transitions, draw_transitions

LIMIT = 1.0 - 1e-6
"""Largest action that noise leads to."""


class Encoder(nn.Module):
    """Four convolutions 3x3 with ReLU (64 -> 31 -> 29 -> 27 -> 25), flattened to ``repr_dim`` numbers."""

    def __init__(self, frame_stack: int, channels: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3 * frame_stack, channels, 3, stride=2), nn.ReLU()]
        for _ in range(3):
            layers += [nn.Conv2d(channels, channels, 3), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        init_orthogonal(self)
        channels_last(self.conv)  # after the initialisation, which refuses this layout
        with torch.no_grad():
            self.repr_dim = self.conv(torch.zeros(1, 3 * frame_stack, IMAGE_SIZE, IMAGE_SIZE)).numel()

    def forward(self, stack: UInt8[Tensor, "B S Y X"]) -> Float[Tensor, "B R"]:
        """What the critic learned to see in stacks of frames."""
        return self.conv(scale_image(stack).contiguous(memory_format=torch.channels_last)).flatten(1)


class Actor(nn.Module):
    """The mean action, in [-1, 1]: a Linear-LayerNorm-tanh trunk, two hidden layers, tanh."""

    def __init__(self, repr_dim: int, action_dim: int, params: DrQv2Params):
        super().__init__()
        self.trunk = _trunk(repr_dim, params.feature_dim)
        self.policy = nn.Sequential(_head(params.feature_dim, params.hidden, action_dim), nn.Tanh())
        init_orthogonal(self)

    def forward(self, seen: Float[Tensor, "B R"]) -> Float[Tensor, "B A"]:
        """Mean actions."""
        return self.policy(self.trunk(seen))


class Critic(nn.Module):
    """Two values of an action, from a trunk of their own; the action joins behind the trunk."""

    def __init__(self, repr_dim: int, action_dim: int, params: DrQv2Params):
        super().__init__()
        self.trunk = _trunk(repr_dim, params.feature_dim)
        self.heads = nn.ModuleList(_head(params.feature_dim + action_dim, params.hidden, 1) for _ in range(2))
        init_orthogonal(self)

    def forward(self, seen: Float[Tensor, "B R"], action: Float[Tensor, "B A"]) -> Float[Tensor, "2 B"]:
        """Both values."""
        x = torch.cat([self.trunk(seen), action], 1)
        return torch.stack([head(x)[:, 0] for head in self.heads])


def _trunk(repr_dim: int, feature_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(repr_dim, feature_dim), nn.LayerNorm(feature_dim), nn.Tanh())


def _head(in_dim: int, hidden: int, out_dim: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(in_dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out_dim))
    )


def noise_std(params: DrQv2Params, env_steps: int) -> float:
    """Standard deviation of the noise after that many decisions."""
    done = min(env_steps / params.noise_env_steps, 1.0)
    return params.noise_start + (params.noise_end - params.noise_start) * done


def add_noise(mean: Float[Tensor, "B A"], std: float, clip: float | None = None) -> Float[Tensor, "B A"]:
    """A Gaussian draw around ``mean``, limited to (-1, 1); its gradient is that of ``mean``, also at the limit.

    ``clip`` bounds the noise itself.
    """
    noise = torch.randn_like(mean) * std
    if clip is not None:
        noise = noise.clamp(-clip, clip)
    action = mean + noise
    return action.detach().clamp(-LIMIT, LIMIT) + (action - action.detach())


class DrQv2Learner:
    """Encoder, actor, twin critic and its target (``gsa.agents.base.Learner``); ``DrQv2Params`` has the numbers."""

    def __init__(self, setting: Setting):
        self.params = params = setting.params.drqv2.for_task(setting.spec.name)
        self.action_dim, self.device = setting.action_dim, setting.device
        self.schedule = params.schedule(setting.max_env_steps, setting.spec.action_repeat)
        self.encoder = Encoder(params.frame_stack, params.channels)
        self.actor = Actor(self.encoder.repr_dim, self.action_dim, params)
        self.critic = Critic(self.encoder.repr_dim, self.action_dim, params)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.networks = nn.ModuleDict({"encoder": self.encoder, "actor": self.actor}).to(self.device)
        self.judging = nn.ModuleDict({"critic": self.critic, "target": self.target}).to(self.device)
        adam = OptimizerParams(lr=params.lr, eps=1e-8, weight_decay=0.0, clip_norm=None)
        trained = [*self.encoder.parameters(), *self.critic.parameters()]  # one step of Adam is two with equal rates
        self.optimizers = {
            "critic": Optimizer("critic and encoder", trained, adam),
            "actor": Optimizer("actor", list(self.actor.parameters()), adam),
        }
        self.rng, self.seed = setting.generator("behaviour"), setting.batch_seed("online")
        self.progress = Progress()

    def prepare(self, first_step: Callable[[], Step]) -> dict[str, Any]:
        """Nothing: all is learned online."""
        return {}

    def floors(self) -> dict[str, Callable[[], Policy]]:
        """None."""
        return {}

    def behaviour(self, progress: Progress) -> "DrQv2Policy":
        """Uniform actions first, then the policy with noise; ``progress`` is followed from decision to decision."""
        self.progress = progress
        return DrQv2Policy(self, explore=True)

    def policy(self) -> "DrQv2Policy":
        """The mean action."""
        return DrQv2Policy(self, explore=False)

    @property
    def noise(self) -> float:
        """The noise's standard deviation now, in acting and in updates alike."""
        return noise_std(self.params, self.progress.env_steps)

    def update(self, online: EpisodeBuffer, number: int) -> dict[str, float]:
        """One step of critic and encoder, of the actor and of the target, on transitions shifted at random.

        Raises:
            DataError: no episode is long enough yet.
            TrainingError: a loss is not finite.
        """
        params, rng = self.params, np.random.default_rng([self.seed, number])
        batch = draw_transitions(
            *(online, rng, params.batch_size, params.nstep, params.discount, params.frame_stack, params.replay_capacity)
        ).to(self.device)
        stack, next_stack = (
            random_shift(frames.flatten(1, 2), params.shift_pad, rng) for frames in (batch.frames, batch.next_frames)
        )
        return self.learn(batch, stack, next_stack, self.noise)

    def learn(
        self, batch: Transitions, stack: UInt8[Tensor, "B S Y X"], next_stack: UInt8[Tensor, "B S Y X"], std: float
    ) -> dict[str, float]:
        """The update rule, on the shifted stacks of ``batch`` and at noise ``std``."""
        seen = self.encoder(stack)
        value = self.critic(seen, batch.action)
        critic_loss = (value - self.target_value(batch, next_stack, std)).square().mean(1).sum()
        norms = {"critic_grad_norm": self.optimizers["critic"].step(critic_loss)}
        actor_loss = self.actor_loss(seen.detach(), std)
        norms["actor_grad_norm"] = self.optimizers["actor"].step(actor_loss)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.critic.parameters()), self.params.target_tau)
        values = {"critic_loss": critic_loss, "actor_loss": actor_loss, "value": value.mean()}
        numbers = torch.stack([x.detach() for x in values.values()]).tolist()  # one wait for the device
        return {"noise": std} | norms | dict(zip(values, numbers, strict=True))

    @torch.no_grad()
    def target_value(self, batch: Transitions, next_stack: UInt8[Tensor, "B S Y X"], std: float) -> Float[Tensor, " B"]:
        """y = R + discount * min_j Qbar_j(h', a') with a' drawn from the actor; no gradient."""
        seen = self.encoder(next_stack)
        action = add_noise(self.actor(seen), std, self.params.noise_clip)
        return batch.reward + batch.discount * self.target(seen, action).amin(0)

    def actor_loss(self, seen: Float[Tensor, "B R"], std: float) -> Float[Tensor, ""]:
        """- mean min_j Q_j(h, a) with a drawn from the actor; the critic's own weights get no gradient."""
        self.critic.requires_grad_(False)
        value = self.critic(seen, add_noise(self.actor(seen), std, self.params.noise_clip)).amin(0)
        self.critic.requires_grad_(True)
        return -value.mean()

    def diagnose(self, evaluated: Sequence[Episode], online: EpisodeBuffer) -> dict[str, float]:
        """Nothing: it has no model to imagine with."""
        return {}

    def state(self) -> dict[str, Any]:
        """All weights, Adam's moments and the generator of uniform actions."""
        return {
            "networks": self.networks.state_dict(),
            "judging": self.judging.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "rng": self.rng.bit_generator.state,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        self.networks.load_state_dict(state["networks"])
        self.judging.load_state_dict(state["judging"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.rng.bit_generator.state = state["rng"]


class DrQv2Policy:
    """The learner's networks acting on the last frames; ``explore``: as in training, else the mean action."""

    def __init__(self, learner: DrQv2Learner, explore: bool):
        self.learner, self.explore = learner, explore
        self.stack = FrameStack(learner.params.frame_stack)

    @torch.no_grad()
    def act(self, step: Step) -> np.ndarray:
        """Take in the newest image and choose an action, float32 ``(action_dim,)``."""
        learner = self.learner
        self.stack.push(step)
        if self.explore and learner.progress.env_steps < learner.params.expl_env_steps:
            return learner.rng.uniform(-1.0, 1.0, learner.action_dim).astype(np.float32)
        action = learner.actor(learner.encoder(self.stack.tensor(learner.device)))
        return (add_noise(action, learner.noise) if self.explore else action)[0].cpu().numpy()
