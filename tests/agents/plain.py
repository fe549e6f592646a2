"""Updates of an agent as one would first write them, on the layers of ``tests/world_model/plain.py``."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from gsa.agents.dreamer import Dreamer
from gsa.agents.returns import lambda_return, trajectory_weight
from gsa.config import OptimizerParams
from gsa.episode import Batch, prev_action
from gsa.loops.import_model import release_name
from tests.world_model import plain

Weights = dict[str, Tensor]


class PlainAgent:
    """A copy of an agent's weights, updated on batches of online data alone."""

    def __init__(self, agent: Dreamer, optimizer: OptimizerParams):
        model, behavior = agent.world_model, agent.behavior
        self.model_params, self.params = model.params, agent.params
        self.mask, self.clip_norm = behavior.actor.action_mask.clone(), optimizer.clip_norm
        self.weights: dict[str, Weights] = {"encoder": {}, "rssm": {}, "decoder": {}}
        for name, value in model.state_dict().items():
            part, theirs = release_name(name).split(".", 1)
            self.weights[part][theirs] = leaf(value)
        heads = {"reward": agent.reward_head, "actor": behavior.actor.net, "critic": behavior.critic}
        self.heads = {name: {k: leaf(v) for k, v in head.state_dict().items()} for name, head in heads.items()}
        self.slow_critic = {k: v.detach().clone() for k, v in behavior.slow_critic.state_dict().items()}

        def adam(parameters: Iterable[Tensor], lr: float) -> torch.optim.Adam:
            decay = optimizer.weight_decay
            return torch.optim.Adam(parameters, lr, eps=optimizer.eps, weight_decay=decay, foreach=False)

        rates = {"reward": optimizer.lr, "actor": agent.params.actor_lr, "critic": agent.params.critic_lr}
        self.optimizers = {name: adam(self.heads[name].values(), lr) for name, lr in rates.items()}
        self.optimizers["model"] = adam([w for part in self.weights.values() for w in part.values()], optimizer.lr)

    def twin(self, name: str) -> Tensor:
        """The copy of the agent's weight of that name."""
        part, rest = name.split(".", 1)
        if part == "world_model":
            model_part, theirs = release_name(rest).split(".", 1)
            return self.weights[model_part][theirs]
        head = next(head for head in self.heads if head in name)
        return self.heads[head][rest.removeprefix(f"{head}.").removeprefix("net.")]

    def step(self, name: str, loss: Tensor) -> None:
        """Minimise the loss once with the optimizer of that name."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], self.clip_norm)
        optimizer.step()

    def update_model(self, batch: Batch) -> tuple[dict[str, float], Weights]:
        """One pre-training update; returns the loss terms and the states they were computed from."""
        action = prev_action(batch.action)
        terms, parts = plain.loss_terms(batch.image, action, batch.is_first, self.weights, self.model_params)
        self.step("model", plain.total(terms, self.model_params))
        return {name: float(term.detach().mean()) for name, term in terms.items()}, parts

    def update(self, batch: Batch) -> dict[str, float]:
        """One update of world model, reward head, actor and critic."""
        losses, parts = self.update_model(batch)
        h, z = parts["deter"].detach(), parts["stoch"].detach()
        reward_loss = two_hot_loss(mlp(torch.cat([z, h], -1), self.heads["reward"]), batch.reward).mean()
        self.step("reward", reward_loss)
        actor_loss, critic_loss = self.behavior_losses(h.flatten(0, 1), z.flatten(0, 1), batch.is_terminal.flatten())
        self.step("actor", actor_loss)
        self.step("critic", critic_loss)
        for name, slow in self.slow_critic.items():
            slow += self.params.slow_critic_fraction * (self.heads["critic"][name].detach() - slow)
        behavior = {"reward_loss": reward_loss, "actor_loss": actor_loss, "critic_loss": critic_loss}
        return losses | {name: float(loss.detach()) for name, loss in behavior.items()}

    def behavior_losses(self, h: Tensor, z: Tensor, is_terminal: Tensor) -> tuple[Tensor, Tensor]:
        """Actor and critic loss on a trajectory imagined from every start state."""
        params, rssm = self.params, {name: w.detach() for name, w in self.weights["rssm"].items()}
        feats, entropies = [torch.cat([z, h], -1)], []
        for _ in range(params.imag_horizon):
            mean, std = self.act(feats[-1].detach())
            entropies.append(((0.5 * math.log(2 * math.pi * math.e) + torch.log(std)) * self.mask).sum(-1))
            raw = mean + std * torch.randn_like(mean)
            action = (raw + (raw.clamp(-1 + 1e-6, 1 - 1e-6) - raw).detach()) * self.mask
            h = plain.gru(h, z, action, rssm, self.model_params.gate_layout)
            z = plain.sample(plain.probs(plain.prior(h, rssm), self.model_params)).flatten(1)
            feats.append(torch.cat([z, h], -1))
        feat = torch.stack(feats)
        reward = two_hot_decode(mlp(feat, {k: w.detach() for k, w in self.heads["reward"].items()}))
        value = two_hot_decode(mlp(feat, self.slow_critic))
        discount = torch.full_like(reward[:-1], params.discount)
        discount[0] *= ~is_terminal
        returns = lambda_return(reward[:-1], value[:-1], discount, value[-1], params.lambda_)
        weight = trajectory_weight(discount)
        objective = returns[1:] + params.actor_entropy_coef * torch.stack(entropies)[:-1]
        critic_loss = two_hot_loss(mlp(feat[:-1].detach(), self.heads["critic"]), returns.detach())
        return -(weight[:-1] * objective).mean(), (weight * critic_loss).mean()

    def act(self, feat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std of the action."""
        mean, std = mlp(feat, self.heads["actor"]).chunk(2, -1)
        low, high = self.params.min_std, self.params.max_std
        return torch.tanh(mean) * self.mask, (high - low) * torch.sigmoid(std + 2) + low


def leaf(value: Tensor) -> Tensor:
    return value.detach().clone(memory_format=torch.contiguous_format).requires_grad_()


def mlp(x: Tensor, weights: Weights) -> Tensor:
    """Hidden layers 0, 1, ... (Linear, LayerNorm, SiLU) and the linear output after them."""
    layers = sum(name.endswith(".0.weight") for name in weights)
    for layer in range(layers):
        x = plain.normed(x, weights, str(layer))
    return plain.linear(x, weights, str(layers))


def two_hot_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy to the two bins around symlog(target), bins evenly from -20 to 20."""
    bins = torch.linspace(-20, 20, logits.shape[-1], device=logits.device, dtype=logits.dtype)
    target = (torch.sign(target) * torch.log1p(torch.abs(target))).clamp(-20, 20)
    above = torch.bucketize(target, bins).clamp(1, len(bins) - 1)
    weight = ((target - bins[above - 1]) / (bins[above] - bins[above - 1]))[..., None]
    one_hot = [F.one_hot(index, len(bins)) for index in (above - 1, above)]
    return -(((1 - weight) * one_hot[0] + weight * one_hot[1]) * F.log_softmax(logits, -1)).sum(-1)


def two_hot_decode(logits: Tensor) -> Tensor:
    bins = torch.linspace(-20, 20, logits.shape[-1], device=logits.device, dtype=logits.dtype)
    x = (F.softmax(logits, -1) * bins).sum(-1)
    return torch.sign(x) * torch.expm1(torch.abs(x))
