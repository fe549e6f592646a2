import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gsa.config import ExploreDataParams
from gsa.episode import Step
from gsa.errors import ParamsError, TrainingError
from gsa.policies.curiosity import ICM, INTRINSIC_REWARDS, RND, Disagreement, RunningVariance
from gsa.policies.exploration import (
    CuriousExplorer,
    TransitionReplay,
    Transitions,
    make_explorer,
)


def explore_params(**changes: Any) -> ExploreDataParams:
    """Tiny: one update a decision after two random ones."""
    values = {
        "method": "icm",
        "train_env_steps": 40,
        "update_every": 1,
        "seed_env_steps": 2,
        "hidden": 8,
        "batch_size": 4,
        "lr": 1e-3,
        "discount": 0.9,
        "action_std": 0.2,
        "intrinsic_nstep": 1,
        "episodes": 2,
        "failed_gate": "refuse",
        "seed": 0,
    }
    return ExploreDataParams(**{**values, **changes})


def curious(state_dim: int = 3, action_dim: int = 2, **changes: Any) -> CuriousExplorer:
    return CuriousExplorer(state_dim, action_dim, explore_params(**changes), 200, np.random.SeedSequence(0))


def fixed_batch(rows: int = 16, state_dim: int = 3, action_dim: int = 2) -> Transitions:
    generator = torch.Generator().manual_seed(1)
    state = torch.randn(rows, state_dim, generator=generator)
    action = torch.rand(rows, action_dim, generator=generator) * 2 - 1
    return Transitions(state, action, state + 0.5 * torch.randn(rows, state_dim, generator=generator))


def seen(state: np.ndarray, is_first: bool) -> Step:
    return Step(np.zeros((3, 64, 64), np.uint8), 0.0, is_first, False, state=state)


def constant_output(net: torch.nn.Module, value: Tensor) -> None:
    """Make a network answer ``value`` whatever it sees."""
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        layers[-1].weight.zero_()
        layers[-1].bias.copy_(value)


def intrinsic(name: str, seed: int = 0) -> Any:
    return INTRINSIC_REWARDS[name](3, 2, 8, torch.Generator().manual_seed(seed))


# --- intrinsic rewards against values worked out by hand


def test_icm_pays_log_one_plus_the_norm_of_the_forward_error() -> None:
    model = ICM(2, 1, 4, torch.Generator().manual_seed(0))
    constant_output(model.forward_model, torch.tensor([1.0, 2.0]))
    constant_output(model.inverse_model, torch.tensor([0.0]))
    state, action = torch.zeros(2, 2), torch.tensor([[0.5], [-0.25]])
    next_state = torch.tensor([[4.0, 6.0], [1.0, 2.0]])  # errors (3, 4), norm 5, and none
    assert model.reward(state, action, next_state).tolist() == pytest.approx([math.log(6.0), 0.0])
    assert model.loss(state, action, next_state).item() == pytest.approx((5.0 + 0.0) / 2 + (0.5 + 0.25) / 2)


def test_rnd_pays_the_error_over_the_std_of_all_errors_so_far() -> None:
    model = RND(1, 1, 4, torch.Generator().manual_seed(0))
    constant_output(model.predictor, torch.zeros(512))
    with torch.no_grad():  # target: its first feature is the normalised state, the rest 0
        for layer in model.target:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.zero_()
                layer.bias.zero_()
                layer.weight[0, 0] = 1.0
    state = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    normalised = [0.0, 0.0, 0.5 / math.sqrt(1.25), 1.5 / math.sqrt(1.25)]  # ReLUs cut the negative half
    error = [value**2 / 512 for value in normalised]
    assert model.loss(state, state, state).item() == pytest.approx(sum(error) / 4, rel=1e-4)
    mean = sum(error) / 4
    first = sum((e - mean) ** 2 for e in error) / 3  # unbiased, as torch.var
    std = math.sqrt((1e-4 * 1.0 + 4 * first + mean**2 * 1e-4 * 4 / 4.0001) / 4.0001)
    assert model.reward(state, state, state).tolist() == pytest.approx([e / std for e in error], rel=1e-3)


def test_rnd_clips_normalised_states() -> None:
    model = RND(1, 1, 4, torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    model.target.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.loss(*[torch.cat([torch.zeros(99, 1), torch.full((1, 1), 1e3)])] * 3)
    assert seen[0].max() == 5.0  # unclipped: 9.9 standard deviations


def test_disagreement_is_the_unbiased_variance_over_members() -> None:
    model = intrinsic("disagreement")
    with torch.no_grad():
        model.models.outer_weight.zero_()
        model.models.outer_bias.zero_()
        model.models.outer_bias[:, 0, 0] = torch.arange(5.0)  # member k answers (k, 0, 0)
    batch = fixed_batch(4)
    assert model.reward(*batch).tolist() == pytest.approx([2.5 / 3] * 4)  # variance of 0..4, mean of 3 dimensions


def test_disagreement_is_zero_when_members_are_tied() -> None:
    model: Disagreement = intrinsic("disagreement")
    assert (model.reward(*fixed_batch()) > 0).all()
    with torch.no_grad():
        for weight in model.parameters():
            weight[1:] = weight[:1]
    assert model.reward(*fixed_batch()).tolist() == [0.0] * 16


def test_running_variance_is_that_of_all_batches_together() -> None:
    running = RunningVariance()
    batches = [torch.randn(50, generator=torch.Generator().manual_seed(n)) * (n + 1) + n for n in range(3)]
    for batch in batches:
        variance = running.update(batch)
    assert variance.item() == pytest.approx(torch.cat(batches).var().item(), rel=0.02)


@pytest.mark.parametrize("name", INTRINSIC_REWARDS)
def test_rewards_carry_no_gradient_and_fall_on_a_batch_seen_again(name: str) -> None:
    model, batch = intrinsic(name), fixed_batch()
    before = copy.deepcopy(model).reward(*batch)
    assert not before.requires_grad and before.shape == (16,)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        model.loss(*batch).backward()
        optimizer.step()
    assert model.reward(*batch).mean() < 0.5 * before.mean()


def test_rnd_target_is_never_updated() -> None:
    explorer = curious(method="rnd")
    before = copy.deepcopy(explorer.intrinsic.target.state_dict())
    predictor = copy.deepcopy(explorer.intrinsic.predictor.state_dict())
    for _ in range(3):
        explorer.update(fixed_batch())
    assert all(torch.equal(before[key], value) for key, value in explorer.intrinsic.target.state_dict().items())
    assert not torch.equal(predictor["0.weight"], explorer.intrinsic.predictor.state_dict()["0.weight"])


# --- the order of (s, a, s')


@pytest.mark.parametrize("nstep", [1, 3])
def test_transitions_are_nstep_decisions_apart_and_never_cross_an_episode(nstep: int) -> None:
    # Episode e, row t has state 100 e + t; the action taken there is its negative.
    replay = TransitionReplay(100, 1, 1, nstep)
    for episode in range(3):
        replay.begin(np.array([100.0 * episode]))
        for t in range(5):
            replay.add(np.array([-(100.0 * episode + t)]), np.array([100.0 * episode + t + 1]))
    batch = replay.sample(500, np.random.default_rng(0))
    assert torch.equal(batch.action, -batch.state)
    assert torch.equal(batch.next_state, batch.state + nstep)
    starts = {100.0 * episode + t for episode in range(3) for t in range(6 - nstep)}
    assert set(batch.state[:, 0].tolist()) == starts


def test_an_unfinished_episode_can_be_sampled_up_to_its_newest_row() -> None:
    replay = TransitionReplay(10, 1, 1, 1)
    replay.begin(np.array([0.0]))
    replay.add(np.array([0.5]), np.array([1.0]))
    batch = replay.sample(3, np.random.default_rng(0))
    assert (batch.state.tolist(), batch.next_state.tolist()) == ([[0.0]] * 3, [[1.0]] * 3)


# --- the learner


def test_critic_learns_the_intrinsic_reward_plus_discounted_target_value(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = curious(discount=0.9, intrinsic_nstep=3)
    monkeypatch.setattr(explorer.intrinsic, "reward", lambda *batch: torch.full((16,), 2.0))
    with torch.no_grad():  # both online heads answer 1, the target's 5 and 7: the lower one counts
        explorer.critic.heads.outer_weight.zero_()
        explorer.critic.heads.outer_bias.fill_(1.0)
        explorer.target.heads.outer_weight.zero_()
        explorer.target.heads.outer_bias.copy_(torch.tensor([5.0, 7.0]).reshape(2, 1, 1))
    error = 2.0 + 0.9**3 * 5.0 - 1.0
    assert explorer.update(fixed_batch())["critic"] == pytest.approx(2 * error**2, rel=1e-4)


def test_the_models_are_trained_before_they_pay() -> None:
    explorer = curious()
    untrained = copy.deepcopy(explorer.intrinsic)
    paid = explorer.update(fixed_batch())["reward"]
    assert paid == pytest.approx(explorer.intrinsic.reward(*fixed_batch()).mean().item())
    assert paid != untrained.reward(*fixed_batch()).mean().item()


def test_the_actor_step_moves_the_actor_alone() -> None:
    explorer, batch = curious(), fixed_batch()
    critic = copy.deepcopy(explorer.critic.state_dict())
    actor = copy.deepcopy(explorer.actor.state_dict())
    for name in ("critic", "intrinsic"):
        explorer.optimizers[name].param_groups[0]["lr"] = 0.0
    explorer.update(batch)
    assert all(torch.equal(critic[key], value) for key, value in explorer.critic.state_dict().items())
    assert not all(torch.equal(actor[key], value) for key, value in explorer.actor.state_dict().items())


def test_target_moves_a_hundredth_of_the_way() -> None:
    explorer = curious()
    before = copy.deepcopy(explorer.target.state_dict())
    explorer.update(fixed_batch())
    for name, new in explorer.critic.state_dict().items():
        torch.testing.assert_close(
            explorer.target.state_dict()[name], 0.99 * before[name] + 0.01 * new, atol=1e-7, rtol=0
        )


def test_noise_in_updates_is_clipped_and_lets_gradients_through() -> None:
    explorer = curious(action_std=1.0)
    mean = torch.full((1000, 2), 0.95, requires_grad=True)
    action = explorer._noisy(mean)
    assert action.min().item() == pytest.approx(0.65) and action.max() < 1.0
    action.sum().backward()
    assert mean.grad is not None and (mean.grad == 1.0).all()  # also where the clamp cut


def test_acting_is_uniform_first_then_the_actors_mean_plus_noise() -> None:
    explorer = curious(seed_env_steps=50, update_every=1000, action_std=0.01)
    constant_output(explorer.actor, torch.tensor([math.atanh(0.5), math.atanh(-0.5)]))
    state, actions = np.zeros(3), []
    for count in range(100):
        actions.append(explorer.act(seen(state, is_first=count == 0)))
        explorer.learn(actions[-1], state)
    early, late = np.array(actions[:50]), np.array(actions[50:])
    assert np.abs(early.mean(0)).max() < 0.25 and early.std(0).min() > 0.45  # uniform: 0.58
    assert np.allclose(late, [0.5, -0.5], atol=0.05) and late.std(0).min() > 0.005


def test_a_non_finite_loss_stops_before_any_weight_moves() -> None:
    explorer, batch = curious(), fixed_batch()
    before = copy.deepcopy(explorer.intrinsic.state_dict())
    batch.next_state[0, 0] = torch.inf
    with pytest.raises(TrainingError, match=r"icm.*intrinsic loss is nan at update 0"):
        explorer.update(batch)
    assert all(torch.equal(before[key], value) for key, value in explorer.intrinsic.state_dict().items())


def test_ou_noise_has_memory_and_restarts() -> None:
    explorer = make_explorer(1, 1, explore_params(method="ou"), 10, np.random.SeedSequence(0))
    walk = np.array([explorer.act(seen(np.zeros(1), is_first=t == 0))[0] for t in range(4000)])
    assert np.corrcoef(walk[:-1], walk[1:])[0, 1] > 0.7
    firsts = [explorer.act(seen(np.zeros(1), is_first=True))[0] for _ in range(500)]
    assert np.std(firsts) == pytest.approx(0.3, rel=0.15)  # one draw from 0, not the walk's 0.57


def test_an_unknown_method_is_named_with_the_known_ones() -> None:
    params = explore_params().model_copy(update={"method": "apt"})
    with pytest.raises(
        ParamsError, match="unknown exploration method 'apt'; one of icm, rnd, disagreement, random, ou"
    ):
        make_explorer(3, 2, params, 10, np.random.SeedSequence(0))
