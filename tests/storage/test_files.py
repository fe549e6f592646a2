import errno
import os
from pathlib import Path

import pytest

from gsa.config import ConvertParams
from gsa.errors import ResourceError
from gsa.storage.files import write_atomic
from gsa.storage.store_writer import write_store
from tests.storage.conftest import noise_episode


def full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ResourceError, match=f"{path}: No space left"):
        write_atomic(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError, match="file/below"):
        write_atomic(tmp_path / "file" / "below", b"new")


def test_a_full_disk_while_converting_is_said_and_leaves_no_shard(
    tmp_path: Path, params: ConvertParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ResourceError, match="noise-00000"):
        write_store([noise_episode(0)], tmp_path, params)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
