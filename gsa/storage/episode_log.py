"""The finished episodes of a run in one file that only grows.

A save copies none of them: it flushes the file and notes its length and digest so far (``Mark``). Pictures are read
where they lie, so memory holds none; the operating system keeps in its cache what fits. What a killed run wrote after
its last save lies behind the mark and is written anew.

An episode is a record: the length of its header (8 bytes, little endian), the header (JSON: name, type and shape of
each array, and ``info``), the arrays' bytes in that order. Images come last, height-width-channel.
"""

import hashlib
import json
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from gsa.errors import ArtifactError
from gsa.faults import naming
from gsa.files import fsync

_CHUNK = 2**20
"""Bytes that are read at a time to compare a digest."""


class Mark(TypedDict):
    """The beginning of a log: plain values for a checkpoint, whose size does not depend on the log's."""

    bytes: int
    sha256: str


class Record(NamedTuple):
    """An episode in the log: all arrays but the images, which begin at byte ``images_at``."""

    labels: dict[str, np.ndarray]
    info: dict[str, Any]
    images_at: int


class EpisodeLog:
    """The file ``path``, made where there is none. One process writes it, the one that holds the run's lock.

    Raises:
        ResourceError: the disk is full or not writable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            fsync(path.parent)
        weakref.finalize(self, os.close, self._file)
        self.size, self._digest = 0, hashlib.sha256()

    def append(self, labels: Mapping[str, np.ndarray], images: np.ndarray, info: Mapping[str, Any]) -> int:
        """Write an episode behind the others; returns the byte at which its images begin.

        Raises:
            ResourceError: the disk is full; the episode is not in the log.
        """
        every: list[np.ndarray] = [np.ascontiguousarray(array) for array in (*labels.values(), images)]
        listed = [(name, array.dtype.str, array.shape) for name, array in zip((*labels, "image"), every, strict=True)]
        header = json.dumps({"arrays": listed, "info": dict(info)}).encode()
        parts: list[bytes | memoryview] = [
            len(header).to_bytes(8, "little"),
            header,
            *(array.data.cast("B") for array in every),
        ]
        end = self.size
        with self._writing():
            for part in parts:
                end = self._write(part, end)
        for part in parts:
            self._digest.update(part)
        self.size = end
        return end - every[-1].nbytes

    def mark(self) -> Mark:
        """Flush all episodes to disk and say what vouches for them.

        Raises:
            ArtifactError: another process removed, replaced or shortened the file.
            ResourceError: the disk is full or failing.
        """
        with self._writing():
            os.fsync(self._file)
        own = os.fstat(self._file)
        if not (self.path.exists() and os.path.samestat(own, self.path.stat()) and own.st_size >= self.size):
            raise ArtifactError(f"{self.path} was removed, replaced or cut while the run wrote it; start the run again")
        return Mark(bytes=self.size, sha256=self._digest.hexdigest())

    def verify(self, mark: Mapping[str, Any]) -> "hashlib._Hash":
        """Compare every byte up to ``mark``; returns the running digest.

        Raises:
            ArtifactError: the file is shorter than the mark, or damaged.
        """
        digest, chunk = hashlib.sha256(), memoryview(bytearray(_CHUNK))
        for start in range(0, mark["bytes"], _CHUNK):
            part = chunk[: min(_CHUNK, mark["bytes"] - start)]
            self.read_into(part, start)
            digest.update(part)
        if digest.hexdigest() != mark["sha256"]:
            raise ArtifactError(f"{self.path} is damaged: the sha256 of its first {mark['bytes']} bytes differs")
        return digest

    def restore(self, mark: Mapping[str, Any]) -> Iterator[Record]:
        """The episodes up to ``mark``, of which every byte is compared first; the log goes on behind them.

        Raises:
            ArtifactError: the file is shorter than the mark, or damaged.
        """
        digest = self.verify(mark)
        self._cut(mark["bytes"])
        self.size, self._digest = mark["bytes"], digest
        return self._records()

    def clear(self) -> None:
        """Forget all episodes."""
        self._cut(0)
        self.size, self._digest = 0, hashlib.sha256()

    def read_into(self, into: memoryview, start: int) -> None:
        """Fill ``into`` (contiguous) with the bytes from ``start`` on; ArtifactError where the file has fewer."""
        count, size = self._read(into, start), into.nbytes
        while count < size:  # a signal, or the end
            more = self._read(into.cast("B")[count:], start + count)
            if not more:
                found = os.fstat(self._file).st_size
                raise ArtifactError(f"{self.path} has {found} bytes, expected at least {start + size}")
            count += more

    def _read(self, into: memoryview, start: int) -> int:
        try:
            return os.preadv(self._file, (into,), start)
        except OSError as error:
            raise ArtifactError(f"cannot read {self.path}: {error.strerror}; is its disk failing?") from error

    def _records(self) -> Iterator[Record]:
        at = 0
        while at < self.size:
            size = bytearray(8)
            self.read_into(memoryview(size), at)
            text = bytearray(int.from_bytes(size, "little"))
            self.read_into(memoryview(text), at + 8)
            header = json.loads(text)
            at += 8 + len(text)
            *listed, (_, _, shape) = header["arrays"]
            labels = {}
            for name, dtype, rows in listed:
                labels[name] = np.empty(rows, dtype)
                self.read_into(labels[name].data, at)
                at += labels[name].nbytes
            yield Record(labels, header["info"], at)
            at += int(np.prod(shape))

    def _cut(self, size: int) -> None:
        with self._writing():
            os.ftruncate(self._file, size)

    def _write(self, part: bytes | memoryview, start: int) -> int:
        view = memoryview(part)
        while view:
            count = os.pwrite(self._file, view, start)
            view, start = view[count:], start + count
        return start

    def _writing(self) -> AbstractContextManager[None]:
        return naming(self.path)
