"""Does the model imagine what really happens, and does the critic know it? Numbers of a run that predict learning.

Each number is read at the rows where imagination starts: after ``CONTEXT`` rows of a window have been filtered.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gsa.agents.dreamer import Dreamer
from gsa.episode import Batch, Episode, prev_action
from gsa.storage.replay import EpisodeBuffer, Replay
from gsa.world_model.rssm import State

CONTEXT, AHEAD = 5, 10
"""Rows of a window that are seen, and decisions that are imagined after them."""

NUM_WINDOWS = 64

SATURATED = 0.99
"""A mean action beyond this is as good as at its limit, where tanh passes hardly any gradient."""

Places = Sequence[tuple[int, int]]
"""Windows: episode and first row."""


def places(lengths: Int64[np.ndarray, " N"], among: Sequence[range] | None, rng: np.random.Generator) -> Places:
    """At most ``NUM_WINDOWS`` windows; with ``among`` those that imagine from a row of each episode's range."""
    rows = CONTEXT + AHEAD
    found = [
        (episode, start)
        for episode, length in enumerate(lengths.tolist())
        for start in range(length - rows + 1)
        if among is None or start + CONTEXT - 1 in among[episode]
    ]
    chosen = rng.permutation(len(found))[:NUM_WINDOWS]
    return [found[i] for i in sorted(chosen)]


@torch.no_grad()
def imagined_rewards(agent: Dreamer, buffer: EpisodeBuffer, where: Places, name: str) -> dict[str, float]:
    """The reward ``AHEAD`` decisions later: real, imagined with the recorded actions, and with other windows' actions.

    ``error`` is the mean distance of the first two. Episodes without rewards have the imagined ones alone.
    """
    if len(where) < 2:
        return {}
    batch = _read(agent, buffer, where)
    seen = _filter(agent, batch)
    swapped = batch.action.roll(1, 0)
    noise = agent.world_model.rssm.noise(AHEAD, len(where))  # the same for both: what differs is the actions
    recorded, shuffled = (_reward_ahead(agent, seen, actions, noise) for actions in (batch.action, swapped))
    values = {"imag_reward": recorded.mean(), "imag_reward_shuffled": shuffled.mean()}
    if batch.has_reward.all():
        real = batch.reward[:, -1]
        values |= {"real_reward": real.mean(), "reward_error": (recorded - real).abs().mean()}
    return {f"{key}_{name}": float(value) for key, value in values.items()}


@torch.no_grad()
def judged_states(agent: Dreamer, buffer: EpisodeBuffer, where: Places) -> dict[str, float]:
    """Critic beside the real discounted return to the episode's end, for starts in its first half; the reward head's
    loss beside the entropy of the rewards, which a head that sees nothing reaches; the policy's saturation and entropy
    per action dimension, in nats."""
    batch = _read(agent, buffer, where)
    state, params = _filter(agent, batch), agent.params
    discount, early, returns = params.discount, [], []
    for window, (episode, start) in enumerate(where):
        rewards = buffer.read(episode).reward
        row = start + CONTEXT - 1
        if rewards is not None and 2 * row < len(rewards):
            early.append(window)
            returns.append(float((rewards[row:] * discount ** np.arange(len(rewards) - row)).sum()))
    value = agent.two_hot.decode(agent.behavior.critic(state.feat))
    mean, std = agent.behavior.actor(state.feat)
    own = slice(agent.action_dim)
    entropy = 0.5 * np.log(2 * np.pi * np.e) + std[:, own].log().mean()
    found = {"saturation": (mean[:, own].abs() > SATURATED).float().mean(), "entropy": entropy}
    if early:
        found |= {"value": value[early].mean(), "real_return": torch.tensor(np.mean(returns))}
    if batch.has_reward.all():
        reward = batch.reward[:, CONTEXT - 1]
        marginal = agent.two_hot.encode(reward).mean(0)
        found["reward_loss"] = agent.two_hot.loss(agent.reward_head(state.feat), reward).mean()
        found["reward_entropy"] = -torch.special.xlogy(marginal, marginal).sum()
    return {key: float(x) for key, x in found.items()}


def buffered(episodes: Iterable[Episode]) -> EpisodeBuffer:
    """The episodes as a buffer."""
    buffer = EpisodeBuffer()
    for episode in episodes:
        buffer.add(episode)
    return buffer


def _read(agent: Dreamer, buffer: EpisodeBuffer, where: Places) -> Batch:
    replay = Replay(buffer, agent.world_model.params.action_dim, seed=0)
    episodes, starts = np.array(where).T
    return replay.windows(episodes, starts, CONTEXT + AHEAD).to(next(agent.parameters()).device)


def _filter(agent: Dreamer, batch: Batch) -> State:
    embed = agent.world_model.embed(batch.image[:, :CONTEXT])
    action = prev_action(batch.action)[:, :CONTEXT]
    post, _ = agent.world_model.rssm.observe(embed, action, batch.is_first[:, :CONTEXT])
    return State(post.deter[:, -1], post.stoch[:, -1])


def _reward_ahead(
    agent: Dreamer, state: State, action: Float[Tensor, "B T A"], noise: Float[Tensor, "G B S K"]
) -> Float[Tensor, " B"]:
    for t, step_noise in enumerate(noise, CONTEXT - 1):
        state = agent.world_model.rssm.img_step(state, action[:, t], step_noise)
    return agent.two_hot.decode(agent.reward_head(state.feat))
