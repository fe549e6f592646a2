"""n-step transitions by hand: image t is t, action t is t / 100, reward t is t / 10."""

import numpy as np
import pytest
import torch

from gsa.episode import Episode
from gsa.errors import DataError
from gsa.storage.episode_log import EpisodeLog
from gsa.storage.replay import EpisodeBuffer
from gsa.storage.transitions import draw_transitions
from tests.storage.conftest import count_episode


def terminated(episode: Episode) -> Episode:
    episode.is_terminal[-1] = True
    return episode


def buffer_of(*episodes: Episode) -> EpisodeBuffer:
    buffer = EpisodeBuffer()
    for episode in episodes:
        buffer.add(episode)
    return buffer


def draw(buffer: EpisodeBuffer, size: int = 400, nstep: int = 3, capacity: int = 10**6, seed: int = 0):
    return draw_transitions(buffer, np.random.default_rng(seed), size, nstep, 0.5, 3, capacity)


def rows_of(frames: torch.Tensor) -> torch.Tensor:
    """Which row each frame is."""
    return frames[:, :, 0, 1, 0].int()


def test_windows_lie_within_the_episode_and_sum_their_rewards():
    batch = draw(buffer_of(count_episode(steps=6)))
    now, later = rows_of(batch.frames), rows_of(batch.next_frames)
    assert set(now[:, -1].tolist()) == {0, 1, 2, 3}  # row 3 ends at row 6, the last
    assert torch.equal(later[:, -1], now[:, -1] + 3)
    for rows in (now, later):  # oldest first, the first row repeated
        assert torch.equal(rows, (rows[:, -1:] + torch.tensor([-2, -1, 0])).clamp(min=0))
    t = now[:, -1].float()
    torch.testing.assert_close(batch.action[:, 0], t / 100)
    torch.testing.assert_close(batch.reward, (t + 1) / 10 + 0.5 * (t + 2) / 10 + 0.25 * (t + 3) / 10)
    assert (batch.discount == 0.125).all()


def test_a_termination_counts_no_further_value_and_its_last_decisions_take_part():
    batch = draw(buffer_of(terminated(count_episode(steps=6))))
    now = rows_of(batch.frames)[:, -1]
    assert set(now.tolist()) == set(range(6))
    by_row = {int(row): (float(r), float(d)) for row, r, d in zip(now, batch.reward, batch.discount, strict=True)}
    expected = {
        2: (0.3 + 0.2 + 0.125, 0.125),  # ends at row 5, before the end
        3: (0.4 + 0.25 + 0.15, 0.0),
        4: (0.5 + 0.3, 0.0),
        5: (0.6, 0.0),
    }
    for row, pair in expected.items():
        assert by_row[row] == pytest.approx(pair)
    assert rows_of(batch.next_frames)[:, -1].max() == 6


def test_episodes_are_equally_likely_and_then_their_rows():
    short, long = count_episode(0, steps=3), count_episode(1, steps=12)
    short.action[:, 1] = 0.9
    batch = draw(buffer_of(short, long), size=6000)
    from_short = batch.action[:, 1] == 0.9
    assert from_short.float().mean() == pytest.approx(0.5, abs=0.03)
    counts = torch.bincount(rows_of(batch.frames)[~from_short, -1], minlength=10)
    assert len(counts) == 10 and counts.min() > 0.7 * counts.float().mean()


def test_one_step_transitions():
    batch = draw(buffer_of(count_episode(steps=2)), nstep=1)
    now = rows_of(batch.frames)[:, -1]
    assert set(now.tolist()) == {0, 1}
    torch.testing.assert_close(batch.reward, (now + 1) / 10)
    assert (batch.discount == 0.5).all()


def test_short_episodes_take_no_part_unless_they_terminated():
    cut, ended, long = count_episode(0, steps=2), terminated(count_episode(1, steps=2)), count_episode(2, steps=4)
    for number, episode in enumerate((cut, ended, long)):
        episode.action[:, 1] = number / 10
    assert set(draw(buffer_of(cut, ended, long)).action[:, 1].tolist()) == {np.float32(0.1), np.float32(0.2)}
    for buffer in (buffer_of(), buffer_of(cut)):
        with pytest.raises(DataError, match="episodes has the 3 decisions of a 3-step return"):
            draw(buffer)


def test_only_the_newest_episodes_within_the_capacity_are_drawn():
    episodes = [count_episode(number, steps=5) for number in range(4)]
    for number, episode in enumerate(episodes):
        episode.action[:, 1] = number / 10
    for capacity, newest in ((20, 4), (19, 3), (10, 2), (1, 1)):
        found = set(draw(buffer_of(*episodes), capacity=capacity).action[:, 1].tolist())
        assert found == {np.float32(number / 10) for number in range(4 - newest, 4)}


def test_a_buffer_in_a_log_gives_the_same(tmp_path):
    episodes = [count_episode(0, steps=2), terminated(count_episode(1, steps=2)), count_episode(2, steps=9)]
    memory, log = buffer_of(*episodes), EpisodeBuffer(log=EpisodeLog(tmp_path / "log"))
    for episode in episodes:
        log.add(episode)
    assert all(torch.equal(a, b) for a, b in zip(draw(memory), draw(log), strict=True))


def test_equal_generators_give_equal_batches():
    buffer = buffer_of(count_episode(0, steps=5), count_episode(1, steps=9))
    first, second, other = (draw(buffer, 8, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.action, other.action)
