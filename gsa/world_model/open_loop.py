"""What the model has learned, made visible: open-loop prediction of held-out episodes, per embodiment and horizon."""

import json
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
from gsa.visual.pictures import write_video
from gsa.visual.predictions import draw_errors, write_error_table
from gsa.world_model.model import WorldModel

CONTEXT = 5
"""Rows the model sees before it predicts from actions alone."""
HORIZON = 20
NUM_WINDOWS = 16

STRIP = (0, 2, 4, 5, 7, 9, 14, 19, 24)
"""Rows of a window shown in a picture."""

OpenLoop = dict[str, dict[str, Any]]
"""Per embodiment: the errors of ``gsa.visual.predictions.KINDS`` at each row, and ``frames`` to look at."""


@torch.no_grad()
def evaluate_open_loop(model: WorldModel, store: EpisodeStore, seed: int) -> OpenLoop:
    """Predict ``NUM_WINDOWS`` held-out windows of each embodiment, ``CONTEXT`` rows seen and ``HORIZON`` imagined.

    Beside the error of prediction: that with the actions of other windows, that of repeating the last seen image (the
    line a model must stay below) and that of reconstructing images it sees. An embodiment without held-out episodes
    long enough is absent.
    """
    result: OpenLoop = {}
    rows = CONTEXT + HORIZON
    table = store.episodes
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for embodiment in sorted(table["embodiment"].unique()):
            chosen = (table["embodiment"] == embodiment) & (table["split"] == "holdout") & (table["length"] >= rows)
            if not chosen.any():
                continue
            source = store.select(np.flatnonzero(chosen.to_numpy()))
            batch = Replay(source, model.params.action_dim, seed).batch(0, NUM_WINDOWS, rows).to(device)
            truth = scale_image(batch.image)
            predicted = _predict(model, batch, CONTEXT, seed)
            images = {
                "error": predicted,
                "shuffled_error": _predict(model, with_actions_of_others(batch, CONTEXT), CONTEXT, seed),
                "copy_error": truth[:, CONTEXT - 1 : CONTEXT],
                "reconstruction_error": _predict(model, batch, rows, seed),
            }
            errors = {kind: (image - truth).square().mean((0, 2, 3, 4)).tolist() for kind, image in images.items()}
            result[embodiment] = errors | {"frames": _compare(truth[0].cpu(), predicted[0].cpu())}
    return result


def write_open_loop(folder: Path, result: OpenLoop) -> None:
    """``open_loop.json`` (errors), ``prediction_error.csv`` and ``.png`` (the same as table and figure), and per
    embodiment ``open_loop_<embodiment>.png`` (a strip) and ``.mp4``."""
    errors = {name: {k: v for k, v in item.items() if k != "frames"} for name, item in result.items()}
    summary = {"context": CONTEXT, "num_windows": NUM_WINDOWS, "embodiments": errors}
    (folder / "open_loop.json").write_text(json.dumps(summary, indent=1) + "\n")
    write_error_table(folder / "prediction_error.csv", summary)
    if errors:
        draw_errors(summary).savefig(folder / "prediction_error.png", dpi=120, metadata={"Software": None})
    for name, item in result.items():
        strip = np.concatenate([item["frames"][t] for t in STRIP], 1)
        matplotlib.image.imsave(folder / f"open_loop_{name}.png", strip.repeat(2, 0).repeat(2, 1))
        write_video(folder / f"open_loop_{name}.mp4", item["frames"], fps=8)


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
