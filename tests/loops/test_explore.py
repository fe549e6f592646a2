import json
import logging
import math
import multiprocessing
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsa.config import RenderParams
from gsa.errors import DataError, ParamsError, StoppedError
from gsa.loops import draw_explored
from gsa.loops import explore as explore_module
from gsa.loops.draw_explored import check_gates, explore_domain, render_path
from gsa.loops.explore import BODY_TASK, StatePath, explore, random_reference
from gsa.policies.coverage import pose_coverage
from gsa.runs.checkpoint import CheckpointStore
from gsa.storage.raw import read_manifest, read_raw_episode
from gsa.tasks import DMC_ACTION_DIM, get_task
from tests.loops.explore_and_die import Died, write_point, write_point_and_die
from tests.policies.point_body import PointBody
from tests.policies.test_exploration import explore_params

# The point's two coordinates are read as the cartpole's: cart and pole.


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


def test_a_failed_gate_refuses_the_data_and_keeps_the_work_so_that_it_may_be_kept_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(draw_explored, "MAX_SATURATION", -1.0)
    refused, work = tmp_path / "refused", tmp_path / "work"
    with caplog.at_level(logging.WARNING), pytest.raises(DataError, match=r"by icm: .*saturation.*failed_gate to keep"):
        write_point(refused, work, failed_gate="refuse")
    assert contents(refused) == {} and "saturation" in caplog.text
    write_point(tmp_path / "fresh")
    monkeypatch.setattr(explore_module, "run_episode", None)  # nothing acts any more
    monkeypatch.setattr(draw_explored, "random_reference", None)
    with pytest.raises(DataError, match="saturation"):
        write_point(refused, work, failed_gate="refuse")
    write_point(tmp_path / "kept", work)
    assert contents(tmp_path / "kept") == contents(tmp_path / "fresh")
    gates = read_manifest(tmp_path / "kept")["source"]["gates"]
    assert any("saturation" in failure for failure in gates["failed"])


@pytest.mark.parametrize("method", ["icm", "rnd", "disagreement", "ou"])
@pytest.mark.parametrize("step", [2, 3])
def test_interrupted_again_and_again_it_writes_the_same_bytes(
    method: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second or third report of an episode (4 of training, 3 drawn; after those resumed) ends the process."""
    monkeypatch.setattr(explore_module, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(explore_module, "SAVE_SHARE", math.inf)
    options = {"method": method, "episodes": 3}
    write_point(tmp_path / "whole", **options)
    deaths = 0
    while True:
        cut = tmp_path / f"cut{deaths}"
        try:
            write_point(cut, tmp_path / "work", die_after=step, **options)
            break
        except Died:
            assert contents(cut) == {}
            deaths += 1
    assert deaths >= 2 and contents(cut) == contents(tmp_path / "whole")


def test_killed_while_it_trains_and_while_it_draws_it_writes_the_same_bytes(tmp_path: Path) -> None:
    """The third report is the third of four episodes; the fifth of the process after it is the first drawn one."""
    write_point(tmp_path / "whole", method="rnd")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.loops.explore_and_die"])
    codes = []
    for number, at in enumerate((2, 4, 100)):
        process = context.Process(target=write_point_and_die, args=(tmp_path / f"{number}", tmp_path / "work", at))
        process.start()
        process.join(120)
        codes.append(process.exitcode)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert contents(tmp_path / "2") == contents(tmp_path / "whole")


def test_a_stop_is_kept_in_training_and_in_drawing(tmp_path: Path) -> None:
    write_point(tmp_path / "whole")
    store = CheckpointStore(tmp_path / "work", "stamp")
    out = tmp_path / "out"
    out.mkdir()

    def run(stop_at: int) -> None:
        reports = 0

        def advance(done: int) -> None:
            nonlocal reports
            reports += 1
            store.stop_requested = reports == stop_at

        params = explore_params(failed_gate="keep")
        explore_domain(PointBody, "cartpole", params, {"quality": "none"}, out, store, advance)

    with pytest.raises(StoppedError, match="after step 3; the same command resumes there"):
        run(3)  # the third episode of training
    with pytest.raises(StoppedError, match="after drawing 1 of 2 episodes"):
        run(4)  # resumed, the fourth, none kept, the first drawn
    run(0)
    assert contents(out) == contents(tmp_path / "whole")


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
    assert {domain: get_task(task).embodiment for domain, task in BODY_TASK.items()} == {d: d for d in DMC_ACTION_DIM}


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
    spawned, store = tmp_path / "spawned", CheckpointStore(tmp_path / "work", "stamp")
    spawned.mkdir()
    explore_domain(PointBody, "cartpole", params, {"quality": "none"}, spawned, store, workers=2)
    assert contents(tmp_path / "here") == contents(spawned)
