"""Random n-step transitions of complete episodes, for learners that bootstrap from a value n decisions later."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from gsa.episode import IMAGE_SIZE
from gsa.errors import DataError
from gsa.storage.replay import EpisodeBuffer, Pixels


class Transitions(NamedTuple):
    """``frames`` as seen before ``action``, oldest first, and ``next_frames`` n decisions later.

    ``reward`` is the discounted sum of the rewards in between. ``discount`` is what the value of ``next_frames`` counts
    after them: discount^n, or 0 where the episode has terminated.
    """

    frames: UInt8[Tensor, "B N C Y X"]
    action: Float[Tensor, "B A"]
    reward: Float[Tensor, " B"]
    discount: Float[Tensor, " B"]
    next_frames: UInt8[Tensor, "B N C Y X"]

    def to(self, device: torch.device) -> "Transitions":
        """The transitions on another device."""
        return Transitions(*(x.to(device, non_blocking=True) for x in self))


def stacked_rows(row: int, frame_stack: int) -> Int64[np.ndarray, " N"]:
    """Rows of an episode whose images are the stack at ``row``: oldest first, row 0 repeated where there are fewer."""
    return np.maximum(np.arange(row - frame_stack + 1, row + 1), 0)


def draw_transitions(
    episodes: EpisodeBuffer,
    rng: np.random.Generator,
    batch_size: int,
    nstep: int,
    discount: float,
    frame_stack: int,
    capacity: int,
) -> Transitions:
    """Transitions, uniform over episodes and then over time; no window crosses the end of an episode.

    Only the newest episodes whose decisions sum to at most ``capacity`` take part, and always the newest one. Before a
    time limit the last window is whole, so its last n - 1 decisions begin none, and a shorter episode takes no part.
    Before a termination they do: nothing is left out of a sum of rewards that ends there. DataError if none is left.
    """
    usable = _usable(episodes, nstep, capacity)
    if not len(usable):
        raise DataError(
            f"none of {len(episodes)} episodes has the {nstep} decisions of a {nstep}-step return; lower nstep"
        )
    drawn = usable[rng.integers(0, len(usable), batch_size)]
    last = episodes.lengths[drawn] - 1
    rows = rng.integers(0, np.where(episodes.terminated[drawn], last, last + 1 - nstep))
    ends = np.minimum(rows + nstep, last)
    pixels = np.empty((2, batch_size, frame_stack, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    reward, bootstrap = np.zeros((2, batch_size), np.float32)
    actions = []
    for number, (index, row, end) in enumerate(zip(drawn.tolist(), rows.tolist(), ends.tolist(), strict=True)):
        for half, at in enumerate((row, end)):
            _stack(episodes, index, at, pixels[half, number])
        total, left, labels = 0.0, 1.0, episodes.labels(index)
        for t in range(row + 1, end + 1):
            total += left * float(labels["reward"][t])
            left *= 0.0 if labels["is_terminal"][t] else discount
        reward[number], bootstrap[number] = total, left
        actions.append(labels["action"][row])
    before, after = torch.from_numpy(pixels).permute(0, 1, 2, 5, 3, 4)
    action = torch.from_numpy(np.stack(actions))
    return Transitions(before, action, torch.from_numpy(reward), torch.from_numpy(bootstrap), after)


def _stack(episodes: EpisodeBuffer, index: int, row: int, into: Pixels) -> None:
    """The images of ``stacked_rows`` of an episode."""
    frame_stack = len(into)
    missing = max(frame_stack - 1 - row, 0)
    episodes.pixels(index, row - (frame_stack - 1) + missing, frame_stack - missing, into[missing:])
    into[:missing] = into[missing]


def _usable(episodes: EpisodeBuffer, nstep: int, capacity: int) -> Int64[np.ndarray, " N"]:
    """Indices of the newest episodes within ``capacity`` that hold a transition."""
    decisions = episodes.lengths - 1
    newest = np.cumsum(decisions[::-1])[::-1] <= capacity
    newest[-1:] = True
    return np.flatnonzero(newest & ((decisions >= nstep) | episodes.terminated))
