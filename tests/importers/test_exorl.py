"""ExORL's state episodes become pictures: the right ones, of the right rows."""

from pathlib import Path

import numpy as np
import pytest

from gsa.config import RenderParams
from gsa.errors import DataError, ParamsError
from gsa.importers import exorl, open_source
from gsa.importers.base import ImportOptions

RENDER = RenderParams(quality="fast", backend="auto")
CARTPOLE = ImportOptions(task="dmc-cartpole-balance", render=RENDER)


def write_episode(folder: Path, index: int, physics: np.ndarray, action: np.ndarray, more: dict | None = None) -> Path:
    """As ExORL's replay buffer saves it: one row more than decisions, the first a dummy transition of zeros."""
    rows = len(physics)
    arrays = {
        "observation": np.zeros((rows, 5), np.float32),
        "action": np.concatenate([np.zeros_like(action[:1]), action]).astype(np.float32),
        "reward": np.full((rows, 1), 0.5, np.float32),
        "discount": np.ones((rows, 1), np.float32),
        "physics": physics,
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"episode_{index:06d}_{rows - 1}.npz"
    np.savez_compressed(path, **{**arrays, **(more or {})})
    return path


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws a state as its first entry, without a simulator."""
    monkeypatch.setattr(exorl.ExorlBuffer, "_draw", lambda self, state: np.full((3, 64, 64), state[0], np.uint8))


@pytest.fixture
def buffer(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index, rows in ((10, 4), (9, 7)):
        physics = np.arange(rows * 4.0).reshape(rows, 4)
        write_episode(tmp_path / "buffer", index, physics, rng.uniform(-1, 1, (rows - 1, 1)))
    return tmp_path / "buffer"


@pytest.mark.usefixtures("painted")
def test_each_row_is_drawn_from_its_own_state(buffer: Path) -> None:
    source = open_source("exorl", buffer, CARTPOLE)
    assert source.files == ["episode_000009_6.npz", "episode_000010_3.npz"]
    episode = source.read(0)
    assert episode.image[:, 0, 0, 0].tolist() == [0, 4, 8, 12, 16, 20, 24]
    with np.load(buffer / source.files[0]) as archive:
        np.testing.assert_array_equal(episode.action[:-1], archive["action"][1:])
    assert (episode.reward, episode.is_terminal.any()) == (None, False)
    facts = {key: episode.info[key] for key in ("embodiment", "task", "source", "file")}
    assert facts == {
        "embodiment": "cartpole",
        "task": "dmc-cartpole-balance",
        "source": "buffer",
        "file": "episode_000009_6.npz",
    }
    assert episode.info["render"] == {"quality": "fast", "backend": "auto", "camera": 0}


@pytest.mark.usefixtures("painted")
def test_every_second_state_is_drawn(buffer: Path) -> None:
    options = ImportOptions(task="dmc-cartpole-balance", render=RENDER, every=2, merge_actions="mean")
    assert open_source("exorl", buffer, options).read(0).image[:, 0, 0, 0].tolist() == [0, 8, 16, 24]


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"physics": np.array([[0.0, 1], [2, np.nan], [3, 4]])}, "physics at row 1 is not finite"),
        ({"physics": np.zeros((3, 4), np.int32)}, "physics is int32"),
        ({"action": np.zeros((3, 6), np.float32)}, "action has width 6, expected 1 for cartpole"),
        ({"action": np.array([[0], [0.5], [1.5]], np.float32)}, r"action at row 1, entry 0 is 1\.5"),
        ({"discount": np.array([[1], [0], [1]], np.float32)}, "discount 0. at row 1"),
        ({"physics": np.array([None] * 3)}, "physics.* holds pickled objects"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path: Path, more: dict, names: str) -> None:
    path = write_episode(tmp_path, 0, np.zeros((3, 4)), np.zeros((2, 1)), more)
    with pytest.raises(DataError, match=f"{path.name}: .*{names}"):
        open_source("exorl", tmp_path, CARTPOLE).read(0)


def test_the_task_says_whose_physics_it_is(buffer: Path) -> None:
    with pytest.raises(ParamsError, match="pass --task"):
        open_source("exorl", buffer, ImportOptions(render=RENDER))
    with pytest.raises(ParamsError, match="expected a dmc- task"):
        open_source("exorl", buffer, ImportOptions(task="mw-reach", render=RENDER))


@pytest.mark.sim
def test_pictures_are_those_the_environment_shows(tmp_path: Path) -> None:
    from contextlib import closing
    from typing import cast

    from gsa.envs import make_env
    from gsa.envs.dmc import DMCEnv

    task = "dmc-cartpole-balance"
    with closing(cast(DMCEnv, make_env(task, RENDER))) as env:
        steps, states = [env.reset(3)], [env.physics_state()]
        for _ in range(3):
            steps.append(env.step(np.ones(1, np.float32)))
            states.append(env.physics_state())
    write_episode(tmp_path, 0, np.stack(states), np.ones((3, 1)))
    short = write_episode(tmp_path, 1, np.zeros((3, 7)), np.zeros((2, 1)))
    source = open_source("exorl", tmp_path, CARTPOLE)
    np.testing.assert_array_equal(source.read(0).image, np.stack([step.image for step in steps]))
    with pytest.raises(DataError, match=rf"{short.name}: physics at row 0: .*not a physics state of this task"):
        source.read(1)


@pytest.mark.usefixtures("painted")
def test_two_bodies_with_states_of_one_width_are_told_apart(tmp_path: Path) -> None:
    cheetah = {"observation": np.zeros((3, 17), np.float32)}
    write_episode(tmp_path, 0, np.zeros((3, 18)), np.zeros((2, 6)), cheetah)
    names = r"episode_000000_2\.npz: observation has width 17 as cheetah's, expected 24 for walker; pass the --task"
    with pytest.raises(DataError, match=names):
        open_source("exorl", tmp_path, ImportOptions(task="dmc-walker-walk", render=RENDER)).read(0)
    assert len(open_source("exorl", tmp_path, ImportOptions(task="dmc-cheetah-run", render=RENDER)).read(0)) == 3


@pytest.mark.sim
def test_observations_are_as_wide_as_the_simulators() -> None:
    from contextlib import closing
    from typing import Any

    from gsa.envs import make_env
    from gsa.tasks import TASKS

    bodies = {task.embodiment: name for name, task in TASKS.items() if task.suite == "dmc"}
    assert set(bodies) == set(exorl.OBSERVATION_WIDTH)
    for body, task in bodies.items():
        env: Any = make_env(task, RENDER, pixels=False)
        with closing(env):
            assert len(env.reset(0).state) == exorl.OBSERVATION_WIDTH[body]
