"""What lies behind the runs and is shown with them: the offline data's card, the pre-trained models, videos."""

import base64
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsa.errors import ArtifactError
from gsa.files import read_json
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
    """A world model: rows of its loss log, held-out prediction errors by embodiment, pictures and its run.json."""

    name: str
    losses: list[dict[str, float]]
    open_loop: dict[str, Any]
    pictures: list[Media]
    videos: list[Media]
    record: dict[str, Any]


@dataclass(frozen=True)
class Artefacts:
    """What the page shows beside the scores, as far as it is there: a report needs scores, not data or a model.

    ``card`` and ``sheet``, a picture of first images, are of ``gsa convert``. ``videos`` are by task, the evaluation
    video of each method's first usable seed. ``probes`` and ``branches``, a picture, are by task, of ``gsa
    probe-actions``.
    """

    card: dict[str, Any]
    sheet: Media | None
    models: list[Model]
    videos: dict[str, list[Media]]
    probes: dict[str, dict[str, Any]]
    branches: dict[str, Media]


def load_artefacts(
    scores: Scores, data_dir: Path, model_dirs: Sequence[Path], page_dir: Path, probe_dir: Path
) -> Artefacts:
    """Read what there is; links are relative to ``page_dir``.

    Raises:
        ArtifactError: a file is damaged; the message names it.
    """
    sheet = data_dir / "first_images.png"
    probed = {task: probe_dir / task for task in scores.tasks if probe_dir and (probe_dir / task).is_dir()}
    pictures = {task: folder / "branches.png" for task, folder in probed.items()}
    return Artefacts(
        card=_object(data_dir / "card.json"),
        sheet=_media(sheet, page_dir, "first images") if sheet.is_file() else None,
        models=[_model(folder, page_dir) for folder in model_dirs if folder.is_dir()],
        videos=_run_videos(scores, page_dir),
        probes={task: _object(folder / "probe.json") for task, folder in probed.items()},
        branches={task: _media(path, page_dir, task) for task, path in pictures.items() if path.is_file()},
    )


def _model(folder: Path, page_dir: Path) -> Model:
    log = folder / "losses.jsonl"
    losses = []
    for number, line in enumerate(log.read_text(encoding="utf-8").splitlines() if log.is_file() else [], start=1):
        try:
            losses.append({str(k): float(v) for k, v in json.loads(line).items() if math.isfinite(v)})
        except (ValueError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{log}, line {number}: expected an object of numbers: {error}") from error

    def shown(suffix: str) -> list[Media]:
        files = {path: path.stem.removeprefix("open_loop").strip("_") for path in folder.glob(f"open_loop*{suffix}")}
        return [_media(path, page_dir, body or "open loop") for path, body in sorted(files.items())]

    open_loop, record = _object(folder / "open_loop.json"), read_run(folder) or {}
    return Model(folder.name, losses, open_loop, shown(".png"), shown(".mp4"), record)


def _run_videos(scores: Scores, page_dir: Path) -> dict[str, list[Media]]:
    videos: dict[str, list[Media]] = {}
    count = 0
    for task in scores.tasks:
        for method in scores.methods:
            usable = [run for run in scores.cells[method, task] if run.status == "present"]
            if run := next((run for run in usable if (run.folder / "eval.mp4").is_file()), None):
                clip = _media(run.folder / "eval.mp4", page_dir, f"{method}, seed {run.seed}", count < EMBED_VIDEOS)
                videos.setdefault(task, []).append(clip)
                count += 1
    return videos


def _media(path: Path, page_dir: Path, caption: str, embed: bool = True) -> Media:
    """The file as part of the page when it is small, else as a link relative to the page's folder."""
    kind = {".png": "image/png", ".mp4": "video/mp4"}[path.suffix]
    if embed and path.stat().st_size <= EMBED_BYTES:
        return Media(caption, f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}", linked=False)
    return Media(caption, Path(os.path.relpath(path, page_dir)).as_posix(), linked=True)


def _object(path: Path) -> dict[str, Any]:
    """The object of a JSON file; empty where there is none."""
    return read_json(path, ArtifactError, f"run the stage that makes {path.parent} again") if path.is_file() else {}
