"""``--format lerobot``: a LeRobot v3 data set (Parquet tables, MP4 videos, JSON metadata), by a reader of our own.

Layout as written by lerobot's code base v3.0: ``meta/info.json``; ``meta/episodes/*/*.parquet``, a row per episode with
where its steps and frames lie; ``data/*/*.parquet``, a row per step, many episodes per file; the frames in
``videos/<camera>/*/*.mp4``, many episodes per file, or as PNG in the data table. Row t's action was chosen after seeing
row t; the last row's action leads to no picture and is left out. Rewards are not read, and no step is terminal:
``next.done`` does not tell a task's end from the end of a recording.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from gsa.episode import Episode
from gsa.errors import DataError
from gsa.files import read_json
from gsa.importers.base import REFETCH, Checksums, ImportOptions, chosen_camera, is_shape, member
from gsa.importers.mapping import ForeignSource, Frames, to_episode
from gsa.importers.pictures import decode_video
from gsa.importers.tables import Table

INFO = "meta/info.json"

VIDEO_PLACE = ("chunk_index", "file_index", "from_timestamp")
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
        self._key, self._is_video, self._shape = _camera(self._where, features, options.image_key)
        self._action_dim = _action_dim(self._where, features)
        self._episodes = self._read_episodes()
        files = [f"episode-{index:06d}" for index in range(len(self._episodes))]
        super().__init__(path, options, files, **({"embodiment": robot} if isinstance(robot, str) else {}))

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
        if self._is_video:
            frames = self._video(row)
        else:
            frames = partial(map, table.pictures(self._shape, self._key, "bytes").__getitem__)
        origin = {"format": "lerobot", "rate": f"{self._fps:g} frames a second", "camera": self._key}
        info = self._provenance(index, **origin, sha256_checked=self._sums.present)
        return to_episode(where, frames, action[:-1], False, self.options, info)

    def _video(self, row: dict[str, Any]) -> Frames:
        place = {name: row[f"videos/{self._key}/{name}"] for name in VIDEO_PLACE}
        start = place.pop("from_timestamp")
        file = self._file("video_path", video_key=self._key, **place)
        return lambda rows: decode_video(file, start, self._fps, rows)

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
        tables = [Table(self._sums.check(file), columns) for file in sorted(folder.glob("*/*.parquet"))]
        if not tables:
            first = folder / "chunk-000/file-000.parquet"
            raise DataError(f"{first}: no tables of episodes, neither this nor another; {REFETCH}")
        rows = pd.concat(
            pd.DataFrame({name: table.numbers(name, whole="timestamp" not in name) for name in columns})
            for table in tables
        ).sort_values("episode_index", ignore_index=True)
        for number in np.flatnonzero(rows["episode_index"] != rows.index)[:1]:
            found = f"episode_index {rows['episode_index'][number]} in place of {number}"
            raise DataError(f"{folder}: {found}: one is missing or there twice; {REFETCH}")
        for column, total in [("total_episodes", len(rows)), ("total_frames", int(rows["length"].sum()))]:
            if self._info.get(column) != total:
                expected = self._info.get(column)
                raise DataError(f"{self._where}: {column} is {expected}, meta/episodes holds {total}; {REFETCH}")
        return rows.to_dict("records")


def _camera(where: str, features: dict[str, Any], wanted: str | None) -> tuple[str, bool, list[int]]:
    """A picture's key, whether it is a video, and its shape (Y, X, 3)."""
    kinds = {key: feature.get("dtype") for key, feature in features.items() if isinstance(feature, dict)}
    keys = [key for key, kind in kinds.items() if kind in ("video", "image")]
    if not keys:
        raise DataError(f"{where}: no feature is a video or an image; nothing to learn from")
    key = chosen_camera(where, keys, wanted)
    shape = features[key].get("shape")
    if not is_shape(shape, 3):
        raise DataError(f"{where}: shape of {key} is {shape}, expected [height, width, 3]; {REFETCH}")
    if 3 not in (shape[0], shape[2]):
        raise DataError(f"{where}: shape of {key} is {shape}, expected 3 channels (depth is not a picture)")
    # Some data sets declare channels first; the pictures themselves are the same.
    return key, kinds[key] == "video", shape if shape[2] == 3 else [*shape[1:], 3]


def _action_dim(where: str, features: dict[str, Any]) -> int:
    action = features.get("action")
    shape = action.get("shape") if isinstance(action, dict) else None
    kind = action.get("dtype") if isinstance(action, dict) else None
    if kind not in ("float32", "float64") or not is_shape(shape, 1):
        raise DataError(f"{where}: the feature 'action' is {kind} {shape}, expected a row of floats")
    return int(shape[0])
