"""Each choice of the agent changes what its name says; values of the release are those of ``agent_params``."""

import math

import pytest
import torch
import torch.nn.functional as F

from gsa.agents.dreamer import Teaching
from gsa.agents.returns import ReturnNorm, lambda_return
from gsa.config import RetnormParams
from gsa.nets.distributions import TwoHot, normal_log_prob
from gsa.schedule import Progress, Schedule
from gsa.world_model.rssm import State
from tests.agents.test_dreamer import RETNORM, changed, make_agent, snapshot
from tests.world_model.factories import random_batch


def start_states(count: int = 6) -> tuple[State, torch.Tensor]:
    torch.manual_seed(3)
    return State(torch.randn(count, 16), torch.zeros(count, 12)), torch.zeros(count, dtype=torch.bool)


def losses(agent, seed: int = 4):
    torch.manual_seed(seed)
    return agent.behavior.losses(agent.world_model.rssm, agent.heads, *start_states())


def with_opinions(agent):
    """Heads that say something: they start at zero."""
    torch.manual_seed(5)
    for head in (agent.reward_head, agent.behavior.critic, agent.behavior.slow_critic):
        torch.nn.init.normal_(head[-1].weight, std=0.3)
    return agent


def test_returns_are_divided_by_the_spread_of_those_seen() -> None:
    norm = ReturnNorm(RetnormParams(**RETNORM | {"impl": "perc", "rate": 0.5, "perclo": 0.0, "perchi": 100.0}))
    assert norm(torch.tensor([2.0, 12.0])).item() == pytest.approx(10.0)  # corrected for the average's start at 0
    assert norm(torch.tensor([0.0, 4.0])).item() == pytest.approx((0.25 * 10 + 0.5 * 4) / 0.75)
    floor = ReturnNorm(RetnormParams(**RETNORM | {"impl": "perc"}))
    assert floor(torch.tensor([0.1, 0.2])).item() == 1.0
    assert ReturnNorm(RetnormParams(**RETNORM))(torch.tensor([0.0, 50.0])).item() == 1.0


def test_return_normalisation_scales_the_actors_returns_but_not_its_entropy() -> None:
    plain, normed = (with_opinions(make_agent(retnorm=RETNORM | {"impl": impl})) for impl in ("none", "perc"))
    free = with_opinions(make_agent(actor_entropy_coef=0.0))
    entropy = losses(plain)[0] - losses(free)[0]
    loss, _, metrics = losses(normed)
    assert metrics["return_scale"] > 1.0
    torch.testing.assert_close(loss, losses(free)[0] / metrics["return_scale"] + entropy)


def test_the_mean_of_symexp_is_the_mean_of_two_peaks_and_the_symexp_of_the_mean_is_below_it() -> None:
    """Half the mass at 0, half at symexp(2)."""
    prob = torch.tensor([[0.0, 0.0, 0.5, 0.0, 0.5]])
    values = {
        name: TwoHot(5, -2.0, 2.0, name).decode((prob + 1e-12).log()) for name in ("mean_of_symexp", "symexp_of_mean")
    }
    assert values["mean_of_symexp"].item() == pytest.approx((math.exp(2) - 1) / 2, rel=1e-5)
    assert values["symexp_of_mean"].item() == pytest.approx(math.exp(1) - 1, rel=1e-5)
    assert TwoHot(255, decode="mean_of_symexp").decode(torch.zeros(3, 255)).abs().max() < 1e-3


def test_the_range_of_the_bins_is_that_of_the_parameters() -> None:
    agent = make_agent(bin_range=[-3.0, 5.0])
    for head in (agent.two_hot, agent.behavior.two_hot):
        assert (head.low, head.high) == (-3.0, 5.0)


@pytest.mark.parametrize("reaches", [False, True])
def test_the_rewards_gradient_reaches_the_model_where_asked(reaches: bool) -> None:
    found = []
    for reward in (0.0, 5.0):
        agent, batch = make_agent(reward_grad=reaches), random_batch()
        torch.nn.init.normal_(agent.reward_head[-1].weight)
        torch.manual_seed(1)
        before = snapshot(agent.reward_head)
        agent.update(batch._replace(reward=torch.full_like(batch.reward, reward)))
        assert changed(agent.reward_head, before)
        found.append(agent.world_model.encoder.state_dict()["conv.0.weight"])
    assert torch.equal(*found) != reaches


def test_the_actors_output_starts_scaled() -> None:
    full, small = make_agent(), make_agent(actor_outscale=0.01)
    for name in ("weight", "bias"):
        torch.testing.assert_close(
            getattr(small.behavior.actor.net[-1], name), 0.01 * getattr(full.behavior.actor.net[-1], name)
        )
    torch.testing.assert_close(small.behavior.actor.net[0][0].weight, full.behavior.actor.net[0][0].weight)


def test_the_continue_head_learns_where_episodes_end_and_shortens_imagined_returns() -> None:
    agent = with_opinions(make_agent(continue_head=True, model_optimizer=make_agent().params.model_optimizer))
    assert agent.continue_head is not None
    batch = random_batch()
    ends = batch._replace(is_terminal=torch.ones_like(batch.is_terminal))
    before = snapshot(agent.continue_head)
    agent.update(ends)
    assert changed(agent.continue_head, before)
    returns = []
    for logit in (-50.0, 50.0):
        torch.nn.init.zeros_(agent.continue_head[-1].weight)
        torch.nn.init.constant_(agent.continue_head[-1].bias, logit)
        returns.append(losses(agent)[2]["imag_return"])
    endless = with_opinions(make_agent())
    endless.load_state_dict(agent.state_dict(), strict=False)
    torch.testing.assert_close(returns[1], losses(endless)[2]["imag_return"])
    assert (returns[0] - losses(endless)[2]["imag_reward"]).abs() < 1e-5  # nothing counts but the reward of each state


def test_values_bootstrap_from_the_critic_that_is_named() -> None:
    for slowtar in (True, False):
        agent = with_opinions(make_agent(slowtar=slowtar))
        before = losses(agent)[2]["imag_return"]
        torch.nn.init.normal_(agent.behavior.slow_critic[-1].weight, std=1.0)
        assert (losses(agent)[2]["imag_return"] != before) == slowtar


def test_the_slow_critics_regulariser_is_the_cross_entropy_to_what_it_says() -> None:
    without, with_it = with_opinions(make_agent()), with_opinions(make_agent(slowreg=0.5))
    feat, returns = torch.randn(4, 28), torch.tensor([0.0, 1.0, -3.0, 10.0])
    behavior = with_it.behavior
    slow = behavior.two_hot.decode(behavior.slow_critic(feat))
    expected = without.behavior.value_loss(feat, returns) + 0.5 * behavior.two_hot.loss(behavior.critic(feat), slow)
    torch.testing.assert_close(behavior.value_loss(feat, returns), expected)


def test_the_critic_learns_from_replayed_rewards_up_to_where_an_episode_ends() -> None:
    agent = with_opinions(make_agent(repval_scale=0.3))
    behavior, discount = agent.behavior, agent.params.discount
    feat, reward = torch.randn(1, 4, 28), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    never = torch.zeros(1, 4, dtype=torch.bool)
    value = behavior.two_hot.decode(behavior.slow_critic(feat))[0].detach()
    returns = lambda_return(reward[0, :3, None], value[:3, None], torch.full((3, 1), discount), value[3:], 0.95)[:, 0]
    expected = behavior.value_loss(feat[0, :3], returns)
    torch.testing.assert_close(behavior.replay_value_loss(feat, reward, never, never), expected.mean())
    first = torch.tensor([[False, False, True, False]])  # row 1 ends an episode at its time limit: it teaches nothing
    cut = behavior.replay_value_loss(feat, reward, first, never)
    inside = behavior.value_loss(feat[0, 2:3], returns[2:3])
    before = behavior.value_loss(feat[0, :1], reward[0, :1] + discount * (0.05 * value[1:2] + 0.95 * reward[0, 1:2]))
    torch.testing.assert_close(cut, (inside + before).sum() / 3)
    ended = behavior.replay_value_loss(feat, reward, first, torch.tensor([[False, True, False, False]]))
    torch.testing.assert_close(ended, cut + behavior.value_loss(feat[0, 1:2], reward[0, 1:2]).sum() / 3)


def test_replayed_rewards_change_the_critic_alone() -> None:
    agents = [make_agent(repval_scale=scale) for scale in (0.0, 0.3)]
    for agent in agents:
        torch.manual_seed(1)
        agent.update(random_batch())
    differ = changed(agents[0], agents[1].state_dict())
    assert differ and all("critic" in name for name in differ)


def test_the_score_gradient_needs_no_dynamics() -> None:
    """Its loss is the log-density of the actions times their advantage; states and values carry no gradient."""
    noise, mean = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.1, 0.2]], requires_grad=True)
    std = torch.tensor([[0.5, 0.3]])
    found = normal_log_prob(mean, std, noise, torch.tensor([[1.0, 0.0]]))
    expected = torch.distributions.Normal(mean, std).log_prob((mean + std * noise).detach())[0, 0]
    torch.testing.assert_close(found[0], expected)
    agent = with_opinions(make_agent(imag_gradient="reinforce", actor_entropy_coef=0.0))
    gradients = []
    for scale in (1.0, 3.0):  # a reward head three times as steep changes the advantage, not what it is a gradient of
        actor_loss, _, _ = losses(agent)
        gradients.append(torch.autograd.grad(actor_loss, agent.behavior.actor.net[-1].weight)[0])
        torch.nn.init.constant_(agent.reward_head[-1].weight, 0.0)
        del scale
    assert not torch.equal(*gradients) and all(torch.isfinite(g).all() for g in gradients)


def test_a_teacher_moves_the_actor_alone_towards_its_actions() -> None:
    found = []
    for scale, shown in ((0.0, 0.9), (50.0, 0.9), (50.0, -0.9)):
        agent, batch = make_agent(), random_batch()
        known = torch.ones(batch.image.shape[0], 2, dtype=torch.bool)
        torch.manual_seed(1)
        agent.update(batch, Teaching(torch.full((len(known), 2, 3), shown), known, scale))
        found.append(snapshot(agent))
    assert all("actor" in name for name in changed(agent, found[0]) | changed(agent, found[1]))
    bias = [state["behavior.actor.net.1.bias"][:2] for state in found]  # before tanh, of the task's own dimensions
    assert (bias[1] > bias[2]).all()


def test_an_echo_learns_what_the_teacher_does_and_moves_nothing_else() -> None:
    found = []
    for residual in (False, True):
        agent, batch = make_agent(), random_batch()
        if residual:
            agent.make_residual(torch.nn.Linear(1, 1))
        known = torch.ones(batch.image.shape[0], 2, dtype=torch.bool)
        torch.manual_seed(1)
        agent.update(batch, Teaching(torch.full((len(known), 2, 3), 0.9), known, 5.0))
        found.append({name: value for name, value in snapshot(agent).items() if not name.startswith("teacher")})
    plain, residual = found
    assert {name for name in residual if name not in plain} == {name for name in residual if name.startswith("echo")}
    assert all(torch.equal(residual[name], plain[name]) for name in plain)
    assert not torch.equal(residual["echo.net.1.bias"], plain["behavior.actor.net.1.bias"])


def test_the_distance_to_a_teacher_counts_known_rows_and_the_tasks_dimensions() -> None:
    agent, feat = make_agent(), torch.randn(5, 28)
    mean, _ = agent.behavior.actor(feat)
    action = torch.cat([mean[:, :2].detach() + 0.5, torch.ones(5, 1)], 1)  # the third dimension is padding
    action[4] += 9.0
    known = torch.tensor([True] * 4 + [False])
    assert agent.behavior.actor.distance_to(action, feat, known).item() == pytest.approx(2 * 0.25, rel=1e-5)
    assert agent.behavior.actor.distance_to(action, feat, torch.zeros(5, dtype=torch.bool)).item() == 0.0


def test_updates_of_the_warm_up_are_owed_or_not() -> None:
    after = Progress(frames=100, env_steps=50, episodes=1)
    assert Schedule(1.0, start_frames=100).due(after) == 50
    after.skipped_env_steps = 50  # what the loop counts where they are not owed
    assert Schedule(1.0, start_frames=100, owed=False).due(after) == 0


def test_the_continue_loss_is_that_of_a_coin(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, seen = make_agent(continue_head=True), []
    real = F.binary_cross_entropy_with_logits
    monkeypatch.setattr(F, "binary_cross_entropy_with_logits", lambda *a: seen.append(a) or real(*a))
    agent.update(random_batch())
    logits, goes_on = seen[0]
    assert logits.shape == goes_on.shape and set(goes_on.unique().tolist()) <= {0.0, 1.0}
