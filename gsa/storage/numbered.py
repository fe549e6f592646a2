"""Batches read ahead by worker processes.

A batch is a function of its number (``Replay.batch``). So it does not matter which worker reads it, how many there are
or when one dies, and the place in the stream is one integer.
"""

import logging
from collections.abc import Generator
from contextlib import closing, suppress
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
        try:
            with closing(_read_elsewhere(batches, first, stop, workers, patience_s)) as found:
                for batch in found:
                    yield batch
                    first += 1
        except LostWorkerError as error:
            if lost_at == first:
                raise ResourceError(f"batch {first}: {error}, twice; run it with loader_workers 0") from error
            log.warning("batch %d: %s; starting %d new ones there", first, error, workers)
            lost_at = first


def _read_elsewhere(
    batches: NumberedBatches, first: int, stop: int, count: int, patience_s: float
) -> Generator[Batch, None, None]:
    """Batches dealt out in turn to ``count`` processes, which read them into shared memory made here once.

    Only numbers travel through the pipes: a process that stops anywhere can be missed, never waited for.
    """
    like = batches.read(first)  # what cannot be read at all is said before any process is started
    places = [Batch(*(torch.empty_like(x).share_memory_() for x in like)) for _ in range(AHEAD * count)]
    # A process forked from one that has used torch hangs; these are forked from one that has only imported it.
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "gsa.storage.episode_store"])
    readers = [Worker(context, partial(_serve, batches, places[n::count])) for n in range(count)]

    def ask(turn: int) -> None:
        if first + turn < stop:
            readers[turn % count].tell((first + turn, turn // count % AHEAD))

    try:
        for turn in range(len(places)):
            ask(turn)
        for turn in range(stop - first):
            if turn > 1:
                ask(turn - 2 + len(places))  # the last but one is overwritten
            reader, wait_s = readers[turn % count], patience_s if turn >= count else START_S
            if not reader.pipe.poll(wait_s):
                raise hangs(wait_s)
            problem = reader.hear()
            if problem is not None:
                raise problem
            yield places[turn % len(places)]
    finally:
        for reader in readers:  # none of them holds anything to lose
            reader.kill()


def _serve(batches: NumberedBatches, places: list[Batch], pipe: Connection) -> None:
    """Read what is asked for until the parent is gone."""
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
