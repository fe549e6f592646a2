"""Foreign frames, rates and actions to ours: nothing is guessed, everything done is recorded in ``origin``."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from gsa.episode import IMAGE_SIZE, Episode, resize_area
from gsa.errors import DataError
from gsa.importers.base import ImportOptions

TOLERANCE = 1e-6
"""How far beyond [-1, 1] rounding may carry an action; ``check_episode`` allows the same."""


def kept_rows(where: str, rows: int, options: ImportOptions) -> range:
    """Rows of a foreign episode that become rows of ours: every n-th, while n decisions lie between two.

    Raises:
        DataError: fewer than two would be left.
    """
    kept = range(0, rows, options.every)
    if len(kept) < 2:
        raise DataError(f"{where}: {rows} rows, too few for two with --every {options.every}; drop this episode")
    return kept


def to_episode(
    where: str,
    frames: Iterable[np.ndarray],
    action: np.ndarray,
    is_terminal: bool,
    options: ImportOptions,
    info: dict[str, Any],
    reward: np.ndarray | None = None,
    success: np.ndarray | None = None,
    declared: str = "",
) -> Episode:
    """Our episode from a foreign one of L decisions.

    Args:
        where: file and episode, for messages.
        frames: uint8 ``(Y, X, 3)`` of any size, of the ``kept_rows`` alone; resized by area.
        action: ``(L, A)`` floats in the data's units; row t was chosen after seeing row t.
        is_terminal: whether the discount is 0 after the last decision.
        options: the user's mapping.
        info: provenance; ``origin`` is extended by what was done here.
        reward: ``(L + 1,)``, summed over the steps that a kept row ends; kept out of what training reads.
        success: ``(L + 1,)``.
        declared: the ``--action-range`` that the data itself declares, to be suggested.

    Raises:
        DataError: malformed frames, a non-finite action or one outside [-1, 1] without a mapping, naming row and value.
    """
    rows = kept_rows(where, len(action) + 1, options)
    native = _checked(where, action)
    merged = _merged(native[: rows[-1]], options)
    mapped = _mapped(where, merged, options, declared)
    images, size = _images(where, frames, rows)
    row = np.arange(len(rows))
    dropped = len(action) - rows[-1]
    last_action = np.zeros((1, mapped.shape[1]), np.float32)
    origin = {
        **info.get("origin", {}),
        "image_size": size,
        "action_range": options.action_range,
        "every": options.every,
        "merge_actions": options.merge_actions,
        "steps_dropped": dropped,
    }
    return Episode(
        image=images,
        action=np.concatenate([mapped, last_action]),
        is_first=row == 0,
        is_last=row == len(rows) - 1,
        is_terminal=(row == len(rows) - 1) & (is_terminal and dropped == 0),
        reward=None if reward is None else _summed(reward, rows, options.every),
        success=None if success is None else success[list(rows)],
        info={**info, "origin": origin},
    )


def _checked(where: str, action: np.ndarray) -> Float[np.ndarray, "L A"]:
    if action.ndim != 2 or action.shape[1] < 1 or action.dtype.kind != "f":
        raise DataError(f"{where}: action is {action.dtype} {action.shape}, expected floats (decisions, width)")
    finite = np.isfinite(action)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise DataError(
            f"{where}: action at row {row}, entry {column} is {action[row, column]}, not finite; drop this episode"
        )
    return action.astype(np.float64)


def _merged(action: np.ndarray, options: ImportOptions) -> np.ndarray:
    if options.every == 1:
        return action
    blocks = action.reshape(-1, options.every, action.shape[1])
    if options.merge_actions in ("first", "last"):
        return blocks[:, 0 if options.merge_actions == "first" else -1]
    return blocks.mean(1) if options.merge_actions == "mean" else blocks.sum(1)


def _mapped(where: str, action: np.ndarray, options: ImportOptions, declared: str) -> Float32[np.ndarray, "L A"]:
    low, high = np.array([-1.0]), np.array([1.0])
    units, remedy = action, f"pass --action-range {declared or 'LOW:HIGH'}"
    if options.action_range is not None:
        pairs = np.array(options.action_range, np.float64)
        if len(pairs) not in (1, action.shape[1]):
            raise DataError(f"{where}: --action-range has {len(pairs)} pairs, the action {action.shape[1]} entries")
        low, high = pairs[:, 0], pairs[:, 1]
        action = 2.0 * (action - low) / (high - low) - 1.0
        remedy = "widen --action-range"
    beyond = np.abs(action) > 1.0 + TOLERANCE
    if beyond.any():
        row, column = np.argwhere(beyond)[0]
        bounds = [float(np.broadcast_to(bound, action.shape[1])[column]) for bound in (low, high)]
        raise DataError(
            f"{where}: action at row {row * options.every}, entry {column} is {units[row, column]:.6g}, outside "
            f"{bounds}; {remedy}"
        )
    return np.clip(action, -1.0, 1.0).astype(np.float32)


def _images(where: str, frames: Iterable[np.ndarray], rows: range) -> tuple[UInt8[np.ndarray, "N C Y X"], list[int]]:
    images = np.empty((len(rows), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    size: list[int] = []
    count = 0
    for count, frame in enumerate(frames, 1):
        row = rows[count - 1] if count <= len(rows) else rows[-1] + 1
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape) < 1:
            raise DataError(f"{where}: image at row {row} is {frame.dtype} {frame.shape}, expected uint8 (Y, X, 3)")
        size = size or list(frame.shape[:2])
        if list(frame.shape[:2]) != size:
            raise DataError(f"{where}: image at row {row} is {list(frame.shape[:2])}, the first is {size}")
        if count <= len(rows):
            images[count - 1] = resize_area(frame)
    if count != len(rows):
        raise DataError(f"{where}: {count} images for {len(rows)} rows; the episode is inconsistent")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), size


def _summed(reward: np.ndarray, rows: range, every: int) -> Float32[np.ndarray, " N"]:
    """The reward that came with each kept row: row 0's own, then the sums over the steps between two."""
    between = reward[1 : rows[-1] + 1].reshape(-1, every).sum(1)
    return np.concatenate([reward[:1], between]).astype(np.float32)
