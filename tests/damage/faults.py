"""Ways to change the contents of a file and let every checksum agree with it afterwards."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsa.files import SEAL, sealed_json, sha256_file
from gsa.storage.schema import footer_digest

Fault = Callable[[Path], None]
"""Damages the folder it is given."""


class Payload:
    """What a pickle runs when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('the payload ran')",)


PICKLE = pickle.dumps(Payload(), protocol=2)


def content(name: str, data: bytes) -> Fault:
    """The file holds these bytes."""
    return lambda folder: (folder / name).write_bytes(data) and None


def record(name: str, change: Callable[[dict[str, Any]], Any], sealed: bool = True) -> Fault:
    """A JSON object changed in place, and sealed again."""

    def fault(folder: Path) -> None:
        body = json.loads((folder / name).read_text())
        body.pop(SEAL, None)
        change(body)
        (folder / name).write_text(sealed_json(body) if sealed else json.dumps(body))

    return fault


def vouched(name: str, by: str, key: str, fault: Fault) -> Fault:
    """``fault``, after which entry ``key`` of record ``by`` is the digest of file ``name``."""

    def both(folder: Path) -> None:
        fault(folder)
        record(by, lambda body: body.update({key: sha256_file(folder / name)}))(folder)

    return both


def arrays(name: str, **changes: Any) -> Fault:
    """An npz with some arrays replaced; None takes one away, a function is applied to what is there."""

    def fault(folder: Path) -> None:
        with np.load(folder / name) as archive:
            found: dict[str, Any] = dict(archive)
        for key, change in changes.items():
            found[key] = change(found[key]) if callable(change) else change
        np.savez_compressed(folder / name, **{key: value for key, value in found.items() if value is not None})

    return fault


def put(row: Any, value: Any) -> Callable[[Any], Any]:
    """One row (or entry) of an array or a list replaced."""

    def change(old: Any) -> Any:
        new = old.copy()
        new[row] = value
        return new

    return change


def claiming(shape: tuple[int, ...]) -> bytes:
    """The bytes of an array of three numbers under a header that claims another shape."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(3)


def table(name: str, change: Callable[[pa.Table], pa.Table], rows: int = 2) -> Fault:
    """A Parquet file with other contents, in row groups of ``rows``."""

    def fault(folder: Path) -> None:
        changed = change(pq.read_table(folder / name, partitioning=None))
        pq.write_table(changed, folder / name, row_group_size=rows, compression="zstd", write_page_checksum=True)

    return fault


def column(name: str, change: Callable[[list[Any]], list[Any]] = list, kind: pa.DataType | None = None) -> Any:
    """For ``table``: one column's values changed, or its type."""

    def changed(found: pa.Table) -> pa.Table:
        at = found.schema.get_field_index(name)
        old = found.schema.field(at)
        field = old if kind is None else pa.field(name, kind, nullable=old.nullable, metadata=old.metadata)
        return found.set_column(at, field, pa.array(change(found.column(name).to_pylist()), field.type))

    return changed


def store(fault: Fault) -> Fault:
    """``fault``, after which the store's manifest vouches for what is there."""

    def both(folder: Path) -> None:
        fault(folder)
        body = json.loads((folder / "manifest.json").read_text())
        for name, facts in body["files"].items():
            path = folder / name
            facts.update(sha256=sha256_file(path), bytes=path.stat().st_size, footer_sha256=footer_digest(path))
        del body[SEAL]
        (folder / "manifest.json").write_text(sealed_json(body))

    return both
