"""``--format minari``: a Minari data set, in its HDF5, Arrow or Parquet storage, read from its documented layout.

``data/metadata.json`` describes the spaces; an episode has T actions and T + 1 observations, among them at least one
picture: raw uint8, or a JPEG per row. Rewards are not read. The storage holds no checksums. As written by minari 0.5,
it is one HDF5 file with groups ``episode_<n>``, or files ``<n>/part-0.<format>`` whose last row pads everything but the
observations.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from gsa.episode import Episode
from gsa.errors import DataError
from gsa.files import read_json
from gsa.importers.base import REFETCH, Checksums, ImportOptions, chosen_camera, is_shape
from gsa.importers.mapping import ForeignSource, to_episode
from gsa.importers.pictures import EncodedPictures, Pictures
from gsa.importers.tables import Table
from gsa.storage.npz import MAX_EPISODE_BYTES

METADATA = "metadata.json"
HDF5_FILE = "main_data.hdf5"

Stored = tuple[str, Pictures, np.ndarray, np.ndarray]
"""One episode: file and episode for messages, T + 1 pictures, T actions ``(T, A)`` and T terminations, bool."""


class MinariDataset(ForeignSource):
    """A data set's folder, or its ``data`` folder (``Source``).

    Raises:
        DataError: no Minari data set, damaged, no pictures, or actions that are not continuous.
        ParamsError: nothing says which body acts, or which of several cameras is meant.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        folder = path / "data" if (path / "data" / METADATA).is_file() else path
        self._sums = sums = Checksums(path, "Minari's files")
        where, meta = str(folder / METADATA), read_json(sums.check(folder / METADATA), DataError, REFETCH)
        images, self._width, self._declared = _spaces(where, meta)
        self._image_key = chosen_camera(where, list(images), options.image_key)
        self._shape = images[self._image_key]
        episodes, kind, name = (meta.get(key) for key in ("total_episodes", "data_format", "dataset_id"))
        if not isinstance(episodes, int) or episodes < 1:
            raise DataError(f"{where}: total_episodes is {episodes!r}, expected at least 1; {REFETCH}")
        if not isinstance(kind, str) or kind not in STORAGES:
            raise DataError(f"{where}: data_format is {kind!r}, expected one of {', '.join(STORAGES)}")
        self._storage = STORAGES[kind](folder, sums, episodes)
        files = [self._storage.name.format(index) for index in range(episodes)]
        super().__init__(path, options, files, name if isinstance(name, str) else "")

    def read(self, index: int) -> Episode:
        """Episode ``index``; see ``Source.read``."""
        where, images, action, terminations = self._storage.read(index, self._image_key, self._shape, self._width)
        decisions = len(action)
        lengths = {f"observations/{self._image_key}": (len(images), decisions + 1)}
        for column, (length, expected) in {**lengths, "terminations": (len(terminations), decisions)}.items():
            if length != expected:
                raise DataError(f"{where}: {column} has {length} rows for {decisions} actions, expected {expected}")
        for row in np.flatnonzero(terminations[:-1])[:1]:
            raise DataError(f"{where}: terminations is true at row {row}, before the last; split this episode")
        return to_episode(
            where,
            lambda rows: (images[row] for row in rows),
            action,
            bool(decisions and terminations[-1]),
            self.options,
            self._provenance(index, format="minari", rate="unknown", sha256_checked=self._sums.present),
            declared=self._declared,
        )


def _spaces(where: str, meta: dict[str, Any]) -> tuple[dict[str, list[int]], int, str]:
    """Shapes of the pictures by key (``a/b`` in nested spaces), and the action's width and declared range."""
    spaces = {}
    for name in ("observation_space", "action_space"):
        try:
            spaces[name] = json.loads(meta[name])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{where}: {name} is missing or unreadable ({error!r}); {REFETCH}") from error
    images, action = dict(_pictures(spaces["observation_space"])), spaces["action_space"]
    if not images:
        raise DataError(f"{where}: no observation is a picture (uint8, height x width x 3); states only")
    facts = [action.get(key) if isinstance(action, dict) else None for key in ("type", "dtype", "shape")]
    if facts[:2] not in (["Box", "float32"], ["Box", "float64"]) or not is_shape(facts[2], 1):
        raise DataError(f"{where}: the action space is {facts}, expected a Box of floats in one row")
    return images, action["shape"][0], _declared_range(action)


def _pictures(space: Any, key: str = "") -> list[tuple[str, list[int]]]:
    """Keys and shapes of the pictures in an observation space; "" is a space that is a picture itself."""
    if not isinstance(space, dict):
        return []
    if space.get("type") == "Dict" and isinstance(space.get("subspaces"), dict):
        parts = space["subspaces"].items()
        return [found for name, part in parts for found in _pictures(part, f"{key}/{name}" if key else name)]
    shape = space.get("shape")
    if space.get("type") != "Box" or space.get("dtype") != "uint8" or not isinstance(shape, list):
        return []
    return [(key, shape)] if is_shape(shape, 3) and shape[2] == 3 else []


def _declared_range(action: dict[str, Any]) -> str:
    """The range that the data declares, as ``--action-range`` takes it; empty where it declares none."""
    low, high = action.get("low"), action.get("high")
    if not isinstance(low, list) or not isinstance(high, list) or not np.isfinite([*low, *high]).all():
        return ""
    pairs = [f"{a:g}:{b:g}" for a, b in zip(low, high, strict=False)]
    return pairs[0] if len(set(pairs)) == 1 else ",".join(pairs)


class HDF5Storage:
    """``main_data.hdf5``, opened anew for each episode; ``name`` formats an episode's number."""

    name = f"{HDF5_FILE}/episode_{{}}"

    def __init__(self, folder: Path, sums: Checksums, episodes: int) -> None:
        self._file = sums.check(folder / HDF5_FILE)
        with _hdf5(self._file) as file:
            _check_names(self._file, set(file.keys()), "episode_{}", episodes)

    def read(self, index: int, image_key: str, shape: list[int], width: int) -> Stored:
        """One episode; ``image_key`` leads to pictures of ``shape`` (Y, X, 3), actions have ``width`` entries.

        Raises:
            DataError: damaged, or other contents; naming file and column.
        """
        where, image = f"{self._file}, episode_{index}", f"observations/{image_key}".rstrip("/")
        with _hdf5(self._file) as file:
            group = partial(_array, where, file, f"episode_{index}")
            pixels, action, terminations = group(image), group("actions"), group("terminations")
        if action.ndim != 2 or action.shape[1] != width:
            raise DataError(f"{where}: actions are {action.shape}, expected {width} entries a row; {REFETCH}")
        if terminations.dtype != np.bool_ or terminations.ndim != 1:
            what = f"{terminations.dtype} {terminations.shape}"
            raise DataError(f"{where}: terminations are {what}, expected bool (rows,); {REFETCH}")
        return where, _hdf5_pictures(f"{where}, {image}", pixels, shape), action, terminations


class TableStorage:
    """``<n>/part-0.<suffix>``, a record batch per episode; ``name`` formats an episode's number."""

    def __init__(self, suffix: str, folder: Path, sums: Checksums, episodes: int) -> None:
        self._folder, self._sums, self.name = folder, sums, f"{{}}/part-0.{suffix}"
        _check_names(folder, {part.name for part in folder.iterdir() if part.is_dir()}, "{}", episodes)

    def read(self, index: int, image_key: str, shape: list[int], width: int) -> Stored:
        """See ``HDF5Storage.read``."""
        file = self._folder / self.name.format(index)
        found = sorted(part.name for part in file.parent.glob(f"*{file.suffix}"))
        if found != [file.name]:
            raise DataError(f"{file.parent} holds {found}, expected {file.name} alone; {REFETCH}")
        table = Table(self._sums.check(file), ["observations", "actions", "terminations"])
        images = table.pictures(shape, "observations", *(image_key.split("/") if image_key else ()))
        terminations = table.column("terminations")
        if not pa.types.is_boolean(terminations.type):
            raise DataError(f"{file}: terminations are {terminations.type}, expected bool; {REFETCH}")
        ends = terminations.to_numpy(zero_copy_only=False)
        return str(file), images, table.vectors("actions", width)[:-1], ends[:-1]


STORAGES: dict[str, Any] = {
    "hdf5": HDF5Storage,
    "arrow": partial(TableStorage, "arrow"),
    "parquet": partial(TableStorage, "parquet"),
}
"""``data_format`` of metadata.json to its reader, which takes folder, checksums and the number of episodes."""


def _check_names(place: Path, found: set[str], name: str, episodes: int) -> None:
    # The number first: it is only a claim, and a list of that many names may not fit anywhere.
    if len(found) != episodes or found != {name.format(index) for index in range(episodes)}:
        odd = sorted(found - {name.format(index) for index in range(len(found))})[:1]
        what = f"{len(found)} episodes{', among them ' * bool(odd)}{''.join(odd)}"
        raise DataError(f"{place}: {what}, metadata.json says {episodes} episodes from 0 on; {REFETCH}")


def _hdf5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} is not readable HDF5 ({' '.join(str(error).split())}); {REFETCH}") from error


def _array(where: str, file: h5py.File, group: str, key: str) -> np.ndarray:
    """A data set of this very file, its size looked at before it is read: links to other files are refused."""
    node: Any = file
    try:
        for part in [group, *key.split("/")]:
            link = node.get(part, getlink=True)
            if link is None:
                raise DataError(f"{where}: no {key!r}, found {sorted(node.keys())}; {REFETCH}")
            if not isinstance(link, h5py.HardLink):
                raise DataError(f"{where}: {key!r} is a link elsewhere, which is never followed; {REFETCH}")
            node = node[part]
        if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external:
            raise DataError(f"{where}: {key!r} is not a data set inside the file; {REFETCH}")
        if node.nbytes > MAX_EPISODE_BYTES:
            raise DataError(f"{where}: {key!r} claims {node.nbytes} bytes, more than {MAX_EPISODE_BYTES}; {REFETCH}")
        return np.asarray(node[()])
    except (
        KeyError,
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
        MemoryError,
        OverflowError,
    ) as error:
        raise DataError(f"{where}: {key!r} is not readable ({' '.join(str(error).split())}); {REFETCH}") from error


def _hdf5_pictures(where: str, values: np.ndarray, shape: list[int]) -> Pictures:
    """Raw pictures, JPEGs of equal length as rows of bytes, or of any length."""
    if values.dtype == np.uint8 and list(values.shape[1:]) == shape:
        return values
    if (values.dtype == np.uint8 and values.ndim == 2) or (values.dtype == object and values.ndim == 1):
        return EncodedPictures([np.asarray(row, np.uint8).tobytes() for row in values], where, shape)
    raise DataError(f"{where}: pictures are {values.dtype} {values.shape}, expected uint8 (rows, {shape}) or JPEG")
