"""Foreign frames, rates and actions to ours: nothing is guessed, everything done is recorded in ``origin``."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from gsa.episode import Episode, resize_area
from gsa.errors import DataError
from gsa.importers.base import ImportOptions, body_widths

TOLERANCE = 1e-6
"""How far beyond [-1, 1] rounding may carry an action; ``check_episode`` allows the same."""

Frames = Callable[[range], Iterable[np.ndarray]]
"""Pictures of the rows that are asked for, uint8 ``(Y, X, 3)`` of any size, made or read as they are taken."""


class ForeignSource:
    """What the sources of foreign data share: provenance that the options complete.

    ``known`` is the provenance that the data states; a flag beats it. The source is called ``name``, or else after its
    folder.
    """

    def __init__(self, path: Path, options: ImportOptions, files: list[str], name: str = "", **known: Any) -> None:
        self.path, self.options, self.files = path, options, files
        self.facts: dict[str, Any] = options.facts(path, name or path.resolve().name, **known)

    def _provenance(self, index: int, **origin: Any) -> dict[str, Any]:
        """The provenance of episode ``index``, whose ``origin`` says what it was."""
        return {**self.facts, "source": self.facts["name"], "file": self.files[index], "origin": origin}


def to_episode(
    where: str,
    frames: Frames,
    action: np.ndarray,
    is_terminal: bool,
    options: ImportOptions,
    info: dict[str, Any],
    reward: np.ndarray | None = None,
    success: np.ndarray | None = None,
    declared: str = "",
) -> Episode:
    """Our episode from a foreign one of L decisions: every n-th row of it, while n decisions lie between two.

    Args:
        where: file and episode, for messages.
        frames: asked for the kept rows; resized by area.
        action: ``(L, A)`` floats in the data's units; row t was chosen after seeing row t.
        is_terminal: whether the discount is 0 after the last decision.
        options: the user's mapping.
        info: provenance; ``origin`` is extended by what was done here.
        reward: ``(L + 1,)``, summed over the steps that a kept row ends; kept out of what training reads.
        success: ``(L + 1,)``.
        declared: the ``--action-range`` that the data itself declares, to be suggested.

    Raises:
        DataError: fewer than two rows would be left, malformed frames, a non-finite action or one outside [-1, 1]
            without a mapping, naming row and value; or as many entries of an action as another body has.
    """
    every = options.every
    rows = range(0, len(action) + 1, every)
    if len(rows) < 2:
        raise DataError(f"{where}: {len(action) + 1} rows, too few for two with --every {every}; drop this episode")
    _check_body(where, action, info)
    blocks = _checked(where, action)[: rows[-1]].reshape(-1, every, action.shape[1])
    merges = {"first": blocks[:, 0], "last": blocks[:, -1], "mean": blocks.mean(1), "sum": blocks.sum(1)}
    mapped = _mapped(where, merges[options.merge_actions or "first"], options, declared)
    images, size = _images(where, frames(rows), rows)
    row = np.arange(len(rows))
    dropped = len(action) - rows[-1]
    origin = {
        **info.get("origin", {}),
        "image_size": size,
        "action_range": options.action_range,
        "every": every,
        "merge_actions": options.merge_actions,
        "steps_dropped": dropped,
    }
    if reward is not None:  # row 0's own, then the sums over the steps between two kept rows
        reward = np.append(reward[0], reward[1 : rows[-1] + 1].reshape(-1, every).sum(1)).astype(np.float32)
    return Episode(
        image=images,
        action=np.concatenate([mapped, np.zeros_like(mapped[:1])]),
        is_first=row == 0,
        is_last=row == len(rows) - 1,
        is_terminal=(row == len(rows) - 1) & (is_terminal and dropped == 0),
        reward=reward,
        success=None if success is None else success[list(rows)],
        info={**info, "origin": origin},
    )


def _check_body(where: str, action: np.ndarray, info: dict[str, Any]) -> None:
    """A body that tasks here have acts with so many entries; data of another body must not bear its name."""
    expected = body_widths().get(str(info.get("embodiment")))
    if action.ndim == 2 and expected not in (None, action.shape[1]):
        found = f"action has {action.shape[1]} entries, the {info['embodiment']} has {expected}"
        raise DataError(f"{where}: {found}; name the body that acts with --embodiment")


def _checked(where: str, action: np.ndarray) -> Float[np.ndarray, "L A"]:
    if action.ndim != 2 or action.shape[1] < 1 or action.dtype.kind != "f":
        raise DataError(f"{where}: action is {action.dtype} {action.shape}, expected floats (decisions, width)")
    for row, column in np.argwhere(~np.isfinite(action))[:1]:
        raise DataError(
            f"{where}: action at row {row}, entry {column} is {action[row, column]}, not finite; drop this episode"
        )
    return action.astype(np.float64)


def _mapped(where: str, action: np.ndarray, options: ImportOptions, declared: str) -> Float32[np.ndarray, "L A"]:
    bounds = np.array([[-1.0, 1.0]])
    units, remedy = action, f"pass --action-range {declared or 'LOW:HIGH'}"
    if options.action_range is not None:
        bounds, remedy = np.array(options.action_range, np.float64), "widen --action-range"
        if len(bounds) not in (1, action.shape[1]):
            raise DataError(f"{where}: --action-range has {len(bounds)} pairs, the action {action.shape[1]} entries")
        low, high = bounds.T
        action = 2.0 * (action - low) / (high - low) - 1.0
    for row, column in np.argwhere(np.abs(action) > 1.0 + TOLERANCE)[:1]:
        raise DataError(
            f"{where}: action at row {row * options.every}, entry {column} is {units[row, column]:.6g}, outside "
            f"{bounds[column if len(bounds) > 1 else 0].tolist()}; {remedy}"
        )
    return np.clip(action, -1.0, 1.0).astype(np.float32)


def _images(where: str, frames: Iterable[np.ndarray], rows: range) -> tuple[UInt8[np.ndarray, "N C Y X"], list[int]]:
    """The pictures at our size, and the size they had."""
    images: list[np.ndarray] = []
    size: list[int] = []
    for frame in frames:
        row = len(images) * rows.step
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape) < 1:
            raise DataError(f"{where}: image at row {row} is {frame.dtype} {frame.shape}, expected uint8 (Y, X, 3)")
        size = size or list(frame.shape[:2])
        if list(frame.shape[:2]) != size:
            raise DataError(f"{where}: image at row {row} is {list(frame.shape[:2])}, the first is {size}")
        images.append(resize_area(frame))
    if len(images) != len(rows):
        raise DataError(f"{where}: {len(images)} images for {len(rows)} rows; the episode is inconsistent")
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)), size
