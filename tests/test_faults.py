"""Faults of the machine in the words of the libraries that meet them: one line, the right code."""

import errno
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gsa.errors import (
    ArtifactError,
    DataError,
    GSAError,
    LockError,
    ParamsError,
    ResourceError,
    StoppedError,
    TrainingError,
)
from gsa.faults import explained, naming
from gsa.files import replacing, sha256_file, write_atomic
from gsa.retrieval import RetrievalIndex
from gsa.runs.checkpoint import CheckpointStore, save_weights
from gsa.runs.process import hold_lock
from gsa.runs.training_log import TrainingLog
from gsa.visual.pictures import write_video

LIMIT = 3000
"""Bytes that a file may have, where the disk is full."""

NOISE = np.random.default_rng(0)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow beyond ``LIMIT`` bytes, whoever writes it; Python has the signal of this ignored."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python would cut its own compiled modules short, and read them ever after.
    compiled, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = compiled


def write_index(folder: Path) -> None:
    numbers = np.arange(100)
    RetrievalIndex.build(NOISE.random((100, 64), np.float32), numbers, numbers, numbers, "0", "0").save(folder)


def write_log(folder: Path) -> None:
    with TrainingLog(folder) as log:
        for update in range(200):
            log.add({"update": update, "loss": 1.0}, {"updates_per_s": 1.0})


def write_hdf5(folder: Path) -> None:
    with h5py.File(folder / "a.hdf5", "w") as file:
        file["a"] = NOISE.random(10_000)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "plain file": lambda folder: (folder / "a").write_bytes(bytes(10_000)),
    "whole file": lambda folder: write_atomic(folder / "a", bytes(10_000)),
    "checkpoint": lambda folder: CheckpointStore(folder, "f").save(1, {"a": torch.rand(10_000)}),
    "weights": lambda folder: save_weights(folder, {"a": torch.rand(10_000)}, {}),
    "torch": lambda folder: torch.save(torch.rand(10_000), folder / "a.pt"),
    "index": write_index,
    "npz": lambda folder: np.savez(folder / "a.npz", NOISE.random(10_000)),
    "parquet": lambda folder: pq.write_table(pa.table({"a": NOISE.random(10_000)}), folder / "a.parquet"),
    "csv": lambda folder: pd.DataFrame({"a": NOISE.random(10_000)}).to_csv(folder / "a.csv"),
    "hdf5": write_hdf5,
    "training log": write_log,
    "video": lambda folder: write_video(folder / "a.mp4", NOISE.integers(0, 255, (20, 64, 64, 3), np.uint8)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_whoever_notices(tmp_path: Path, name: str) -> None:
    with pytest.raises(Exception) as raised, full_disk():
        WRITERS[name](tmp_path)
    found = explained(raised.value, tmp_path / "out")
    assert isinstance(found, ResourceError), repr(raised.value)
    assert "no space left writing /" in str(found) and "free some and rerun" in str(found)
    assert "\n" not in found.line


@pytest.mark.parametrize("name", ["whole file", "checkpoint", "weights"])
def test_what_appears_whole_leaves_no_stump_on_a_full_disk(tmp_path: Path, name: str) -> None:
    with pytest.raises(ResourceError, match=r"no space left writing .*\.tmp\.|no space left writing .*/"), full_disk():
        WRITERS[name](tmp_path)
    assert [path.name for path in tmp_path.iterdir() if ".tmp." in path.name] == []


SAID = [
    (OSError(errno.ENOSPC, "x"), ResourceError, r"no space left writing .*/out, \d+ MB free"),
    (OSError(errno.EDQUOT, "x", "f"), ResourceError, r"no space left writing f, \d+ MB free"),
    (OSError(errno.EIO, "x"), ResourceError, "out: Input/output error: the disk"),
    (OSError(errno.EROFS, "x", "f"), ParamsError, "cannot write f: Read-only file system"),
    (OSError(errno.ENAMETOOLONG, "x", "f"), ParamsError, "the name f is too long"),
    (PermissionError(errno.EACCES, "x", "no/f.tmp.12"), ParamsError, "cannot write no/f.tmp.12: Permission denied"),
    (OSError(errno.EMFILE, "x"), ResourceError, "Too many open files"),
    (FileNotFoundError(errno.ENOENT, "x", "gone"), DataError, "cannot read gone: No such file or directory"),
    (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), ResourceError, "temporarily unavailable"),
    # Libraries that have words only.
    (RuntimeError("[enforce fail at x.cc:424] . unexpected pos 704 vs 598"), ResourceError, "no space left"),
    (RuntimeError("Error in faiss: write error in f: 1 != 2 (No space left on device)"), ResourceError, "no space"),
    (ValueError("I/O error: Input/output error (os error 5)"), ResourceError, "Input/output error"),
    (OSError("Unable to read (file read failed: errno = 5, 'Input/output error')"), ResourceError, "the disk"),
    # Memory.
    (MemoryError(), ResourceError, "out of memory: an allocation failed"),
    (MemoryError("Unable to allocate 7.45 TiB for an array"), ResourceError, "7.45 TiB more were asked for"),
    (pa.ArrowMemoryError("malloc of size 9 failed"), ResourceError, "out of memory: malloc of size 9 failed"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes. Error code 12"),
     ResourceError, "4000 bytes more were asked for"),
    (RuntimeError("can't start new thread"), ResourceError, "a thread could not start"),
    (RuntimeError("std::bad_alloc"), ResourceError, "std::bad_alloc"),
    (RuntimeError("Caught an unknown exception!"), ResourceError, "out of memory: Caught an unknown exception!"),
    (RuntimeError("could not create a primitive"), ResourceError, "out of memory: could not create a primitive"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), ResourceError, "2.00 GiB more"),
    (ImportError("libx.so: failed to map segment from shared object"), ResourceError, "out of memory"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind", "words"), SAID, ids=lambda value: str(value)[:30])
def test_each_fault_has_its_code_and_line(tmp_path: Path, error: Exception, kind: type, words: str) -> None:
    found = explained(error, tmp_path / "out")
    assert type(found) is kind
    with pytest.raises(kind, match=words):
        raise found


@pytest.mark.parametrize("error", [KeyError("a"), ValueError("x"), AssertionError(), RuntimeError("shape mismatch")])
def test_a_bug_stays_one(error: Exception) -> None:
    assert explained(error) is None


def test_a_bug_that_was_raised_from_a_missing_file_stays_one_but_a_full_disk_does_not_become_one() -> None:
    def raised_from(cause: Exception) -> GSAError | None:
        try:
            try:
                raise cause
            except OSError:
                {}["a"]
        except KeyError as error:
            return explained(error)
        return None

    assert raised_from(FileNotFoundError(errno.ENOENT, "x", "f")) is None
    assert isinstance(raised_from(OSError(errno.ENOSPC, "x", "f")), ResourceError)


def test_a_stop_is_one_whoever_wraps_it_and_a_failing_disk_damages_nothing() -> None:
    def wrapped(cause: Exception, error: Exception) -> GSAError | None:
        try:
            raise error from cause
        except type(error):
            return explained(error)

    stop = StoppedError("stopped by SIGTERM")
    assert wrapped(stop, ParamsError("your environment cannot be made")) is stop
    failing = wrapped(OSError(errno.EIO, "x", "f"), ArtifactError("f is damaged"))
    assert isinstance(failing, ResourceError) and "f: Input/output error" in str(failing)
    held = LockError("being written")
    assert wrapped(BlockingIOError(errno.EAGAIN, "x"), held) is held
    claims = DataError("claims 4 TiB")
    assert wrapped(MemoryError(), claims) is claims
    wrong = TrainingError("NaN")
    assert explained(wrong) is wrong


def test_what_cannot_be_read_is_data_or_an_artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user, for whom permissions hold: root may read everything."""
    data, made = tmp_path / "data/a.npz", tmp_path / "made/a.npz"
    for file in (data, made):
        file.parent.mkdir()
        file.touch()
    (made.parent / "run.json").touch()
    unreadable: set[Path] = {data, made}
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.R_OK and Path(path) in unreadable))
    for file, kind in ((data, DataError), (made, ArtifactError)):
        found = explained(PermissionError(errno.EACCES, "x", str(file)))
        assert type(found) is kind and f"cannot read {file}: Permission denied; check its perm" in str(found)
    new = explained(PermissionError(errno.EACCES, "x", str(tmp_path / "data/new")))
    assert type(new) is ParamsError


def test_a_disk_that_fails_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shard").touch()

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "x")

    monkeypatch.setattr("hashlib.file_digest", fail)
    with pytest.raises(ResourceError, match=r"/shard: Input/output error"), naming(tmp_path / "out"):
        sha256_file(tmp_path / "shard")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_fsync_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    path = tmp_path / "a"
    write_atomic(path, "old")

    def fail(_: int) -> None:
        raise OSError(code, "x")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ResourceError, match=f"{path}"), replacing(path) as tmp:
        tmp.write_text("new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_lock_on_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    with pytest.raises(ResourceError, match="no space left writing"), full_disk(), naming(tmp_path / "out"):
        monkeypatch.setattr("socket.gethostname", lambda: "x" * 2 * LIMIT)
        with hold_lock(tmp_path / ".out.lock", tmp_path / "out"):
            pass
    assert not list(tmp_path.iterdir())
