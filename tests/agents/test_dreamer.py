"""The agent: masks, who learns from what, overfitting, resume; with tiny networks."""

import copy

import numpy as np
import pytest
import torch

from gsa.agents.dreamer import Dreamer, DreamerPolicy
from gsa.config import DreamerParams, OptimizerParams
from gsa.envs.rollout import rollout
from gsa.episode import Batch, concat_batches
from gsa.errors import TrainingError
from gsa.world_model.model import WorldModel
from gsa.world_model.rssm import State
from tests.envs.counting import CountingEnv
from tests.world_model.factories import random_batch, world_model_params

RETNORM = {"impl": "none", "rate": 0.01, "limit": 1.0, "perclo": 5.0, "perchi": 95.0}
OPTIMIZER = OptimizerParams(lr=1e-3, eps=1e-5, weight_decay=0.0, clip_norm=100.0)


def agent_params(**changes) -> DreamerParams:
    tiny = dict(imag_horizon=4, imag_starts=0, discount=0.99, actor_entropy_coef=1e-4, min_std=0.1, max_std=1.0)
    heads = dict(units=16, actor_layers=1, critic_layers=1, reward_layers=1, bins=255, slow_critic_fraction=0.02)
    loop = dict(
        precision="float32",
        filter="episode",
        shift_pad=0,
        batch_size=4,
        batch_length=4,
        replay_ratio=1.0,
        warmup_frames=1,
        max_warmup_episodes=1,
        owe_warmup=True,
    )
    returns = dict(bin_range=[-20.0, 20.0], decode="symexp_of_mean", imag_gradient="dynamics", retnorm=RETNORM)
    critic = dict(repval_scale=0.0, slowtar=True, slowreg=0.0)
    model = dict(reward_grad=False, continue_head=False, actor_outscale=1.0)
    rates = {"lambda": 0.95, "actor_lr": 1e-3, "critic_lr": 1e-3, "model_optimizer": OPTIMIZER}
    return DreamerParams(**(tiny | heads | loop | returns | critic | model | rates | changes))


def make_agent(seed=0, fine_tune="full", **changes) -> Dreamer:
    torch.manual_seed(seed)
    return Dreamer(WorldModel(world_model_params()), 2, agent_params(**changes), fine_tune)


def without_reward(batch: Batch) -> Batch:
    """As retrieved windows are."""
    return batch._replace(has_reward=torch.zeros_like(batch.has_reward))


def snapshot(module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.state_dict())


def changed(module, before) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def test_padded_actions_are_zero_in_sample_mean_and_imagination():
    agent = make_agent()
    actor = agent.behavior.actor
    mean, std = actor(torch.randn(50, agent.world_model.rssm.feat_dim))
    assert (mean[:, 2:] == 0).all()
    assert (actor.sample(mean, std)[:, 2:] == 0).all()
    assert ((std >= 0.1) & (std <= 1.0)).all()
    assert (mean[:, :2].abs() > 0).all()


def test_padded_actions_carry_no_entropy_and_no_gradient():
    agent = make_agent()
    actor = agent.behavior.actor
    rssm = agent.world_model.rssm
    start = State(torch.randn(3, 16), torch.zeros(3, 12))
    imag = agent.behavior.imagine(rssm, start)
    (imag.feat.sum() + imag.entropy.sum()).backward()
    head = actor.net[-1].weight.grad  # rows: mean of 3 dimensions, then std of 3; the third is padding
    assert head[[2, 5]].abs().sum() == 0
    assert (head[[0, 1, 3, 4]].abs().sum(1) > 0).all()


def test_the_reward_head_sees_windows_with_rewards_alone_wherever_they_stand():
    for last in (True, False):  # no slice would get both orders right
        results = []
        for poison in (0.0, 1e6):
            agent, online = make_agent(), random_batch(batch=3)
            retrieved = without_reward(random_batch(batch=1, seed=5))
            retrieved.reward[:] = poison
            torch.manual_seed(1)
            agent.update(concat_batches(online, retrieved) if last else concat_batches(retrieved, online))
            results.append(snapshot(agent))
        for name, value in results[0].items():
            torch.testing.assert_close(value, results[1][name], msg=name)


def test_retrieved_rows_do_train_the_world_model():
    before = make_agent()
    results = []
    for seed in (5, 6):
        agent = make_agent()
        torch.manual_seed(1)
        agent.update(concat_batches(random_batch(batch=3), without_reward(random_batch(batch=1, seed=seed))))
        results.append(agent.world_model.encoder.state_dict()["conv.0.weight"])
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[0], before.world_model.encoder.state_dict()["conv.0.weight"])


def test_actor_and_critic_losses_leave_model_and_reward_head_without_gradient():
    agent = make_agent()
    start = State(torch.randn(4, 16), torch.zeros(4, 12))
    torch.nn.init.normal_(agent.reward_head[-1].weight)
    actor_loss, critic_loss, _ = agent.behavior.losses(
        agent.world_model.rssm, agent.heads, start, torch.zeros(4, dtype=torch.bool)
    )
    (actor_loss + critic_loss).backward()
    for module in (agent.world_model, agent.reward_head, agent.behavior.slow_critic):
        assert all(p.grad is None for p in module.parameters())
    for module in (agent.behavior.actor, agent.behavior.critic):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    assert all(p.requires_grad for p in agent.world_model.parameters())  # thawed again


@pytest.mark.parametrize(
    ("fine_tune", "moves", "stays"),
    [
        ("full", {"encoder", "rssm", "decoder"}, set()),
        ("autoencoder", {"encoder", "decoder"}, {"rssm"}),
        ("dynamics", {"rssm"}, {"encoder", "decoder"}),
    ],
)
def test_the_switch_says_what_is_fine_tuned(fine_tune, moves, stays):
    agent = make_agent(fine_tune=fine_tune)
    before = snapshot(agent.world_model)
    agent.update(random_batch())
    touched = {name.split(".")[0] for name in changed(agent.world_model, before)}
    assert touched == moves
    assert not touched & stays


def test_the_slow_critic_follows_by_its_fraction():
    agent = make_agent(slow_critic_fraction=0.25)
    old = snapshot(agent.behavior.slow_critic)
    agent.update(random_batch())
    for name, fast in agent.behavior.critic.state_dict().items():
        expected = old[name] + 0.25 * (fast - old[name])
        torch.testing.assert_close(agent.behavior.slow_critic.state_dict()[name], expected)


def test_equal_seeds_equal_updates_and_a_resumed_agent_continues_exactly():
    batches = [random_batch(seed=s) for s in range(4)]
    straight = make_agent()
    for batch in batches:
        straight.update(batch)
    first = make_agent()
    for batch in batches[:2]:
        first.update(batch)
    saved, rng = copy.deepcopy(first.training_state()), torch.get_rng_state()
    second = make_agent(seed=9)
    second.load_training_state(saved)
    torch.set_rng_state(rng)
    for batch in batches[2:]:
        second.update(batch)
    assert not changed(second, straight.state_dict())


def test_a_nan_reward_stops_before_any_reward_weight_changes():
    agent = make_agent()
    batch = random_batch()
    batch.reward[0, 0] = float("nan")
    before = snapshot(agent.reward_head)
    with pytest.raises(TrainingError, match="reward head"):
        agent.update(batch)
    assert not changed(agent.reward_head, before)


@pytest.mark.parametrize("filtering", ["episode", "window"])
def test_the_agents_latent_gets_the_action_that_was_executed(filtering):
    """Filtering a finished episode, or the last 4 rows of it, with ``observe`` gives the state the policy acted on."""
    agent = make_agent(filter=filtering)
    # one class a categorical: no randomness in z, so deter can be compared
    agent.world_model = WorldModel(world_model_params(stoch=1, classes=1))
    agent.behavior.actor = type(agent.behavior.actor)(
        agent.world_model.rssm.feat_dim, agent.behavior.actor.action_mask, agent_params()
    )

    class Sometimes:
        def __init__(self):
            self.policy, self.count, self.seen = DreamerPolicy(agent, explore=True), 0, []
            agent.behavior.actor.register_forward_hook(lambda actor, seen, _: self.seen.append(seen[0]))

        def act(self, step):
            action = self.policy.act(step)
            if self.count % 2:
                action = np.array([0.3, -0.3], np.float32)
                self.policy.executed(action)
            self.count += 1
            return action

    policy = Sometimes()
    episodes = [rollout(CountingEnv(2, 6), policy, seed=seed) for seed in range(2)]  # the second starts from nothing
    for number, episode in enumerate(episodes):
        action = torch.zeros(1, 7, 3)
        action[0, 1:, :2] = torch.from_numpy(episode.action[:-1])  # prev_action, by hand
        is_first = torch.tensor([[True] + [False] * 6])
        for row in range(6):
            rows = slice(max(0, row - 3) if filtering == "window" else 0, row + 1)
            with torch.no_grad():
                embed = agent.world_model.embed(torch.from_numpy(episode.image)[None, rows])
                post, _ = agent.world_model.rssm.observe(embed, action[:, rows], is_first[:, rows])
            seen = policy.seen[6 * number + row][:, -post.deter.shape[-1] :]
            torch.testing.assert_close(post.deter[:, -1], seen, rtol=1e-5, atol=1e-6)
