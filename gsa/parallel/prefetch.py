"""The next batch is read, and copied to the GPU, while this one is used."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from gsa.episode import Batch


def prefetch(batches: Iterator[Batch], device: torch.device) -> Generator[Batch, None, None]:
    """The same batches in the same order on ``device``; a thread fetches each while the one before it is used.

    So two exist at a time: ``batches`` must leave the last one alone until the next but one is asked for. An error
    comes where its batch would have come. Close this before ``batches``, which the thread is using.
    """
    # Copies go through pinned memory on a stream of their own, beside whatever the GPU computes.
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def fetch() -> tuple[Batch | None, torch.cuda.Event | None]:
        batch = next(batches, None)
        if batch is None or stream is None:
            return batch, None
        with torch.cuda.stream(stream):  # also makes the GPU this thread's own
            return Batch(*(x.pin_memory() for x in batch)).to(device), stream.record_event()

    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        batch, copied = thread.submit(fetch).result()
        while batch is not None:
            pending = thread.submit(fetch)
            if copied is not None:  # the stream that computes waits for the copy; the CPU goes on
                computes = torch.cuda.current_stream(device)
                computes.wait_event(copied)
                for x in batch:
                    if x.is_cuda:
                        x.record_stream(computes)  # its memory is not free before that stream is done with it
            yield batch
            batch, copied = pending.result()
