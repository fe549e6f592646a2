import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsa.config import RenderParams
from gsa.errors import DataError, ParamsError
from gsa.loops.explore import BODY_TASK, StatePath, check_gates, explore, explore_domain, random_reference, render_path
from gsa.sources.coverage import pose_coverage
from gsa.storage.raw import read_manifest, read_raw_episode
from gsa.tasks import DMC_ACTION_DIM, get_task
from tests.sources.point_body import PointBody
from tests.sources.test_exploration import explore_params

# The point's two coordinates are read as the cartpole's: cart and pole.


def write_point(folder: Path, reward: Callable[[np.ndarray], float] = lambda x: 0.0, **changes: Any) -> dict[str, Any]:
    params = explore_params(failed_gate="keep", **changes)
    return explore_domain(PointBody(reward=reward), "cartpole", params, {"quality": "none"}, folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("method", ["icm", "rnd", "disagreement", "ou", "random"])
def test_every_method_writes_raw_episodes_whose_actions_explain_the_pictures(method: str, tmp_path: Path) -> None:
    write_point(tmp_path, method=method)
    records = read_manifest(tmp_path)["episodes"]
    assert len(records) == 2
    for record in records:
        episode = read_raw_episode(tmp_path / record["file"])
        place = episode.image[:, :2, 0, 0] / 127 - 1.0  # within half a grey level
        moved = (place[:-1] + 0.2 * episode.action[:-1]).clip(-1.0, 1.0)
        assert len(episode) == 11 and np.allclose(moved, place[1:], atol=2 / 127)
        assert np.abs(episode.action[:-1]).max() > 0.2 and not episode.action[-1].any()


def test_the_reward_changes_nothing_and_is_not_stored(tmp_path: Path) -> None:
    write_point(tmp_path / "zero")
    write_point(tmp_path / "nan", reward=lambda x: math.nan)  # would spoil whatever it touched
    assert contents(tmp_path / "zero") == contents(tmp_path / "nan")
    record = read_manifest(tmp_path / "nan")["episodes"][0]
    assert read_raw_episode(tmp_path / "nan" / record["file"]).reward is None


def test_domain_and_seed_decide_every_byte(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    write_point(tmp_path / "once")
    torch.manual_seed(123)
    torch.set_num_threads(2)
    try:
        write_point(tmp_path / "again")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    write_point(tmp_path / "other", seed=1)
    assert contents(tmp_path / "once") == contents(tmp_path / "again")
    assert contents(tmp_path / "once").items() & contents(tmp_path / "other").items() == set()


def test_whole_episodes_are_kept_evenly_from_first_to_last() -> None:
    done: list[int] = []
    paths = explore(PointBody(), "cartpole", explore_params(train_env_steps=59, episodes=3), done.append)
    assert [path.first_env_step for path in paths] == [0, 20, 40]
    assert len({path.seed for path in paths}) == 3
    assert done == [10] * 5


def test_noise_runs_only_what_is_kept() -> None:
    done: list[int] = []
    paths = explore(PointBody(), "cartpole", explore_params(method="ou", train_env_steps=1000, episodes=3), done.append)
    assert (len(paths), sum(done)) == (3, 30)


@pytest.mark.parametrize("method", ["icm", "rnd", "disagreement"])
def test_curiosity_leaves_the_middle_that_random_actions_stay_in(method: str) -> None:
    params = explore_params(method=method, train_env_steps=600, seed_env_steps=100, update_every=2, hidden=16, lr=1e-2)
    params = params.model_copy(update={"batch_size": 32, "episodes": 12})
    body = PointBody(max_env_steps=20)
    late = explore(body, "cartpole", params)[-6:]
    random = random_reference(body, "cartpole", params)
    distance = [np.mean([np.abs(p.physics[10:]).mean() for p in group]) for group in (late, random)]
    assert distance[0] > 1.5 * distance[1]


def test_too_short_a_training_is_refused_with_the_length_it_needs() -> None:
    with pytest.raises(ParamsError, match=r"train_env_steps = 40 is 4 episodes of 10.*raise the first to at least 50"):
        explore(PointBody(), "cartpole", explore_params(episodes=5))


def test_a_state_that_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    body = PointBody()
    original = body.step

    def diverge(action: np.ndarray) -> Any:
        body.position[:] = np.nan if body.count == 3 else body.position
        return original(action)

    monkeypatch.setattr(body, "step", diverge)
    with pytest.raises(DataError, match=r"exploration of point, seed \d+, decision 3: the state is not finite"):
        explore(body, "cartpole", explore_params())


def path_of(places: list[float], action: float) -> StatePath:
    physics = np.array([[x, x] for x in places])
    return StatePath(0, 0, physics, np.full((len(places), 1), action, np.float32))


def test_gates_compare_coverage_with_random_and_bound_saturation() -> None:
    wide, narrow = [path_of([-1.0, 0.0, 1.0], 0.5)], [path_of([0.0, 0.0, 0.0], 0.5)]
    assert check_gates(wide, narrow, "cartpole", "icm")["failed"] == []
    facts = check_gates(narrow, wide, "cartpole", "icm")
    assert facts["coverage_random"] == pose_coverage(wide[0].physics, "cartpole") > facts["coverage"] == 0.0
    assert facts["failed"] == ["coverage 0.000 is not above 0.183 (random actions)"]
    assert check_gates(narrow, wide, "cartpole", "random")["failed"] == []
    centre = (np.arange(20) + 0.5) / 10 - 1.0
    grid = np.stack(np.meshgrid(1.8 * centre, math.pi * centre), -1).reshape(-1, 2)  # every cell once: coverage 1
    everywhere, nearly = (StatePath(0, 0, rows, np.zeros((len(rows), 1), np.float32)) for rows in (grid, grid[20:]))
    assert check_gates([nearly], [everywhere], "cartpole", "icm")["failed"] == []  # 0.99 < 1.00, and enough
    mostly = [path_of([-1.0, 0.0, 1.0], -1.0), path_of([-1.0, 0.0, 1.0], 0.98)]
    assert check_gates(mostly, narrow, "cartpole", "icm")["failed"] == []
    saturated = check_gates([*mostly, mostly[0]], narrow, "cartpole", "icm")
    assert saturated["failed"] == ["saturation 0.67 is not below 0.6"]


def test_a_failed_gate_refuses_the_data_unless_it_may_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gsa.loops.explore.MAX_SATURATION", -1.0)
    refused = tmp_path / "refused"
    with caplog.at_level(logging.WARNING), pytest.raises(DataError, match=r"cartpole explored by icm: .*saturation"):
        explore_domain(PointBody(), "cartpole", explore_params(), {}, refused)
    assert not refused.exists() and "saturation" in caplog.text
    write_point(tmp_path / "kept")
    gates = read_manifest(tmp_path / "kept")["source"]["gates"]
    assert any("saturation" in failure for failure in gates["failed"])


def test_the_manifest_says_who_explored_how_and_what_was_measured(tmp_path: Path) -> None:
    gates = write_point(tmp_path, method="disagreement", train_env_steps=40, episodes=2)
    body = read_manifest(tmp_path)
    source = body["source"]
    assert (source["name"], source["embodiment"], source["action_dim"]) == ("explore-cartpole", "cartpole", 2)
    assert (source["policy"], source["sigma"], source["task"], source["seed"]) == ("disagreement", 0.2, None, 0)
    assert source["reward"].startswith("absent") and source["gates"] == json.loads(json.dumps(gates))
    assert [record["first_env_step"] for record in body["episodes"]] == [0, 30]
    assert 0.0 < gates["first_frame_distance"] < 0.1


def test_every_body_has_a_task_for_its_initial_states() -> None:
    assert {domain: get_task(task).domain for domain, task in BODY_TASK.items()} == {d: d for d in DMC_ACTION_DIM}


@pytest.mark.sim
def test_walker_explores_the_same_whatever_its_task_pays_and_pictures_are_live_ones(tmp_path: Path) -> None:
    from gsa.envs import make_env

    render = RenderParams(quality="fast", backend="auto")
    params = explore_params(train_env_steps=1000, update_every=50, seed_env_steps=600, episodes=2)
    paths = {}
    for task in ("dmc-walker-stand", "dmc-walker-run"):  # equal bodies and starts, other rewards
        env = make_env(task, render, pixels=False)
        paths[task] = explore(env, "walker", params)
        env.close()
    stand, run = paths.values()
    for one, other in zip(stand, run, strict=True):
        assert np.array_equal(one.physics, other.physics) and np.array_equal(one.action, other.action)
    live = make_env("dmc-walker-stand", render)
    images = [live.reset(stand[1].seed).image]
    images += [live.step(action).image for action in stand[1].action[:20]]
    short = StatePath(stand[1].seed, 0, stand[1].physics[:21], stand[1].action[:21])
    assert np.array_equal(render_path(live, short, "walker").image, np.stack(images))
    live.close()


def test_who_renders_changes_no_byte(tmp_path: Path) -> None:
    write_point(tmp_path / "here", episodes=3)
    params = explore_params(failed_gate="keep", episodes=3)
    spawned = tmp_path / "spawned"
    explore_domain(PointBody(), "cartpole", params, {"quality": "none"}, spawned, workers=2, make_body=PointBody)
    assert contents(tmp_path / "here") == contents(spawned)
