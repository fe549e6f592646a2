"""Data without meaning: a batch, and a store whose pictures pack like simulated ones."""

from pathlib import Path

import numpy as np
import torch

from gsa.config import Params
from gsa.episode import IMAGE_SIZE, Batch, Episode
from gsa.storage.store_writer import write_store

BODY = "nobody"
"""Embodiment of the store's episodes."""


def noise_batch(rows: int, length: int, action_dim: int) -> Batch:
    """Random pictures, actions and rewards; no episode's end. On the CPU, images as the replay lays them.

    Pictures are dark blocks. Of pixels that are noise around grey, gradients are sums in which nearly all cancels, and
    no precision gets them right.
    """
    rng = np.random.default_rng(0)
    block = IMAGE_SIZE // 8
    dark = rng.integers(0, 128, (rows, length, 8, 8, 3), dtype=np.uint8)
    image = dark.repeat(block, 2).repeat(block, 3)
    never = torch.zeros(rows, length, dtype=torch.bool)
    return Batch(
        torch.from_numpy(image).permute(0, 1, 4, 2, 3),
        torch.from_numpy(rng.uniform(-1, 1, (rows, length, action_dim)).astype(np.float32)),
        torch.from_numpy(rng.normal(size=(rows, length)).astype(np.float32)),
        torch.ones(rows, dtype=torch.bool),
        never,
        never.clone(),
    )


def moving_store(folder: Path, params: Params, episodes: int = 24, rows: int = 201) -> Path:
    """A store of squares that move over a shaded ground, unless it is there already."""
    if folder.exists():
        return folder
    rng = np.random.default_rng(0)
    ground = np.linspace(40, 200, IMAGE_SIZE, dtype=np.uint8)[:, None, None].repeat(IMAGE_SIZE, 1).repeat(3, 2)

    def episode(number: int) -> Episode:
        action = rng.uniform(-1, 1, (rows, 4)).astype(np.float32)
        action[-1] = 0  # nothing is chosen after the last picture
        place = np.clip(32 + np.cumsum(3 * action[:, :2], 0), 8, 56).astype(int)
        image = np.stack([ground] * rows)
        for row, (y, x) in enumerate(place):
            image[row, y - 6 : y + 6, x - 6 : x + 6] = rng.integers(0, 256, 3)
        step = np.arange(rows)
        info: dict[str, object] = {"source": "moving", "file": f"{number}.npz", "embodiment": BODY}
        ends = (step == 0, step == rows - 1, np.zeros(rows, bool))
        return Episode(image.transpose(0, 3, 1, 2), action, *ends, info=info)

    making = folder.with_name(f"{folder.name}.making")
    making.mkdir(parents=True, exist_ok=True)
    write_store(map(episode, range(episodes)), making, params.convert)
    return making.rename(folder)
