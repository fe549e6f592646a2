"""``--format lerobot``: a LeRobot v3 data set (Parquet tables, MP4 videos, JSON metadata), by a reader of our own.

Layout as written by lerobot's code base v3.0: ``meta/info.json``; ``meta/episodes/*/*.parquet``, a row per episode with
where its steps and frames lie; ``data/*/*.parquet``, a row per step, many episodes per file; the frames in
``videos/<camera>/*/*.mp4``, many episodes per file, or as PNG in the data table. Row t's action was chosen after seeing
row t; the last row's action leads to no picture and is left out. Rewards are not read, and no step is terminal:
``next.done`` does not tell a task's end from the end of a recording.

Tables and videos are held against each other: every frame of a video is the picture of exactly one row, at its time.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from gsa.episode import Episode
from gsa.errors import DataError
from gsa.files import read_json
from gsa.importers.base import REFETCH, Checksums, ImportOptions, chosen_camera, is_shape, member
from gsa.importers.inputs import listed
from gsa.importers.mapping import ForeignSource, Frames, to_episode
from gsa.importers.pictures import Layout, layout_of
from gsa.importers.tables import Table
from gsa.importers.videos import TOLERANCE, Video

INFO = "meta/info.json"

VIDEO_PLACE = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
"""Where an episode's frames lie: columns ``videos/<camera>/<name>``."""


class LeRobotDataset(ForeignSource):
    """A data set's folder (``Source``), in the order of its episodes.

    Raises:
        DataError: no LeRobot data set, of another version, damaged, no camera, or no continuous action.
        ParamsError: nothing says which body acts, or which of several cameras is meant.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._sums = Checksums(path, "videos")
        self._info = read_json(self._sums.check(path / INFO), DataError, REFETCH)
        self._where = str(path / INFO)
        version = str(self._info.get("codebase_version"))
        if not version.startswith("v3."):
            raise DataError(f"{self._where}: codebase_version is {version}, expected v3.x; convert it with lerobot")
        fps, features, robot = (self._info.get(key) for key in ("fps", "features", "robot_type"))
        if not isinstance(fps, int | float) or fps is True or not 0 < fps < 1e6:
            raise DataError(f"{self._where}: fps is {fps!r}, expected frames per second; {REFETCH}")
        if not isinstance(features, dict):
            raise DataError(f"{self._where}: features is {type(features).__name__}, expected an object; {REFETCH}")
        self._fps, self.path = float(fps), path
        self._key, self._is_video, self._layout = _camera(self._where, features, options.image_key)
        self._action_dim = _action_dim(self._where, features)
        self._episodes = self._read_episodes()
        self._videos: dict[Path, Video] = {}
        self._rows: Counter[tuple[int, int]] = Counter()  # of all episodes in a video, by chunk and number
        if self._is_video:
            for row in self._episodes:
                self._rows[self._place(row)[:2]] += int(row["length"])
        self._faults = self._stretch_faults() if self._is_video else {}
        files = [f"episode-{index:06d}" for index in range(len(self._episodes))]
        known = {"embodiment": robot} if isinstance(robot, str) else {}
        super().__init__(path, options, files, action_names=_action_names(self._where, features), **known)

    def read(self, index: int) -> Episode:
        """Episode ``index``; see ``Source.read``."""
        row = self._episodes[index]
        file = self._file("data_path", chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        columns = ["episode_index", "frame_index", "timestamp", "action", *([] if self._is_video else [self._key])]
        where = f"{file}, episode {index}"
        table = Table(file, columns, where, only=pc.field("episode_index") == index)
        if len(table) != row["length"]:
            raise DataError(f"{where}: {len(table)} rows, meta/episodes says {row['length']}; {REFETCH}")
        self._check_numbering(where, table.numbers("frame_index", whole=True), table.numbers("timestamp"))
        action = table.vectors("action", self._action_dim)
        frames = self._video(where, index) if self._is_video else self._stored(table)
        origin = {"format": "lerobot", "rate": f"{self._fps:g} frames a second", "camera": self._key}
        info = self._provenance(index, **origin, sha256_checked=self._sums.present)
        return to_episode(where, frames, action[:-1], False, self.options, info)

    def _stored(self, table: Table) -> Frames:
        pictures = table.pictures(self._layout, self._key, "bytes")
        return lambda rows: (pictures[row] for row in rows)

    def _video(self, where: str, index: int) -> Frames:
        """The frames of an episode's stretch, once stretch, table and video are known to agree."""
        if index in self._faults:
            raise DataError(f"{where}: {self._faults[index]}; {REFETCH}")
        chunk, number, start, _ = self._place(self._episodes[index])
        file = self._file("video_path", video_key=self._key, chunk_index=chunk, file_index=number)
        if file not in self._videos:
            self._videos[file] = Video(file)
        video, length = self._videos[file], int(self._episodes[index]["length"])
        video.stretch(where, start, length, self._fps)
        if len(video.times) != (rows := self._rows[chunk, number]):
            found = f"{file} holds {len(video.times)} frames, its episodes {rows} rows"
            raise DataError(f"{where}: {found}: which frame belongs to which row is not certain; {REFETCH}")
        return lambda rows: self._sized(where, video.frames(start, self._fps, rows))

    def _sized(self, where: str, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for frame in frames:
            if frame.shape[:2] != (self._layout.height, self._layout.width):
                found = f"{frame.shape[0]}x{frame.shape[1]}"
                raise DataError(
                    f"{where}: frames of {self._key} are {found}, {INFO} declares {self._layout}; {REFETCH}"
                )
            yield frame

    def _place(self, row: dict[str, Any]) -> tuple[int, int, float, float]:
        """Chunk and number of an episode's video, and where in it its stretch begins and ends, in seconds."""
        chunk, number, start, end = (row[f"videos/{self._key}/{name}"] for name in VIDEO_PLACE)
        return int(chunk), int(number), float(start), float(end)

    def _stretch_faults(self) -> dict[int, str]:
        """What is wrong with the stretches of episodes, by episode: of two that overlap each may be the wrong one."""
        slack = TOLERANCE / self._fps
        faults: dict[int, str] = {}
        places = sorted((*self._place(row), index) for index, row in enumerate(self._episodes))
        for _, _, start, end, index in places:
            length = int(self._episodes[index]["length"])
            if abs(end - start - length / self._fps) > 2 * slack:
                found = f"the stretch of {self._key} is {start:g} to {end:g} s"
                faults[index] = f"{found}, expected {length / self._fps:g} s for {length} rows at {self._fps:g} Hz"
        furthest = places[0]  # of the stretches so far, in this file, the one that ends last
        for place in places[1:]:
            if place[:2] == furthest[:2] and place[2] < furthest[3] - slack:
                for mine, other in [(place, furthest), (furthest, place)]:
                    found = f"the stretch of {self._key}, {mine[2]:g} to {mine[3]:g} s, overlaps that of episode"
                    faults.setdefault(mine[4], f"{found} {other[4]}, {other[2]:g} to {other[3]:g} s")
            if place[:2] != furthest[:2] or place[3] > furthest[3]:
                furthest = place
        return faults

    def _file(self, template: str, **values: Any) -> Path:
        try:
            name = str(self._info[template]).format(**values)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise DataError(
                f"{self._where}: {template} is {self._info.get(template)!r} ({error!r}); {REFETCH}"
            ) from error
        return self._sums.check(member(self.path, name))

    def _check_numbering(self, where: str, frame_index: np.ndarray, timestamp: np.ndarray) -> None:
        """Rows are numbered from 0 on and lie 1/fps seconds apart."""
        expected = np.arange(len(frame_index))
        for row in np.flatnonzero(frame_index != expected)[:1]:
            found = f"frame_index at row {row} is {frame_index[row]}"
            raise DataError(f"{where}: {found}; rows are missing or out of order")
        for row in np.flatnonzero(np.abs(timestamp * self._fps - expected) > 0.5)[:1]:
            found = f"{timestamp[row]} s, expected {row / self._fps:.4f} at {self._fps:g} Hz"
            raise DataError(f"{where}: timestamp at row {row} is {found}")

    def _read_episodes(self) -> list[dict[Any, Any]]:
        """Rows of the episodes' tables, by episode."""
        columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
        if self._is_video:
            columns += [f"videos/{self._key}/{name}" for name in VIDEO_PLACE]
        folder = self.path / "meta/episodes"
        tables = [Table(self._sums.check(file), columns) for file in listed(folder, "*/*.parquet")]
        if not tables:
            first = folder / "chunk-000/file-000.parquet"
            raise DataError(f"{first}: no tables of episodes, neither this nor another; {REFETCH}")
        rows = pd.concat(
            pd.DataFrame({name: table.numbers(name, whole="timestamp" not in name) for name in columns})
            for table in tables
        ).sort_values("episode_index", ignore_index=True)
        if rows.empty:
            raise DataError(f"{folder}: no episode in any table; {REFETCH}")
        for number in np.flatnonzero(rows["episode_index"] != rows.index)[:1]:
            found = f"episode_index {rows['episode_index'][number]} in place of {number}"
            raise DataError(f"{folder}: {found}: one is missing or there twice; {REFETCH}")
        for column, total in [("total_episodes", len(rows)), ("total_frames", int(rows["length"].sum()))]:
            if self._info.get(column) != total:
                expected = self._info.get(column)
                raise DataError(f"{self._where}: {column} is {expected}, meta/episodes holds {total}; {REFETCH}")
        return rows.to_dict("records")


def _camera(where: str, features: dict[str, Any], wanted: str | None) -> tuple[str, bool, Layout]:
    """A picture's key, whether it is a video, and its layout; depth maps are taken by nobody's default."""
    kinds = {key: feature.get("dtype") for key, feature in features.items() if isinstance(feature, dict)}
    keys = [key for key, kind in kinds.items() if kind in ("video", "image")]
    if not keys:
        raise DataError(f"{where}: no feature is a video or an image; nothing to learn from")
    pictures = [key for key in keys if not _is_depth(features[key])]
    key = chosen_camera(where, pictures if wanted is None and pictures else keys, wanted)
    if _is_depth(features[key]):
        raise DataError(f"{where}: {key} is a depth map, expected pictures; pass another --image-key")
    shape = features[key].get("shape")
    if not is_shape(shape, 3):
        raise DataError(f"{where}: shape of {key} is {shape}, expected [height, width, 3]; {REFETCH}")
    # Some data sets declare channels first; the pictures themselves are the same.
    layout = layout_of(shape)
    if layout is None:
        raise DataError(f"{where}: shape of {key} is {shape}, expected 3 channels, first or last; {REFETCH}")
    return key, kinds[key] == "video", layout


def _is_depth(feature: dict[str, Any]) -> bool:
    """Whether a feature says of itself that it is a depth map, as lerobot writes it."""
    facts = {**(feature["info"] if isinstance(feature.get("info"), dict) else {}), **feature}
    return any(facts.get(name) is True for name in ("is_depth_map", "video.is_depth_map"))


def _action_dim(where: str, features: dict[str, Any]) -> int:
    action = features.get("action")
    shape = action.get("shape") if isinstance(action, dict) else None
    kind = action.get("dtype") if isinstance(action, dict) else None
    if kind not in ("float32", "float64") or not is_shape(shape, 1):
        raise DataError(f"{where}: the feature 'action' is {kind} {shape}, expected a row of floats")
    return int(shape[0])


def _action_names(where: str, features: dict[str, Any]) -> list[str] | None:
    """What the data calls the entries of an action, where it does; nested names are taken in their order."""
    names, width = features["action"].get("names"), _action_dim(where, features)
    while isinstance(names, dict):
        names = next(iter(names.values()), None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    if len(names) != width:
        raise DataError(f"{where}: the feature 'action' names {len(names)} entries, its shape says {width}; {REFETCH}")
    return names
