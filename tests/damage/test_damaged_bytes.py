"""What disks, transfers and people do to bytes: an error that names the file, never other data, never a traceback."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gsa.errors import GSAError
from tests.damage.folders import FOLDERS


def rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def fault(file: Path) -> None:
        old = file.read_bytes()
        new = change(old)
        assert new != old
        file.write_bytes(new)

    return fault


def flip(share: float) -> Callable[[Path], None]:
    """One bit, that far into the file."""

    def change(data: bytes) -> bytes:
        at = int(share * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]

    return rewrite(change)


def into_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


ACCIDENTS = {
    "first bit": flip(0),
    "bit at a third": flip(0.33),
    "bit in the middle": flip(0.5),
    "last bit": flip(1),
    "emptied": rewrite(lambda data: b""),
    "cut in half": rewrite(lambda data: data[: len(data) // 2]),
    "end cut off": rewrite(lambda data: data[:-8]),
    "half of it zeros": rewrite(lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2)),
    "halves swapped": rewrite(lambda data: data[len(data) // 2 :] + data[: len(data) // 2]),
    "bytes appended": rewrite(lambda data: data + b"\n\0x"),
    "deleted": Path.unlink,
    "a folder instead": into_folder,
}

CASES = [
    (kind, file, accident)
    for kind, folder in FOLDERS.items()
    for file in folder.files
    for accident in ACCIDENTS
    # A checkpoint without its record was never completed; nothing lists the files of these two formats.
    if (file, accident) != ("step-0000000007.json", "deleted") and (folder.vouched, accident) != ("format", "deleted")
]


@pytest.mark.parametrize(("kind", "file", "accident"), CASES)
def test_damage_is_named(sound_folder: Callable, tmp_path: Path, kind: str, file: str, accident: str) -> None:
    original, expected = sound_folder(kind)
    folder = Path(shutil.copytree(original, tmp_path / "copy"))
    ACCIDENTS[accident](folder / file)
    try:
        found = FOLDERS[kind].read(folder)
    except GSAError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
        assert Path(file).name in str(error) or FOLDERS[kind].vouched == "nobody"
    else:
        assert FOLDERS[kind].vouched != "ours", "read without an error"
        assert FOLDERS[kind].vouched == "nobody" or found == expected, "read as something else"


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("store", "shards/one-00000.parquet", "shards/two-00000.parquet"),
        ("store", "episodes.parquet", "outcomes.parquet"),
        ("raw", "19700101T000000-0-000000-2.npz", "19700101T000000-0-000001-2.npz"),
        ("index", "keys.faiss", "keys.parquet"),
        ("minari arrow", "data/0/part-0.arrow", "data/1/part-0.arrow"),
        ("lerobot", "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"),
    ],
)
def test_swapped_files_are_named(sound_folder: Callable, tmp_path: Path, kind: str, one: str, other: str) -> None:
    folder = Path(shutil.copytree(sound_folder(kind)[0], tmp_path / "copy"))
    (folder / one).rename(folder / "aside")
    (folder / other).rename(folder / one)
    (folder / "aside").rename(folder / other)
    with pytest.raises(GSAError) as caught:
        FOLDERS[kind].read(folder)
    assert any(str(folder / name) in str(caught.value) for name in (one, other))


def test_there_are_enough_cases() -> None:
    assert sum(FOLDERS[kind].vouched == "ours" for kind, _, _ in CASES) >= 200
