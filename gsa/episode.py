"""What travels through the house: ``Step`` -> ``Episode`` -> ``Batch``. The time index and the shape letters live here.

Time index (one convention from simulator to loss)::

    row t:   image_t  reward_t  flags_t  action_t    reward_t came with image_t; action_t was chosen after seeing it
    model:   deter_t = f(deter_{t-1}, stoch_{t-1}, action_{t-1}), all zero where is_first; the last row's action is zero

An episode of L decisions has L + 1 rows. ``prev_action`` is the only place where actions are shifted against images.

Shape letters: B batch, T window, H imagined steps, A action (padded to the widest embodiment), E embed, D deter,
S stoch groups, K classes, F feat (= D + S*K), C Y X image (always 3 64 64, uint8 until the encoder).
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from gsa.errors import DataError

IMAGE_SIZE = 64
"""Height and width of every image, in pixels."""

ACTION_LIMIT = 1.0 + 1e-6
"""Largest absolute value of an action's entries, with rounding."""


@dataclass(frozen=True)
class Step:
    """What an environment returns.

    ``image`` is uint8 ``(3, 64, 64)``; ``reward`` is the sum over the repeated simulator steps that led here (0 at
    reset); ``is_last`` ends the episode, ``is_terminal`` says that the discount is 0 (never a mere time limit);
    ``success`` is Meta-World's flag (False elsewhere); ``state`` is the simulator's state observation (float64),
    read only by scripted experts and state-based explorers, never by anything that learns from pixels.
    """

    image: UInt8[np.ndarray, "C Y X"]
    reward: float
    is_first: bool
    is_last: bool
    is_terminal: bool = False
    success: bool = False
    state: np.ndarray | None = None


@dataclass(frozen=True)
class Episode:
    """One run of an environment, live or stored; ``len(episode)`` counts rows (decisions + 1).

    ``reward`` and ``success`` are None for reward-free data. ``action`` has the embodiment's native width, in [-1, 1].
    """

    image: UInt8[np.ndarray, "N C Y X"]
    action: Float32[np.ndarray, "N A"]
    is_first: Bool[np.ndarray, " N"]
    is_last: Bool[np.ndarray, " N"]
    is_terminal: Bool[np.ndarray, " N"]
    reward: Float32[np.ndarray, " N"] | None = None
    success: Bool[np.ndarray, " N"] | None = None
    info: dict[str, object] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image)

    def __repr__(self) -> str:
        return f"Episode({len(self)} rows, action width {self.action.shape[1]}, {self.info})"


class Batch(NamedTuple):
    """Windows cut from episodes, as tensors on one device: what a loss takes.

    ``image`` is uint8; ``action`` is zero-padded to A; where ``has_reward`` is False, ``reward`` is 0. It stays on the
    CPU, where it chooses rows without waiting for a GPU.
    """

    image: UInt8[Tensor, "B T C Y X"]
    action: Float[Tensor, "B T A"]
    reward: Float[Tensor, "B T"]
    has_reward: Bool[Tensor, " B"]
    is_first: Bool[Tensor, "B T"]
    is_terminal: Bool[Tensor, "B T"]

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device, but for ``has_reward``."""
        return Batch(*(x.to(device, non_blocking=True) for x in self))._replace(has_reward=self.has_reward)


def concat_batches(first: Batch, second: Batch) -> Batch:
    """Windows of both batches, first's first (rehearsal: online then retrieved); images stay channels-last."""
    # torch.cat of channels-first views would reorder every pixel (6.7 ms a batch of 256 images against 1.0).
    image = torch.cat([batch.image.movedim(2, -1) for batch in (first, second)]).movedim(-1, 2)
    return Batch(image, *(torch.cat([a, b]) for a, b in zip(first[1:], second[1:], strict=True)))


def prev_action(action: Float[Tensor, "B T A"]) -> Float[Tensor, "B T A"]:
    """Shift actions so that row t holds action_{t-1}, the one that led to image_t; row 0 is zero."""
    return torch.cat([torch.zeros_like(action[:, :1]), action[:, :-1]], 1)


def resize_area(frame: UInt8[np.ndarray, "Y X C"], size: int = IMAGE_SIZE) -> UInt8[np.ndarray, "S S C"]:
    """The mean colour of the area each new pixel covers, ``(size, size, C)``; a frame of that size is left as it is.

    The picture is stretched to a square where it is none.
    """
    height, width, channels = frame.shape
    if (height, width) == (size, size):
        return frame
    rows = _overlap(height, size) @ frame.reshape(height, width * channels).astype(np.float32)
    columns = np.einsum("sx,yxc->ysc", _overlap(width, size), rows.reshape(size, width, channels), optimize=True)
    return np.rint(columns).astype(np.uint8)


@lru_cache(maxsize=16)
def _overlap(length: int, size: int) -> Float32[np.ndarray, "S L"]:
    """Share of each of ``length`` old pixels in each of ``size`` new ones; rows sum to 1."""
    edges = np.arange(size + 1) * (length / size)
    old = np.arange(length)
    shared = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return (np.maximum(shared, 0.0) * (size / length)).astype(np.float32)


def check_action(action: np.ndarray, action_dim: int, where: str) -> np.ndarray:
    """The action as float32 clipped to [-1, 1]; the simulators accept NaN, Inf and wrong widths silently.

    DataError for a wrong shape or type or a non-finite entry; ``where`` names policy, task and step.
    """
    action = np.asarray(action)
    if action.shape != (action_dim,) or not np.issubdtype(action.dtype, np.floating):
        raise DataError(
            f"{where}: action has shape {action.shape} and type {action.dtype}, expected ({action_dim},) floats; "
            "fix the policy"
        )
    if not np.isfinite(action).all():
        raise DataError(f"{where}: action {action.tolist()} is not finite; fix the policy")
    return np.clip(action, -1.0, 1.0).astype(np.float32)


def check_episode(episode: Episode, where: str) -> None:
    """Refuse an episode that breaks the layout.

    Raises:
        DataError: fewer than 2 rows, wrong image shape or type, non-finite or out-of-range action, non-finite reward,
            flags that do not mark exactly the first and last row; the message names ``where`` and the row.
    """
    rows = len(episode)
    if rows < 2:
        raise DataError(f"{where}: {rows} rows, expected at least 2 (one decision); drop this episode")
    if episode.image.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE) or episode.image.dtype != np.uint8:
        raise DataError(
            f"{where}: images are {episode.image.dtype} {episode.image.shape[1:]}, expected uint8 (3, 64, 64) "
            "channels first; resize or transpose them"
        )
    for name, values in (("action", episode.action), ("reward", episode.reward)):
        if values is None:
            continue
        if len(values) != rows:
            raise DataError(f"{where}: {len(values)} rows of {name} for {rows} images; the file is inconsistent")
        finite = np.isfinite(values.reshape(rows, -1)).all(1)
        if not finite.all():
            raise DataError(f"{where}: {name} at row {int(np.argmin(finite))} is not finite; drop this episode")
    beyond = (np.abs(episode.action) > ACTION_LIMIT).any(1)
    if beyond.any():
        row = int(np.argmax(beyond))
        raise DataError(f"{where}: action {episode.action[row].tolist()} at row {row} leaves [-1, 1]; rescale it")
    for name, flag, row in (("is_first", episode.is_first, 0), ("is_last", episode.is_last, rows - 1)):
        if len(flag) != rows or flag.sum() != 1 or not flag[row]:
            raise DataError(f"{where}: {name} must be true at row {row} alone; split or fix this episode")
