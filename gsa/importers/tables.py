"""Parquet and Arrow files as numpy arrays, every column checked for what it must hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gsa.errors import DataError
from gsa.importers.base import REFETCH
from gsa.importers.pictures import EncodedPictures, Layout, NumberPictures, Pictures

FORMATS: dict[str, Any] = {
    ".arrow": "ipc",
    ".parquet": ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    ),
}
"""By the ending of a file's name."""


class Table:
    """Columns of a file's rows that pass the filter; ``where`` names file and episode in messages.

    Raises:
        DataError: not of the format that its name ends with, damaged, or without one of the columns.
    """

    def __init__(self, file: Path, columns: list[str], where: str = "", only: pc.Expression | None = None) -> None:
        self.where = where or str(file)
        try:
            found = ds.dataset(file, format=FORMATS[file.suffix])
            if missing := [name for name in columns if name not in found.schema.names]:
                raise DataError(f"{file}: no column {missing[0]!r}, found {found.schema.names}; {REFETCH}")
            self._table = found.to_table(columns=columns, filter=only, use_threads=False)
            self._table.validate(full=True)  # Arrow believes offsets and lengths that a file claims
        except (pa.ArrowException, OSError, ValueError, TypeError) as error:
            raise DataError(f"{file} is not a readable table ({' '.join(str(error).split())}); {REFETCH}") from error

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def column(self, name: str, *fields: str) -> pa.Array:
        """A column, or a field of a struct of structs.

        Raises:
            DataError: no such field, or a null.
        """
        column = self._table.column(name).combine_chunks()
        for field in fields:
            if not pa.types.is_struct(column.type) or column.type.get_field_index(field) < 0:
                raise DataError(f"{self.where}: {name} is {column.type}, expected a struct with {field!r}; {REFETCH}")
            column = pc.struct_field(column, column.type.get_field_index(field))
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise DataError(f"{self.where}: {'/'.join([name, *fields])} is null at row {row}; {REFETCH}")
        return column

    def numbers(self, name: str, whole: bool = False) -> np.ndarray:
        """A column of finite numbers, none below 0, and of integer type where they are ``whole``: ``(rows,)``.

        Raises:
            DataError: another type, a null, a negative or non-finite number; naming column and row.
        """
        column = self.column(name)
        if not (pa.types.is_integer(column.type) or (pa.types.is_floating(column.type) and not whole)):
            expected = "integers" if whole else "numbers"
            raise DataError(f"{self.where}: {name} is {column.type}, expected {expected}; {REFETCH}")
        values: np.ndarray = column.to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[:1]:
            raise DataError(f"{self.where}: {name} at row {row} is {values[row]}, expected 0 or more; {REFETCH}")
        return values

    def vectors(self, name: str, width: int) -> np.ndarray:
        """A column of lists of ``width`` floats (plain floats where it is 1): ``(rows, width)``.

        Raises:
            DataError: another type or width, or a null; naming column and row.
        """
        column = self.column(name)
        if width == 1 and pa.types.is_floating(column.type):
            return column.to_numpy(zero_copy_only=False)[:, None]
        is_list = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
        if not is_list or not pa.types.is_floating(column.type.value_type):
            raise DataError(f"{self.where}: {name} is {column.type}, expected lists of {width} floats; {REFETCH}")
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(lengths != width)[:1]:
            raise DataError(
                f"{self.where}: {name} at row {row} has {lengths[row]} entries, expected {width}; {REFETCH}"
            )
        values = column.flatten()
        if values.null_count:
            row = values.is_null().to_pylist().index(True) // width
            raise DataError(f"{self.where}: {name} at row {row} has a null entry; {REFETCH}")
        return values.to_numpy(zero_copy_only=False).reshape(len(column), width)

    def pictures(
        self, layout: Layout, name: str, *fields: str, shape: list[int] | None = None, high: float | None = None
    ) -> Pictures:
        """A column of pictures: encoded, or numbers of ``shape`` whose white is ``high``, where they have one.

        Raises:
            DataError: another type, a null, or no pictures of that layout.
        """
        column, where = self.column(name, *fields), f"{self.where}, {'/'.join([name, *fields])}"
        kind, size = column.type, int(np.prod(shape or [0], dtype=object))
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return EncodedPictures(column.to_pylist(), where, layout)
        numbers = pa.types.is_fixed_size_list(kind) and pa.types.is_primitive(kind.value_type)
        if shape is None or not numbers or kind.list_size != size:
            expected = "JPEG or PNG" if shape is None else f"lists of {size} numbers, or JPEG"
            raise DataError(f"{where}: pictures are {kind}, expected {expected}; {REFETCH}")
        pixels = column.flatten()
        if pixels.null_count:
            row = pixels.is_null().to_pylist().index(True) // size
            raise DataError(f"{where}: the picture at row {row} has a null; {REFETCH}")
        return NumberPictures(pixels.to_numpy(zero_copy_only=False).reshape(len(column), *shape), where, high)
