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
    copier = _Copier(device) if device.type == "cuda" else None

    def fetch() -> tuple[Batch, torch.cuda.Event | None] | None:
        batch = next(batches, None)
        if batch is None:
            return None
        return (batch, None) if copier is None else copier.send(batch)

    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        pending = thread.submit(fetch)
        while (fetched := pending.result()) is not None:
            pending = thread.submit(fetch)
            batch, copied = fetched
            if copied is not None:
                _wait_on_gpu(batch, copied, device)
            yield batch


class _Copier:
    """Copies through pinned memory on a stream of its own, beside whatever the GPU computes."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def send(self, batch: Batch) -> tuple[Batch, torch.cuda.Event]:
        """The batch on the GPU, and the event after which it is there."""
        with torch.cuda.stream(self.stream):  # also makes the GPU this thread's own
            pinned = Batch(*(x.pin_memory() for x in batch))
            return pinned.to(self.device), self.stream.record_event()


def _wait_on_gpu(batch: Batch, copied: torch.cuda.Event, device: torch.device) -> None:
    """Let the stream that computes wait for the copy; the CPU goes on."""
    computes = torch.cuda.current_stream(device)
    computes.wait_event(copied)
    for x in batch:
        if x.is_cuda:
            x.record_stream(computes)  # its memory is not free before that stream is done with it
