"""The one loop and the counting environment: order, types, and what must never reach a simulator."""

from dataclasses import replace

import numpy as np
import pytest

from gsa.envs.rollout import rollout
from gsa.episode import Step
from gsa.errors import DataError
from tests.envs.counting import CountingEnv


class Scripted:
    """Plays the given actions, one a decision, and remembers the images it saw."""

    name = "scripted"

    def __init__(self, *actions):
        self.actions = list(actions)
        self.seen = []

    def act(self, step: Step) -> np.ndarray:
        self.seen.append(int(step.image[0, -1, -1]))
        return self.actions[len(self.seen) - 1]


def ramp(num: int) -> Scripted:
    return Scripted(*[np.array([0.1 * i, -0.1 * i]) for i in range(num)])


def test_row_t_holds_image_t_the_reward_that_came_with_it_and_the_action_chosen_there():
    policy = ramp(5)
    episode = rollout(CountingEnv(2, 5), policy, seed=7)
    assert policy.seen == [0, 1, 2, 3, 4]
    assert episode.image[:, 0, -1, -1].tolist() == [0, 1, 2, 3, 4, 5]
    assert episode.reward == pytest.approx(np.arange(6) / 10)
    assert episode.action[:, 0] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.0])
    assert episode.action.dtype == np.float32 and episode.reward.dtype == np.float32
    assert episode.is_first.tolist() == [True] + [False] * 5
    assert episode.is_last.tolist() == episode.success.tolist() == [False] * 5 + [True]
    assert not episode.is_terminal.any()
    assert episode.info == {"task": "counting", "seed": 7}


def test_equal_seeds_give_equal_episodes_and_others_do_not():
    def play(seed):
        return rollout(CountingEnv(2, 3), ramp(3), seed).image

    assert np.array_equal(play(3), play(3))
    assert not np.array_equal(play(3), play(4))


def test_the_stored_action_is_the_executed_one():
    env = CountingEnv(2, 1)
    episode = rollout(env, Scripted(np.array([3.0, -0.5])))
    assert episode.action[0].tolist() == [1.0, -0.5]
    env.reset(0)
    assert env.step(np.array([3.0, -0.5])).state.tolist() == [1.0, 1.0, -0.5]


@pytest.mark.parametrize(
    "bad",
    [np.array([np.nan, 0.0]), np.array([np.inf, 0.0]), np.zeros(3), np.zeros((1, 2)), np.zeros(2, int)],
    ids=["nan", "inf", "wide", "batched", "integers"],
)
def test_a_malformed_action_changes_nothing_in_the_environment_and_is_blamed_on_the_policy(bad):
    env = CountingEnv(2, 4)
    with pytest.raises(DataError, match="policy scripted on counting, step 2: action"):
        rollout(env, Scripted(np.zeros(2), np.zeros(2), bad))
    assert env._count == 2


class Broken(CountingEnv):
    """A counting environment whose steps are changed on the way out."""

    def __init__(self, **changes):
        super().__init__(2, 4)
        self.changes = changes

    def step(self, action):
        return replace(super().step(action), **self.changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"reward": float("nan")}, "step 0: reward nan is not finite"),
        ({"state": np.array([0.0, np.inf])}, "step 0: state entry 1 is not finite"),
        ({"is_last": False}, "step 4: the episode outlives its 4 decisions"),
    ],
    ids=["reward", "state", "endless"],
)
def test_a_broken_simulator_is_named(changes, message):
    with pytest.raises(DataError, match=message):
        rollout(Broken(**changes), ramp(5))


def test_a_finished_episode_must_be_reset():
    env = CountingEnv(1, 1)
    with pytest.raises(DataError, match="call reset"):
        env.step(np.zeros(1))
    env.reset(0)
    env.step(np.zeros(1))
    with pytest.raises(DataError, match="call reset"):
        env.step(np.zeros(1))
