"""Minari's two ways to store episodes: one HDF5 file, or a folder of an Arrow or Parquet file per episode.

Layouts as written by minari 0.5: HDF5 groups ``episode_<n>``, or ``<n>/part-0.<format>`` whose last row pads everything
but the observations.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from gsa.errors import DataError
from gsa.importers.base import REFETCH
from gsa.importers.checksums import Checksums
from gsa.importers.pictures import EncodedPictures, Pictures
from gsa.importers.tables import Table
from gsa.storage.npz import MAX_EPISODE_BYTES

HDF5_FILE = "main_data.hdf5"


class Stored(NamedTuple):
    """One episode as stored: T actions and terminations, T + 1 pictures; ``where`` names file and episode."""

    where: str
    images: Pictures
    action: np.ndarray
    terminations: Bool[np.ndarray, " T"]


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
        return Stored(where, _hdf5_pictures(f"{where}, {image}", pixels, shape), action, terminations)


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
        return Stored(str(file), images, table.vectors("actions", width)[:-1], ends[:-1])


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
