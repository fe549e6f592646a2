"""LeRobot v3 data sets, by hand from the layout that lerobot documents: videos or PNGs, many episodes a file."""

import io
import json
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gsa.errors import DataError, ParamsError
from gsa.importers import open_source
from gsa.importers.base import ImportOptions

FPS = 10
LENGTHS = (4, 7, 5)
SIZE = (48, 80)
KEY = "observation.images.top"
ARM = ImportOptions(action_range=((0.0, 100.0), (-1.0, 1.0)))


def shade(episode: int, row: int) -> int:
    """Brightness of a frame: tells episode and row by more than a video changes it."""
    return 40 + 60 * episode + 8 * row


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((*SIZE, 3), value, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_video(path: Path, shades: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (SIZE[1], SIZE[0])
    writer = imageio_ffmpeg.write_frames(
        str(path), size, fps=FPS, codec="libx264", quality=9, macro_block_size=2, output_params=["-g", "2", "-bf", "0"]
    )
    writer.send(None)
    for value in shades:
        writer.send(np.full((*SIZE, 3), value, np.uint8))
    writer.close()


def write_dataset(root: Path, video: bool = True, cameras: int = 1, codebase: str = "v3.0") -> Path:
    """Three episodes in one data file; of two video files the second holds the last episode."""
    kind = "video" if video else "image"
    keys = [KEY, "observation.images.wrist"][:cameras]
    features: dict[str, Any] = {
        "action": {"dtype": "float32", "shape": [2], "names": ["joint", "grip"]},
        "observation.state": {"dtype": "float32", "shape": [1], "names": None},
        "next.reward": {"dtype": "float32", "shape": [1], "names": None},
        **{key: {"dtype": kind, "shape": [*SIZE, 3], "names": ["height", "width", "channels"]} for key in keys},
    }
    info = {
        "codebase_version": codebase,
        "robot_type": "so100",
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "fps": FPS,
        "features": features,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" if video else None,
    }
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    steps = [(episode, row) for episode, length in enumerate(LENGTHS) for row in range(length)]
    columns: dict[str, Any] = {
        "observation.state": pa.array([0.0] * len(steps), pa.float32()),
        "action": pa.array([[10.0 * row, 0.1 * row] for _, row in steps], pa.list_(pa.float32(), 2)),
        "next.reward": pa.array([1.0] * len(steps), pa.float32()),
        "timestamp": pa.array([row / FPS for _, row in steps], pa.float32()),
        "frame_index": [row for _, row in steps],
        "episode_index": [episode for episode, _ in steps],
        "index": list(range(len(steps))),
        "task_index": [0] * len(steps),
    }
    rows: dict[str, Any] = {
        "episode_index": list(range(len(LENGTHS))),
        "tasks": [["pick"]] * len(LENGTHS),
        "length": list(LENGTHS),
        "data/chunk_index": [0] * len(LENGTHS),
        "data/file_index": [0] * len(LENGTHS),
    }
    for key in keys:
        if video:
            rows[f"videos/{key}/chunk_index"] = [0, 0, 0]
            rows[f"videos/{key}/file_index"] = [0, 0, 1]
            rows[f"videos/{key}/from_timestamp"] = [0.0, LENGTHS[0] / FPS, 0.0]
            rows[f"videos/{key}/to_timestamp"] = [LENGTHS[0] / FPS, sum(LENGTHS[:2]) / FPS, LENGTHS[2] / FPS]
            for file, episodes in enumerate([(0, 1), (2,)]):
                shades = [shade(episode, row) for episode in episodes for row in range(LENGTHS[episode])]
                write_video(root / f"videos/{key}/chunk-000/file-{file:03d}.mp4", shades)
        else:
            columns[key] = [{"bytes": png(shade(*step)), "path": f"frame-{step[1]:06d}.png"} for step in steps]
    pq.write_table(pa.table(columns), root / "data/chunk-000/file-000.parquet", compression="snappy")
    pq.write_table(pa.table(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    return root


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("lerobot") / "so100_pick")


@pytest.mark.parametrize("video", [True, False])
def test_every_frame_is_that_of_its_row(tmp_path: Path, videos: Path, video: bool) -> None:
    source = open_source("lerobot", videos if video else write_dataset(tmp_path / "png", video=False), ARM)
    assert source.facts["embodiment"] == "so100"
    for number, length in enumerate(LENGTHS):
        episode = source.read(number)
        found = episode.image.mean((1, 2, 3))
        expected = [shade(number, row) for row in range(length)]
        np.testing.assert_allclose(found, expected, atol=2.5 if video else 0.0)
        row = np.arange(length - 1)
        np.testing.assert_allclose(episode.action[:-1], np.stack([0.2 * row - 1, 0.1 * row], 1), atol=1e-6)
        assert not episode.action[-1].any(), "the last action leads to no picture"
        assert (episode.reward, episode.is_terminal.any()) == (None, False)
    origin = episode.info["origin"]
    assert isinstance(origin, dict) and origin["rate"] == "10 frames a second" and origin["image_size"] == [48, 80]


def test_every_second_frame(videos: Path) -> None:
    options = ImportOptions(action_range=ARM.action_range, every=2, merge_actions="last")
    episode = open_source("lerobot", videos, options).read(1)
    np.testing.assert_allclose(episode.image.mean((1, 2, 3)), [shade(1, row) for row in (0, 2, 4, 6)], atol=2.5)
    np.testing.assert_allclose(episode.action[:, 1], [0.1, 0.3, 0.5, 0.0], atol=1e-6)


def test_an_action_in_degrees_needs_its_range(videos: Path) -> None:
    source = open_source("lerobot", videos, ImportOptions())
    with pytest.raises(DataError, match=r"file-000\.parquet, episode 0: action at row 1, entry 0 is 10, .*--action-r"):
        source.read(0)


def test_one_of_several_cameras_must_be_named(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "two", video=False, cameras=2)
    with pytest.raises(ParamsError, match=rf"--image-key, one of {KEY}, observation.images.wrist$"):
        open_source("lerobot", root, ARM)
    assert len(open_source("lerobot", root, ImportOptions(image_key=KEY, action_range=ARM.action_range)).read(0)) == 4


def test_the_version_before_is_refused(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "old", video=False, codebase="v2.1")
    with pytest.raises(DataError, match=r"codebase_version is v2\.1, expected v3\.x; convert it with lerobot"):
        open_source("lerobot", root, ARM)
    with pytest.raises(DataError, match=r"info\.json is missing"):
        open_source("lerobot", tmp_path, ARM)
