"""Episodes on disk: a mark stays true whatever comes after it, and what is damaged, cut or full is said in a line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gsa.errors import ArtifactError, ResourceError
from gsa.storage.episode_log import EpisodeLog, Mark
from gsa.storage.replay import EpisodeBuffer
from tests.storage.conftest import assert_same_steps, noise_episode

EPISODES = [noise_episode(seed, steps=4 + seed) for seed in range(4)]


def buffer_at(path: Path) -> EpisodeBuffer:
    return EpisodeBuffer(log=EpisodeLog(path))


def written(path: Path, count: int = 3) -> tuple[EpisodeBuffer, list[Mark]]:
    """The first episodes, and the mark after each."""
    buffer, marks = buffer_at(path), []
    for episode in EPISODES[:count]:
        buffer.add(episode)
        marks.append(buffer.mark())
    return buffer, marks


def assert_holds(buffer: EpisodeBuffer, count: int) -> None:
    assert len(buffer) == count
    for index in range(count):
        assert_same_steps(buffer.read(index), EPISODES[index])


def test_what_lies_behind_a_mark_is_forgotten_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    _, marks = written(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"half an episode that a killed run left")
    for count in (3, 1):
        buffer = buffer_at(path)
        buffer.restore(marks[count - 1])
        assert_holds(buffer, count)
        assert path.stat().st_size == marks[count - 1]["bytes"]
    for episode in EPISODES[1:3]:
        buffer.add(episode)
    assert buffer.mark() == marks[-1] and path.read_bytes() == whole
    buffer.verify()
    buffer.restore(None)
    assert len(buffer) == 0 and path.stat().st_size == 0


def test_a_mark_is_as_small_for_many_episodes_as_for_one(tmp_path: Path) -> None:
    _, marks = written(tmp_path / "log")
    assert all(set(mark) == {"bytes", "sha256"} and len(mark["sha256"]) == 64 for mark in marks)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 1.0])
def test_damage_refuses_the_marks_behind_it_alone(tmp_path: Path, place: float) -> None:
    path = tmp_path / "log"
    buffer, marks = written(path)
    at = round(place * (marks[-1]["bytes"] - 1))
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    with path.open("r+b") as file:
        file.write(content)
    with pytest.raises(ArtifactError, match=r"log is damaged: the sha256 of its first \d+ bytes differs"):
        buffer.verify()
    for count, mark in reversed(list(enumerate(marks, 1))):
        buffer = buffer_at(path)
        if at < mark["bytes"]:
            with pytest.raises(ArtifactError, match="log is damaged"):
                buffer.restore(mark)
        else:
            buffer.restore(mark)
            assert_holds(buffer, count)


def test_a_missing_or_shorter_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    buffer, marks = written(path)
    os.truncate(path, marks[-1]["bytes"] - 1)
    with pytest.raises(ArtifactError, match=rf"log has {marks[-1]['bytes'] - 1} bytes, expected at least"):
        buffer_at(path).restore(marks[-1])
    with pytest.raises(ArtifactError, match="log has"):
        buffer.read(2)
    with pytest.raises(ArtifactError, match="was removed, replaced or cut while the run wrote it"):
        buffer.mark()
    path.unlink()
    with pytest.raises(ArtifactError, match="was removed, replaced or cut"):
        buffer.mark()
    with pytest.raises(ArtifactError, match="log has 0 bytes, expected at least"):
        buffer_at(path).restore(marks[0])


FULL = """
import resource, sys
sys.dont_write_bytecode = True  # it would be cut short
from pathlib import Path
from gsa.errors import ResourceError
from tests.storage.test_episode_log import EPISODES, assert_holds, buffer_at
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
buffer = buffer_at(Path(sys.argv[1]))
buffer.add(EPISODES[0])
mark = buffer.mark()
try:
    buffer.add(EPISODES[1])
    buffer.add(EPISODES[2])
except ResourceError as error:
    print(error)
assert_holds(buffer, 2)
buffer.restore(mark)
assert_holds(buffer, 1)
"""


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-c", FULL, tmp_path / "log"], capture_output=True, text=True, check=True)
    assert f"no space left writing {tmp_path / 'log'}" in found.stdout


@pytest.mark.parametrize(
    ("call", "error"), [("pwrite", ResourceError), ("fsync", ResourceError), ("preadv", ArtifactError)]
)
def test_a_failing_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: type) -> None:
    buffer, _ = written(tmp_path / "log", 1)

    def fail(*args: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    act = {"pwrite": lambda: buffer.add(EPISODES[1]), "fsync": buffer.mark, "preadv": lambda: buffer.read(0)}[call]
    with pytest.raises(error, match=rf"{tmp_path / 'log'}: Input/output error"):
        act()


def test_a_read_that_a_signal_cuts_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer, _ = written(tmp_path / "log", 1)
    whole = os.preadv

    def some(file: int, parts: list, start: int) -> int:
        return whole(file, [memoryview(parts[0]).cast("B")[:5000]], start)

    monkeypatch.setattr(os, "preadv", some)
    np.testing.assert_array_equal(buffer.read(0).image, EPISODES[0].image)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_it_leaves_no_open_files(tmp_path: Path) -> None:
    before = open_files()
    for _ in range(20):
        written(tmp_path / "log", 1)
    assert open_files() <= before + 1
