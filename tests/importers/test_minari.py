"""Minari data sets, written by minari itself: its three storages, JPEG or raw pictures."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from gsa.episode import resize_area
from gsa.errors import DataError, ParamsError
from gsa.importers import open_source
from gsa.importers.base import ImportOptions, parse_action_range

SIZE = (48, 80)
ARM = ImportOptions(embodiment="arm", action_range=((-2.0, 2.0),))


def picture(seed: int, row: int) -> np.ndarray:
    """A smooth picture, which JPEG changes little, that tells seed and row."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([y + 30 * seed, x + row * 10, np.full(SIZE, 100 + row)], -1).astype(np.uint8)


def write_dataset(folder: Path, storage: str, jpeg: bool, keys: tuple[str, ...] = ("pixels",), steps: int = 4) -> Path:
    """Two episodes with actions (t / 2, -t / 2) in [-2, 2], the second terminal; as minari's own collector saves."""
    box = gymnasium.spaces.Box
    pictures = {key: box(0, 255, (*SIZE, 3), np.uint8) for key in keys}
    observations = gymnasium.spaces.Dict({**pictures, "state": box(-1.0, 1.0, (2,), np.float32)})
    data = folder / "data"
    data.mkdir(parents=True)
    actions = box(-2.0, 2.0, (2,), np.float32)
    made = MinariStorage.new(data, observations, actions, data_format=storage, jpeg_encoding=jpeg)
    for seed in range(2):
        row = np.arange(steps, dtype=np.float32)[:, None] / 2
        frames = np.stack([picture(seed, n) for n in range(steps + 1)])
        buffer: Any = EpisodeBuffer(
            id=seed,
            seed=seed,
            observations={**dict.fromkeys(keys, frames), "state": np.zeros((steps + 1, 2), np.float32)},
            actions=np.concatenate([row, -row], 1),
            rewards=np.ones(steps),
            terminations=np.arange(steps) == (steps - 1 if seed else steps),
            truncations=np.zeros(steps, bool),
        )
        made.update_episodes([buffer])
    return folder


def write_space(folder: Path, storage: str, space: gymnasium.Space, observations: Any, jpeg: bool = False) -> Path:
    """One episode with observations of any space."""
    data = folder / "data"
    data.mkdir(parents=True)
    actions = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    made = MinariStorage.new(data, space, actions, data_format=storage, jpeg_encoding=jpeg)
    flags = np.zeros(2, bool)
    buffer: Any = EpisodeBuffer(
        id=0,
        observations=observations,
        actions=np.zeros((2, 2), np.float32),
        rewards=np.full(2, np.nan),
        terminations=flags,
        truncations=flags,
    )
    made.update_episodes([buffer])
    return folder


def change_metadata(folder: Path, **entries: Any) -> None:
    path = folder / "data/metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.mark.parametrize("storage", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("jpeg", [False, True])
def test_every_storage_gives_the_same_episodes(tmp_path: Path, storage: str, jpeg: bool) -> None:
    source = open_source("minari", write_dataset(tmp_path / "arm-v0", storage, jpeg), ARM)
    assert len(source.files) == 2 and source.facts["name"] == "arm-v0"
    for seed in range(2):
        episode = source.read(seed)
        expected = np.stack([resize_area(picture(seed, row)) for row in range(5)]).transpose(0, 3, 1, 2)
        assert np.abs(episode.image.astype(int) - expected).max() <= (8 if jpeg else 0)
        np.testing.assert_allclose(episode.action[:, 0], [0.0, 0.25, 0.5, 0.75, 0.0])
        assert episode.is_terminal.tolist() == [False] * 4 + [seed == 1]
        assert episode.reward is None
        assert episode.info["origin"]["image_size"] == [48, 80]  # type: ignore[index]


def test_the_range_the_data_declares_is_suggested_but_not_taken(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", "hdf5", False, steps=5)
    source = open_source("minari", folder, ImportOptions(embodiment="arm"))
    with pytest.raises(DataError, match=r"hdf5, episode_0: action at row 3, entry 0 is 1\.5.*--action-range -2:2$"):
        source.read(0)
    assert open_source("minari", folder, ImportOptions("arm", action_range=parse_action_range("-2:2"))).read(0)


def test_one_of_several_cameras_must_be_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", "hdf5", False, keys=("top", "wrist"))
    with pytest.raises(ParamsError, match=r"--image-key, one of top, wrist$"):
        open_source("minari", folder, ARM)
    with pytest.raises(ParamsError, match="one of top, wrist, not front"):
        open_source("minari", folder, ImportOptions("arm", image_key="front"))
    options = ImportOptions("arm", image_key="wrist", action_range=((-2.0, 2.0),))
    assert len(open_source("minari", folder, options).read(0)) == 5


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        (
            {"observation_space": '{"type": "Box", "dtype": "float32", "shape": [4]}'},
            "no observation is a picture, found it is float32",
        ),
        ({"action_space": '{"type": "Discrete", "n": 4}'}, r"action space is \['Discrete'"),
        ({"action_space": None}, "action_space is missing"),
        ({"total_episodes": 3}, "metadata.json says 3 episodes"),
        ({"data_format": "zarr"}, "data_format is 'zarr', expected one of hdf5, arrow, parquet"),
    ],
)
def test_a_data_set_that_has_no_place_here_is_refused(tmp_path: Path, entries: dict, names: str) -> None:
    folder = write_dataset(tmp_path / "d", "hdf5", False)
    change_metadata(folder, **entries)
    with pytest.raises(DataError, match=names):
        open_source("minari", folder, ARM)


def test_its_own_name_is_taken(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", "arrow", True)
    change_metadata(folder, dataset_id="lab/arm/expert-v0")
    source = open_source("minari", folder, ARM)
    assert (source.facts["name"], source.files) == ("lab/arm/expert-v0", ["0/part-0.arrow", "1/part-0.arrow"])
    with pytest.raises(DataError, match=r"metadata\.json is missing"):
        open_source("minari", tmp_path, ARM)


BOX = gymnasium.spaces.Box
FRAMES = np.stack([picture(0, row) for row in range(3)])
STATE = (BOX(-1.0, 1.0, (4,), np.float32), np.zeros((3, 4), np.float32))


@pytest.mark.parametrize("storage", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize(
    ("space", "observations", "key"),
    [
        (gymnasium.spaces.Tuple([BOX(0, 255, (*SIZE, 3), np.uint8), STATE[0]]), (FRAMES, STATE[1]), "0"),
        (
            gymnasium.spaces.Dict(a=gymnasium.spaces.Tuple([STATE[0], BOX(0, 255, (*SIZE, 3), np.uint8)])),
            {"a": (STATE[1], FRAMES)},
            "a/1",
        ),
        (BOX(0, 255, (*SIZE, 3), np.uint8), FRAMES, ""),
        (BOX(0, 255, (3, *SIZE), np.uint8), FRAMES.transpose(0, 3, 1, 2), ""),
        (BOX(0.0, 1.0, (*SIZE, 3), np.float32), (FRAMES / 255).astype(np.float32), ""),
        (
            gymnasium.spaces.Dict(rgb=BOX(0, 255, (*SIZE, 3), np.uint8), depth=BOX(0, 255, (*SIZE, 1), np.uint8)),
            {"rgb": FRAMES, "depth": FRAMES[..., :1]},
            "rgb",
        ),
    ],
)
def test_a_picture_is_found_wherever_it_lies(
    tmp_path: Path, storage: str, jpeg: bool, space: gymnasium.Space, observations: Any, key: str
) -> None:
    if jpeg and key in ("", "rgb"):
        return  # minari writes no JPEG of other layouts
    folder = write_space(tmp_path / "d", storage, space, observations, jpeg)
    for image_key in (None, key or None):
        episode = open_source("minari", folder, ImportOptions("arm", image_key=image_key)).read(0)
        expected = np.stack([resize_area(frame) for frame in FRAMES]).transpose(0, 3, 1, 2)
        assert np.abs(episode.image.astype(int) - expected).max() <= (8 if jpeg else 0)
        assert episode.reward is None


@pytest.mark.parametrize(
    ("space", "values", "names"),
    [
        (
            BOX(0, 65535, (*SIZE, 3), np.uint16),
            FRAMES.astype(np.uint16),
            "no observation is a picture, found x is uint16",
        ),
        (BOX(0.0, 9.0, (*SIZE, 1), np.float32), FRAMES[..., :1].astype(np.float32), "no observation is a picture"),
        (BOX(0, 255, (3, 48, 3), np.uint8), FRAMES[:, :3, :48], "no observation is a picture"),
        (BOX(-9.0, 9.0, (*SIZE, 3), np.float32), FRAMES / np.float32(30), r"float32 from .* expected 0 to 1, or whole"),
    ],
)
def test_what_may_be_no_picture_is_refused(tmp_path: Path, space: Any, values: np.ndarray, names: str) -> None:
    folder = write_space(tmp_path / "d", "hdf5", gymnasium.spaces.Dict(x=space), {"x": values})
    with pytest.raises(DataError, match=names):
        open_source("minari", folder, ImportOptions("arm")).read(0)
