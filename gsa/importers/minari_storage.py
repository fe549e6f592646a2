"""Minari's two ways to store episodes: one HDF5 file, or a folder of Arrow or Parquet files an episode.

Layouts as written by minari 0.5: HDF5 groups ``episode_<n>``, or ``<n>/part-0.<format>`` whose last row pads everything
but the observations.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool

from gsa.errors import DataError, one_line
from gsa.importers.checksums import Checksums
from gsa.importers.pictures import EncodedFrames, Frames, RawFrames
from gsa.storage.npz import MAX_EPISODE_BYTES

MEND = "fetch the data set again"
HDF5_FILE = "main_data.hdf5"


class Stored(NamedTuple):
    """One episode as stored: T actions and terminations, T + 1 pictures; ``where`` names file and episode."""

    where: str
    images: Frames
    action: np.ndarray
    terminations: Bool[np.ndarray, " T"]


@runtime_checkable  # beartype, in the tests, asks isinstance
class Storage(Protocol):
    """Episodes by position."""

    def name(self, index: int) -> str:
        """What an episode is called among the files of its data set."""
        ...

    def read(self, index: int, image_key: str, shape: list[int]) -> Stored:
        """One episode; ``image_key`` leads to pictures of ``shape`` (Y, X, 3). DataError names file and column."""
        ...


class HDF5Storage:
    """``main_data.hdf5``, opened anew for each episode."""

    def __init__(self, folder: Path, sums: Checksums, episodes: int) -> None:
        self._file = sums.check(folder / HDF5_FILE)
        with _hdf5(self._file) as file:
            found = set(file.keys())
        # The number first: it is only a claim, and a list of that many names may not fit anywhere.
        if len(found) != episodes or found != {self._group(index) for index in range(episodes)}:
            what = f"{len(found)} groups, among them {sorted(found)[:1]}"
            raise DataError(f"{self._file}: {what}, metadata.json says {episodes} episodes from 0 on; {MEND}")

    def name(self, index: int) -> str:
        """The group in the file."""
        return f"{HDF5_FILE}/{self._group(index)}"

    def read(self, index: int, image_key: str, shape: list[int]) -> Stored:
        """See ``Storage``."""
        where = f"{self._file}, {self._group(index)}"
        with _hdf5(self._file) as file:
            group = _inside(where, file, self._group(index))
            image = f"observations/{image_key}".rstrip("/")
            values = {key: _array(where, group, key) for key in (image, "actions", "terminations")}
        return Stored(
            where,
            _hdf5_frames(f"{where}, {image}", values[image], shape),
            values["actions"],
            _booleans(where, values["terminations"]),
        )

    @staticmethod
    def _group(index: int) -> str:
        return f"episode_{index}"


class TableStorage:
    """``<n>/part-0.<suffix>``, a record batch an episode."""

    def __init__(self, folder: Path, sums: Checksums, episodes: int, suffix: str) -> None:
        self._folder, self._sums, self._suffix = folder, sums, suffix
        found = {part.name for part in folder.iterdir() if part.is_dir()}
        if len(found) != episodes or found != {str(index) for index in range(episodes)}:
            odd = sorted(found - {str(index) for index in range(len(found))})[:1]
            what = f"{len(found)} folders{', among them ' * bool(odd)}{''.join(odd)}"
            raise DataError(f"{folder}: {what}, metadata.json says {episodes} episodes from 0 on; {MEND}")

    def name(self, index: int) -> str:
        """The file, from the data set's folder on."""
        return f"{index}/part-0.{self._suffix}"

    def read(self, index: int, image_key: str, shape: list[int]) -> Stored:
        """See ``Storage``."""
        where = str(self._folder / self.name(index))
        found = sorted(part.name for part in (self._folder / str(index)).glob(f"*.{self._suffix}"))
        if found != [f"part-0.{self._suffix}"]:
            raise DataError(f"{self._folder / str(index)} holds {found}, expected part-0.{self._suffix} alone; {MEND}")
        table = _read_table(self._sums.check(self._folder / self.name(index)), self._suffix)
        observations = _column(where, table, ["observations", *image_key.split("/")] if image_key else ["observations"])
        action = _column(where, table, ["actions"])
        terminations = _column(where, table, ["terminations"])
        if not pa.types.is_fixed_size_list(action.type) or not pa.types.is_boolean(terminations.type):
            raise DataError(f"{where}: actions are {action.type} and terminations {terminations.type}; {MEND}")
        numbers = action.flatten().to_numpy(zero_copy_only=False).reshape(len(action), action.type.list_size)
        return Stored(
            where,
            _table_frames(f"{where}, observations/{image_key}", observations, shape),
            numbers[:-1],
            terminations.to_numpy(zero_copy_only=False)[:-1],
        )


STORAGES: dict[str, Callable[[Path, Checksums, int], Storage]] = {
    "hdf5": HDF5Storage,
    "arrow": lambda folder, sums, episodes: TableStorage(folder, sums, episodes, "arrow"),
    "parquet": lambda folder, sums, episodes: TableStorage(folder, sums, episodes, "parquet"),
}
"""``data_format`` of metadata.json to its reader."""


def _hdf5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} is not readable HDF5 ({one_line(error)}); {MEND}") from error


def _inside(where: str, parent: Any, key: str) -> Any:
    """A group or data set of this very file: links to other files are refused."""
    node = parent
    try:
        for part in key.split("/"):
            link = node.get(part, getlink=True)
            if link is None:
                raise DataError(f"{where}: no {key!r}, found {sorted(node.keys())}; {MEND}")
            if not isinstance(link, h5py.HardLink):
                raise DataError(f"{where}: {key!r} is a link elsewhere, which is never followed; {MEND}")
            node = node[part]
    except (KeyError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: {key!r} is not readable ({one_line(error)}); {MEND}") from error
    return node


def _array(where: str, group: Any, key: str) -> np.ndarray:
    data = _inside(where, group, key)
    try:
        if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
            raise DataError(f"{where}: {key!r} is no data set inside the file; {MEND}")
        if data.nbytes > MAX_EPISODE_BYTES:
            raise DataError(f"{where}: {key!r} claims {data.nbytes} bytes, more than {MAX_EPISODE_BYTES}; {MEND}")
        return np.asarray(data[()])
    except (KeyError, OSError, RuntimeError, ValueError, TypeError, MemoryError, OverflowError) as error:
        raise DataError(f"{where}: {key!r} is not readable ({one_line(error)}); {MEND}") from error


def _booleans(where: str, values: np.ndarray) -> Bool[np.ndarray, " T"]:
    if values.dtype != np.bool_ or values.ndim != 1:
        raise DataError(f"{where}: terminations are {values.dtype} {values.shape}, expected bool (rows,); {MEND}")
    return values


def _hdf5_frames(where: str, values: np.ndarray, shape: list[int]) -> Frames:
    """Raw pictures, JPEGs of equal length as rows of bytes, or of any length."""
    if values.dtype == np.uint8 and list(values.shape[1:]) == shape:
        return RawFrames(values)
    rows_of_bytes = values.dtype == np.uint8 and values.ndim == 2
    if rows_of_bytes or (values.dtype == object and values.ndim == 1):
        return EncodedFrames([np.asarray(row, np.uint8).tobytes() for row in values], where, (shape[0], shape[1]))
    raise DataError(f"{where}: pictures are {values.dtype} {values.shape}, expected uint8 (rows, {shape}) or JPEG")


def _table_frames(where: str, column: pa.Array, shape: list[int]) -> Frames:
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return EncodedFrames(column.to_pylist(), where, (shape[0], shape[1]))
    size = int(np.prod(shape))
    if pa.types.is_fixed_size_list(column.type) and column.type.list_size == size:
        pixels = column.flatten().to_numpy(zero_copy_only=False)
        if pixels.dtype == np.uint8:
            return RawFrames(pixels.reshape(len(column), *shape))
    raise DataError(f"{where}: pictures are {column.type}, expected {size} bytes a row or JPEG")


def _read_table(path: Path, suffix: str) -> pa.Table:
    try:
        if suffix == "parquet":
            table = pq.read_table(path, partitioning=None, page_checksum_verification=True)
        else:
            with pa.OSFile(str(path)) as file:
                table = pa.ipc.open_file(file).read_all()
        table.validate(full=True)  # Arrow believes offsets and lengths that a file claims
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable {suffix} table ({one_line(error)}); {MEND}") from error
    return table


def _column(where: str, table: pa.Table, path: list[str]) -> pa.Array:
    """A column, or a field of a struct of structs, without nulls."""
    if path[0] not in table.column_names:
        raise DataError(f"{where}: no column {path[0]!r}, found {table.column_names}; {MEND}")
    column = table.column(path[0]).combine_chunks()
    for field in path[1:]:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(field) < 0:
            raise DataError(f"{where}: {path[0]} is {column.type}, no field {field!r}; {MEND}")
        column = column.field(field)
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"{where}: {'/'.join(path)} is null at row {row}; {MEND}")
    return column
