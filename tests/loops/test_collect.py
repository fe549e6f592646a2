"""Collection: what an episode depends on, and that nothing finished is lost or trusted blindly."""

from dataclasses import replace

import numpy as np
import pytest

from gsa.config import RenderParams
from gsa.envs.counting import CountingEnv
from gsa.errors import DataError, ParamsError
from gsa.loops import collect as module
from gsa.loops.collect import CollectJob, collect
from gsa.storage.raw import read_manifest, read_raw_episode

JOB = CollectJob("mw-reach", "random", 0.5, 0, RenderParams(quality="fast", backend="egl"))


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


@pytest.fixture
def counting(monkeypatch):
    """No simulator: environments count, and the returned list says how many were made."""
    made = []

    def use(env):
        monkeypatch.setattr(module, "make_env", lambda task, render: made.append(task) or env)
        monkeypatch.setattr(module, "choose_backend", lambda backend: backend)
        return made

    use(CountingEnv(4, 6))
    return use


def run(tmp_path, name="out", job=JOB, episodes=3, **options):
    folder = tmp_path / name
    folder.mkdir()
    return folder, collect(job, episodes, folder, work=tmp_path / options.pop("work", "work"), **options)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_writes_raw_episodes_and_a_manifest_without_reward(tmp_path, counting):
    folder, facts = run(tmp_path)
    manifest = read_manifest(folder)
    assert manifest["source"]["name"] == "mw-reach_sigma-0.5"
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


def test_episodes_depend_on_the_job_and_their_number_alone(tmp_path, counting):
    few, _ = run(tmp_path, "few", episodes=2, work="w1")
    many, _ = run(tmp_path, "many", episodes=4, work="w2")
    other, _ = run(tmp_path, "other", replace(JOB, seed=1), work="w3")
    louder, _ = run(tmp_path, "louder", replace(JOB, sigma=1.0), work="w4")
    name = "19700101T000000-0-000001-6.npz"
    assert files(few)[name] == files(many)[name]
    assert len({files(folder)[name] for folder in (few, other, louder)}) == 3


def test_an_interrupted_run_keeps_what_it_finished(tmp_path, counting):
    whole, _ = run(tmp_path, "whole", work="elsewhere")

    def stop(num_saved):
        if num_saved == 2:
            raise Stopped

    with pytest.raises(Stopped):
        run(tmp_path, "killed", saved=stop)
    advanced = []
    resumed, facts = run(tmp_path, "resumed", advance=advanced.append)
    assert facts.kept == 2 and advanced == [200, 6]
    assert files(resumed) == files(whole)
    made = counting(CountingEnv(4, 6))
    before = len(made)
    assert run(tmp_path, "again")[1].kept == 3 and len(made) == before


@pytest.mark.parametrize("damage", ["episode", "record", "missing"])
def test_a_damaged_episode_is_collected_again(tmp_path, counting, damage):
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
def test_episodes_of_other_settings_are_not_kept(tmp_path, counting, change):
    run(tmp_path, "first")
    assert run(tmp_path, "second", **change)[1].kept == 0


def test_a_diverged_episode_is_redone_with_another_seed(tmp_path, counting):
    plain, _ = run(tmp_path, "plain", work="elsewhere")
    counting(Diverging(1))
    folder, facts = run(tmp_path)
    seeds = [[record["seed"] for record in read_manifest(f)["episodes"]] for f in (plain, folder)]
    assert facts.dropped == 1
    assert [a == b for a, b in zip(*seeds, strict=True)] == [True, False, True]
    assert read_manifest(folder)["episodes"][1]["attempt"] == 1


def test_many_diverged_episodes_are_refused(tmp_path, counting):
    counting(Diverging(0, 2))
    with pytest.raises(DataError, match="2 simulations diverged for 3 episodes"):
        run(tmp_path)
    counting(Diverging(0, 1, 2))
    with pytest.raises(DataError, match="the simulation diverged"):
        run(tmp_path, "hopeless", work="other")


def test_an_expert_that_does_not_exist_is_refused_before_anything_starts(tmp_path, counting):
    with pytest.raises(ParamsError, match="no scripted expert"):
        run(tmp_path, job=replace(JOB, task="dmc-walker-walk", policy="expert"))


@pytest.mark.sim
@pytest.mark.slow
def test_the_number_of_workers_changes_no_byte(tmp_path):
    job = replace(JOB, task="mw-drawer-close", policy="expert", render=RenderParams(quality="fast", backend="auto"))
    one, facts = run(tmp_path, "one", job, 2, work="w1", workers=1)
    two, _ = run(tmp_path, "two", job, 2, work="w2", workers=2)
    assert files(one) == files(two)
    assert facts.success_share == 1.0
