"""Diagnostics, on models whose answers are known."""

import dataclasses

import numpy as np
import pytest
import torch

from gsa.agents import diagnostics
from gsa.agents.diagnostics import AHEAD, CONTEXT, buffered, imagined_rewards, judged_states, places
from gsa.envs.rollout import rollout
from gsa.policies.untrained import UniformPolicy
from tests.agents.test_dreamer import make_agent
from tests.envs.counting import CountingEnv


def episodes(count=3, length=20):
    env = CountingEnv(max_env_steps=length)
    return [rollout(env, UniformPolicy(env.action_dim, np.random.default_rng(n)), n) for n in range(count)]


def test_windows_imagine_from_the_rows_that_are_asked_for() -> None:
    """The row that imagination starts from lies CONTEXT - 1 rows after the window's first."""
    found = places(np.array([21, 21]), [range(0), range(6, 8)], np.random.default_rng(0))
    assert found == [(1, 6 - CONTEXT + 1), (1, 7 - CONTEXT + 1)]
    everywhere = places(np.array([21, 16, 3]), None, np.random.default_rng(0))
    assert [e for e, _ in everywhere] == [0] * (21 - CONTEXT - AHEAD + 1) + [1] * (16 - CONTEXT - AHEAD + 1)


def test_a_model_that_ignores_actions_imagines_the_same_whatever_they_are() -> None:
    buffer = buffered(episodes())
    where = places(buffer.lengths, None, np.random.default_rng(0))
    for ignores in (True, False):
        agent = make_agent()
        torch.nn.init.normal_(agent.reward_head[-1].weight)
        if ignores:
            torch.nn.init.zeros_(agent.world_model.rssm.gru.in_action[0].weight)
        found = imagined_rewards(agent, buffer, where, "own")
        assert (found["imag_reward_own"] == found["imag_reward_shuffled_own"]) == ignores


def test_the_real_reward_is_that_of_ten_decisions_later() -> None:
    buffer = buffered(episodes(1))
    reward = buffer.read(0).reward
    found = imagined_rewards(make_agent(), buffer, [(0, 0), (0, 2)], "own")
    rows = [CONTEXT - 1 + AHEAD, CONTEXT + 1 + AHEAD]
    assert found["real_reward_own"] == pytest.approx(float(reward[rows].mean()))
    bare = buffered([dataclasses.replace(episodes(1)[0], reward=None, success=None)])
    assert set(imagined_rewards(make_agent(), bare, [(0, 0), (0, 2)], "retrieved")) == {
        "imag_reward_retrieved",
        "imag_reward_shuffled_retrieved",
    }
    assert imagined_rewards(make_agent(), buffer, [], "guided") == {}


def test_the_real_return_is_discounted_from_the_start_on_and_an_untrained_critic_says_zero() -> None:
    buffer, agent = buffered(episodes(1, length=24)), make_agent()
    found = judged_states(agent, buffer, [(0, 0), (0, 9)])  # the second starts in the episode's last half
    reward = buffer.read(0).reward[CONTEXT - 1 :]
    expected = float((reward * agent.params.discount ** np.arange(len(reward))).sum())
    assert found["real_return"] == pytest.approx(expected, rel=1e-6)
    assert found["value"] == pytest.approx(0.0, abs=1e-4)
    assert found["reward_loss"] == pytest.approx(np.log(255), rel=1e-5)
    assert 0.0 <= found["saturation"] <= 1.0


def test_rewards_that_are_all_equal_carry_no_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    same = [dataclasses.replace(e, reward=np.zeros_like(e.reward)) for e in episodes(1)]
    found = judged_states(make_agent(), buffered(same), [(0, 0), (0, 1)])
    assert found["reward_entropy"] == pytest.approx(0.0, abs=1e-6)
    monkeypatch.setattr(diagnostics, "SATURATED", -1.0)
    assert judged_states(make_agent(), buffered(same), [(0, 0), (0, 1)])["saturation"] == 1.0
