"""LeRobot's Parquet tables as numpy arrays, every column checked for what it must hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsa.errors import DataError, one_line

MEND = "fetch the data set again"


def read_table(file: Path, columns: list[str], filters: list[tuple[str, str, Any]] | None = None) -> pa.Table:
    """Columns of a file's rows that pass the filters.

    Raises:
        DataError: no Parquet, damaged, or without one of the columns.
    """
    try:
        names = pq.read_schema(file).names
        if missing := [name for name in columns if name not in names]:
            raise DataError(f"{file}: no column {missing[0]!r}, found {names}; {MEND}")
        table = pq.read_table(
            file,
            columns=columns,
            filters=filters,
            partitioning=None,
            page_checksum_verification=True,
            use_threads=False,
        )
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise DataError(f"{file} is not a readable table ({one_line(error)}); {MEND}") from error
    return table


class Table:
    """Rows of one table; ``where`` names file and episode in messages."""

    def __init__(self, where: str, table: pa.Table) -> None:
        self._where, self._table = where, table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def numbers(self, name: str, whole: bool = False) -> np.ndarray:
        """A column of finite numbers, none below 0, and of integer type where they are ``whole``: ``(rows,)``.

        Raises:
            DataError: another type, a null, a negative or non-finite number; naming column and row.
        """
        column = self._column(name)
        if not (pa.types.is_integer(column.type) or (pa.types.is_floating(column.type) and not whole)):
            expected = "integers" if whole else "numbers"
            raise DataError(f"{self._where}: {name} is {column.type}, expected {expected}; {MEND}")
        values: np.ndarray = column.to_numpy(zero_copy_only=False)
        good = np.isfinite(values) & (values >= 0)
        if not good.all():
            row = int(np.argmin(good))
            raise DataError(f"{self._where}: {name} at row {row} is {values[row]}, expected 0 or more; {MEND}")
        return values

    def vectors(self, name: str, width: int) -> np.ndarray:
        """A column of lists of ``width`` floats (plain floats where it is 1): ``(rows, width)``.

        Raises:
            DataError: another type or width, or a null; naming column and row.
        """
        column = self._column(name)
        if width == 1 and pa.types.is_floating(column.type):
            return column.to_numpy(zero_copy_only=False)[:, None]
        is_list = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
        if not is_list or not pa.types.is_floating(column.type.value_type):
            raise DataError(f"{self._where}: {name} is {column.type}, expected lists of {width} floats; {MEND}")
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if (lengths != width).any():
            row = int(np.argmax(lengths != width))
            raise DataError(f"{self._where}: {name} at row {row} has {lengths[row]} entries, expected {width}; {MEND}")
        values = column.flatten()
        if values.null_count:
            row = values.is_null().to_pylist().index(True) // width
            raise DataError(f"{self._where}: {name} at row {row} has a null entry; {MEND}")
        return values.to_numpy(zero_copy_only=False).reshape(len(column), width)

    def pictures(self, name: str) -> list[bytes]:
        """A column of encoded pictures, structs of ``bytes`` and ``path``.

        Raises:
            DataError: another type, or a row without bytes; naming column and row.
        """
        column = self._column(name)
        if not pa.types.is_struct(column.type) or column.type.get_field_index("bytes") < 0:
            raise DataError(f"{self._where}: {name} is {column.type}, expected pictures with their bytes; {MEND}")
        encoded: list[bytes | None] = column.field("bytes").to_pylist()
        found = [data for data in encoded if isinstance(data, bytes)]
        if len(found) != len(encoded):
            row = [isinstance(data, bytes) for data in encoded].index(False)
            raise DataError(f"{self._where}: {name} at row {row} has no bytes; {MEND}")
        return found

    def _column(self, name: str) -> pa.Array:
        column = self._table.column(name).combine_chunks()
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise DataError(f"{self._where}: {name} is null at row {row}; {MEND}")
        return column


def check_numbering(where: str, frame_index: np.ndarray, timestamp: np.ndarray, fps: float) -> None:
    """Rows are numbered from 0 on and lie 1/fps seconds apart.

    Raises:
        DataError: the first row out of order or out of time.
    """
    expected = np.arange(len(frame_index))
    if (frame_index != expected).any():
        row = int(np.argmax(frame_index != expected))
        raise DataError(f"{where}: frame_index at row {row} is {frame_index[row]}; rows are missing or out of order")
    late = np.abs(timestamp * fps - expected) > 0.5
    if late.any():
        row = int(np.argmax(late))
        raise DataError(
            f"{where}: timestamp at row {row} is {timestamp[row]} s, expected {row / fps:.4f} at {fps:g} Hz"
        )
