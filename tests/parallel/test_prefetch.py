"""The next batch is fetched while this one is used; order, errors and the end are those of the batches themselves."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from gsa.episode import Batch
from gsa.errors import DataError
from gsa.parallel.prefetch import prefetch

CPU = torch.device("cpu")


def batch(number: int) -> Batch:
    return Batch(*(torch.full((1,), number) for _ in Batch._fields))


def test_the_next_one_is_read_while_this_one_is_used() -> None:
    being_read = [threading.Event() for _ in range(4)]

    def read() -> Iterator[Batch]:
        for number in range(4):
            being_read[number].set()
            yield batch(number)

    with closing(read()) as batches, closing(prefetch(batches, CPU)) as found:
        for number in range(4):
            assert int(next(found).reward) == number
            if number < 3:
                assert being_read[number + 1].wait(10)
            assert not any(event.is_set() for event in being_read[number + 2 :])
        assert next(found, None) is None


def test_an_error_comes_in_its_place_and_the_thread_ends() -> None:
    def read() -> Iterator[Batch]:
        yield batch(0)
        raise DataError("shard 7 is damaged")

    threads = threading.active_count()
    with closing(prefetch(read(), CPU)) as found:
        assert int(next(found).reward) == 0
        with pytest.raises(DataError, match="shard 7 is damaged"):
            next(found)
    with closing(prefetch(map(batch, range(9)), CPU)) as found:
        next(found)
    assert threading.active_count() == threads
