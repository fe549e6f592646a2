import errno
import os
from pathlib import Path

import pytest

from gsa.errors import ParamsError, ResourceError
from gsa.files import replacing, write_atomic


def full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ResourceError, match=f"no space left writing {path}"):
        write_atomic(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_torchs_words_for_a_full_disk_are_known(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ResourceError, match=r"no space left writing .*MB free"), replacing(path) as tmp:
        tmp.write_text("half")
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 704 vs 598")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ParamsError, match=r"cannot make the folder of .*file/below"):
        write_atomic(tmp_path / "file" / "below", b"new")
