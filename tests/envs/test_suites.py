"""The environment contract over both suites, and every task of the table once. Needs simulators and a GL library."""

import subprocess
import sys

import numpy as np
import pytest

from gsa.config import RenderParams
from gsa.envs import SUITES, make_env
from gsa.envs.rollout import rollout
from gsa.episode import check_episode
from gsa.errors import DataError, ParamsError
from gsa.tasks import TASKS, get_task

pytestmark = pytest.mark.sim

FAST = RenderParams(quality="fast", backend="auto")
SHIPPED = RenderParams(quality="shipped", backend="auto")
ONE_PER_SUITE = {"dmc": "dmc-walker-walk", "mw": "mw-drawer-close"}

contract = pytest.mark.parametrize("task", [ONE_PER_SUITE[suite] for suite in SUITES if suite != "own"])


@pytest.fixture
def make():
    """make_env whose environments are closed after the test."""
    opened = []

    def build(task, render=FAST, pixels=True):
        opened.append(make_env(task, render, pixels))
        return opened[-1]

    yield build
    for env in opened:
        env.close()


class Noise:
    """Uniform actions from a seed."""

    def __init__(self, action_dim, seed=0):
        self.rng, self.action_dim = np.random.default_rng(seed), action_dim

    def act(self, step):
        return self.rng.uniform(-1, 1, self.action_dim)


def play(env, seed, num=4):
    """The first steps of an episode under fixed noise."""
    policy = Noise(env.action_dim)
    step = env.reset(seed)
    steps = [step]
    for _ in range(num):
        step = env.step(policy.act(step))
        steps.append(step)
    return steps


def same(first, second):
    return all(
        np.array_equal(a.image, b.image) and np.array_equal(a.state, b.state) and a.reward == b.reward
        for a, b in zip(first, second, strict=True)
    )


WIDTH_AND_CAMERA = {  # docs/tasks.md
    "cartpole": (1, 0),
    "acrobot": (1, 0),
    "cheetah": (6, 0),
    "walker": (6, 0),
    "quadruped": (12, 2),
    "sawyer": (4, "corner2"),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_camera_length_and_width_draws_acts_and_repeats(make, task):
    env, spec = make(task), get_task(task)
    width, camera = WIDTH_AND_CAMERA[spec.embodiment]
    global_stream = np.random.get_state()[1].copy()  # noqa: NPY002
    first = env.reset(5)
    action = np.full(width, 0.5, np.float32)
    step = env.step(action)
    assert first.image.shape == (3, 64, 64) and first.image.dtype == np.uint8
    assert first.image.std() > 5 and not np.array_equal(first.image, step.image)
    assert first.is_first and not first.is_last and first.reward == 0.0
    assert not step.is_first and not step.is_last and np.isfinite(step.reward)
    assert (env.name, env.action_dim) == (task, width)
    assert first.state.dtype == np.float64 and (spec.suite == "dmc" or first.state.shape == (39,))
    assert not np.array_equal(env.reset().state, first.state), "without a seed the stream goes on"
    assert np.array_equal(env.reset(5).state, first.state), "a seed starts the same episode, whatever came before"
    assert np.array_equal(np.random.get_state()[1], global_stream), "NumPy's global stream plays no part"  # noqa: NPY002

    model = env._env.physics.model if spec.suite == "dmc" else env._env.model
    drawn_by = env._camera._camera._render_camera.fixedcamid
    assert drawn_by == (camera if spec.suite == "dmc" else model.camera(camera).id)
    if spec.suite == "dmc":
        simulator_steps = env._env._step_limit
        assert env._env.action_spec().shape == (width,)
        for end, side in ((-1.0, 0), (1.0, 1)):
            env.step(np.full(width, end))
            np.testing.assert_allclose(env._env.physics.control(), model.actuator_ctrlrange[:, side], atol=1e-6)
    else:
        simulator_steps = 200
        assert env._env.action_space.shape == (width,) and env._env.max_path_length > simulator_steps
        assert model.cam_pos[drawn_by].tolist() == [0.75, 0.075, 0.7]
    assert 2 * env.max_env_steps == simulator_steps == (1000 if spec.suite == "dmc" else 200)
    assert step.reward == pytest.approx(plain_reward(spec, 5, action), abs=1e-7)


def plain_reward(spec, seed, action):
    """What the simulator itself pays for holding an action over two steps from a seeded start."""
    if spec.suite == "dmc":
        from dm_control import suite

        from gsa.envs.dmc_tasks import CUSTOM_TASKS

        make_custom = CUSTOM_TASKS.get((spec.embodiment, spec.task))
        shipped = spec.task.replace("-", "_")
        plain = make_custom() if make_custom else suite.load(spec.embodiment, shipped, task_kwargs={"random": 0})
        plain.task.random.seed(seed)
        plain.reset()
        low, high = plain.action_spec().minimum, plain.action_spec().maximum
        action = low + (action + 1) / 2 * (high - low)
        return sum(plain.step(action).reward for _ in range(2))
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

    plain = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{spec.task}-v3-goal-observable"](seed=0)
    plain.reward_function_version, plain._freeze_rand_vec, plain.seeded_rand_vec = "v2", False, True
    plain.seed(seed)
    plain.reset()
    return sum(plain.step(action)[1] for _ in range(2))


@contract
def test_equal_seeds_give_equal_episodes_in_other_environments_and_after_other_episodes(make, task):
    env, other = make(task), make(task)
    reference = play(env, seed=11)
    play(other, seed=12)
    assert same(play(other, seed=11), reference)
    assert not np.array_equal(play(other, seed=13)[0].image, reference[0].image)


@pytest.mark.parametrize(
    "task",
    [
        "dmc-cartpole-balance",
        "dmc-acrobot-swingup-hard",
        "dmc-walker-backflip",
        "dmc-cheetah-jump",
        "dmc-quadruped-roll",
        "mw-reach",
    ],
)
def test_a_full_episode_has_its_decisions_and_no_early_end(make, task):
    env = make(task, pixels=False)
    episode = rollout(env, Noise(env.action_dim), seed=1)
    check_episode(episode, task)
    assert len(episode) == (501 if task.startswith("dmc") else 101)
    assert not episode.is_terminal.any() and not episode.image.any()
    with pytest.raises(DataError, match="call reset"):
        env.step(np.zeros(env.action_dim))


@contract
def test_reward_sums_both_simulator_steps(make, task):
    env, twin = make(task, pixels=False), make(task, pixels=False)
    action = np.full(env.action_dim, 0.3)
    env.reset(2)
    twin.reset(2)
    outcomes = [twin._env.step(action) for _ in range(2)]
    rewards = [o.reward if task.startswith("dmc") else o[1] for o in outcomes]
    assert env.step(action).reward == pytest.approx(sum(rewards), rel=1e-6)


@contract
def test_actions_are_checked_before_the_simulator_sees_them(make, task):
    env = make(task, pixels=False)
    before = env.reset(0).state
    for bad in (np.full(env.action_dim, np.nan), np.zeros(env.action_dim + 1), np.zeros(env.action_dim, int)):
        with pytest.raises(DataError, match=f"{task}, step 0: action"):
            env.step(bad)
    env.step(np.full(env.action_dim, 9.0))
    clipped = make(task, pixels=False)
    clipped.reset(0)
    assert not np.array_equal(clipped.step(np.ones(env.action_dim)).state, before)


@contract
def test_a_diverged_simulation_is_an_error(make, task):
    env = make(task, pixels=False)
    env.reset(0)
    data = env._env.physics.data if task.startswith("dmc") else env._env.data
    data.qvel[:] = np.nan
    with pytest.raises(DataError, match=f"{task}, step 0: the simulation diverged"):
        env.step(np.zeros(env.action_dim))
    env.reset(0)
    env.step(np.zeros(env.action_dim))


def test_environments_in_one_process_show_their_own_frames(make):
    """A, B, C, then A again: Meta-World's own renderer gives A the frame of B."""
    tasks = ["mw-drawer-close", "mw-button-press", "dmc-walker-walk"]
    alone = {}
    for task in tasks:
        env = make_env(task, FAST)
        alone[task] = [step.image for step in play(env, seed=4)]
        env.close()
    envs = {task: make(task) for task in tasks}
    steps = {task: [env.reset(4)] for task, env in envs.items()}
    policies = {task: Noise(env.action_dim) for task, env in envs.items()}
    for _ in range(4):
        for task, env in envs.items():
            steps[task].append(env.step(policies[task].act(steps[task][-1])))
    envs["mw-button-press"].close()
    assert np.array_equal(envs["mw-drawer-close"].reset(4).image, alone["mw-drawer-close"][0])
    for task in tasks:
        assert all(np.array_equal(a.image, b) for a, b in zip(steps[task], alone[task], strict=True)), task


def test_shipped_quality_is_pixel_identical_to_the_suites(make):
    from dm_control import suite
    from dm_control.mujoco import engine, wrapper

    walker = make("dmc-walker-walk", SHIPPED)
    image = walker.reset(3).image
    reference = suite.load("walker", "walk", task_kwargs={"random": 0})
    reference.task.random.seed(3)
    reference.reset()
    assert np.array_equal(image.transpose(1, 2, 0), reference.physics.render(64, 64, camera_id=0))
    reference.close()

    drawer = make("mw-drawer-close", SHIPPED)
    image = drawer.reset(3).image
    untouched = type(drawer._env)(seed=0)
    untouched._freeze_rand_vec, untouched.seeded_rand_vec = False, True
    untouched.model.cam_pos[untouched.model.camera("corner2").id] = (0.75, 0.075, 0.7)
    physics = engine.Physics(wrapper.MjData(untouched.data))
    untouched.seed(3)
    untouched.reset()
    assert np.array_equal(image.transpose(1, 2, 0)[::-1], physics.render(64, 64, camera_id="corner2"))
    physics.free()


def test_the_fast_picture_changes_no_physics(make):
    fast, shipped = make("mw-door-close"), make("mw-door-close", RenderParams(quality="shipped", backend="auto"))
    differences = [fast.reset(3).image.astype(int) - shipped.reset(3).image.astype(int)]
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 4)):
        steps = fast.step(action), shipped.step(action)
        assert np.array_equal(steps[0].state, steps[1].state) and steps[0].reward == steps[1].reward
        differences.append(steps[0].image.astype(int) - steps[1].image.astype(int))
    assert 0 < np.abs(differences).mean() < 16  # another picture of the same scene


def test_the_table_is_at_the_bottom_of_a_meta_world_picture(make):
    """The camera is rolled, so the renderer's own rows come upside down. DMControl's are compared above."""
    image = make("mw-reach").reset(0).image.astype(int)
    above, below = ((rows[0] - rows[2] > 15).mean() for rows in (image[:, :20], image[:, 44:]))  # brown
    assert above < 0.35 < 0.6 < below


def test_stored_physics_are_drawn_later_as_they_were_without_disturbing_the_episode(make):
    live, blind = make("dmc-quadruped-walk"), make("dmc-quadruped-walk", pixels=False)
    policy = Noise(12)
    seen, states = [live.reset(8)], []
    blind.reset(8)
    states.append(blind.physics_state())
    for _ in range(6):
        action = policy.act(seen[-1])
        seen.append(live.step(action))
        step = blind.step(action)
        states.append(blind.physics_state())
        blind.render_state(states[0])
        assert np.array_equal(step.state, seen[-1].state) and not step.image.any()
    for step, state in zip(seen, states, strict=True):
        assert np.array_equal(blind.render_state(state), step.image)
    with pytest.raises(DataError, match="not a physics state"):
        blind.render_state(states[0][:-1])


def test_meta_world_goals_change_from_episode_to_episode_and_success_is_the_last_simulator_steps(make):
    from gsa.policies import POLICIES

    env = make("mw-drawer-close", pixels=False)
    goals = {tuple(env.reset(seed).state[-3:]) for seed in range(4)}
    assert len(goals) == 4
    expert = POLICIES["expert"](get_task("mw-drawer-close"), 0.0, np.random.default_rng(0), None)
    episode = rollout(env, expert, seed=0)
    assert not episode.success[0] and episode.success[-1]


def test_unknown_tasks_are_refused_before_anything_is_loaded():
    with pytest.raises(ParamsError, match="unknown task 'dmc-walker-wlak'; nearest: dmc-walker-walk"):
        make_env("dmc-walker-wlak", FAST)


@pytest.mark.slow
@contract
def test_a_process_that_forgets_to_close_ends_quietly(task):
    code = (
        "from gsa.config import RenderParams; from gsa.envs import make_env\n"
        f"make_env({task!r}, RenderParams(quality='fast', backend='auto')).reset(0)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (child.returncode, child.stderr, child.stdout) == (0, "", "")
