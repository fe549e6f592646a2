"""Raw episodes: one npz a file in the layout of the authors' release, plus a manifest a folder.

The authors store the action that led to an observation in that observation's row (row 0 is zeros); the rest of this
project stores the action chosen after seeing it (the last row is zeros). The shift happens here and nowhere else.
"""

import io
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gsa.episode import Episode, check_episode
from gsa.errors import DataError
from gsa.storage.files import sha256_file, write_atomic

MANIFEST = "manifest.json"
NAME = re.compile(r"(?P<time>[^-]+)-(?P<id>[^-]+)-(?P<index>\d+)-(?P<length>\d+)\.npz")
MAX_EPISODE_BYTES = 2**31
"""Largest uncompressed file that is read: a guard against files that claim terabytes."""


def write_raw_episode(folder: Path, index: int, episode: Episode) -> Path:
    """Write one episode; the same episode gives the same bytes.

    The name is ``<timestamp>-<id>-<index>-<length>.npz`` with the length in decisions (rows - 1). Timestamp and id are
    constants, because the name must not depend on when or where the episode was made. ``reward`` and ``success``
    (a key the authors do not have) are left out where the episode has none. Rows of the arrays: T + 1.

    Raises:
        DataError: the episode breaks the layout.
        ResourceError: the disk is full or not writable.
    """
    length = len(episode) - 1
    path = folder / f"19700101T000000-0-{index:06d}-{length}.npz"
    check_episode(episode, str(path))
    check_markers(episode, str(path))
    action = np.zeros_like(episode.action, dtype=np.float32)
    action[1:] = episode.action[:-1]
    arrays: dict[str, Any] = {
        "observation": np.ascontiguousarray(episode.image),
        "action": action,
        "discount": (~episode.is_terminal).astype(np.float32)[:, None],
    }
    if episode.reward is not None:
        arrays["reward"] = episode.reward.astype(np.float32)[:, None]
    if episode.success is not None:
        arrays["success"] = episode.success.astype(bool)[:, None]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())
    return path


def read_raw_episode(path: Path) -> Episode:
    """Read one episode of the authors' layout; ``info`` holds the file's name.

    ``is_terminal`` is ``discount == 0``. ``reward`` and ``success`` are None where the file has none.

    Raises:
        DataError: missing, truncated or damaged file, missing key, wrong type or shape, pickled objects, non-finite
            values, an action outside [-1, 1], a discount of 0 before the last row.
    """
    arrays = _load_arrays(path)
    for key in ("observation", "action", "discount"):
        if key not in arrays:
            raise DataError(f"{path}: no array {key!r}, found {sorted(arrays)}; not an episode of the authors' layout")
    image, led_here = arrays["observation"], arrays["action"]
    rows = len(image) if image.ndim else 0
    if image.ndim != 4 or image.dtype != np.uint8:
        raise DataError(f"{path}: observation is {image.dtype} {image.shape}, expected uint8 (rows, 3, 64, 64)")
    if led_here.ndim != 2 or len(led_here) != rows or not np.issubdtype(led_here.dtype, np.floating):
        raise DataError(
            f"{path}: action is {led_here.dtype} {led_here.shape}, expected float32 ({rows}, width) as observation"
        )
    if rows and led_here[0].any():
        raise DataError(
            f"{path}: action at row 0 is {led_here[0].tolist()}, expected zeros (row t leads to observation t); "
            "shift the actions by one row"
        )
    action = np.zeros_like(led_here, dtype=np.float32)
    action[:-1] = led_here[1:]
    discount = _column(path, arrays, "discount", rows)
    terminal = discount == 0.0
    row = np.arange(rows)
    episode = Episode(
        image=image,
        action=action,
        is_first=row == 0,
        is_last=row == rows - 1,
        is_terminal=terminal,
        reward=_column(path, arrays, "reward", rows) if "reward" in arrays else None,
        success=_column(path, arrays, "success", rows).astype(bool) if "success" in arrays else None,
        info={"file": path.name},
    )
    check_episode(episode, str(path))
    check_markers(episode, str(path))
    return episode


def check_markers(episode: Episode, where: str) -> None:
    """Refuse what a stored episode cannot express: an action after the last image, an end before the last row.

    Raises:
        DataError: naming ``where`` and the row.
    """
    if episode.action[-1].any():
        raise DataError(f"{where}: action after the last image is {episode.action[-1].tolist()}, expected zeros")
    if episode.is_terminal[:-1].any():
        row = int(np.argmax(episode.is_terminal))
        raise DataError(f"{where}: terminal (discount 0) at row {row}, before the last; split this episode")


def write_manifest(folder: Path, source: dict[str, Any], episodes: list[dict[str, Any]]) -> Path:
    """Write ``manifest.json``: what made this folder, and checksum, bytes and rows of each of its files.

    Args:
        folder: holds the npz files.
        source: facts all episodes share. Required: ``name`` (unique among sources), ``embodiment``. Known and kept by
            ``gsa convert``: ``task``, ``policy``, ``sigma``, ``seed``, ``render`` (dict), ``versions`` (dict).
        episodes: one dict a file, in order of index: ``file`` (name) and whatever else is known of that one episode
            (a key of the same name overrides the source's); ``sha256``, ``bytes`` and ``rows`` are added here.

    Raises:
        DataError: a required key, a file, or all episodes are missing.
    """
    _require(source, ("name", "embodiment"), f"{folder}: source")
    if not episodes:
        raise DataError(f"{folder}: no episodes for the manifest; collect at least one")
    records = []
    for number, record in enumerate(episodes):
        _require(record, ("file",), f"{folder}: episode {number}")
        path = folder / str(record["file"])
        match = NAME.fullmatch(path.name)
        if not path.is_file() or match is None:
            raise DataError(f"{path}: no such episode file; names read <timestamp>-<id>-<index>-<length>.npz")
        rows = int(match["length"]) + 1
        records.append({**record, "sha256": sha256_file(path), "bytes": path.stat().st_size, "rows": rows})
    body = {"format": "gsa-raw", "version": 1, "source": source, "episodes": records}
    path = folder / MANIFEST
    write_atomic(path, (json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    return path


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest: ``{"source": {...}, "episodes": [{"file", "sha256", "bytes", "rows", ...}, ...]}``.

    Raises:
        DataError: missing, damaged or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"no manifest at {path}; run `gsa collect-data` first")
    try:
        body = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); collect this source again") from error
    if not isinstance(body, dict) or body.get("format") != "gsa-raw":
        raise DataError(f"{path} is no manifest of raw episodes; expected format 'gsa-raw'")
    _require(body.get("source"), ("name", "embodiment"), f"{path}: source")
    if not isinstance(body.get("episodes"), list) or not body["episodes"]:
        raise DataError(f"{path}: no episodes; collect this source again")
    for number, record in enumerate(body["episodes"]):
        _require(record, ("file", "sha256", "bytes", "rows"), f"{path}: episode {number}")
    return body


def _require(mapping: Any, keys: tuple[str, ...], where: str) -> None:
    missing = [key for key in keys if not isinstance(mapping, dict) or key not in mapping]
    if missing:
        raise DataError(f"{where}: missing {', '.join(missing)}")


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz, checksummed by the zip's CRC, sizes checked before anything is allocated."""
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
        if claimed > MAX_EPISODE_BYTES:
            raise DataError(f"{path}: claims {claimed} bytes, more than {MAX_EPISODE_BYTES}; not one episode")
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; run `gsa collect-data` first") from error
    except (OSError, ValueError, EOFError, KeyError, MemoryError, NotImplementedError) as error:
        raise DataError(
            f"{path}: not a readable npz ({' '.join(str(error).split())}); fetch or collect it again"
        ) from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged or truncated ({error}); fetch or collect it again") from error


def _column(path: Path, arrays: dict[str, np.ndarray], key: str, rows: int) -> np.ndarray:
    """An array of ``(rows, 1)`` or ``(rows,)`` as finite float32 ``(rows,)``."""
    values = arrays[key]
    if values.shape not in ((rows, 1), (rows,)) or values.dtype.kind not in "fb":
        raise DataError(f"{path}: {key} is {values.dtype} {values.shape}, expected float32 ({rows}, 1)")
    values = values.reshape(rows).astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: {key} at row {int(np.argmin(np.isfinite(values)))} is not finite; drop this episode")
    return values
