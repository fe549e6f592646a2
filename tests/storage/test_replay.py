import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from gsa.config import ConvertParams
from gsa.episode import Batch, concat_batches, prev_action
from gsa.errors import DataError
from gsa.storage.episode_log import EpisodeLog
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.raw import read_raw_episode, write_raw_episode
from gsa.storage.replay import EpisodeBuffer, EpisodeSet, Replay
from gsa.storage.store_writer import write_store
from tests.storage.conftest import assert_same_steps, count_episode, noise_episode


def buffer_of(*episodes: object) -> EpisodeBuffer:
    buffer = EpisodeBuffer()
    for episode in episodes:
        buffer.add(episode)
    return buffer


def test_from_npz_to_prev_action_the_count_is_kept(tmp_path: Path, params: ConvertParams) -> None:
    raw = read_raw_episode(write_raw_episode(tmp_path / "raw", 0, count_episode(steps=20)))
    raw.info.update(source="count", embodiment="counter")
    write_store([raw], tmp_path / "store", params)
    batch = Replay(EpisodeStore(tmp_path / "store"), 4, 0).batch(0, 8, 6)
    count = batch.image[:, :, 0, 1, 0].float()
    assert (count[:, 1:] - count[:, :-1] == 1).all()
    # The action in a row was chosen after seeing its image ...
    torch.testing.assert_close(batch.action[..., 0] * 100, torch.where(count < 20, count, 0.0))
    torch.testing.assert_close(batch.action[..., 1], -batch.action[..., 0])
    # ... and the one that led to it was chosen after seeing the image before.
    torch.testing.assert_close(prev_action(batch.action)[:, 1:, 0] * 100, count[:, 1:] - 1)
    assert torch.equal(batch.is_first, count == 0)


def test_reward_of_a_row_came_with_its_image_and_reward_free_data_says_so(
    tmp_path: Path, params: ConvertParams
) -> None:
    batch = Replay(buffer_of(count_episode(steps=20)), 2, 0).batch(0, 4, 5)
    torch.testing.assert_close(batch.reward, batch.image[:, :, 0, 1, 0].float() / 10)
    assert batch.has_reward.all()
    write_store([count_episode(steps=20)], tmp_path, params)
    free = Replay(EpisodeStore(tmp_path), 2, 0).batch(0, 4, 5)
    assert not free.has_reward.any() and not free.reward.any()


def test_every_window_is_equally_likely() -> None:
    # 8 windows of 4 rows in the first episode, 3 in the second, none in the third.
    replay = Replay(buffer_of(count_episode(0, 10), count_episode(1, 5), count_episode(2, 2)), 2, 0)
    counts = np.zeros((2, 8), int)
    for number in range(50):
        batch = replay.batch(number, 110, 4)
        np.add.at(counts, (batch.image[:, 0, 0, 0, 0].numpy(), batch.image[:, 0, 0, 1, 0].numpy()), 1)
    seen = counts[counts > 0]
    assert len(seen) == 11
    # 500 expected each; chi-squared with 10 degrees of freedom exceeds 35 once in 8000 seeds.
    assert ((seen - 500.0) ** 2 / 500).sum() < 35


def test_windows_of_episodes_that_end_early_go_on_in_the_next_ones() -> None:
    buffer = EpisodeBuffer(join_short=True)
    for seed, steps in enumerate((2, 1, 8, 3)):  # rows 3, 2, 9, 4
        buffer.add(count_episode(seed, steps))
    replay, seen = Replay(buffer, 2, 0), set()
    for number in range(20):
        batch = replay.batch(number, 8, 6)
        assert batch.has_reward.all() and torch.equal(batch.is_first, batch.image[:, :, 0, 1, 0] == 0)
        torch.testing.assert_close(batch.reward, batch.image[:, :, 0, 1, 0].float() / 10)
        seen |= {tuple(zip(*row, strict=True)) for row in batch.image[:, :, 0, :2, 0].permute(0, 2, 1).tolist()}
    first = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]
    last = [(3, 0), (3, 1), (3, 2), (3, 3), (0, 0), (0, 1)]
    inside = [tuple((2, start + row) for row in range(6)) for start in range(4)]
    assert seen == {tuple(first), (*first[3:], (2, 1), (2, 2), (2, 3)), tuple(last), *inside}
    copy = buffer.window(3, 0, 6)
    assert copy.image[:, 0, 0, 0].tolist() == [3, 3, 3, 3, 0, 0] and copy.is_last.tolist() == [
        *[False] * 3,
        True,
        *[False] * 2,
    ]
    with pytest.raises(DataError, match="all 4 episodes are shorter than a window of 19 rows"):
        Replay(buffer, 2, 0).batch(0, 2, 19)
    with pytest.raises(DataError, match=r"rows 1\.\.7 of online episode 0"):
        buffer.window(0, 1, 6)


def test_memory_of_sampling_does_not_grow_with_the_store(tmp_path: Path, params: ConvertParams) -> None:
    def peak(num_episodes: int) -> int:
        folder = tmp_path / str(num_episodes)
        write_store([noise_episode(n, steps=40) for n in range(num_episodes)], folder, params)
        replay = Replay(EpisodeStore(folder), 2, 0)
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        for number in range(20):
            replay.batch(number, 2, 8)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most + pa.total_allocated_bytes() - before

    few, many = peak(2), peak(20)  # 1 and 10 MB of images
    assert many < 1.5 * few and many < 1_000_000


def test_actions_are_padded_after_their_native_width(tmp_path: Path, params: ConvertParams) -> None:
    narrow = [noise_episode(n, width=1, embodiment="narrow") for n in range(2)]
    wide = [noise_episode(n, width=3, embodiment="wide") for n in range(2)]
    write_store([*narrow, *wide], tmp_path, params)
    batch = Replay(EpisodeStore(tmp_path), 5, 0).batch(0, 16, 4)
    native = batch.action.abs().sum(1) > 0
    assert set(native.sum(1).tolist()) == {1, 3}
    assert (native == native.sort(1, descending=True).values).all()  # what is padded comes last
    with pytest.raises(DataError, match=r"world_model\.action_dim"):
        Replay(EpisodeStore(tmp_path), 2, 0).batch(0, 16, 4)


def test_images_flatten_to_channels_last_without_a_copy_also_when_mixed() -> None:
    replay = Replay(buffer_of(count_episode()), 2, 0)
    online, retrieved = replay.batch(0, 3, 4), replay.batch(1, 2, 4)
    mixed = concat_batches(online, retrieved)
    assert_same_batch(Batch(*(x[:3] for x in mixed)), online)
    assert_same_batch(Batch(*(x[3:] for x in mixed)), retrieved)
    for image in (online.image, mixed.image):
        flat = image.flatten(0, 1)
        assert flat.data_ptr() == image.data_ptr()
        assert flat.is_contiguous(memory_format=torch.channels_last)


def assert_same_batch(one: Batch, other: Batch) -> None:
    for name, a, b in zip(Batch._fields, one, other, strict=True):
        assert torch.equal(a, b), name


def test_a_batch_is_a_function_of_the_seed_and_its_number() -> None:
    buffer = buffer_of(*(count_episode(seed) for seed in range(5)))
    one, other = Replay(buffer, 2, 3), Replay(buffer, 2, 3)
    stream = [one.batch(number, 4, 3) for number in range(3)]
    for number in (2, 0, 1):  # as loader workers would, in any order
        assert_same_batch(other.batch(number, 4, 3), stream[number])
    assert not torch.equal(stream[0].image, stream[1].image)
    assert not torch.equal(Replay(buffer, 2, 4).batch(0, 4, 3).image, stream[0].image)


def test_groups_are_drawn_equally_often_and_windows_within_them() -> None:
    # a: 8 + 3 windows of 4 rows, b: 8 windows, c: none; the groups lie mixed.
    buffer = buffer_of(count_episode(0, 10), count_episode(1, 2), count_episode(2, 10), count_episode(3, 5))
    replay = Replay(buffer, 2, 0, ["a", "c", "b", "a"])
    episode, start = (np.concatenate(rows) for rows in zip(*(replay.draw(n, 100, 4) for n in range(80)), strict=True))
    counts = np.zeros((4, 8), int)
    np.add.at(counts, (episode, start), 1)
    assert not counts[1].any() and not counts[3, 3:].any()
    expected = np.array([4000 / 11, 0, 4000 / 8, 4000 / 11])[:, None]
    seen = counts > 0
    assert seen.sum() == 19
    # Chi-squared with 18 degrees of freedom exceeds 50 once in 12000 seeds.
    assert (((counts - expected) ** 2)[seen] / np.broadcast_to(expected, counts.shape)[seen]).sum() < 50


@pytest.mark.parametrize("with_reward", [True, False])
def test_a_buffer_in_a_log_gives_what_one_in_memory_gives(tmp_path: Path, with_reward: bool) -> None:
    episodes = [count_episode(seed, steps=2 + 3 * seed) for seed in range(3)]
    log = EpisodeBuffer(join_short=True, log=EpisodeLog(tmp_path / "log"))
    memory = EpisodeBuffer(join_short=True)
    for episode in episodes:
        for buffer in (log, memory):
            buffer.add(episode if with_reward else replace(episode, reward=None, success=None))
    again = EpisodeBuffer(join_short=True, log=EpisodeLog(tmp_path / "log"))
    again.restore(log.mark())
    for found in (log, again):
        assert_same_batch(Replay(found, 2, 0).batch(0, 16, 5), Replay(memory, 2, 0).batch(0, 16, 5))
        for index, episode in enumerate(episodes):
            assert_same_steps(found.read(index), episode)
            assert found.read(index).info == memory.read(index).info == episode.info
        np.testing.assert_array_equal(found.window(0, 0, 5).image, memory.window(0, 0, 5).image)  # joined
        assert found.window(0, 0, 5).reward is None or with_reward


def test_a_stored_episode_can_enter_a_log(tmp_path: Path, params: ConvertParams) -> None:
    write_store([noise_episode(0)], tmp_path / "store", params)
    buffer = EpisodeBuffer(log=EpisodeLog(tmp_path / "log"))
    buffer.add(EpisodeStore(tmp_path / "store").read(0))
    np.testing.assert_array_equal(buffer.lengths, [11])


def test_memory_of_a_buffer_in_a_log_holds_no_pictures(tmp_path: Path) -> None:
    buffer = EpisodeBuffer(log=EpisodeLog(tmp_path / "log"))
    episode = noise_episode(0, steps=100)
    buffer.add(episode)
    tracemalloc.start()
    for _ in range(10):  # 12 MB of images
        buffer.add(episode)
    buffer.verify()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_500_000  # the buffer that compares, and labels


def test_the_buffer_grows_between_draws() -> None:
    buffer = buffer_of(count_episode(0))
    replay = Replay(buffer, 2, 0)
    assert (replay.batch(0, 8, 3).image[:, 0, 0, 0, 0] == 0).all()
    buffer.add(count_episode(1))
    assert set(replay.batch(1, 32, 3).image[:, 0, 0, 0, 0].tolist()) == {0, 1}


def test_windows_longer_than_every_episode_are_refused_with_both_lengths() -> None:
    replay = Replay(buffer_of(count_episode(0, 3), count_episode(1, 6)), 2, 0)
    with pytest.raises(DataError, match="episode 1, has 7") as error:
        replay.batch(0, 2, 8)
    assert "window of 8 rows" in str(error.value)
    with pytest.raises(DataError, match="no episodes"):
        Replay(EpisodeBuffer(), 2, 0).batch(0, 2, 8)


@pytest.mark.parametrize(
    ("episode", "names"),
    [(noise_episode(0, width=3), "action width 3, expected 2"), (noise_episode(0), "reward or success")],
)
def test_a_buffer_holds_one_kind_of_episode(episode: object, names: str) -> None:
    buffer = buffer_of(count_episode())
    with pytest.raises(DataError, match=names):
        buffer.add(episode)
    assert len(buffer) == 1


def test_all_sources_meet_the_interface(tmp_path: Path, params: ConvertParams) -> None:
    write_store([noise_episode(0)], tmp_path, params)
    store = EpisodeStore(tmp_path)
    for source in (store, store.select([0]), EpisodeBuffer()):
        assert isinstance(source, EpisodeSet)
