import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gsa.episode import Episode
from gsa.errors import DataError
from gsa.storage.raw import read_manifest, read_raw_episode, write_manifest, write_raw_episode
from tests.storage.conftest import assert_same_steps, count_episode, noise_episode


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}


def test_round_trip_keeps_every_bit_and_name_says_index_and_decisions(tmp_path: Path) -> None:
    episode = count_episode(steps=7)
    path = write_raw_episode(tmp_path, 12, episode)
    assert path.name.split("-")[2:] == ["000012", "7.npz"]
    again = read_raw_episode(path)
    assert_same_steps(again, episode)
    np.testing.assert_array_equal(again.reward, episode.reward)
    np.testing.assert_array_equal(again.success, episode.success)


def test_file_follows_the_authors_index_the_action_of_a_row_led_to_its_observation(tmp_path: Path) -> None:
    arrays = arrays_of(write_raw_episode(tmp_path, 0, count_episode(steps=3)))
    np.testing.assert_allclose(arrays["action"][:, 0], [0.0, 0.00, 0.01, 0.02])
    np.testing.assert_array_equal(arrays["observation"][:, 0, 1, 0], [0, 1, 2, 3])
    np.testing.assert_allclose(arrays["reward"], [[0.0], [0.1], [0.2], [0.3]])
    assert {name: a.dtype.name for name, a in arrays.items() if name != "success"} == {
        "observation": "uint8",
        "action": "float32",
        "reward": "float32",
        "discount": "float32",
    }


def test_terminal_is_a_discount_of_zero_and_no_reward_stays_none(tmp_path: Path) -> None:
    path = write_raw_episode(tmp_path, 0, noise_episode(1))
    assert "reward" not in arrays_of(path)
    again = read_raw_episode(path)
    assert again.is_terminal.tolist() == [False] * 10 + [True]
    assert again.reward is None


def test_same_episode_same_bytes(tmp_path: Path) -> None:
    first = write_raw_episode(tmp_path / "a", 3, noise_episode(0))
    second = write_raw_episode(tmp_path / "b", 3, noise_episode(0))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert [p.name for p in (tmp_path / "a").iterdir()] == [first.name]


def changed(**replacements: object) -> dict[str, np.ndarray]:
    rows = 4
    arrays: dict = {
        "observation": np.zeros((rows, 3, 64, 64), np.uint8),
        "action": np.zeros((rows, 2), np.float32),
        "reward": np.zeros((rows, 1), np.float32),
        "discount": np.ones((rows, 1), np.float32),
    }
    arrays.update(replacements)
    return {key: value for key, value in arrays.items() if value is not None}


def with_value(shape: tuple[int, ...], row: int, value: float) -> np.ndarray:
    array = np.zeros(shape, np.float32)
    array[row] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "names"),
    [
        (changed(discount=None), ["discount", "found"]),
        (changed(observation=np.zeros((4, 64, 64, 3), np.uint8)), ["(4, 64, 64, 3)", "channels first"]),
        (changed(observation=np.zeros((4, 3, 64, 64), np.int64)), ["int64"]),
        (changed(action=np.zeros((3, 2), np.float32)), ["action", "(3, 2)"]),
        (changed(action=np.zeros((4, 2), np.int64)), ["action", "int64"]),
        (changed(action=with_value((4, 2), 2, np.nan)), ["action at row 1", "finite"]),
        (changed(action=with_value((4, 2), 0, 0.5)), ["row 0", "shift"]),
        (changed(action=with_value((4, 2), 3, 2.0)), ["row 2", "[-1, 1]"]),
        (changed(reward=with_value((4, 1), 2, np.inf)), ["reward at row 2"]),
        (changed(discount=1 - with_value((4, 1), 1, 1.0)), ["discount 0", "row 1"]),
        (changed(reward=np.zeros((2, 1), np.float32)), ["reward", "(2, 1)"]),
        (changed(action=np.array([None] * 4)), ["action", "pickled"]),
    ],
)
def test_bad_arrays_are_named_with_the_file(tmp_path: Path, arrays: dict, names: list[str]) -> None:
    path = tmp_path / "20260101T000000-abc-0-3.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError) as error:
        read_raw_episode(path)
    for name in [str(path), *names]:
        assert name in str(error.value)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_damaged_file_is_an_error(tmp_path: Path, damage: str) -> None:
    path = write_raw_episode(tmp_path, 0, noise_episode(0))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes({"truncated": data[:-300], "flipped": data, "empty": b"", "text": b"not a zip"}[damage])
    with pytest.raises(DataError, match=path.name):
        read_raw_episode(path)


def test_a_file_that_claims_terabytes_is_refused_before_allocating(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 3, 64, 64)})
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("observation.npy", header.getvalue())
    with pytest.raises(DataError, match="bomb"):
        read_raw_episode(path)


def test_an_action_after_the_last_image_cannot_be_written(tmp_path: Path) -> None:
    episode = count_episode(steps=3)
    action = episode.action.copy()
    action[-1] = 0.5
    odd = Episode(episode.image, action, episode.is_first, episode.is_last, episode.is_terminal)
    with pytest.raises(DataError, match="last image"):
        write_raw_episode(tmp_path, 0, odd)


def test_manifest_lists_checksum_bytes_and_rows(tmp_path: Path) -> None:
    path = write_raw_episode(tmp_path, 0, count_episode(steps=5))
    write_manifest(tmp_path, {"name": "count", "embodiment": "counter"}, [{"file": path.name, "seed": 3}])
    record = read_manifest(tmp_path)["episodes"][0]
    assert (record["rows"], record["bytes"], record["seed"]) == (6, path.stat().st_size, 3)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    write_manifest(tmp_path, {"name": "count", "embodiment": "counter"}, [{"file": path.name}])
    assert read_manifest(tmp_path)["episodes"][0]["sha256"] != record["sha256"]


@pytest.mark.parametrize(
    ("source", "episodes", "names"),
    [
        ({"name": "count"}, [{"file": "x"}], "embodiment"),
        ({"name": "count", "embodiment": "c"}, [], "no episodes"),
        ({"name": "count", "embodiment": "c"}, [{"file": "19700101T000000-0-000000-3.npz"}], "no such episode"),
    ],
)
def test_incomplete_manifest_is_refused(tmp_path: Path, source: dict, episodes: list, names: str) -> None:
    with pytest.raises(DataError, match=names):
        write_manifest(tmp_path, source, episodes)


def test_a_folder_without_manifest_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gsa collect-data"):
        read_manifest(tmp_path)
