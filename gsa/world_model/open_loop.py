"""What the model has learned, made visible: open-loop prediction of held-out episodes, by body and what acted."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import torch
from jaxtyping import Float, UInt8

from gsa.episode import Batch
from gsa.nets.conv import scale_image, unscale_image
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.replay import Replay
from gsa.storage.schema import HOLDOUT, UNKNOWN, kinds
from gsa.visual.pictures import write_video
from gsa.visual.predictions import KINDS, draw_errors, write_error_table
from gsa.world_model.model import WorldModel

CONTEXT = 5
"""Rows the model sees before it predicts from actions alone."""
HORIZON = 20
NUM_WINDOWS = 64
"""Windows of a group, drawn at random from its held-out episodes."""

CHUNK = 16
"""Windows the model predicts at a time."""

STRIP = (0, 2, 4, 5, 7, 9, 14, 19, 24)
"""Rows of a window shown in a picture."""

OpenLoop = list[dict[str, Any]]
"""Per group ``embodiment``, ``acted``, ``episodes``, the errors of ``gsa.visual.predictions.KINDS`` at each row, and
``frames`` to look at."""


@torch.no_grad()
def evaluate_open_loop(model: WorldModel, store: EpisodeStore, seed: int) -> OpenLoop:
    """Predict ``NUM_WINDOWS`` held-out windows of each group, ``CONTEXT`` rows seen and ``HORIZON`` imagined.

    A group is an embodiment and what acted in its episodes. Beside the error of prediction: that with the actions of
    other windows of the group, that of repeating the last seen image (the line a model must stay below) and that of
    reconstructing images it sees. A group without held-out episodes long enough is absent.
    """
    result: OpenLoop = []
    rows = CONTEXT + HORIZON
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for embodiment, acted, source in _groups(store, rows):
            batch = Replay(source, model.params.action_dim, seed).batch(0, NUM_WINDOWS, rows)
            others = with_actions_of_others(batch, CONTEXT)
            errors: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
            frames = None
            for start in range(0, NUM_WINDOWS, CHUNK):
                part, other = (_rows(x, slice(start, start + CHUNK), device) for x in (batch, others))
                truth = scale_image(part.image)
                images = {
                    "error": _predict(model, part, CONTEXT, seed + start),
                    "shuffled_error": _predict(model, other, CONTEXT, seed + start),
                    "copy_error": truth[:, CONTEXT - 1 : CONTEXT],
                    "reconstruction_error": _predict(model, part, rows, seed + start),
                }
                for kind, image in images.items():
                    errors[kind].append((image - truth).square().sum((2, 3, 4)).cpu().numpy())
                if frames is None:
                    frames = _compare(truth[0].cpu(), images["error"][0].cpu())
            means = {kind: np.concatenate(found).mean(0).tolist() for kind, found in errors.items()}
            facts = {"embodiment": embodiment, "acted": acted, "episodes": len(source)}
            result.append(facts | means | {"frames": frames})
    return result


def write_open_loop(folder: Path, result: OpenLoop) -> dict[str, Any]:
    """``open_loop.json`` (errors), ``prediction_error.csv`` and ``.png`` (the same as table and figure), and per
    group ``open_loop_<embodiment>_<acted>.png`` (a strip) and ``.mp4``. Returns what the first holds."""
    groups = [{k: v for k, v in item.items() if k != "frames"} for item in result]
    summary = {"context": CONTEXT, "num_windows": NUM_WINDOWS, "groups": groups}
    (folder / "open_loop.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    write_error_table(folder / "prediction_error.csv", summary)
    if groups:
        draw_errors(summary).savefig(folder / "prediction_error.png", dpi=120, metadata={"Software": None})
    for item in result:
        acted = "" if item["acted"] == UNKNOWN else "_" + re.sub(r"[^A-Za-z0-9.-]+", "-", item["acted"])
        strip = np.concatenate([item["frames"][t] for t in STRIP], 1)
        matplotlib.image.imsave(folder / f"open_loop_{item['embodiment']}{acted}.png", strip.repeat(2, 0).repeat(2, 1))
        write_video(folder / f"open_loop_{item['embodiment']}{acted}.mp4", item["frames"], fps=8)
    return summary


def _groups(store: EpisodeStore, rows: int) -> Iterator[tuple[str, str, EpisodeStore]]:
    """Embodiment, what acted, and its held-out episodes of that many rows and more."""
    table = store.episodes
    places = np.flatnonzero((table["split"] == HOLDOUT) & (table["length"] >= rows))
    usable = table.iloc[places].reset_index(drop=True)
    for (embodiment, acted), group in usable.groupby([usable["embodiment"], kinds(usable)]):
        yield str(embodiment), str(acted), store.select(places[group.index])


def _rows(batch: Batch, rows: slice, device: torch.device) -> Batch:
    return Batch(*(x[rows] for x in batch)).to(device)


def with_actions_of_others(batch: Batch, context: int) -> Batch:
    """The same windows, but from the last of the ``context`` rows on each has the actions of the window before it."""
    action = batch.action.clone()
    action[:, context - 1 :] = batch.action.roll(1, 0)[:, context - 1 :]
    return batch._replace(action=action)


def _predict(model: WorldModel, batch: Batch, context: int, seed: int) -> Float[torch.Tensor, "B T C Y X"]:
    torch.manual_seed(seed)  # the same latent noise every time: what differs is what the model was told
    return model.open_loop(batch, context).clamp(-0.5, 0.5)


def _compare(
    truth: Float[torch.Tensor, "T C Y X"], predicted: Float[torch.Tensor, "T C Y X"]
) -> UInt8[np.ndarray, "T V X C"]:
    """Truth above prediction above their difference (grey where they agree)."""
    stacked = torch.cat([truth, predicted, (predicted - truth) / 2], 2)
    return unscale_image(stacked).permute(0, 2, 3, 1).numpy()
