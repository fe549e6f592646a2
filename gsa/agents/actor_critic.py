"""Actor and critic that learn in imagination (Eq. 2)."""

from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gsa.agents.returns import ReturnNorm, lambda_return, trajectory_weight
from gsa.config import DreamerParams
from gsa.nets.blocks import mlp
from gsa.nets.distributions import (
    TwoHot,
    at_least_float32,
    normal_entropy,
    normal_log_prob,
    sample_truncated_normal,
)
from gsa.nets.stand_ins import frozen
from gsa.world_model.rssm import RSSM, State


def make_two_hot(params: DreamerParams) -> TwoHot:
    """The scalars of rewards and values as distributions."""
    low, high = params.bin_range
    return TwoHot(params.bins, low, high, params.decode)


class Actor(nn.Module):
    """pi(a | h, z): mean and std of a clipped normal over A padded actions; ``action_mask`` is 1 on the task's own."""

    action_mask: Tensor

    def __init__(self, feat_dim: int, action_mask: Float[Tensor, " A"], params: DreamerParams):
        super().__init__()
        self.net = mlp(feat_dim, params.units, params.actor_layers, 2 * len(action_mask))
        with torch.no_grad():
            for parameter in self.net[-1].parameters():
                parameter.mul_(params.actor_outscale)
        self.min_std, self.max_std = params.min_std, params.max_std
        self.register_buffer("action_mask", action_mask)

    def forward(self, feat: Float[Tensor, "*N F"]) -> tuple[Float[Tensor, "*N A"], Float[Tensor, "*N A"]]:
        """Mean in [-1, 1] (0 on padded dimensions) and std in [min_std, max_std]."""
        mean, std = at_least_float32(self.net(feat)).chunk(2, -1)
        # + 2 starts the std near its maximum, as in the authors' release
        std = (self.max_std - self.min_std) * torch.sigmoid(std + 2) + self.min_std
        return torch.tanh(mean) * self.action_mask, std

    def sample(
        self, mean: Float[Tensor, "*N A"], std: Float[Tensor, "*N A"], noise: Float[Tensor, "*N A"] | None = None
    ) -> Float[Tensor, "*N A"]:
        """Differentiable sample, 0 on padded dimensions (the release misspelt this mask away)."""
        return sample_truncated_normal(mean, std, noise) * self.action_mask

    def distance_to(
        self, action: Float[Tensor, "*N A"], feat: Float[Tensor, "*N F"], where: Bool[Tensor, "*N"]
    ) -> Float[Tensor, ""]:
        """Squared distance of the mean action from ``action`` over the task's dimensions, averaged ``where`` true."""
        mean, _ = self(feat)
        squared = ((mean - action).square() * self.action_mask).sum(-1)
        return (squared * where).sum() / where.sum().clamp(min=1)


class ImaginedTrajectory(NamedTuple):
    """States 0..H (0 is a posterior state); the policy's entropy and its action's log-density at states 0..H-1."""

    feat: Float[Tensor, "H B F"]
    entropy: Float[Tensor, "G B"]
    log_prob: Float[Tensor, "G B"]


class Heads(NamedTuple):
    """What imagined states are judged by: rewards, and the logit of going on where that is learned."""

    reward: nn.Module
    goes_on: nn.Module | None = None

    def modules(self) -> list[nn.Module]:
        """Those there are."""
        return [head for head in self if head is not None]


class ValuedTrajectory(NamedTuple):
    """The actor's loss, and what the critic learns from: features, lambda returns and weights of states 0..H-1."""

    actor_loss: Float[Tensor, ""]
    feat: Float[Tensor, "H B F"]
    returns: Float[Tensor, "H B"]
    weight: Float[Tensor, "H B"]
    metrics: dict[str, Float[Tensor, ""]]


class ActorCritic(nn.Module):
    """Actor, critic and the critic's slow copy; ``losses`` computes both objectives on one imagined trajectory.

    ``compile_parts`` makes graphs of a step of imagination and of the judgement of what was imagined.
    """

    on_cpu: ClassVar = {"imagine": "gsa.cpu.imagination:imagine"}

    def __init__(self, feat_dim: int, action_mask: Float[Tensor, " A"], params: DreamerParams):
        super().__init__()
        self.params = params
        self.two_hot = make_two_hot(params)
        self.actor = Actor(feat_dim, action_mask, params)
        self.critic = mlp(feat_dim, params.units, params.critic_layers, params.bins, zero_init=True)
        self.slow_critic = mlp(feat_dim, params.units, params.critic_layers, params.bins, zero_init=True)
        self.slow_critic.load_state_dict(self.critic.state_dict())
        self.slow_critic.requires_grad_(False)
        self.return_norm = ReturnNorm(params.retnorm)

    def compile_parts(self, **options: Any) -> None:
        """Let torch.compile (``options`` are its) make graphs of one step, whatever the horizon, and of the rest."""
        for name in ("imagine_step", "judge"):
            setattr(self, name, torch.compile(getattr(self, name), **options))

    def losses(
        self, rssm: RSSM, heads: Heads, start: State, is_terminal: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Actor loss, critic loss and metrics from detached start states.

        Actor: -(objective_t + eta H[pi(. | s_t)]) weighted by the discount, t = 0..H-2. The objective is V_{t+1}, the
        return that action t leads to, or ln pi(a_t | s_t) times its advantage; both over the scale of returns.
        Critic: -ln v(V_t | s_t), t = 0..H-1, on detached states. No gradient reaches model, heads or slow critic.
        """
        with frozen(rssm, *heads.modules(), self.critic, self.slow_critic):
            valued = self.judge(self.imagine(rssm, start), heads, is_terminal)
        critic_loss = (valued.weight * self.value_loss(valued.feat, valued.returns)).mean()
        return valued.actor_loss, critic_loss, valued.metrics

    def value_loss(self, feat: Float[Tensor, "*N F"], returns: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """-ln v(return | s), and ``slowreg`` times the same of what the slow critic says."""
        logits = self.critic(feat)
        loss = self.two_hot.loss(logits, returns)
        if self.params.slowreg > 0:
            with torch.no_grad():
                slow = self.two_hot.decode(self.slow_critic(feat))
            loss = loss + self.params.slowreg * self.two_hot.loss(logits, slow)
        return loss

    def target_value(self, feat: Float[Tensor, "*N F"]) -> Float[Tensor, "*N"]:
        """What returns bootstrap with: the slow critic's value, or the critic's."""
        return self.two_hot.decode((self.slow_critic if self.params.slowtar else self.critic)(feat))

    def replay_value_loss(
        self,
        feat: Float[Tensor, "B T F"],
        reward: Float[Tensor, "B T"],
        is_first: Bool[Tensor, "B T"],
        is_terminal: Bool[Tensor, "B T"],
    ) -> Float[Tensor, ""]:
        """The critic's loss on replayed rows: lambda returns of their real rewards, from detached posterior states.

        The last row bootstraps with the critic's value. Rows that another episode follows are left out.
        """
        params = self.params
        with torch.no_grad():
            value = self.target_value(feat).T
        ends = is_first.T[1:]  # the row after t begins another episode: return t is the value
        discount = params.discount * (~(is_terminal.T[:-1] | ends)).to(value.dtype)
        returns = lambda_return(reward.T[:-1], value[:-1], discount, value[-1], params.lambda_)
        keep = (~ends | is_terminal.T[:-1]).to(value.dtype)
        return (keep * self.value_loss(feat.transpose(0, 1)[:-1], returns)).mean()

    def judge(self, imag: ImaginedTrajectory, heads: Heads, is_terminal: Bool[Tensor, " B"]) -> ValuedTrajectory:
        """The actor's side of ``losses``: apart from the critic's, for a compiled graph goes back once."""
        params = self.params
        reward = self.two_hot.decode(heads.reward(imag.feat[:-1]))
        value = self.target_value(imag.feat)
        discount = torch.full_like(reward, params.discount)
        if heads.goes_on is not None:
            discount = discount * torch.sigmoid(heads.goes_on(imag.feat[:-1])).squeeze(-1)
        over = discount[0] * (~is_terminal).to(reward.dtype)  # nothing follows a terminal state
        discount = torch.cat([over[None], discount[1:]])
        returns = lambda_return(reward, value[:-1], discount, value[-1], params.lambda_)
        weight = trajectory_weight(discount).detach()
        scale = self.return_norm(returns.detach())
        if params.imag_gradient == "dynamics":
            objective = returns[1:] / scale
        else:
            expected = (value[:-1] - reward)[:-1] / params.discount  # of V_{t+1}, whatever the action
            objective = imag.log_prob[:-1] * ((returns[1:] - expected) / scale).detach()
        objective = objective + params.actor_entropy_coef * imag.entropy[:-1]
        metrics = {
            "return_scale": scale,
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
        state, feats, means, stds = start, [start.feat], [], []
        for step_latent, step_chosen in zip(latent, chosen, strict=True):
            state, mean, std = self.imagine_step(rssm, state, step_latent, step_chosen)
            feats.append(state.feat)
            means.append(mean)
            stds.append(std)
        return self.trajectory(torch.stack(feats), torch.stack(means), torch.stack(stds), chosen)

    def imagine_step(
        self, rssm: RSSM, state: State, latent: Float[Tensor, "B S K"], chosen: Float[Tensor, "B A"]
    ) -> tuple[State, Float[Tensor, "B A"], Float[Tensor, "B A"]]:
        """The next state, and mean and std of the policy that led there; both noises are of this step."""
        mean, std = self.actor(state.feat.detach())
        return rssm.img_step(state, self.actor.sample(mean, std, chosen), latent), mean, std

    def trajectory(
        self,
        feat: Float[Tensor, "H B F"],
        mean: Float[Tensor, "G B A"],
        std: Float[Tensor, "G B A"],
        noise: Float[Tensor, "G B A"],
    ) -> ImaginedTrajectory:
        """States, and what the policy was at those it acted in; ``noise`` is what its actions were drawn with."""
        mask = self.actor.action_mask.expand_as(std)
        return ImaginedTrajectory(feat, normal_entropy(std, mask), normal_log_prob(mean, std, noise, mask))

    def imagination_noise(self, rssm: RSSM, batch: int) -> tuple[Float[Tensor, "G B S K"], Float[Tensor, "G B A"]]:
        """Exponentials for the samples of z and standard normals for those of the actions, of all G = H - 1 steps."""
        latent, mask = rssm.noise(self.params.imag_horizon, batch), self.actor.action_mask
        return latent, mask.new_empty(len(latent), batch, len(mask)).normal_()

    @torch.no_grad()
    def update_slow_critic(self) -> None:
        """Move the slow critic by ``slow_critic_fraction`` towards the critic."""
        slow, fast = (list[Tensor](critic.parameters()) for critic in (self.slow_critic, self.critic))
        torch._foreach_lerp_(slow, fast, self.params.slow_critic_fraction)
