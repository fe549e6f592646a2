"""Batch n is the same whoever reads it; lost workers cost time, never order, and nothing waits for ever."""

import multiprocessing
import os
import signal
from contextlib import closing

import pytest
import torch

from gsa.episode import Batch
from gsa.errors import DataError, ResourceError
from gsa.storage.numbered import NumberedBatches, read_ahead
from gsa.storage.replay import EpisodeBuffer, Replay
from tests.storage.conftest import noise_episode


def buffer(*lengths: int) -> EpisodeBuffer:
    source = EpisodeBuffer()
    for seed, steps in enumerate(lengths):
        source.add(noise_episode(seed, steps=steps))
    return source


def batches() -> NumberedBatches:
    return NumberedBatches(Replay(buffer(10, 14, 12), 3, seed=3), batch_size=4, batch_length=5)


def assert_same(found: Batch, expected: Batch) -> None:
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert found.image.stride() == expected.image.stride()  # channels last, as the convolutions read it


def test_parts_of_a_batch_make_the_whole() -> None:
    whole = batches().read(7)
    parts = [NumberedBatches(batches().replay, 4, 5, slice(a, a + 2)).read(7) for a in (0, 2)]
    assert all(torch.equal(torch.cat(pair), x) for x, *pair in zip(whole, *parts, strict=True))


def workers() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid]


def test_workers_keep_the_order_and_a_dead_or_stopped_one_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    expected = [batches().read(n) for n in range(2, 32)]
    before = set(workers())
    # What a lost worker had read is still used. So the second is lost only once the first is known to be: a loss costs
    # all workers, and would take the other signal's mark with it.
    signals = [(signal.SIGKILL, "died (exit code -9)"), (signal.SIGSTOP, "hangs (no sign of life for 1 s)")]
    with closing(read_ahead(batches(), 2, 32, workers=2, patience_s=1.0)) as found:
        last = expected[0]
        for number, batch in enumerate(expected):
            here = next(found)
            assert_same(here, batch)
            if number:  # the one before may still be in use
                assert_same(last, expected[number - 1])
            last = here
            known = len(caplog.records)
            if number == known * 10 + 1 and known < len(signals):
                os.kill(min(set(workers()) - before), signals[known][0])
    assert [said in record.getMessage() for (_, said), record in zip(signals, caplog.records, strict=True)] == [
        True
    ] * 2
    assert all(record.getMessage().endswith("; starting 2 new ones there") for record in caplog.records)


class Failing(NumberedBatches):
    """Its batch 2 cannot be read, its batch 5 kills the worker that tries."""

    def read(self, number: int) -> Batch:
        if number == 2:
            raise DataError("shard 7 is damaged")
        if number == 5 and multiprocessing.parent_process() is not None:
            os._exit(1)
        return super().read(number)


def failing() -> NumberedBatches:
    return Failing(Replay(buffer(10, 14), 3, seed=0), batch_size=2, batch_length=5)


def test_a_batch_that_is_lost_twice_ends_it() -> None:
    with pytest.raises(ResourceError, match=r"batch 5: its process died \(exit code 1\), twice; .* loader_workers 0"):
        list(read_ahead(failing(), 4, 9, workers=1))


@pytest.mark.parametrize("count", [0, 1])
def test_an_error_in_a_worker_is_the_same_error_here(count: int) -> None:
    with closing(read_ahead(failing(), 0, 9, workers=count)) as found:
        assert [next(found).image.shape[0] for _ in range(2)] == [2, 2]
        with pytest.raises(DataError, match="shard 7 is damaged"):
            next(found)
