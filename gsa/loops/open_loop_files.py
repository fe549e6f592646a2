"""The files in which a model's folder shows its open-loop predictions."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np

from gsa.visual.pictures import write_video
from gsa.visual.predictions import draw_errors, write_error_table
from gsa.world_model.open_loop import CONTEXT, NUM_WINDOWS, OpenLoop

_STRIP = (0, 2, 4, 5, 7, 9, 14, 19, 24)
"""Rows of a window shown in the picture."""


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
        strip = np.concatenate([item["frames"][t] for t in _STRIP], 1)
        matplotlib.image.imsave(folder / f"open_loop_{name}.png", strip.repeat(2, 0).repeat(2, 1))
        write_video(folder / f"open_loop_{name}.mp4", item["frames"], fps=8)
