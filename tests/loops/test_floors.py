"""Floors: the best constant is found, scored on other seeds, and everything depends on task, seed and number alone."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from gsa.config import FloorsParams
from gsa.episode import Step
from gsa.errors import DataError
from gsa.loops.floors import MAX_CANDIDATES, Turn, constant_candidates, measure_floors, planned_episodes, play
from gsa.tasks import get_task

TASK = replace(get_task("mw-reach"), suite="own", action_dim=2)  # the name's metric is success; no expert
PARAMS = FloorsParams(episodes=4, search_episodes=1, finalists=2, seed=0)
BEST = (1.0, -1.0)


class Target:
    """Three decisions; the reward is minus the distance to ``BEST``, and success is being there at the end."""

    name, action_dim, max_env_steps = TASK.name, 2, 3

    def __init__(self, log: list[tuple[int, tuple[float, ...]]] | None = None, breaks: tuple[float, ...] | None = None):
        self.log, self.breaks, self.seed = log, breaks, -1

    def reset(self, seed=None) -> Step:
        self.seed, self.count = seed, 0
        return self._step(np.zeros(2))

    def step(self, action) -> Step:
        self.count += 1
        if self.breaks is not None and tuple(action) == self.breaks:
            raise DataError("the simulation diverged")
        if self.log is not None and self.count == 1:
            self.log.append((self.seed, tuple(float(a) for a in action)))
        return self._step(action)

    def close(self) -> None: ...

    def _step(self, action) -> Step:
        distance = float(np.abs(np.asarray(action) - BEST).sum())
        is_last = self.count == self.max_env_steps
        image = np.zeros((3, 64, 64), np.uint8)
        return Step(image, -distance, self.count == 0, is_last, success=distance == 0.0)


def test_the_best_constant_is_found_and_scored_on_seeds_it_was_not_searched_on():
    log: list[tuple[int, tuple[float, ...]]] = []
    advanced: list[int] = []
    found = measure_floors(TASK, PARAMS, partial(Target, log), advance=advanced.append)
    rows = {row.method: row for row in found.rows}
    assert list(rows) == ["random", "nothing", "constant"]
    assert found.constant == {"action": list(BEST), "candidates": 9, "search_score": 1.0, "search_return": -2.0}
    assert (rows["constant"].score, rows["constant"].episode_return) == (1.0, -2.0)  # the first step is at zero
    assert (rows["nothing"].score, rows["nothing"].episode_return) == (0.0, -8.0)
    assert rows["random"].frames == 0 and rows["random"].num_episodes == PARAMS.episodes
    assert sum(advanced) == planned_episodes(TASK, PARAMS)
    scored = {seed for seed, action in log if action == (0.0, 0.0)}  # nothing: searched once too
    last = [seed for seed, action in log[-PARAMS.episodes :]]
    searched = [seed for seed, action in log[: -PARAMS.episodes] if action == BEST]
    assert set(last) <= scored and not set(last) & set(searched) and len(set(last)) == PARAMS.episodes


def test_ties_of_the_metric_are_broken_by_the_return():
    class Never(Target):
        def _step(self, action) -> Step:
            return replace(super()._step(action), success=False)

    found = measure_floors(TASK, PARAMS, Never)
    assert found.constant["action"] == list(BEST) and found.constant["search_score"] == 0.0


def test_a_constant_under_which_the_simulation_diverges_is_no_candidate():
    found = measure_floors(TASK, PARAMS, partial(Target, None, BEST))
    assert found.constant["action"] != list(BEST) and found.constant["search_return"] == -5.0
    with pytest.raises(DataError, match="diverged"):
        measure_floors(TASK, PARAMS, partial(Target, None, (0.0, 0.0)))  # nothing is scored, not searched


def test_a_turn_depends_on_itself_alone_so_that_processes_change_no_score():
    turns = [Turn("random", "score", 3), Turn("constant", "search", 2, BEST), Turn("nothing", "score", 2, (0.0, 0.0))]
    env = Target()
    there = [play(TASK, 0, env, turn) for turn in turns]
    back = [play(TASK, 0, env, pickle.loads(pickle.dumps(turn))) for turn in reversed(turns)]
    assert there == back[::-1] and there != [play(TASK, 1, env, turn) for turn in turns]


@pytest.mark.parametrize(("width", "count"), [(1, 3), (4, 81), (6, 76), (12, 81)])
def test_candidates_are_few_distinct_and_seeded(width, count):
    found = constant_candidates(width, np.random.default_rng(0))
    assert len(found) == len(set(found)) == count <= MAX_CANDIDATES
    assert found[0] == (0.0,) * width and set(np.ravel(found)) == {-1.0, 0.0, 1.0}
    assert found == constant_candidates(width, np.random.default_rng(0))


@pytest.mark.sim
def test_a_metaworld_task_has_an_expert_that_beats_doing_nothing(monkeypatch):
    monkeypatch.setattr("gsa.loops.floors.constant_candidates", lambda width, rng: [(0.0,) * width, (1.0,) * width])
    from gsa.config import RenderParams
    from gsa.envs import make_env

    spec = get_task("mw-drawer-close")
    make = partial(make_env, spec, RenderParams(quality="fast", backend="auto"), pixels=False)
    rows = {row.method: row for row in measure_floors(spec, PARAMS.model_copy(update={"episodes": 2}), make).rows}
    assert set(rows) == {"random", "nothing", "constant", "expert"}
    assert rows["expert"].success_any == 1.0 and rows["nothing"].score == 0.0
