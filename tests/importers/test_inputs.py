"""What may lie in an input folder: files, folders and links to them; hidden entries are nobody's data."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gsa.errors import DataError
from gsa.importers import inputs, open_source
from gsa.importers.base import ImportOptions
from gsa.importers.inputs import check_folder, reading
from gsa.runs.fingerprint import digest_path
from gsa.storage.raw import write_raw_episode
from tests.storage.conftest import noise_episode


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(path))  # the name of a socket is short


def deep(path: Path) -> None:
    for _ in range(inputs.MAX_DEPTH + 1):
        path = path / "d"
    path.mkdir(parents=True)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "is a pipe, expected files"),
    "socket": (bind, "is a socket, expected files"),
    "dangling link": (lambda path: path.symlink_to("gone"), r"is a link to 'gone', which leads to nothing; remove"),
    "link to itself": (lambda path: path.symlink_to(path.name), "which leads to itself; remove"),
    "link to its folder": (lambda path: path.symlink_to(".."), "is a link that leads back to a folder it lies in"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "is a device, expected files"),
    "folders without end": (deep, "more than 64 folders within each other"),
    "a name of other bytes": (
        lambda path: Path(os.fsdecode(bytes(path) + b"\xff")).touch(),
        "expected UTF-8",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    make, names = ODD[kind]
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    make(folder / "below/odd")
    with pytest.raises(DataError, match=names) as caught:
        check_folder(folder)
    assert str(folder / "below") in str(caught.value) and str(caught.value).isprintable()


def test_hidden_entries_are_nobodys_data(tmp_path: Path) -> None:
    write_raw_episode(tmp_path / "in", 0, noise_episode(0))
    before = digest_path(tmp_path / "in")
    os.mkfifo(tmp_path / "in/.pipe")
    (tmp_path / "in/._t-x-1-9.npz").write_bytes(b"Mac OS X")
    (tmp_path / "in/.cache").symlink_to("gone")
    source = open_source("ncrl", tmp_path / "in", ImportOptions("arm"))
    assert len(source.files) == 1
    assert digest_path(tmp_path / "in") == before


def test_links_to_other_disks_are_followed(tmp_path: Path) -> None:
    write_raw_episode(tmp_path / "disk", 0, noise_episode(0))
    (tmp_path / "in").symlink_to("disk")
    check_folder(tmp_path / "in")
    assert len(open_source("ncrl", tmp_path / "in", ImportOptions("arm")).files) == 1


def test_no_right_to_read_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "secret")
    with pytest.raises(DataError, match=r"secret cannot be read \(permission denied\)"):
        check_folder(tmp_path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_an_error_of_the_system_is_one_of_the_input(tmp_path: Path, number: int) -> None:
    with pytest.raises(DataError, match=r"x cannot be read \("), reading(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))
    with pytest.raises(OSError, match="No space"), reading(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
