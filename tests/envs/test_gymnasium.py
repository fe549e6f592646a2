"""Environments of the user's as tasks: Gymnasium's own Pendulum, and one in a folder outside the repository."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from gsa.config import RenderParams
from gsa.envs import make_env
from gsa.envs.rollout import rollout
from gsa.episode import check_episode, resize_area
from gsa.errors import DataError, GSAError, ParamsError
from gsa.loops.collect import CollectJob, collect
from gsa.policies.untrained import UniformPolicy
from gsa.storage.raw import read_manifest, read_raw_episode
from gsa.tasks import TASKS, register_task, task_stamp

RENDER = RenderParams(quality="fast", backend="auto")

LAB = '''
import gymnasium
import numpy as np

BOX = gymnasium.spaces.Box(np.float32([-0.5, 0.0]), np.float32([0.5, 4.0]))
SPACES = {
    "box": BOX,
    "matrix": gymnasium.spaces.Box(-3.0, 3.0, (2, 2), np.float64),
    "discrete": gymnasium.spaces.Discrete(3),
    "integers": gymnasium.spaces.Box(0, 5, (2,), np.int64),
    "endless": gymnasium.spaces.Box(-np.inf, np.inf, (2,)),
}


class Dot(gymnasium.Env):
    """Step n pays n; the picture's first half shows the seed's draw, the second the step."""

    def __init__(self, space="box", shape=(128, 96, 3), dtype="uint8", ends=None, cuts=None, flag="success",
                 render_mode=None):
        self.action_space = SPACES[space]
        self.render_mode = render_mode
        self.ends, self.cuts, self.flag, self.drawn = ends, cuts, flag, 0
        self.canvas = np.zeros(shape, dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.shade, self.actions = 0, self.np_random.integers(1, 200), []
        return self.observation(), {}

    def step(self, action):
        self.count += 1
        self.actions.append(action)
        info = {self.flag: self.count == self.ends} if self.flag else {"other": 1}
        return self.observation(), float(self.count), self.count == self.ends, self.count == self.cuts, info

    def observation(self):
        self.canvas[: len(self.canvas) // 2] = self.shade
        self.canvas[len(self.canvas) // 2 :] = self.count
        return {"eye": self.canvas, "joints": np.zeros(2, np.float32)}

    def render(self):
        self.drawn += 1
        return self.canvas if self.render_mode == "rgb_array" else None


class Flat(Dot):
    def observation(self):
        return super().observation()["eye"]


class OldGym(Dot):
    def reset(self, **options):
        return super().reset(**options)[0]


def make_dot(size=16):
    return Dot(shape=(size, size, 3), render_mode="rgb_array")


def nothing():
    return None
'''


@pytest.fixture(autouse=True)
def lab(tmp_path, monkeypatch, root):
    """A folder of the user's, the working one, with a module ``lab``; the table of tasks is left as it was."""
    folder = tmp_path / "home"
    folder.mkdir()
    assert root not in folder.parents
    (folder / "lab.py").write_text(LAB)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "lab", raising=False)
    before = dict(TASKS)
    yield folder
    TASKS.clear()
    TASKS.update(before)
    sys.modules.pop("lab", None)


def task(env="lab:Dot", **facts):
    facts = {"metric": "return", "score_range": (0.0, 10.0), "max_frames": 6} | facts
    return register_task(facts.pop("name", "my-dot"), env, **facts)


def play(env, seed=0):
    return rollout(env, UniformPolicy(env.action_dim, np.random.default_rng(5)), seed)


def test_pendulum_is_a_task_drawn_by_gymnasium_itself():
    spec = task("Pendulum-v1", name="pendulum", score_range=(-1600.0, 0.0), max_frames=200, action_repeat=2)
    env = make_env("pendulum", RENDER)
    assert (env.name, env.action_dim, env.max_env_steps) == ("pendulum", 1, 100)
    episode = play(env, seed=3)
    check_episode(episode, "pendulum")
    assert len(episode) == 101 and not episode.is_terminal.any() and episode.image.std() > 10
    assert not np.array_equal(episode.image[0], episode.image[50])
    assert spec.possible_scores[0] < -1600 <= episode.reward.sum() <= 0
    again, other = play(env, seed=3), play(env, seed=4)
    assert np.array_equal(again.image, episode.image) and np.array_equal(again.reward, episode.reward)
    assert not np.array_equal(other.image[0], episode.image[0])

    plain = gymnasium.make("Pendulum-v1", render_mode="rgb_array", disable_env_checker=True)
    plain.reset(seed=3)
    assert np.array_equal(env.reset(3).image, resize_area(plain.render()).transpose(2, 0, 1))
    torque = np.array([1.5], np.float32)  # of -2 to 2
    paid = sum(float(plain.step(torque)[1]) for _ in range(2))
    assert env.step(np.array([0.75])).reward == pytest.approx(paid)
    plain.close()
    env.close()


def test_the_users_module_is_found_from_the_working_folder_and_in_packages(lab):
    (lab / "robots").mkdir()
    (lab / "robots" / "arm.py").write_text(LAB)
    for env in ("lab:Dot", "robots.arm:Dot", "lab:make_dot"):
        assert make_env(task(env), RENDER).reset().image.any()
    assert make_env(task("lab:make_dot", kwargs={"size": 80}), RENDER)._env.canvas.shape == (80, 80, 3)


def test_actions_of_any_shape_are_spread_over_their_bounds():
    env = make_env(task(), RENDER)
    env.reset()
    for action, native in (([-1.0, -1.0], [-0.5, 0.0]), ([1.0, 7.0], [0.5, 4.0]), ([0.0, 0.5], [0.0, 3.0])):
        env.step(np.array(action))
        assert env._env.actions[-1].tolist() == native and env._env.actions[-1].dtype == np.float32
    with pytest.raises(DataError, match="my-dot, step 3: action"):
        env.step(np.array([np.nan, 0.0]))
    matrix = make_env(task(kwargs={"space": "matrix"}), RENDER)
    matrix.reset()
    matrix.step(np.array([-1.0, 1.0, 0.0, 0.5]))
    assert matrix.action_dim == 4 and matrix._env.actions[-1].tolist() == [[-3.0, 3.0], [0.0, 1.5]]


def test_unit_bounds_change_no_bit_of_an_action():
    env = make_env(task("Reacher-v5", kwargs={"max_episode_steps": 9}), RENDER, pixels=False)
    action = np.array([1e-9, -0.3], np.float32)
    assert np.array_equal(env._native(action), action)
    env.close()


@pytest.mark.parametrize(
    ("kwargs", "repeat", "rewards", "terminal", "success"),
    [
        ({}, 1, [1, 2, 3, 4, 5, 6], False, False),  # our own limit
        ({}, 4, [1 + 2 + 3 + 4], False, False),  # 6 frames hold one decision of 4
        ({"ends": 3}, 1, [1, 2, 3], True, True),
        ({"ends": 3}, 2, [1 + 2, 3], True, True),  # inside a decision
        ({"cuts": 3}, 2, [1 + 2, 3], False, False),
        ({"ends": 6}, 1, [1, 2, 3, 4, 5, 6], True, True),  # an end at the limit is an end
        ({"ends": 3, "flag": "is_success"}, 1, [1, 2, 3], True, True),
        ({"ends": 3, "flag": None}, 1, [1, 2, 3], True, False),
    ],
)
def test_ends_are_terminal_limits_are_not_and_rewards_are_summed(kwargs, repeat, rewards, terminal, success):
    env = make_env(task(kwargs=kwargs, action_repeat=repeat), RENDER)
    episode = play(env)
    check_episode(episode, "dot")
    assert episode.reward.tolist() == [0, *rewards]
    assert episode.is_terminal.tolist() == [False] * len(rewards) + [terminal]
    assert episode.success[-1] == success and not episode.success[:-1].any()
    with pytest.raises(DataError, match="call reset"):
        env.step(np.zeros(2))


def test_a_metric_of_success_needs_a_flag_at_the_end():
    facts = {"metric": "success", "score_range": None}
    assert play(make_env(task(kwargs={"ends": 2}, **facts), RENDER)).success[-1]
    with pytest.raises(DataError, match=r"neither 'success' nor 'is_success' at the end, only \['other'\]"):
        play(make_env(task(kwargs={"flag": None}, **facts), RENDER))


def test_seeds_decide_and_without_one_the_stream_goes_on():
    env, other = make_env(task(), RENDER), make_env(task(), RENDER)
    first = [int(env.reset(seed).image[0, 0, 0]) for seed in (0, None, None, 7)]
    again = [int(other.reset(seed).image[0, 0, 0]) for seed in (None, None, None, 7)]
    assert first == again and len(set(first)) > 2


@pytest.mark.parametrize(
    ("env", "facts"),
    [
        ("lab:Dot", {}),
        ("lab:Dot", {"camera": "eye"}),
        ("lab:Flat", {"camera": "observation"}),
        ("lab:Dot", {"camera": "eye", "kwargs": {"shape": [64, 64, 3]}}),
    ],
)
def test_the_picture_comes_from_where_the_camera_says_and_stays_as_it_was(env, facts):
    env = make_env(task(env, **facts), RENDER)
    steps = [env.reset(1), env.step(np.zeros(2)), env.step(np.zeros(2))]
    for count, step in enumerate(steps):
        assert step.image.shape == (3, 64, 64) and step.image.dtype == np.uint8 and step.state is None
        assert (step.image[:, :32] == env._env.shade).all() and (step.image[:, 32:] == count).all()


def test_channels_may_come_first_and_unread_pictures_are_not_drawn():
    env = make_env(task(kwargs={"shape": [3, 100, 140]}), RENDER)
    image = env.reset().image
    assert image.shape == (3, 64, 64) and env._env.drawn == 1
    blind = make_env(task(), RENDER, pixels=False)
    assert not play(blind).image.any() and blind._env.drawn == 0


@pytest.mark.parametrize(
    ("env", "facts", "message"),
    [
        ("lab:Dot", {"kwargs": {"space": "discrete"}}, r"its actions are Discrete\(3\), expected a Box of floats"),
        ("CartPole-v1", {}, r"its actions are Discrete\(2\), expected a Box of floats"),
        ("lab:Dot", {"kwargs": {"space": "integers"}}, "expected a Box of floats"),
        ("lab:Dot", {"kwargs": {"space": "endless"}}, "whose bounds must be finite"),
        ("lab:Dot", {"kwargs": {"dtype": "float32"}}, r"render\(\) gives float32 \(128, 96, 3\), expected a picture"),
        ("lab:Dot", {"kwargs": {"shape": [64, 64]}}, r"gives uint8 \(64, 64\), expected a picture, uint8"),
        ("lab:Dot", {"kwargs": {"render_mode": "human"}}, r"render\(\) gives nothing, expected a picture.*rgb_array"),
        ("lab:Dot", {"camera": "joints"}, r"the observation's 'joints' gives float32 \(2,\)"),
        ("lab:Dot", {"camera": "eyes"}, "the observation has no picture 'eyes', only eye, joints; set camera to"),
        ("lab:Flat", {"camera": "eye"}, "no picture 'eye', and is not a dict"),
        ("Pendulum-v1", {"camera": "observation"}, r"the observation gives float32 \(3,\), expected a picture"),
        ("Pendulum-v9", {}, "Pendulum-v9: .*expected module:function, found from the working folder, or a Gym"),
        ("Pendulum-v1", {"kwargs": {"gravity": 9.8}}, "gravity"),
        ("lib:Dot", {}, "No module named 'lib'; expected module:function"),
        ("lab:Spot", {}, "module lab has no function or class 'Spot'"),
        ("lab:Dot", {"kwargs": {"speed": 1}}, "unexpected keyword argument 'speed'; change the task's kwargs"),
        ("lab:nothing", {}, "it makes a NoneType, expected a gymnasium.Env"),
        ("lab:OldGym", {}, r"reset\(\) gave no tuple of 2"),
    ],
)
def test_what_cannot_be_a_task_is_said_in_one_line(env, facts, message):
    with pytest.raises(GSAError, match=message) as error:
        make_env(task(env, **facts), RENDER).reset()
    assert "\n" not in str(error.value) and "my-dot" in str(error.value)


@pytest.mark.parametrize("workers", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_data_is_collected_by_processes_that_know_the_task_by_its_facts_alone(tmp_path, workers):
    job = CollectJob(task(kwargs={"ends": 4}), "ou", 0.3, 0, RENDER)
    out = tmp_path / "out"
    out.mkdir()
    facts = collect(job, 2, out, tmp_path / "work", workers=workers)
    assert facts.mean_return == 1 + 2 + 3 + 4 and facts.success_share == 1.0
    manifest = read_manifest(out)
    source = manifest["source"]
    assert (source["name"], source["embodiment"], source["action_dim"]) == ("my-dot_ou_sigma-0.3", "my-dot", 2)
    assert source["env"] == task_stamp(job.spec) and "gymnasium" in source["versions"]
    episodes = [read_raw_episode(out / record["file"]) for record in manifest["episodes"]]
    assert [len(episode) for episode in episodes] == [5, 5] and all(episode.is_terminal[-1] for episode in episodes)
    assert not np.array_equal(episodes[0].action, episodes[1].action)
    with pytest.raises(ParamsError, match=r"no scripted expert for my-dot.*--policy random or ou"):
        collect(CollectJob(job.spec, "expert", 0.3, 0, RENDER), 1, out, tmp_path / "work")


@pytest.mark.slow
@pytest.mark.sim
@pytest.mark.parametrize("env", ["InvertedPendulum-v5", "Pendulum-v1"])
def test_a_process_that_draws_and_forgets_to_close_says_nothing(env, root):
    code = f"""
import warnings
import gsa, numpy
from gsa.config import RenderParams
from gsa.envs import make_env
from gsa.envs.rollout import rollout
warnings.simplefilter("error")
spec = gsa.register_task("own", {env!r}, metric="return", score_range=(-1, 1), max_frames=60, action_repeat=3)
class Still:
    def act(self, step):
        return numpy.ones(1)
episode = rollout(make_env(spec, RenderParams(quality="fast", backend="auto")), Still(), 1)
print(len(episode), episode.is_terminal[-1], episode.image.std() > 5)
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=root)
    length, terminal, drawn = child.stdout.split()
    assert (child.returncode, child.stderr, drawn) == (0, "", "True")
    assert (terminal, int(length) < 21) == (("True", True) if env.startswith("Inverted") else ("False", False))


def test_a_module_that_draws_needs_no_graphics(monkeypatch):
    from gsa.errors import ResourceError

    def fail(wanted):
        raise ResourceError("cannot render: no library")

    monkeypatch.setattr("gsa.envs.choose_backend", fail)
    assert make_env(task(), RENDER).reset().image.any()
    with pytest.raises(ResourceError):
        make_env("dmc-cartpole-balance", RENDER)
