import numpy as np
import pytest
import torch

from gsa.agents.bc import BCNet, BCPolicy, StackSampler, train_bc
from gsa.agents.frames import random_shift
from gsa.config import BCParams
from gsa.errors import DataError, TrainingError
from tests.storage.conftest import count_episode, noise_episode


def bc_params(**changes) -> BCParams:
    tiny = dict(updates=200, batch_size=16, lr=1e-3, lr_schedule="constant", frame_stack=3, shift_pad=0)
    return BCParams(**(tiny | dict(channels=[4, 4, 8, 8], bottleneck=8, units=16) | changes))


def test_stacks_are_the_last_three_images_with_the_action_taken_after_them():
    """Images show their row t and action t is t / 100, so one look tells an off-by-one."""
    sampler = StackSampler([count_episode(0, steps=6)], 3, np.random.default_rng(0))
    stack, action = sampler.sample(200)
    rows = stack[:, ::3, 1, 0].int()
    now = rows[:, 2]
    assert set(now.tolist()) == set(range(6))  # every decision, never the last row, which has no action
    assert torch.equal(rows[:, 1], (now - 1).clamp(min=0))
    assert torch.equal(rows[:, 0], (now - 2).clamp(min=0))
    torch.testing.assert_close(action[:, 0], now.float() / 100)


def test_sampling_is_uniform_over_decisions_of_all_episodes():
    episodes = [noise_episode(0, steps=2), noise_episode(1, steps=6)]
    sampler = StackSampler(episodes, 1, np.random.default_rng(0))
    _, action = sampler.sample(4000)
    first = np.isin(action[:, 0].numpy(), episodes[0].action[:, 0]).mean()
    assert first == pytest.approx(2 / 8, abs=0.03)


def test_shift_moves_every_stacked_frame_alike_and_by_at_most_pad():
    image = torch.arange(64, dtype=torch.uint8).repeat(2, 6, 64, 1)  # each column its own grey
    shifted = random_shift(image, 3, np.random.default_rng(0))
    assert shifted.shape == image.shape
    moved = shifted[:, :, 30, 30].int() - 30
    assert (moved.abs() <= 3).all()
    assert torch.equal(moved, moved[:, :1].expand_as(moved))


def test_cloning_overfits_one_episode_and_the_policy_repeats_it():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    episode = noise_episode(3, steps=8, width=2)
    net, losses = train_bc([episode], 2, bc_params(updates=400), rng)
    assert losses[-1] < 0.02 * losses[0], losses[::50]
    policy = BCPolicy(net, 3)
    from gsa.episode import Step

    for row in range(8):
        action = policy.act(Step(episode.image[row], 0.0, row == 0, False))
        np.testing.assert_allclose(action, episode.action[row], atol=0.25)


def test_a_falling_rate_averages_the_noise_of_the_actions():
    episode = noise_episode(0, steps=64)
    episode.image[:] = episode.image[0]
    mean = episode.action[:-1].mean(0)
    error = {}
    for schedule in ("constant", "linear"):
        torch.manual_seed(0)
        params = bc_params(lr=1e-2, lr_schedule=schedule, batch_size=4)
        net, _ = train_bc([episode], 2, params, np.random.default_rng(0))
        found = net(torch.from_numpy(episode.image[:3].reshape(1, 9, 64, 64)))[0].detach().numpy()
        error[schedule] = float(np.abs(found - mean).max())
    assert error["linear"] < 0.1 < error["constant"], error


def test_the_network_has_the_papers_shape():
    params = BCParams(
        updates=1,
        batch_size=1,
        lr=1e-4,
        lr_schedule="constant",
        frame_stack=3,
        shift_pad=3,
        channels=[32, 64, 128, 256],
        bottleneck=50,
        units=1024,
    )
    net = BCNet(params, 4)
    assert net.conv(torch.zeros(1, 9, 64, 64)).flatten(1).shape == (1, 1024)
    assert [m.out_features for m in net.head if isinstance(m, torch.nn.Linear)] == [50, 1024, 1024, 4]


def test_bad_input_is_named():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="no retrieved episodes"):
        train_bc([], 2, bc_params(), rng)
    with pytest.raises(DataError, match=r"action widths \[2\], the task has 4"):
        train_bc([noise_episode(0)], 4, bc_params(), rng)
    broken = noise_episode(0)
    broken.action[:] = np.nan
    with pytest.raises(TrainingError, match="update 0"):
        train_bc([broken], 2, bc_params(), rng)
