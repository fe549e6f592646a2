import numpy as np
import pytest

from gsa.agents.bc import BCPolicy
from gsa.agents.dreamer import DreamerPolicy
from gsa.agents.guidance import GuidedPolicy, draw_window, guidance_prob
from gsa.config import GuidanceParams
from gsa.envs.rollout import rollout
from tests.envs.counting import CountingEnv


def test_probability_falls_linearly_in_decisions_and_then_stays():
    metaworld = GuidanceParams(start=1.0, end=0.1, env_steps=150_000)
    assert [guidance_prob(metaworld, n) for n in (0, 75_000, 150_000, 900_000)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_windows_have_ten_lengths_and_stay_inside_the_episode():
    rng = np.random.default_rng(0)
    windows = [draw_window(1.0, 50, rng) for _ in range(3000)]
    lengths, counts = np.unique([len(w) for w in windows], return_counts=True)
    assert lengths.tolist() == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]
    assert counts.min() > 220
    assert all(w.start >= 0 and w.stop <= 50 for w in windows)
    starts = {w.start for w in windows if len(w) == 45}
    assert starts == set(range(6))


def test_no_window_when_the_probability_is_zero():
    window = draw_window(0.0, 50, np.random.default_rng(0))
    assert all(step not in window for step in range(50))


class Constant(DreamerPolicy, BCPolicy):
    """Acts a constant; remembers what it saw and what it was told was executed."""

    def __init__(self, value):
        self.value, self.seen, self.told = value, [], []

    def see(self, step):
        self.seen.append(int(step.image[0, 1, 0]))

    def act(self, step):
        self.see(step)
        return np.full(2, self.value, np.float32)

    def executed(self, action):
        self.told.append((self.seen[-1], float(action[0])))


def test_guided_policy_acts_inside_the_window_alone_and_both_policies_see_every_step():
    policy, cloned = Constant(0.5), Constant(-0.5)
    episode = rollout(CountingEnv(2, 10), GuidedPolicy(policy, cloned, range(3, 7)), seed=0)
    expected = [0.5] * 3 + [-0.5] * 4 + [0.5] * 3 + [0.0]
    assert episode.action[:, 0].tolist() == pytest.approx(expected)
    assert policy.seen == cloned.seen == list(range(10))
    assert policy.told == [(step, -0.5) for step in range(3, 7)]
