"""LeRobot v3 data sets, by hand from the layout that lerobot documents: videos or PNGs, many episodes a file."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gsa.config import ConvertParams
from gsa.errors import DataError, ParamsError
from gsa.importers import open_source
from gsa.importers.base import ImportOptions
from gsa.loops.convert import convert

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


def write_video(path: Path, shades: list[int], fps: float = FPS, codec: str = "libx264", **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size, knobs = (SIZE[1], SIZE[0]), {"macro_block_size": 2, "output_params": ["-g", "2", "-bf", "2"], **more}
    writer = imageio_ffmpeg.write_frames(str(path), size, fps=fps, codec=codec, quality=9, **knobs)
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


EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = f"videos/{KEY}/chunk-000/file-000.mp4"


def set_places(root: Path, starts: list[float], ends: list[float]) -> None:
    """Where the table says that the episodes' stretches lie."""
    table = pq.read_table(root / EPISODES).to_pandas()
    table[f"videos/{KEY}/from_timestamp"], table[f"videos/{KEY}/to_timestamp"] = starts, ends
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), root / EPISODES)


def set_info(root: Path, change: Any) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    change(info)
    (root / "meta/info.json").write_text(json.dumps(info))


SHADES = [shade(episode, row) for episode in (0, 1) for row in range(LENGTHS[episode])]

DISAGREE: dict[str, tuple[Any, dict[int, str]]] = {
    "overlapping stretches": (
        lambda root: set_places(root, [0.0, 0.3, 0.0], [0.4, 1.0, 0.5]),
        {
            0: r"0 to 0\.4 s, overlaps that of episode 1, 0\.3 to 1 s",
            1: r"0\.3 to 1 s, overlaps that of episode 0, 0 to 0",
        },
    ),
    "a stretch of another length": (
        lambda root: set_places(root, [0.0, 0.4, 0.0], [0.4, 1.0, 0.5]),
        {1: r"0\.4 to 1 s, expected 0\.7 s for 7 rows at 10 Hz"},
    ),
    "a stretch beyond the end": (
        lambda root: set_places(root, [0.0, 0.6, 0.0], [0.4, 1.3, 0.5]),
        {1: r"from 0\.6 s has 5 frames, expected 7; the video holds 11 frames until 1 s"},
    ),
    "times between the frames": (
        lambda root: set_places(root, [0.0, 0.44, 0.0], [0.4, 1.14, 0.5]),
        {1: r"frame of row 0 at 0\.4000 s, expected 0\.4400"},
    ),
    "one frame too many": (
        lambda root: write_video(root / VIDEO, [SHADES[0], *SHADES]),
        dict.fromkeys((0, 1), "holds 12 frames, its episodes 11 rows"),
    ),
    "one frame too few": (
        lambda root: write_video(root / VIDEO, SHADES[1:]),
        {0: "holds 10 frames, its episodes 11 rows", 1: "has 6 frames, expected 7"},
    ),
    "another frame rate": (
        lambda root: write_video(root / VIDEO, SHADES, fps=20),
        {0: r"frame of row 1 at 0\.0500 s, expected 0\.1000 at 10 Hz", 1: "frame of row 1 at"},
    ),
    "no video": (lambda root: (root / VIDEO).unlink(), dict.fromkeys((0, 1), "file-000.mp4 is missing")),
    "another size declared": (
        lambda root: set_info(root, lambda info: info["features"][KEY].update(shape=[80, 48, 3])),
        dict.fromkeys((0, 1, 2), "are 48x80, meta/info.json declares RGB 80x48"),
    ),
}


@pytest.mark.parametrize("way", DISAGREE)
def test_where_table_and_video_disagree_the_episode_is_named(tmp_path: Path, videos: Path, way: str) -> None:
    root = Path(shutil.copytree(videos, tmp_path / "copy"))
    change, wrong = DISAGREE[way]
    change(root)
    source = open_source("lerobot", root, ARM)
    for index in range(len(LENGTHS)):
        if index in wrong:
            with pytest.raises(DataError, match=f"episode {index}: .*{wrong[index]}|{wrong[index]}"):
                source.read(index)
        else:
            assert len(source.read(index)) == LENGTHS[index]


@pytest.mark.parametrize("more", [{"info": {"video.is_depth_map": True}}, {"is_depth_map": True}])
def test_a_depth_map_is_no_picture(tmp_path: Path, more: dict) -> None:
    root = write_dataset(tmp_path / "two", video=False, cameras=2)
    set_info(root, lambda info: info["features"][KEY].update(more))
    assert len(open_source("lerobot", root, ARM).read(0)) == LENGTHS[0], "the other camera is the only picture"
    with pytest.raises(DataError, match=f"{KEY} is a depth map"):
        open_source("lerobot", root, ImportOptions(image_key=KEY))


def test_a_video_of_16_bits_is_no_picture(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "deep")
    write_video(root / VIDEO, SHADES, codec="ffv1", pix_fmt_out="gray16le")
    with pytest.raises(DataError, match=r"pixels are gray16le: 16 bits or a depth map"):
        open_source("lerobot", root, ARM).read(0)


def test_equal_width_is_not_one_body(tmp_path: Path) -> None:
    roots = [write_dataset(tmp_path / name, video=False) for name in ("one", "two")]
    set_info(roots[1], lambda info: info["features"]["action"].update(names={"motors": ["grip", "joint"]}))
    layout = ConvertParams(row_group_rows=4, shard_mb=1, codec="lz4", level=1, holdout_fraction=0.0)
    sources = [open_source("lerobot", root, ARM) for root in roots]
    with pytest.raises(
        DataError, match=r"\['grip', 'joint'\], in .*one of the same embodiment so100 \['joint', 'grip'"
    ):
        convert(sources, tmp_path / "out", layout)
    set_info(roots[1], lambda info: info["features"]["action"].update(names=["grip"]))
    with pytest.raises(DataError, match="'action' names 1 entries, its shape says 2"):
        open_source("lerobot", roots[1], ARM)


def test_data_of_another_body_cannot_bear_a_known_name(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "walker", video=False)
    source = open_source("lerobot", root, ImportOptions(embodiment="walker", action_range=ARM.action_range))
    with pytest.raises(DataError, match="action has 2 entries, the walker has 6; name the body that acts"):
        source.read(0)
    with pytest.raises(
        ParamsError, match="--task dmc-walker-walk is a task of the walker, --embodiment cheetah another"
    ):
        open_source("lerobot", root, ImportOptions(embodiment="cheetah", task="dmc-walker-walk"))
