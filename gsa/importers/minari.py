"""``--format minari``: a Minari data set, in its HDF5, Arrow or Parquet storage, read from its documented layout.

``data/metadata.json`` describes the spaces; an episode has T actions and T + 1 observations, among them at least one
picture: plain numbers, or a JPEG per row, anywhere in nested Dicts and Tuples. Rewards are not read. The storage holds
no checksums. As written by minari 0.5, it is one HDF5 file with groups ``episode_<n>``, or files
``<n>/part-0.<format>`` whose last row pads everything but the observations.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pyarrow as pa

from gsa.episode import Episode
from gsa.errors import DataError
from gsa.files import read_json
from gsa.importers.base import REFETCH, Checksums, ImportOptions, chosen_camera, is_shape
from gsa.importers.inputs import listed
from gsa.importers.mapping import ForeignSource, to_episode
from gsa.importers.pictures import EncodedPictures, Layout, NumberPictures, Pictures, layout_of
from gsa.importers.tables import Table
from gsa.storage.npz import MAX_EPISODE_BYTES

METADATA = "metadata.json"
HDF5_FILE = "main_data.hdf5"

Stored = tuple[str, Pictures, np.ndarray, np.ndarray]
"""One episode: file and episode for messages, T + 1 pictures, T actions ``(T, A)`` and T terminations, bool."""


class Camera(NamedTuple):
    """A picture in the observation space.

    ``steps`` lead to it: names in a Dict, numbers in a Tuple. Pictures of ``shape`` are read as ``layout``; ``high`` is
    what the data declares as white, None where it declares neither 1 nor 255. ``is_sure``: nothing else could be meant.
    """

    steps: tuple[str | int, ...]
    shape: list[int]
    layout: Layout
    high: float | None
    is_sure: bool


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
        sure = [key for key, camera in images.items() if camera.is_sure]
        keys = sure if sure and options.image_key is None else list(images)
        self._image_key = chosen_camera(where, keys, options.image_key)
        self._camera = images[self._image_key]
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
        where, images, action, terminations = self._storage.read(index, self._camera, self._width)
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


def _spaces(where: str, meta: dict[str, Any]) -> tuple[dict[str, Camera], int, str]:
    """The pictures by key (``a/b`` in nested spaces, ``a/0`` in a Tuple), and the action's width and declared range."""
    spaces = {}
    for name in ("observation_space", "action_space"):
        try:
            spaces[name] = json.loads(meta[name])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{where}: {name} is missing or unreadable ({error!r}); {REFETCH}") from error
    boxes, action = _boxes(where, spaces["observation_space"]), spaces["action_space"]
    images = {"/".join(map(str, steps)): camera for steps, box in boxes if (camera := _camera(steps, box)) is not None}
    if not images:
        found = ", ".join(f"{'/'.join(map(str, steps)) or 'it'} is {box[0]} {box[1]}" for steps, box in boxes[:8])
        raise DataError(
            f"{where}: no observation is a picture, found {found or 'no Box'}; expected 8 bits and height x width x 3, "
            "or 3 x height x width"
        )
    facts = [action.get(key) if isinstance(action, dict) else None for key in ("type", "dtype", "shape")]
    if facts[:2] not in (["Box", "float32"], ["Box", "float64"]) or not is_shape(facts[2], 1):
        raise DataError(f"{where}: the action space is {facts}, expected a Box of floats in one row")
    return images, action["shape"][0], _declared_range(action)


Box = tuple[Any, Any, dict[str, Any]]
"""Type of numbers, shape, and the whole description of a Box space."""


def _boxes(where: str, space: Any) -> list[tuple[tuple[str | int, ...], Box]]:
    """Every Box of an observation space with the steps that lead to it."""
    found: list[tuple[tuple[str | int, ...], Box]] = []
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), space)]
    while todo:
        steps, part = todo.pop(0)
        if not isinstance(part, dict):
            continue
        below = part.get("subspaces")
        if part.get("type") == "Dict" and isinstance(below, dict):
            for name in below:
                if not name or "/" in name:
                    raise DataError(f"{where}: the observation {name!r} bears no name that can be a path; rename it")
            todo += [((*steps, name), inner) for name, inner in below.items()]
        elif part.get("type") == "Tuple" and isinstance(below, list):
            todo += [((*steps, number), inner) for number, inner in enumerate(below)]
        elif part.get("type") == "Box":
            found.append((steps, (part.get("dtype"), part.get("shape"), part)))
    return found


def _camera(steps: tuple[str | int, ...], box: Box) -> Camera | None:
    """The picture that a Box may be; None for what is none: other numbers, other shapes, depth maps and masks."""
    dtype, shape, part = box
    if not isinstance(shape, list) or not (is_shape(shape, 2) or is_shape(shape, 3)):
        return None
    layout = layout_of(shape)
    is_float = dtype in ("float16", "float32", "float64")
    if layout is None or (dtype != "uint8" and not (is_float and layout.channels != 1)):
        return None
    if layout.channels == 1 and any(word in str(steps[-1:]).lower() for word in ("depth", "mask", "segm")):
        return None
    high = (_only(part.get("high")) if _only(part.get("low")) == 0 else None) if is_float else 255.0
    high = high if high in (1.0, 255.0) else None
    # Grey may be a mask, four channels first a stack of grey frames, and floats without bounds anything.
    is_sure = high is not None and (layout.channels == 3 or (layout.channels == 4 and not layout.channels_first))
    return Camera(steps, shape, layout, high, is_sure)


def _only(bounds: Any) -> float | None:
    """The one number of nested lists of numbers; None where there are several or none."""
    while isinstance(bounds, list) and bounds and all(part == bounds[0] for part in bounds):
        bounds = bounds[0]
    return float(bounds) if isinstance(bounds, int | float) else None


def _declared_range(action: dict[str, Any]) -> str:
    """The range that the data declares, as ``--action-range`` takes it; empty where it declares none."""
    low, high = action.get("low"), action.get("high")
    if not isinstance(low, list) or not isinstance(high, list):
        return ""
    if not all(isinstance(bound, int | float) and abs(bound) < float("inf") for bound in [*low, *high]):
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

    def read(self, index: int, camera: Camera, width: int) -> Stored:
        """One episode with the pictures of ``camera``; actions have ``width`` entries.

        Raises:
            DataError: damaged, or other contents; naming file and column.
        """
        where = f"{self._file}, episode_{index}"
        steps = [f"_index_{step}" if isinstance(step, int) else step for step in camera.steps]
        image = "/".join(["observations", *steps])
        with _hdf5(self._file) as file:
            group = partial(_array, where, file, f"episode_{index}")
            pixels, action, terminations = group(image), group("actions"), group("terminations")
        if action.ndim != 2 or action.shape[1] != width:
            raise DataError(f"{where}: actions are {action.shape}, expected {width} entries a row; {REFETCH}")
        if terminations.dtype != np.bool_ or terminations.ndim != 1:
            what = f"{terminations.dtype} {terminations.shape}"
            raise DataError(f"{where}: terminations are {what}, expected bool (rows,); {REFETCH}")
        return where, _hdf5_pictures(f"{where}, {image}", pixels, camera), action, terminations


class TableStorage:
    """``<n>/part-0.<suffix>``, a record batch per episode; ``name`` formats an episode's number."""

    def __init__(self, suffix: str, folder: Path, sums: Checksums, episodes: int) -> None:
        self._folder, self._sums, self.name = folder, sums, f"{{}}/part-0.{suffix}"
        _check_names(folder, {part.name for part in listed(folder, "*") if part.is_dir()}, "{}", episodes)

    def read(self, index: int, camera: Camera, width: int) -> Stored:
        """See ``HDF5Storage.read``."""
        file = self._folder / self.name.format(index)
        found = [part.name for part in listed(file.parent, f"*{file.suffix}")]
        if found != [file.name]:
            raise DataError(f"{file.parent} holds {found}, expected {file.name} alone; {REFETCH}")
        table = Table(self._sums.check(file), ["observations", "actions", "terminations"])
        fields = map(str, camera.steps)
        images = table.pictures(camera.layout, "observations", *fields, shape=camera.shape, high=camera.high)
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


def _hdf5_pictures(where: str, values: np.ndarray, camera: Camera) -> Pictures:
    """Pictures as numbers, JPEGs of equal length as rows of bytes, or of any length."""
    if list(values.shape[1:]) == camera.shape:
        return NumberPictures(values, where, camera.high)
    encoded = values.dtype == object and values.ndim == 1 and all(getattr(v, "dtype", None) == np.uint8 for v in values)
    if encoded or (values.dtype == np.uint8 and values.ndim == 2):
        return EncodedPictures([row.tobytes() for row in values], where, camera.layout)
    raise DataError(f"{where}: pictures are {values.dtype} {values.shape}, expected (rows, {camera.shape}) or JPEG")
