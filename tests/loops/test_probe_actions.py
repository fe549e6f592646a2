"""Branches are played from the same state, and an environment that cannot do that is found out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gsa.config import ProbeActionsParams, RenderParams
from gsa.envs import make_env
from gsa.envs.base import SuiteEnv
from gsa.envs.rendering import BLACK_FRAME
from gsa.episode import Step
from gsa.errors import DataError
from gsa.loops.probe_actions import (
    choose_directions,
    describe,
    measured,
    play_branches,
    probe_actions,
    write_probe,
)
from gsa.world_model.model import WorldModel
from tests.world_model.factories import world_model_params

MOVE = 0.02


class Dot(SuiteEnv):
    """A square that actions move; the seed says where it begins."""

    def __init__(self, action_dim: int = 2, max_env_steps: int = 60, noise: float = 0.0, ends: int = 10**9):
        super().__init__("dot", action_dim, max_env_steps)
        self.noise, self.ends, self.drawn = noise, ends, 0
        self._rng, self._place = np.random.default_rng(0), np.zeros(action_dim)

    def _begin(self, seed: int | None) -> Step:
        self._place = np.random.default_rng(seed).uniform(-0.2, 0.2, self.action_dim)
        return self._step()

    def _decide(self, action: np.ndarray, where: str) -> Step:
        self._place = self._place + MOVE * action + self.noise * self._rng.standard_normal(self.action_dim)
        return self._step()

    def _step(self) -> Step:
        image = BLACK_FRAME
        if self.pixels:
            self.drawn += 1
            image = np.zeros((3, 64, 64), np.uint8)
            y, x = (np.clip(self._place[[0, -1]], -0.9, 0.9) * 32 + 32).astype(int)
            image[:, y - 2 : y + 3, x - 2 : x + 3] = 255
        is_last = self._count >= min(self.max_env_steps, self.ends)
        return Step(image, 0.0, self._count == 0, is_last, state=self._place.copy())


def tiny() -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(world_model_params()).eval()


def test_branches_part_from_one_state_by_the_action_alone() -> None:
    env = Dot()
    starts = play_branches(env, seed=0, num_starts=5)
    lengths = {len(start.action) for start in starts}
    assert len(lengths) > 1 and min(lengths) >= 10 and max(lengths) <= 30
    assert [start.whole for start in starts] == [True, False, False, False, True]
    np.testing.assert_array_equal(starts[0].directions, np.eye(2))
    for start in starts:
        rows = np.array([[np.argwhere(image[0])[0] for image in one] for one in start.branch.reshape(4, -1, 3, 64, 64)])
        begin = np.argwhere(start.image[-1][0])[0]
        moved = (rows[:, -1] - begin) / (32 * MOVE * 20)  # after 20 decisions
        np.testing.assert_allclose(moved, [[1, 0], [-1, 0], [0, 1], [0, -1]], atol=0.1)
    again = play_branches(Dot(), seed=0, num_starts=5)
    for one, other in zip(starts, again, strict=True):
        np.testing.assert_array_equal(one.branch, other.branch)
    assert not np.array_equal(play_branches(Dot(), seed=1, num_starts=1)[0].image[0], starts[0].image[0])


def test_only_what_is_looked_at_is_drawn() -> None:
    env = Dot()
    starts = play_branches(env, seed=0, num_starts=4)
    rows = sum(len(start.image) for start in starts)
    assert env.drawn == rows + 4 * sum(1 + start.branch.shape[2] for start in starts)
    assert env.pixels


def test_many_dimensions_have_four_random_directions() -> None:
    chosen = choose_directions(12, np.random.default_rng(0))
    assert chosen.shape == (4, 12)
    np.testing.assert_allclose(np.abs(chosen).max(1), 1.0)


def test_an_environment_that_does_not_repeat_itself_is_named() -> None:
    with pytest.raises(DataError, match=r"dot, seed \d+, decision \d+: the same seed and actions led to another state"):
        play_branches(Dot(noise=0.1), seed=0, num_starts=1)


def test_episodes_that_are_or_become_too_short_are_named() -> None:
    with pytest.raises(DataError, match="an episode has 29 decisions, this measure needs 30"):
        play_branches(Dot(max_env_steps=29), seed=0, num_starts=1)
    with pytest.raises(DataError, match="of 6 episodes only 0 lasted 10 to 30 decisions and 20 more, expected 2"):
        play_branches(Dot(ends=25), seed=0, num_starts=2)
    assert len(play_branches(Dot(ends=45), seed=0, num_starts=2)) == 2  # the longer ones are drawn again


def test_the_result_is_written_and_told(tmp_path: Path) -> None:
    done: list[int] = []
    result = probe_actions(tiny(), Dot(), seed=0, num_starts=2, samples=1, advance=done.append)
    assert done == [1, 1]
    write_probe(tmp_path, result)
    stored = json.loads((tmp_path / "probe.json").read_text())
    assert stored == {key: value for key, value in result.items() if key != "picture"}
    assert set(stored["r2"]) == set(stored["r2_seen"]) == {"5", "10", "20"} and stored["effect"]["20"] > 0
    assert (tmp_path / "branches.png").stat().st_size > 0
    assert "at 5, 10, 20 decisions (r2, 2 starts)" in describe("dot", result)
    assert f"{stored['r2']['5']:.2f} (+-{stored['standard_error']['5']:.2f}), {stored['r2']['10']:.2f}" in describe(
        "dot", result
    )


def test_what_cannot_be_measured_is_said_instead(tmp_path: Path) -> None:
    result = measured(
        tiny(), Dot(action_dim=4, max_env_steps=29), ProbeActionsParams(starts=1, seed=0), lambda starts: None
    )
    write_probe(tmp_path, result)
    assert "not measured: dot: an episode has 29 decisions" in describe("dot", result)
    with pytest.raises(DataError, match=r"actions are 4 wide, the model's 3; raise world_model\.action_dim"):
        probe_actions(tiny(), Dot(action_dim=4), seed=0, num_starts=1)


@pytest.mark.sim
@pytest.mark.parametrize("task", ["dmc-walker-walk", "mw-drawer-close"])
def test_the_simulators_repeat_an_episode_whatever_is_drawn(task: str) -> None:
    env = make_env(task, RenderParams(quality="fast", backend="auto"))
    starts = play_branches(env, seed=0, num_starts=1)  # compares states and pictures where branches part
    assert not np.array_equal(starts[0].branch[0, 0], starts[0].branch[0, 1])
    env.close()
