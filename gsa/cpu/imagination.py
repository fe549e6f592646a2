"""Imagination with its gradients written out: the prior rolled forward from actions, and back to those actions.

The weights of the RSSM get no gradient here. The layers are those of ``gsa/world_model/rssm.py``.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsa.agents.actor_critic import ActorCritic, ImaginedTrajectory
from gsa.cpu.gru import GRUByHand, GRUStep
from gsa.cpu.layers import Normed, applies, norm_silu, norm_silu_backward, sample_backward, sample_one_hot
from gsa.world_model.rssm import RSSM, State


def imagine(agent: ActorCritic, rssm: RSSM, start: State) -> ImaginedTrajectory:
    """``ActorCritic.imagine``: roll out without a graph, then ask the actor about all states at once.

    The actor's gradients come from that second time.
    """
    if not applies(start.deter):
        return ActorCritic.imagine(agent, rssm, start)
    actor, rollout = agent.actor, Rollout(rssm, start)
    latent, chosen = agent.imagination_noise(rssm, len(start.deter))
    with torch.no_grad():
        for t in range(len(latent)):
            mean, std = actor(rollout.feat[-1])
            rollout.step(actor.sample(mean, std, chosen[t]), latent[t])
        states = torch.stack(rollout.feat[:-1])
    mean, std = actor(states)
    feat = rollout.feats(actor.sample(mean, std, chosen))
    return agent.trajectory(feat, mean, std, chosen)


class ImaginedStep(NamedTuple):
    """What the gradient of a step needs."""

    action: Normed
    gru: GRUStep
    head: tuple[Normed, Normed]
    softmax: Float[Tensor, "B S K"]


class Rollout:
    """States after a posterior state: ``step`` takes an action, ``feats`` ties the states to the actions' graph."""

    def __init__(self, rssm: Any, start: State):
        self.rssm, self.gru = rssm, GRUByHand(rssm.gru)
        self.deter, self.stoch = start
        self.feat = [start.feat]
        self.steps: list[ImaginedStep] = []

    @torch.no_grad()
    def step(self, action: Float[Tensor, "B A"], noise: Float[Tensor, "B S K"]) -> None:
        """One step of ``RSSM.img_step``."""
        (linear, norm, _), (first, second, out) = self.rssm.gru.in_action, self.rssm.prior_head
        action_in, saved = norm_silu(linear(action), norm)
        self.deter, gru = self.gru.step(self.deter, self.stoch, action_in)
        x, before = norm_silu(first[0](self.deter), first[1])
        x, after = norm_silu(second[0](x), second[1])
        one_hot, softmax = sample_one_hot(out(x).view(noise.shape), self.rssm.params.unimix, noise)
        self.stoch = one_hot.flatten(1)
        self.feat.append(torch.cat([self.stoch, self.deter], -1))
        self.steps.append(ImaginedStep(saved, gru, (before, after), softmax))

    def feats(self, action: Float[Tensor, "H B A"]) -> Float[Tensor, "H1 B F"]:
        """[z, h] of all states, as a function of the actions that ``step`` was given."""
        found: Tensor = _Feats.apply(action, self)
        return found

    def backward(self, grad: Float[Tensor, "H1 B F"]) -> Float[Tensor, "H B A"]:
        """The actions' gradient from that of ``feats``."""
        gru, (linear, norm, _), (first, second, out) = self.gru, self.rssm.gru.in_action, self.rssm.prior_head
        width, unimix = self.stoch.shape[-1], self.rssm.params.unimix
        grad_stoch, grad_deter = grad[-1, :, :width], grad[-1, :, width:]
        actions = []
        for step, feat in zip(reversed(self.steps), grad[:-1].flip(0), strict=True):
            before, after = step.head
            x = sample_backward(grad_stoch.reshape(step.softmax.shape), step.softmax, unimix).flatten(1) @ out.weight
            x = norm_silu_backward(x, after, second[1])[0] @ second[0].weight
            x = norm_silu_backward(x, before, first[1])[0]
            deter, stoch, grads = gru.backward(torch.addmm(grad_deter, x, first[0].weight), step.gru)
            grad_stoch, grad_deter = feat[:, :width] + stoch, feat[:, width:] + deter
            actions.append(norm_silu_backward(grads.action_in, step.action, norm)[0] @ linear.weight)
        return torch.stack(actions[::-1])


class _Feats(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, action: Float[Tensor, "H B A"], rollout: Rollout) -> Float[Tensor, "H1 B F"]:
        ctx.rollout = rollout
        return torch.stack(rollout.feat)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "H1 B F"]) -> tuple[Float[Tensor, "H B A"], None]:
        return ctx.rollout.backward(grad), None
