"""Arrays of an npz file that nobody vouches for: nothing is executed, allocated or believed before it is checked."""

import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from gsa.errors import DataError, one_line

MAX_EPISODE_BYTES = 2**31
"""Largest uncompressed file that is read: a guard against files that claim terabytes."""

MAX_MEMBERS = 100
"""An episode has a handful of arrays; a zip may list millions."""

_END = struct.Struct("<4s6xH10x")
"""What a zip ends with where it has no comment: signature and number of entries."""


def load_npz(path: Path, keys: Collection[str]) -> dict[str, np.ndarray]:
    """Those of the ``keys`` an npz file has, each against the zip's CRC before a byte of it is interpreted.

    Raises:
        DataError: missing, damaged or truncated, a member twice, more than ``MAX_EPISODE_BYTES``, pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            wanted = {key: members[f"{key}.npy"] for key in keys if f"{key}.npy" in members}
            claimed = sum(member.file_size for member in wanted.values())
            if claimed > MAX_EPISODE_BYTES:
                raise DataError(f"{path}: claims {claimed} bytes, more than {MAX_EPISODE_BYTES}; not one episode")
            return {key: _parse_npy(path, key, archive.read(member)) for key, member in wanted.items()}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; run `gsa collect-data` first") from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise DataError(f"{path}: damaged or not an npz ({one_line(error)}); fetch or collect it again") from error


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The directory by name, after checking what zipfile leaves unchecked: a damaged entry must not lose an array.

    The file ends with the directory's own count of entries, and each entry must find its local header, of its name.
    """
    listed = archive.infolist()
    with path.open("rb") as file:
        file.seek(-min(_END.size, path.stat().st_size), 2)
        end = _END.unpack(file.read())
    if end[0] != b"PK\5\6" or end[1] != len(listed) or len(listed) > MAX_MEMBERS:
        raise zipfile.BadZipFile(f"the directory at its end lists {end[1]} arrays, found {len(listed)}")
    for member in listed:
        archive.open(member).close()
    members = {member.filename: member for member in listed}
    if len(members) != len(listed):
        raise DataError(f"{path}: an array is there twice; fetch or collect it again")
    return members


def _parse_npy(path: Path, key: str, data: bytes) -> np.ndarray:
    """The array in the bytes of one member; its header's claims are held against what is there."""
    try:
        stream = io.BytesIO(data)
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](stream)
        if dtype.hasobject:
            raise DataError(f"{path}: array {key!r} holds pickled objects, which are never loaded; store numbers")
        claimed, found = int(np.prod(shape, dtype=object)) * dtype.itemsize, len(data) - stream.tell()
        if claimed != found:
            raise DataError(f"{path}: array {key!r} claims {claimed} bytes as {dtype} {shape}, found {found}")
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, KeyError, SyntaxError, tokenize.TokenError, EOFError) as error:
        raise DataError(f"{path}: array {key!r} is not readable ({one_line(error)}); fetch it again") from error
