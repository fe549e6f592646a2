"""Raw episodes: an npz file per episode in the layout of the authors' release, and a manifest per folder.

The authors store the action that led to an observation in that observation's row (row 0 is zeros); the rest of this
project stores the action chosen after seeing it (the last row is zeros). The shift happens here and nowhere else.
"""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from gsa.episode import Episode, check_episode
from gsa.errors import DataError
from gsa.files import read_sealed, sealed_json, sha256_file, write_atomic
from gsa.storage.npz import load_npz
from gsa.storage.schema import check_embodiment

MANIFEST = "manifest.json"
NAME = re.compile(r"(?P<time>[^-/\\]+)-(?P<id>[^-/\\]+)-(?P<index>\d+)-(?P<length>\d+)\.npz")
"""File name of an episode, which is never a path: a manifest cannot point outside its folder."""

NAME_READS = "<timestamp>-<id>-<index>-<length>.npz"

KEYS = ("observation", "action", "discount", "reward", "success")
"""Arrays of an episode; the last two may be absent, others are not looked at."""


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
    check_stored(episode, str(path))
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
        DataError: missing, truncated or damaged file, missing key, wrong type or shape, pickled objects, images of
            another size, a number that is not finite, an action outside [-1, 1], a discount of 0 before the last row.
    """
    arrays = load_arrays(path)
    image, action = arrays["observation"], arrays["action"]
    if image.ndim != 4 or image.dtype != np.uint8 or image.shape[1] != 3:
        raise DataError(
            f"{path}: observation is {image.dtype} {image.shape}, expected uint8 (rows, 3, 64, 64) channels first; "
            "transpose or convert it"
        )
    rows, row = len(image), np.arange(len(image))
    discount = finite_column(path, arrays, "discount", rows)
    action = chosen_actions(path, action, rows)
    episode = Episode(
        image=image,
        action=np.concatenate([action, np.zeros_like(action[:1])]),
        is_first=row == 0,
        is_last=row == rows - 1,
        is_terminal=discount == 0.0,
        reward=finite_column(path, arrays, "reward", rows) if "reward" in arrays else None,
        success=finite_column(path, arrays, "success", rows).astype(bool) if "success" in arrays else None,
        info={"file": path.name},
    )
    check_stored(episode, str(path))
    return episode


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays ``KEYS`` of an episode's file, the last two where it has them.

    Raises:
        DataError: missing, truncated or damaged file, missing key, pickled objects.
    """
    arrays = load_npz(path, KEYS)
    for key in KEYS[:3]:
        if key not in arrays:
            raise DataError(f"{path}: no array {key!r}, found {sorted(arrays)}; not an episode of the authors' layout")
    return arrays


def chosen_actions(path: Path, led_here: np.ndarray, rows: int) -> Float32[np.ndarray, "M A"]:
    """Actions of the rows they were chosen in, from those stored with the observation they led to.

    Raises:
        DataError: not ``(rows, width)`` floats, or a first row that is not the zeros of a reset.
    """
    if led_here.ndim != 2 or len(led_here) != rows or led_here.dtype.kind != "f" or rows < 2 or not led_here.shape[1]:
        raise DataError(
            f"{path}: action is {led_here.dtype} {led_here.shape}, expected float32 ({rows}, width) as observation, "
            "at least 2 rows; the file is inconsistent"
        )
    if led_here[0].any():
        raise DataError(
            f"{path}: action at row 0 is {led_here[0].tolist()}, expected zeros (row t leads to observation t); "
            "shift the actions by one row"
        )
    return led_here[1:].astype(np.float32)


def check_stored(episode: Episode, where: str) -> None:
    """``check_episode``, and refuse an action after the last image and an end before the last row."""
    check_episode(episode, where)
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
        episodes: one dict per file, in order of index: ``file`` (name) and whatever else is known of that one episode
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
            raise DataError(f"{path}: no such episode file; names read {NAME_READS}")
        rows = int(match["length"]) + 1
        records.append({**record, "sha256": sha256_file(path), "bytes": path.stat().st_size, "rows": rows})
    body = {"format": "gsa-raw", "version": 1, "source": source, "episodes": records}
    path = folder / MANIFEST
    write_atomic(path, sealed_json(body))
    return path


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest: ``{"source": {...}, "episodes": [{"file", "sha256", "bytes", "rows", ...}, ...]}``.

    Raises:
        DataError: missing, damaged or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"no manifest at {path}; run `gsa collect-data` first")
    body = read_sealed(path, DataError, "collect this source again")
    if body.get("format") != "gsa-raw":
        raise DataError(f"{path} is not a manifest of raw episodes; expected format 'gsa-raw'")
    _require(body.get("source"), ("name", "embodiment"), f"{path}: source")
    if not isinstance(body["source"]["name"], str):
        raise DataError(f"{path}: source is named {body['source']['name']!r}, expected text; collect this source again")
    check_embodiment(body["source"]["embodiment"], str(path))
    if not isinstance(body.get("episodes"), list) or not body["episodes"]:
        raise DataError(f"{path}: no episodes; collect this source again")
    seen: set[str] = set()
    for number, record in enumerate(body["episodes"]):
        _require(record, ("file", "sha256", "bytes", "rows"), f"{path}: episode {number}")
        name = str(record["file"])
        if NAME.fullmatch(name) is None:
            raise DataError(f"{path}: episode {number} is the file {name!r}; expected {NAME_READS}, not a path")
        if name in seen:
            raise DataError(f"{path}: episode {number} is {name}, listed before; collect this source again")
        seen.add(name)
    return body


def _require(mapping: Any, keys: tuple[str, ...], where: str) -> None:
    missing = [key for key in keys if not isinstance(mapping, dict) or key not in mapping]
    if missing:
        raise DataError(f"{where}: missing {', '.join(missing)}")


def finite_column(path: Path, arrays: dict[str, np.ndarray], key: str, rows: int) -> np.ndarray:
    """An array of ``(rows, 1)`` or ``(rows,)`` as float32 ``(rows,)``.

    Raises:
        DataError: another shape, no numbers, or one that is not finite, naming the row.
    """
    values = arrays[key]
    if values.shape not in ((rows, 1), (rows,)) or values.dtype.kind not in "fbiu":
        raise DataError(f"{path}: {key} is {values.dtype} {values.shape}, expected float32 ({rows}, 1)")
    values = values.reshape(rows).astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: {key} at row {int(np.argmin(np.isfinite(values)))} is not finite; drop this episode")
    return values
