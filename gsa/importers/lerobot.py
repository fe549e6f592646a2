"""``--format lerobot``: a LeRobot v3 data set (Parquet tables, MP4 videos, JSON metadata), by a reader of our own.

Layout as written by lerobot's code base v3.0: ``meta/info.json``; ``meta/episodes/*/*.parquet``, a row an episode with
where its steps and frames lie; ``data/*/*.parquet``, a row a step, many episodes a file; the frames in
``videos/<camera>/*/*.mp4``, many episodes a file, or as PNG in the data table. Row t's action was chosen after seeing
row t; the last row's action leads to no picture and is left out. Rewards are not read, and no step is terminal:
``next.done`` does not tell a task's end from the end of a recording.
"""

from pathlib import Path
from typing import Any, NamedTuple

from gsa.episode import Episode
from gsa.errors import DataError, ParamsError
from gsa.files import read_json
from gsa.importers.base import ImportOptions, is_shape, member
from gsa.importers.checksums import Checksums
from gsa.importers.lerobot_tables import Table, check_numbering, read_table
from gsa.importers.mapping import kept_rows, to_episode
from gsa.importers.pictures import EncodedFrames
from gsa.importers.video_frames import decode

INFO = "meta/info.json"
MEND = "fetch the data set again"


class _Camera(NamedTuple):
    """A picture's key, whether it is a video, and its height and width."""

    key: str
    is_video: bool
    size: tuple[int, int]


class LeRobotDataset:
    """A data set's folder (``Source``), in the order of its episodes.

    Raises:
        DataError: no LeRobot data set, of another version, damaged, no camera, or no continuous action.
        ParamsError: nothing says which body acts, or which of several cameras is meant.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path = path
        self._sums = Checksums(path, "videos")
        self._info = read_json(self._sums.check(path / INFO), DataError, MEND)
        self._where = str(path / INFO)
        version = str(self._info.get("codebase_version"))
        if not version.startswith("v3."):
            raise DataError(f"{self._where}: codebase_version is {version}, expected v3.x; convert it with lerobot")
        self._fps = self._info.get("fps")
        if not isinstance(self._fps, int | float) or self._fps is True or not 0 < self._fps < 1e6:
            raise DataError(f"{self._where}: fps is {self._fps!r}, expected frames a second; {MEND}")
        features = self._info.get("features")
        if not isinstance(features, dict):
            raise DataError(f"{self._where}: features is {type(features).__name__}, expected an object; {MEND}")
        self._camera = _chosen_camera(self._where, features, options.image_key)
        self._action_dim = _action_dim(self._where, features)
        self._episodes = self._read_episodes()
        self.files: list[str] = [f"episode-{index:06d}" for index in range(len(self._episodes))]
        known = {"embodiment": self._info.get("robot_type")} if isinstance(self._info.get("robot_type"), str) else {}
        self.facts: dict[str, Any] = options.facts(path, path.resolve().name, **known)
        self._options = options

    def read(self, index: int) -> Episode:
        """Episode ``index``; see ``Source.read``."""
        row = self._episodes[index]
        file = self._file("data_path", chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        columns = ["episode_index", "frame_index", "timestamp", "action"]
        if not self._camera.is_video:
            columns.append(self._camera.key)
        where = f"{file}, episode {index}"
        table = Table(where, read_table(file, columns, [("episode_index", "==", index)]))
        length = row["length"]
        if len(table) != length:
            raise DataError(f"{where}: {len(table)} rows, meta/episodes says {length}; {MEND}")
        check_numbering(
            where, table.numbers("frame_index", whole=True), table.numbers("timestamp"), float(self._fps or 0)
        )
        action = table.vectors("action", self._action_dim)
        rows = kept_rows(where, length, self._options)
        if self._camera.is_video:
            frames = self._video(row, rows)
        else:
            encoded = EncodedFrames(table.pictures(self._camera.key), f"{where}, {self._camera.key}", self._camera.size)
            frames = (encoded.frame(number) for number in rows)
        origin = {
            "format": "lerobot",
            "rate": f"{self._fps:g} frames a second",
            "camera": self._camera.key,
            "sha256_checked": self._sums.present,
        }
        info = {**self.facts, "source": self.facts["name"], "file": self.files[index], "origin": origin}
        return to_episode(where, frames, action[:-1], False, self._options, info)

    def _video(self, row: dict[str, Any], rows: range) -> Any:
        key, start = self._camera.key, row[f"videos/{self._camera.key}/from_timestamp"]
        place = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
        return decode(self._file("video_path", video_key=key, **place), start, float(self._fps or 0), rows)

    def _file(self, template: str, **values: Any) -> Path:
        try:
            name = str(self._info[template]).format(**values)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise DataError(f"{self._where}: {template} is {self._info.get(template)!r} ({error!r}); {MEND}") from error
        return self._sums.check(member(self.path, name))

    def _read_episodes(self) -> list[dict[str, Any]]:
        """Rows of the episodes' tables, by episode."""
        columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
        if self._camera.is_video:
            names = ("chunk_index", "file_index", "from_timestamp")
            columns += [f"videos/{self._camera.key}/{name}" for name in names]
        files = sorted((self.path / "meta/episodes").glob("*/*.parquet"))
        if not files:
            first = self.path / "meta/episodes/chunk-000/file-000.parquet"
            raise DataError(f"{first}: no tables of episodes, neither this nor another; {MEND}")
        rows: list[dict[str, Any]] = []
        for file in files:
            table = Table(str(file), read_table(self._sums.check(file), columns))
            values = {name: table.numbers(name, whole="timestamp" not in name).tolist() for name in columns}
            rows += [dict(zip(columns, row, strict=True)) for row in zip(*values.values(), strict=True)]
        rows.sort(key=lambda row: row["episode_index"])
        for number, row in enumerate(rows):
            if row["episode_index"] != number:
                raise DataError(
                    f"{files[0].parent.parent}: episode_index {row['episode_index']} in place of {number}: one is "
                    f"missing or there twice; {MEND}"
                )
        for column, found in [("total_episodes", len(rows)), ("total_frames", sum(row["length"] for row in rows))]:
            if self._info.get(column) != found:
                expected = self._info.get(column)
                raise DataError(f"{self._where}: {column} is {expected}, meta/episodes holds {found}; {MEND}")
        return rows


def _chosen_camera(where: str, features: dict[str, Any], wanted: str | None) -> _Camera:
    kinds = {key: feature.get("dtype") for key, feature in features.items() if isinstance(feature, dict)}
    keys = [key for key, kind in kinds.items() if kind in ("video", "image")]
    if not keys:
        raise DataError(f"{where}: no feature is a video or an image; nothing to learn from")
    key = wanted if wanted is not None else keys[0]
    if key not in keys or (wanted is None and len(keys) > 1):
        raise ParamsError(f"{where}: pass --image-key, one of {', '.join(keys)}" + (f", not {wanted}" * bool(wanted)))
    shape = features[key].get("shape")
    if not is_shape(shape, 3):
        raise DataError(f"{where}: shape of {key} is {shape}, expected [height, width, 3]; {MEND}")
    # Some data sets declare channels first; the pictures themselves are the same.
    height, width, channels = shape if shape[2] == 3 else (shape[1], shape[2], shape[0])
    if channels != 3:
        raise DataError(f"{where}: shape of {key} is {shape}, expected 3 channels (depth is not a picture)")
    return _Camera(key, kinds[key] == "video", (height, width))


def _action_dim(where: str, features: dict[str, Any]) -> int:
    action = features.get("action")
    shape = action.get("shape") if isinstance(action, dict) else None
    kind = action.get("dtype") if isinstance(action, dict) else None
    if kind not in ("float32", "float64") or not is_shape(shape, 1):
        raise DataError(f"{where}: the feature 'action' is {kind} {shape}, expected a row of floats")
    return int(shape[0])


def open_source(path: Path, options: ImportOptions) -> LeRobotDataset:
    """See ``gsa.importers.open_source``."""
    return LeRobotDataset(path, options)
