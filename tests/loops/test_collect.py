"""Collection: what an episode depends on, and that nothing finished is lost or trusted blindly."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from gsa.config import RenderParams
from gsa.envs import make_env
from gsa.errors import BrokenWorkerError, DataError, ParamsError
from gsa.loops import collect as module
from gsa.loops.collect import CollectJob, collect
from gsa.storage.raw import read_manifest, read_raw_episode
from gsa.tasks import get_task
from tests.envs.counting import CountingEnv
from tests.loops.counting_task import make_mortal

JOB = CollectJob(get_task("mw-reach"), "random", 0.5, 0, RenderParams(quality="fast", backend="egl"))


class Stopped(Exception):
    """Stands for a kill."""


class Diverging(CountingEnv):
    """Raises at the resets whose numbers are given, as a simulator that blows up would."""

    def __init__(self, *bad):
        super().__init__(4, 6)
        self.bad, self.resets = bad, 0

    def reset(self, seed=None):
        self.resets += 1
        if self.resets - 1 in self.bad:
            raise DataError(f"counting, step 0: the simulation diverged (seed {seed})")
        return super().reset(seed)


@pytest.fixture(autouse=True)
def no_graphics(monkeypatch, request):
    if "sim" not in request.keywords:
        monkeypatch.setattr(module, "ready_backend", lambda spec, backend: backend)


def run(tmp_path, name="out", job=JOB, episodes=3, env=None, **options):
    """Collect in this process from a counting environment, or from what ``make`` in ``options`` makes."""
    folder = tmp_path / name
    folder.mkdir()
    options = {"make": lambda task, render: env or CountingEnv(4, 6)} | options
    return folder, collect(job, episodes, folder, work=tmp_path / options.pop("work", "work"), **options)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_writes_raw_episodes_and_a_manifest_without_reward(tmp_path):
    folder, facts = run(tmp_path)
    manifest = read_manifest(folder)
    assert manifest["source"]["name"] == "mw-reach_random_sigma-0.5"
    assert manifest["source"]["render"] == {"quality": "fast", "backend": "egl", "camera": "corner2"}
    assert set(manifest["source"]["versions"]) == {"dm_control", "metaworld", "mujoco", "numpy"}
    assert [set(record) for record in manifest["episodes"]] == [
        {"file", "seed", "attempt", "sha256", "bytes", "rows"}
    ] * 3
    episodes = [read_raw_episode(folder / record["file"]) for record in manifest["episodes"]]
    assert [len(episode) for episode in episodes] == [7] * 3
    assert [int(e.image[0, 0, 0, 0]) for e in episodes] == [r["seed"] % 256 for r in manifest["episodes"]]
    assert len({record["seed"] for record in manifest["episodes"]}) == 3
    assert not np.array_equal(episodes[0].action, episodes[1].action)
    assert facts.success_share == 1.0 and facts.mean_return == pytest.approx(2.1) and facts.kept == facts.dropped == 0


def test_episodes_depend_on_the_job_and_their_number_alone(tmp_path):
    few, _ = run(tmp_path, "few", episodes=2, work="w1")
    many, _ = run(tmp_path, "many", episodes=4, work="w2")
    other, _ = run(tmp_path, "other", replace(JOB, seed=1), work="w3")
    louder, _ = run(tmp_path, "louder", replace(JOB, sigma=1.0), work="w4")
    name = "19700101T000000-0-000001-6.npz"
    assert files(few)[name] == files(many)[name]
    assert len({files(folder)[name] for folder in (few, other, louder)}) == 3


def test_an_interrupted_run_keeps_what_it_finished(tmp_path):
    whole, _ = run(tmp_path, "whole", work="elsewhere")

    def stop(num_saved):
        if num_saved == 2:
            raise Stopped

    with pytest.raises(Stopped):
        run(tmp_path, "killed", saved=stop)
    advanced = []
    resumed, facts = run(tmp_path, "resumed", advance=advanced.append)
    assert facts.kept == 2 and advanced == [12, 6]
    assert files(resumed) == files(whole)
    assert run(tmp_path, "again", make=lambda *_: pytest.fail("an environment for nothing"))[1].kept == 3


@pytest.mark.parametrize("damage", ["episode", "record", "missing"])
def test_a_damaged_episode_is_collected_again(tmp_path, damage):
    whole, _ = run(tmp_path, "whole")
    target = tmp_path / "work" / ("000001.json" if damage == "record" else "19700101T000000-0-000001-6.npz")
    if damage == "missing":
        target.unlink()
    else:
        target.write_bytes(target.read_bytes()[:-1])
    again, facts = run(tmp_path, "again")
    assert facts.kept == 2 and files(again) == files(whole)


@pytest.mark.parametrize(
    "change",
    [{"job": replace(JOB, sigma=0.6)}, {"job": replace(JOB, seed=3)}, {"stamp": "other code"}],
    ids=["sigma", "seed", "code"],
)
def test_episodes_of_other_settings_are_not_kept(tmp_path, change):
    run(tmp_path, "first")
    assert run(tmp_path, "second", **change)[1].kept == 0


def test_a_diverged_episode_is_redone_with_another_seed(tmp_path):
    plain, _ = run(tmp_path, "plain", work="elsewhere")
    folder, facts = run(tmp_path, env=Diverging(1))
    seeds = [[record["seed"] for record in read_manifest(f)["episodes"]] for f in (plain, folder)]
    assert facts.dropped == 1
    assert [a == b for a, b in zip(*seeds, strict=True)] == [True, False, True]
    assert read_manifest(folder)["episodes"][1]["attempt"] == 1


def test_many_diverged_episodes_are_refused(tmp_path):
    with pytest.raises(DataError, match="2 simulations diverged for 3 episodes"):
        run(tmp_path, env=Diverging(0, 2))
    with pytest.raises(DataError, match="the simulation diverged"):
        run(tmp_path, "hopeless", work="other", env=Diverging(0, 1, 2))


def test_an_expert_that_does_not_exist_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(ParamsError, match="no scripted expert"):
        run(tmp_path, job=replace(JOB, spec=get_task("dmc-walker-walk"), policy="expert"))


def test_a_worker_that_dies_is_replaced_and_no_byte_changes(tmp_path):
    here, _ = run(tmp_path, "here", work="w1")
    spawned, facts = run(tmp_path, "spawned", work="w2", workers=2, make=partial(make_mortal, tmp_path))
    assert (tmp_path / "grave").exists()
    assert files(spawned) == files(here) and facts.dropped == 0


def test_frames_that_never_change_break_the_worker(tmp_path):
    frozen = CountingEnv(4, 6)
    image = frozen.reset(0).image
    frozen._step, step = lambda action: replace(step(action), image=image), frozen._step
    with pytest.raises(BrokenWorkerError, match="all 7 frames are the same"):
        run(tmp_path, env=frozen)


@pytest.mark.sim
@pytest.mark.slow
def test_the_number_of_workers_changes_no_byte(tmp_path):
    job = replace(
        JOB, spec=get_task("mw-drawer-close"), policy="expert", render=RenderParams(quality="fast", backend="auto")
    )
    here, facts = run(tmp_path, "here", job, 2, work="w1", make=make_env)
    two, _ = run(tmp_path, "two", job, 2, work="w2", workers=2, make=make_env)
    assert files(here) == files(two)
    assert facts.success_share == 1.0
