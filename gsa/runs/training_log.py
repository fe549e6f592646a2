"""What a training run says while it runs: losses, which belong to its output, and how fast it went, which does not.

``losses.jsonl`` holds what the same run would write again, byte for byte. ``log/`` holds all of that with rates, waits
and memory beside it, as ``train.csv`` (``dvc plots``) and as TensorBoard event files; it is part of the output folder
but not of its identity (``gsa.runs.fingerprint.identity``).
"""

import json
import resource
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar

from gsa.runs.fingerprint import LOG_DIR

T = TypeVar("T")

Row = dict[str, float | int]

AXIS = "update"


class Stopwatch:
    """Rate and waiting since the last reading."""

    def __init__(self) -> None:
        self._since, self._waited = time.perf_counter(), 0.0

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """The same items; the time until each comes counts as waiting."""
        asked = time.perf_counter()
        for item in items:
            self._waited += time.perf_counter() - asked
            yield item
            asked = time.perf_counter()

    def read(self, updates: int, device: torch.device) -> Row:
        """Updates per second, the share of the time spent waiting for data, and the peak memory so far, in MB."""
        now = time.perf_counter()
        elapsed, waited = max(now - self._since, 1e-9), self._waited
        self._since, self._waited = now, 0.0
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = {"updates_per_s": updates / elapsed, "data_wait": waited / elapsed, "memory_mb": peak_mb}
        if device.type == "cuda":
            row["gpu_memory_mb"] = torch.cuda.max_memory_allocated(device) / 2**20
        return row


class TrainingLog:
    """Rows of a run, each with its ``update``: ``losses`` and ``speed`` (rates, waits, memory), in two lists.

    Written to ``folder`` as they come (TensorBoard) and when the block ends (the other files).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[tuple[Row, Row]] = []
        (folder / LOG_DIR).mkdir(parents=True, exist_ok=True)
        # Written here, in this thread: tensorboardX's own can fail to start, and waits for ever where the disk is full.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self._events = RecordWriter(str(folder / LOG_DIR / name))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with suppress(OSError) if error else nullcontext():
            self._events.close()
        if error is None and self.rows:
            lines = "".join(json.dumps(losses) + "\n" for losses, _ in self.rows)
            (self.folder / "losses.jsonl").write_text(lines, encoding="utf-8")
            table = pd.DataFrame([{**losses, **speed} for losses, speed in self.rows])
            table.to_csv(self.folder / LOG_DIR / "train.csv", index=False)

    def resume(self, rows: Sequence[tuple[Row, Row]]) -> None:
        """Go on after ``rows`` of a checkpoint."""
        if self.rows:  # gone back to: the events already hold them
            self.rows = list(rows)
        else:
            for losses, speed in rows:
                self.add(losses, speed)

    def add(self, losses: Row, speed: Row) -> None:
        """One more row; ``losses`` holds the update it was made after."""
        self.rows.append((dict(losses), dict(speed)))
        for name, value in {**losses, **speed}.items():
            if name != AXIS:
                event = Event(wall_time=time.time(), step=int(losses[AXIS]), summary=scalar(name, value))
                self._write(event)
        self._events.flush()

    def _write(self, event: Event) -> None:
        self._events.write(event.SerializeToString())
