"""Policies of ``gsa collect-data``: what they draw, and that every Meta-World task has its expert."""

import numpy as np
import pytest

from gsa.config import RenderParams
from gsa.envs import make_env
from gsa.envs.rollout import rollout
from gsa.episode import Step
from gsa.errors import DataError, ParamsError
from gsa.policies import POLICIES, check_policy
from gsa.policies.untrained import OU_DECAY, RETRACE_DECISIONS, Staying
from gsa.tasks import TASKS, get_task

IMAGE = np.zeros((3, 64, 64), np.uint8)
REACH = get_task("mw-reach")
WALKER = get_task("dmc-walker-walk")


def act(policy, num, state=None):
    steps = [Step(IMAGE, 0.0, is_first=t == 0, is_last=False, state=state) for t in range(num)]
    return np.stack([policy.act(step) for step in steps])


@pytest.mark.parametrize("name", ["random", "ou"])
def test_blind_policies_are_bounded_wide_and_seeded(name):
    actions = act(POLICIES[name](WALKER, 0.5, np.random.default_rng(1), None), 400)
    assert actions.shape == (400, 6) and actions.dtype == np.float32
    assert np.abs(actions).max() <= 1.0 and np.abs(actions.mean()) < 0.1
    assert np.array_equal(actions, act(POLICIES[name](WALKER, 0.5, np.random.default_rng(1), None), 400))


def test_ou_noise_is_correlated_in_time_and_restarts_with_the_episode():
    policy = POLICIES["ou"](WALKER, 0.1, np.random.default_rng(0), None)
    actions = act(policy, 4000)
    correlation = np.corrcoef(actions[:-1].ravel(), actions[1:].ravel())[0, 1]
    assert correlation == pytest.approx(1 - OU_DECAY, abs=0.02)
    assert actions.std() == pytest.approx(0.1 / np.sqrt(1 - (1 - OU_DECAY) ** 2), rel=0.1)
    firsts = np.stack([act(policy, 1)[0] for _ in range(500)])
    assert firsts.std() == pytest.approx(0.1, rel=0.1)


@pytest.mark.sim
def test_every_meta_world_task_has_an_expert():
    for spec in TASKS.values():
        if spec.suite == "mw":
            POLICIES["expert"](spec, 0.0, np.random.default_rng(0), None)


@pytest.mark.sim
def test_expert_noise_is_added_to_the_clipped_action_and_clipped_again():
    state = np.zeros(39)
    state[:3], state[-3:] = (0.0, 0.6, 0.2), (0.0, 0.9, 0.2)  # the goal is 0.3 m ahead: the expert asks for 3 in y
    quiet = act(POLICIES["expert"](REACH, 0.0, np.random.default_rng(0), None), 1, state)[0]
    assert quiet.tolist() == [0.0, 1.0, 0.0, 0.0]
    noisy = act(POLICIES["expert"](REACH, 0.5, np.random.default_rng(0), None), 3000, state)
    assert noisy.dtype == np.float32 and np.abs(noisy).max() == 1.0
    assert (noisy[:, 1] == 1.0).mean() == pytest.approx(0.5, abs=0.04)  # half of the draws point outwards
    inside = noisy[np.abs(noisy[:, 0]) < 1.0, 0]
    assert inside.std() == pytest.approx(0.44, abs=0.02)  # N(0, 0.5) cut at two sigma
    with pytest.raises(DataError, match=r"needs Step\.state"):
        act(POLICIES["expert"](REACH, 0.5, np.random.default_rng(0), None), 1)


class Marching:
    """Stands for an expert: moves forward for ever, with a gripper command that closes step by step."""

    def __init__(self):
        self.asked = 0

    def act(self, step):
        self.asked += 1
        return np.array([5.0, 0.0, 0.0, 0.1 * self.asked])


def hand_at(x, success=False, is_first=False):
    state = np.zeros(39)
    state[0] = x
    return Step(IMAGE, 0.0, is_first=is_first, is_last=False, success=success, state=state)


def test_an_expert_stays_where_it_succeeded_and_retraces_its_path_where_success_is_lost():
    policy = Staying(Marching())
    for t in range(30):
        assert policy.act(hand_at(0.01 * t, is_first=t == 0))[0] == 5.0
    for x in (0.30, 0.31, 0.32):
        assert policy.act(hand_at(x, success=True)).tolist() == [0.0, 0.0, 0.0, 1.0]  # the gripper's last command
    back = np.stack([policy.act(hand_at(0.32)) for _ in range(RETRACE_DECISIONS)])
    assert back[:, 0] == pytest.approx(10.0 * (0.29 - 0.01 * np.arange(RETRACE_DECISIONS) - 0.32))
    assert (back[:, 1:] == (0.0, 0.0, 1.0)).all()
    assert policy.act(hand_at(0.1))[0] == 5.0  # it did not help: the expert again
    assert policy.act(hand_at(0.2, success=True))[0] == 0.0
    assert policy.act(hand_at(0.2))[0] == pytest.approx(-1.0)
    assert policy.act(hand_at(0.0, is_first=True))[0] == 5.0  # a new episode knows nothing of the last


@pytest.mark.sim
@pytest.mark.parametrize("task", ["mw-handle-press", "mw-faucet-open", "mw-plate-slide-back"])
def test_experts_end_in_success_where_going_on_fails(task):
    env = make_env(task, RenderParams(quality="fast", backend="auto"), pixels=False)
    ends = {}
    for name in ("expert", "expert-go-on"):
        policy = POLICIES[name](get_task(task), 0.0, np.random.default_rng(0), None)
        success = rollout(env, policy, 3).success
        assert success.any()
        ends[name] = success[-1]
    env.close()
    assert ends == {"expert": True, "expert-go-on": False}


def test_policies_that_cannot_act_are_refused_with_what_to_do():
    with pytest.raises(ParamsError, match=r"no scripted expert for dmc-walker-walk.*gsa explore-data"):
        check_policy("expert", WALKER)
    with pytest.raises(ParamsError, match="unknown policy 'experts'; one of expert, expert-go-on, tdmpc2, random, ou"):
        check_policy("experts", REACH)
    check_policy("ou", WALKER)
    check_policy("expert", REACH)
