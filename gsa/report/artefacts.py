"""What lies behind the runs and is shown with them: the offline data's card, the pre-trained model, videos."""

import base64
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsa.errors import ArtifactError
from gsa.report.load import Scores
from gsa.runs.fingerprint import read_run

EMBED_BYTES = 1_000_000
"""Videos and pictures up to this size are part of the page, larger ones are linked."""

EMBED_VIDEOS = 24
"""At most this many videos are embedded: a page of all 72 tasks stays small enough to send."""


@dataclass(frozen=True)
class Media:
    """A picture or video: ``source`` is a data URI, or a link relative to the page where ``linked``."""

    caption: str
    source: str
    linked: bool


@dataclass(frozen=True)
class Model:
    """The world model: rows of its loss log, held-out prediction errors by embodiment, pictures and its run.json."""

    name: str
    losses: list[dict[str, float]]
    open_loop: dict[str, Any]
    pictures: list[Media]
    videos: list[Media]
    record: dict[str, Any]


def load_card(data_dir: Path) -> dict[str, Any] | None:
    """The data card of ``gsa convert``, None where there is none: a report needs scores, not data.

    Raises:
        ArtifactError: the file is damaged.
    """
    path = data_dir / "card.json"
    return _object(path) if path.is_file() else None


def load_sheet(data_dir: Path, page_dir: Path) -> Media | None:
    """The contact sheet of first images that ``gsa convert`` wrote, None where there is none."""
    path = data_dir / "first_images.png"
    return media(path, page_dir, "first images") if path.is_file() else None


def load_model(model_dir: Path, page_dir: Path) -> Model | None:
    """What ``gsa pretrain`` left beside the weights, None where there is no model.

    Raises:
        ArtifactError: a file is damaged; the message names it.
    """
    if not model_dir.is_dir():
        return None
    log = model_dir / "losses.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    losses = [_row(line, f"{log}, line {number}") for number, line in enumerate(lines, start=1)]
    errors = model_dir / "open_loop.json"
    return Model(
        name=model_dir.name,
        losses=losses,
        open_loop=_object(errors) if errors.is_file() else {},
        pictures=[media(p, page_dir, _embodiment(p)) for p in sorted(model_dir.glob("open_loop*.png"))],
        videos=[media(p, page_dir, _embodiment(p)) for p in sorted(model_dir.glob("open_loop*.mp4"))],
        record=read_run(model_dir) or {},
    )


def run_videos(scores: Scores, page_dir: Path) -> dict[str, list[Media]]:
    """By task: the evaluation video of each method's first usable seed."""
    videos: dict[str, list[Media]] = {}
    count = 0
    for task in scores.tasks:
        for method in scores.methods:
            for run in scores.select(method, task):
                path = run.folder / "eval.mp4"
                if run.status == "present" and path.is_file():
                    clip = media(path, page_dir, f"{method}, seed {run.seed}", embed=count < EMBED_VIDEOS)
                    videos.setdefault(task, []).append(clip)
                    count += 1
                    break
    return videos


def media(path: Path, page_dir: Path, caption: str, embed: bool = True) -> Media:
    """The file as part of the page when it is small, else as a link relative to the page's folder."""
    kind = {".png": "image/png", ".mp4": "video/mp4"}[path.suffix]
    if embed and path.stat().st_size <= EMBED_BYTES:
        return Media(caption, f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}", linked=False)
    return Media(caption, Path(os.path.relpath(path, page_dir)).as_posix(), linked=True)


def _embodiment(path: Path) -> str:
    return path.stem.removeprefix("open_loop").strip("_") or "open loop"


def _object(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}; run the stage that makes {path.parent} again") from error
    if not isinstance(record, dict):
        raise ArtifactError(f"{path} holds {type(record).__name__}, expected an object")
    return record


def _row(line: str, where: str) -> dict[str, float]:
    try:
        record = json.loads(line)
        return {str(key): float(value) for key, value in record.items() if math.isfinite(value)}
    except (ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{where}: expected an object of numbers: {error}") from error
