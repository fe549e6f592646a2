"""Custom rewards against values worked out by hand at simulator states set by hand. Needs MuJoCo."""

import math

import numpy as np
import pytest

from gsa.envs.rendering import choose_backend

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def tasks():
    choose_backend("auto")
    from gsa.envs.dmc_tasks import CUSTOM_TASKS

    return CUSTOM_TASKS


def reward(env, control=0.0, **joints):
    """The task's reward with these joint positions, and velocities under names that start with ``v_``."""
    physics = env.physics
    with physics.reset_context():
        for name, value in joints.items():
            where = physics.named.data.qvel if name.startswith("v_") else physics.named.data.qpos
            where[name.removeprefix("v_")] = value
    physics.set_control(np.full(physics.model.nu, control))
    return env.task.get_reward(physics)


def up(height, target):
    """tol(height; target, inf, target/2): 1 from the target on, 0.1 at half of it, gaussian."""
    return 1.0 if height >= target else 0.1 ** (((target - height) / (target / 2)) ** 2)


@pytest.mark.parametrize(
    "task, joints, expected",
    [
        # Standing (torso at 1.3 m, upright 1): stand = 1.
        ("walk-backwards", {"v_rootx": -1.0}, 1.0),
        ("walk-backwards", {"v_rootx": -0.5}, (5 * 0.5 + 1) / 6),
        ("walk-backwards", {"v_rootx": 1.0}, 1 / 6),
        ("run-backwards", {"v_rootx": -4.0}, (5 * 0.5 + 1) / 6),
        ("run-backwards", {"v_rootx": -6.0}, (5 * 0.75 + 1) / 6),
        # Torso at 0.6 m: standing = 0.1. On its back (upright 0): upright = 0.5.
        ("walk-backwards", {"rootz": -0.7, "v_rootx": -1.0}, (3 * 0.1 + 1) / 4),
        ("walk-backwards", {"rooty": math.pi / 2, "v_rootx": -1.0}, (3 + 0.5) / 4),
        # Head down: thighs 0.3 m and feet 0.3 + 0.7 + 0.25 m above the torso.
        ("backflip", {"rooty": math.pi, "v_rootx": -6.0}, 1.0),
        ("backflip", {"rooty": math.pi, "v_rootx": -3.0}, (5 * 0.5 + 1) / 6),
        ("backflip", {"rooty": math.pi, "rootz": -1.1, "v_rootx": -6.0}, (3 * 1 + 2 * 0.1) / 5),
        ("backflip", {"v_rootx": -6.0}, (3 * up(1.3 - 1.25, 1.1) + 2 * up(1.0, 1.0)) / 5),
    ],
)
def test_walker(tasks, task, joints, expected):
    assert reward(tasks["walker", task](), **joints) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "task, joints, expected",
    [
        ("run-backwards", {"v_rootx": -8.0}, 1.0),
        ("run-backwards", {"v_rootx": -2.0}, 0.25),
        ("run-backwards", {"v_rootx": 2.0}, 0.0),
        # At rest the torso is at 0.7 m, the back foot at 0.31 m, the front foot at 0.28 m; rootz lifts all.
        ("run-front", {"rootz": 0.89, "v_rootx": 3.0}, (5 * 0.5 + 1) / 6),
        ("run-back", {"rootz": 0.89, "v_rootx": 6.0}, (3 * up(1.17, 1.2) + 2) / 5),
        ("run-front", {"rootz": -0.1, "v_rootx": 6.0}, (3 * up(0.21, 1.2) + 2 * 0.1) / 5),
        ("jump", {"rootz": 0.71}, 1.0),
        ("jump", {"rootz": 0.71, "v_rootx": -0.75}, (5 + 0.5) / 6),
        ("jump", {"v_rootx": 1.0}, 5 * (up((0.7 + 0.31) / 2, 1.2) + up((0.7 + 0.28) / 2, 1.2)) / 2 / 6),
    ],
)
def test_cheetah(tasks, task, joints, expected):
    assert reward(tasks["cheetah", task](), **joints) == pytest.approx(expected, abs=1e-6)


UPRIGHT, ON_ITS_SIDE, ON_ITS_BACK = [1, 0, 0, 0], [math.sqrt(0.5), math.sqrt(0.5), 0, 0], [0, 1, 0, 0]


@pytest.mark.parametrize(
    "task, orientation, velocity, expected",
    [
        ("stand", UPRIGHT, [0, 0, 0], 1.0),
        ("stand", ON_ITS_SIDE, [0, 0, 0], 0.5),
        ("stand", ON_ITS_BACK, [0, 0, 0], 0.0),
        ("roll", UPRIGHT, [0, 0.25, 0], 0.75),
        ("roll", UPRIGHT, [0.3, 0, -0.4], 1.0),
        ("roll", ON_ITS_SIDE, [0, -0.25, 0], 0.5 * 0.75),
        ("roll-fast", UPRIGHT, [-3, 0, 0], 1 - 0.5 * 2 / 5),
    ],
)
def test_quadruped(tasks, task, orientation, velocity, expected):
    root, speed = [0, 0, 2, *orientation], [*velocity, 0, 0, 0]
    assert reward(tasks["quadruped", task](), root=root, v_root=speed) == pytest.approx(expected, abs=1e-6)


def test_quadruped_jump_counts_the_height_of_the_centre_of_mass(tasks):
    env = tasks["quadruped", "jump"]()
    reward(env, root=[0, 0, 2, *UPRIGHT])
    masses = env.physics.model.body_mass[1:]
    centre = float((masses * env.physics.data.xipos[1:, 2]).sum() / masses.sum())
    for height, expected in ((1.2, 1.0), (0.5, 0.75), (0.0, 0.5)):
        assert reward(env, root=[0, 0, 2 - centre + height, *UPRIGHT]) == pytest.approx(expected, abs=1e-6)
    assert reward(env, root=[0, 0, 5, *ON_ITS_SIDE]) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    "domain, task, control, joints, expected",
    [
        ("walker", "walk-hard", 0.0, {"v_rootx": 1.0}, 1.0),
        ("walker", "walk-hard", 0.5, {"v_rootx": 1.0}, 1.0 - 0.1 * 0.5 * math.sqrt(6)),
        ("walker", "walk-hard", 0.0, {"v_rootx": 0.5}, 0.0),  # (5 * 0.5 + 1) / 6 = 0.583, below 0.6
        ("walker", "walk-hard", 0.0, {"v_rootx": 0.6}, (5 * 0.6 + 1) / 6),
        ("cheetah", "run-hard", 1.0, {"v_rootx": 1.9}, -0.1 * math.sqrt(6)),
        ("cheetah", "run-hard", 0.0, {"v_rootx": 2.1}, 0.21),
        ("acrobot", "swingup-hard", -1.0, {"shoulder": 0.0, "elbow": 0.0}, 1.0 - 0.1),
        ("acrobot", "swingup-hard", -1.0, {"shoulder": math.pi, "elbow": 0.0}, -0.1),
    ],
)
def test_hard_variants_cut_small_rewards_and_charge_for_acting(tasks, domain, task, control, joints, expected):
    assert reward(tasks[domain, task](), control, **joints) == pytest.approx(expected, abs=1e-6)


def test_every_custom_task_is_in_the_table_and_every_other_in_the_suite(tasks):
    from dm_control import suite

    from gsa.tasks import TASKS

    ours = {(spec.embodiment, spec.task) for spec in TASKS.values() if spec.suite == "dmc"}
    shipped = {(domain, task.replace("_", "-")) for domain, task in suite.ALL_TASKS}
    assert set(tasks) == ours - shipped
