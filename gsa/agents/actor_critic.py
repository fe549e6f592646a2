"""Actor and critic that learn in imagination (Eq. 2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gsa.config import DreamerParams
from gsa.nets.blocks import mlp
from gsa.nets.distributions import TwoHot, normal_entropy, sample_truncated_normal
from gsa.world_model.rssm import RSSM, State


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Gradients pass through these modules but not into their weights, which saves half of their backward pass."""
    params = [p for m in modules for p in m.parameters() if p.requires_grad]
    for p in params:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in params:
            p.requires_grad_(True)


class Actor(nn.Module):
    """pi(a | h, z): mean and std of a clipped normal over A padded actions; ``action_mask`` is 1 on the task's own."""

    action_mask: Tensor

    def __init__(self, feat_dim: int, action_mask: Float[Tensor, " A"], params: DreamerParams):
        super().__init__()
        self.net = mlp(feat_dim, params.units, params.actor_layers, 2 * len(action_mask))
        self.min_std, self.max_std = params.min_std, params.max_std
        self.register_buffer("action_mask", action_mask)

    def forward(self, feat: Float[Tensor, "*N F"]) -> tuple[Float[Tensor, "*N A"], Float[Tensor, "*N A"]]:
        """Mean in [-1, 1] (0 on padded dimensions) and std in [min_std, max_std]."""
        mean, std = self.net(feat).chunk(2, -1)
        # + 2 starts the std near its maximum, as in the authors' release
        std = (self.max_std - self.min_std) * torch.sigmoid(std + 2) + self.min_std
        return torch.tanh(mean) * self.action_mask, std

    def sample(
        self, mean: Float[Tensor, "*N A"], std: Float[Tensor, "*N A"], noise: Float[Tensor, "*N A"] | None = None
    ) -> Float[Tensor, "*N A"]:
        """Differentiable sample, 0 on padded dimensions (the release misspelt this mask away)."""
        return sample_truncated_normal(mean, std, noise) * self.action_mask


class ImaginedTrajectory(NamedTuple):
    """States 0..H (0 is a posterior state) and the policy's entropy at states 0..H-1."""

    feat: Float[Tensor, "H B F"]
    entropy: Float[Tensor, "G B"]


class ValuedTrajectory(NamedTuple):
    """The actor's loss, and what the critic learns from: features, lambda returns and weights of states 0..H-1."""

    actor_loss: Float[Tensor, ""]
    feat: Float[Tensor, "H B F"]
    returns: Float[Tensor, "H B"]
    weight: Float[Tensor, "H B"]
    metrics: dict[str, Float[Tensor, ""]]


class ActorCritic(nn.Module):
    """Actor, critic and the critic's slow copy; ``losses`` computes both objectives on one imagined trajectory.

    ``compile`` (torch's) makes one graph of imagination and the actor's loss, which ``losses`` uses.
    """

    on_cpu: ClassVar = {"imagine": "gsa.cpu.imagination:imagine"}

    def __init__(self, feat_dim: int, action_mask: Float[Tensor, " A"], params: DreamerParams):
        super().__init__()
        self.params = params
        self.two_hot = TwoHot(params.bins)
        self.actor = Actor(feat_dim, action_mask, params)
        self.critic = mlp(feat_dim, params.units, params.critic_layers, params.bins, zero_init=True)
        self.slow_critic = mlp(feat_dim, params.units, params.critic_layers, params.bins, zero_init=True)
        self.slow_critic.load_state_dict(self.critic.state_dict())
        self.slow_critic.requires_grad_(False)

    def losses(
        self, rssm: RSSM, reward_head: nn.Module, start: State, is_terminal: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Actor loss, critic loss and metrics from detached start states.

        Actor: -(V_{t+1} + eta H[pi(. | s_t)]) weighted by the discount, t = 0..H-2 (the return that action t leads to).
        Critic: -ln v(V_t | s_t), t = 0..H-1, on detached states. No gradient reaches model, reward head or slow critic.
        """
        with frozen(rssm, reward_head):  # not in what is compiled: a graph cannot change who is trained
            valued: ValuedTrajectory = self(rssm, reward_head, start, is_terminal)
        logits = self.critic(valued.feat)
        critic_loss = (valued.weight * self.two_hot.loss(logits, valued.returns)).mean()
        return valued.actor_loss, critic_loss, valued.metrics

    def forward(
        self, rssm: RSSM, reward_head: nn.Module, start: State, is_terminal: Bool[Tensor, " B"]
    ) -> ValuedTrajectory:
        """Imagine, and the actor's side of ``losses``: apart from the critic's, for a compiled graph goes back once."""
        params = self.params
        imag = self.imagine(rssm, start)
        reward = self.two_hot.decode(reward_head(imag.feat[:-1]))
        value = self.two_hot.decode(self.slow_critic(imag.feat))
        discount = torch.full_like(reward, params.discount)
        discount[0] = discount[0] * (~is_terminal).to(reward.dtype)  # nothing follows a terminal state
        returns = lambda_return(reward, value[:-1], discount, value[-1], params.lambda_)
        weight = trajectory_weight(discount)
        objective = returns[1:] + params.actor_entropy_coef * imag.entropy[:-1]
        metrics = {
            "imag_reward": reward.mean().detach(),
            "imag_return": returns.mean().detach(),
            "actor_entropy": imag.entropy.mean().detach(),
        }
        actor_loss = -(weight[:-1] * objective).mean()
        return ValuedTrajectory(actor_loss, imag.feat[:-1].detach(), returns.detach(), weight, metrics)

    def imagine(self, rssm: RSSM, start: State) -> ImaginedTrajectory:
        """Roll the prior forward from ``start``; the actor sees states without gradient, its actions carry it.

        Gradients of later rewards and values reach earlier actions through the dynamics (dynamics gradient).
        """
        latent, chosen = self.imagination_noise(rssm, len(start.deter))
        state, feats, entropies = start, [start.feat], []
        for step_latent, step_chosen in zip(latent, chosen, strict=True):
            mean, std = self.actor(feats[-1].detach())
            entropies.append(normal_entropy(std, self.actor.action_mask.expand_as(std)))
            state = rssm.img_step(state, self.actor.sample(mean, std, step_chosen), step_latent)
            feats.append(state.feat)
        return ImaginedTrajectory(torch.stack(feats), torch.stack(entropies))

    def imagination_noise(self, rssm: RSSM, batch: int) -> tuple[Float[Tensor, "G B S K"], Float[Tensor, "G B A"]]:
        """Exponentials for the samples of z and standard normals for those of the actions, of all G = H - 1 steps."""
        latent, mask = rssm.noise(self.params.imag_horizon, batch), self.actor.action_mask
        return latent, mask.new_empty(len(latent), batch, len(mask)).normal_()

    @torch.no_grad()
    def update_slow_critic(self) -> None:
        """Move the slow critic by ``slow_critic_fraction`` towards the critic."""
        for slow, fast in zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True):
            slow.lerp_(fast, self.params.slow_critic_fraction)


def lambda_return(
    reward: Float[Tensor, "H B"],
    value: Float[Tensor, "H B"],
    discount: Float[Tensor, "H B"],
    bootstrap: Float[Tensor, " B"],
    lambda_: float,
) -> Float[Tensor, "H B"]:
    """V_t = r_t + d_t ((1 - lambda) v_{t+1} + lambda V_{t+1}) for t < H, with v_H = V_H = ``bootstrap`` (Eq. 2).

    Row t is imagined state t: ``reward[t]`` and ``value[t]`` are read on it, ``discount[t]`` (gamma, or 0 after a
    terminal state) weighs what follows it. ``value[0]`` is not used. Gradients flow to every argument.
    """
    assert reward.shape == value.shape == discount.shape and bootstrap.shape == reward.shape[1:]
    next_value = torch.cat([value[1:], bootstrap[None]])
    returns = []
    after = bootstrap
    for t in reversed(range(len(reward))):
        after = reward[t] + discount[t] * ((1 - lambda_) * next_value[t] + lambda_ * after)
        returns.append(after)
    return torch.stack(returns[::-1])


def trajectory_weight(discount: Float[Tensor, "H B"]) -> Float[Tensor, "H B"]:
    """Probability that state t is reached, discounted: 1, d_0, d_0 d_1, ..."""
    return torch.cat([torch.ones_like(discount[:1]), discount[:-1]]).cumprod(0)
