"""Batches read ahead by worker processes.

A batch is a function of its number (``Replay.batch``). So it does not matter which worker reads it, how many there are
or when one dies, and the place in the stream is one integer.
"""

import logging
from collections.abc import Generator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.multiprocessing
from jaxtyping import Int64

from gsa.episode import Batch
from gsa.errors import GSAError, ResourceError
from gsa.parallel.workers import LostWorkerError, Worker, hangs
from gsa.storage.replay import Replay

log = logging.getLogger(__name__)

AHEAD = 3
"""Batches a worker keeps: one that waits, one that is being read, and one that may still be in use."""

PATIENCE_S = 120.0
"""A worker that is silent for so long is taken to hang."""

START_S = 300.0
"""The same for its first batch, before which it starts and imports."""


class NumberedBatches:
    """The batches of a replay, all of one shape; ``rows`` is the part of each that ``read`` returns.

    Each of several ranks reads its own rows.
    """

    def __init__(self, replay: Replay, batch_size: int, batch_length: int, rows: slice = slice(None)) -> None:
        self.replay, self.batch_size, self.batch_length, self.rows = replay, batch_size, batch_length, rows

    def draw(self, number: int) -> tuple[Int64[np.ndarray, " B"], Int64[np.ndarray, " B"]]:
        """As ``Replay.draw``: all windows of batch ``number``, not only those in ``rows``."""
        return self.replay.draw(number, self.batch_size, self.batch_length)

    def read(self, number: int) -> Batch:
        """As ``Replay.batch``: the chosen rows of batch ``number``."""
        return self.replay.batch(number, self.batch_size, self.batch_length, self.rows)


def read_ahead(
    batches: NumberedBatches, first: int, stop: int, workers: int, patience_s: float = PATIENCE_S
) -> Generator[Batch, None, None]:
    """Batches ``first`` to ``stop - 1`` in order, read by ``workers`` processes, by this one where 0.

    A batch may be overwritten once the next but one is asked for. When a worker dies or hangs, all are replaced, from
    the batch that is due. Close the iterator to end them.

    Raises:
        ResourceError: the same batch was lost twice.
        DataError, ArtifactError: as ``NumberedBatches.read``, from whichever process.
    """
    if workers == 0:
        yield from map(batches.read, range(first, stop))
        return
    lost_at = -1
    while first < stop:
        readers = _Readers(batches, first, stop, workers, patience_s)
        try:
            for number in range(first, stop):
                yield readers.receive(number)
                first = number + 1
        except LostWorkerError as error:
            if lost_at == first:
                raise ResourceError(f"batch {first}: {error}, twice; run it with loader_workers 0") from error
            log.warning("batch %d: %s; starting %d new ones there", first, error, workers)
            lost_at = first
        finally:
            readers.close()


class _Readers:
    """Processes that read batches ``first`` to ``stop - 1``, dealt out in turn, into shared memory made here once.

    Only numbers travel through the pipes: a process that stops anywhere can be missed, never waited for.
    """

    def __init__(self, batches: NumberedBatches, first: int, stop: int, count: int, patience_s: float) -> None:
        self.first, self.stop, self.count, self.patience_s = first, stop, count, patience_s
        like = batches.read(first)  # what cannot be read at all is said before any process is started
        self.places = [Batch(*(torch.empty_like(x).share_memory_() for x in like)) for _ in range(AHEAD * count)]
        # A process forked from one that has used torch hangs; these are forked from one that has only imported it.
        context = torch.multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "gsa.storage.episode_store"])
        self.workers = [Worker(context, partial(_work, batches, self.places[n::count])) for n in range(count)]
        for number in range(first, first + len(self.places)):
            self._ask(number)

    def receive(self, number: int) -> Batch:
        """Batch ``number``; call with every number in turn. The last but one is overwritten."""
        if number > self.first + 1:
            self._ask(number - 2 + len(self.places))
        turn = number - self.first
        worker = self.workers[turn % self.count]
        patience_s = self.patience_s if turn >= self.count else START_S
        if not worker.pipe.poll(patience_s):
            raise hangs(patience_s)
        problem = worker.hear()
        if problem is not None:
            raise problem
        return self.places[turn % len(self.places)]

    def close(self) -> None:
        """End them; none of them holds anything to lose."""
        for worker in self.workers:
            worker.kill()

    def _ask(self, number: int) -> None:
        turn = number - self.first
        if number < self.stop:
            self.workers[turn % self.count].tell((number, turn // self.count % AHEAD))


def _work(batches: NumberedBatches, places: list[Batch], pipe: Connection) -> None:
    """A reader: reads what it is asked for until its parent is gone."""
    torch.set_num_threads(1)
    while True:
        try:
            number, place = pipe.recv()
        except (EOFError, OSError):
            return
        problem = None
        try:
            for shared, read in zip(places[place], batches.read(number), strict=True):
                shared.copy_(read)
        except GSAError as error:
            problem = error
        with suppress(OSError):  # the parent is gone: the next line of work will not come
            pipe.send(problem)
