"""What lies behind the runs and is shown with them: the offline data's card, the pre-trained models, videos."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsa.errors import ArtifactError
from gsa.files import read_json
from gsa.report.diagnostics import LOSSES_FILE, read_losses
from gsa.report.load import Scores
from gsa.runs.fingerprint import check_output

CARD, SHEET = "card.json", "first_images.png"
"""Files of ``gsa convert``."""

OPEN_LOOP, BRANCHES = "open_loop.json", "branches.png"
VIDEO = "eval.mp4"

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
    probe-actions``. ``shown`` are the digests of the data and of the models, by the name that runs have for them.
    """

    card: dict[str, Any]
    sheet: Media | None
    models: list[Model]
    videos: dict[str, list[Media]]
    probes: dict[str, dict[str, Any]]
    branches: dict[str, Media]
    shown: dict[str, set[str]]


def load_artefacts(
    scores: Scores, data_dir: Path, model_dirs: Sequence[Path], page_dir: Path, probe_dir: Path
) -> Artefacts:
    """Read what there is: a folder that is there must hold what its run.json lists. Links are relative to ``page_dir``.

    Raises:
        ArtifactError: a folder has no run.json, or a file is damaged or missing; the message names it.
    """
    data = check_output(data_dir, [CARD, SHEET]) if data_dir.is_dir() else None
    models = [_model(folder, page_dir) for folder in model_dirs if folder.is_dir()]
    probed = {task: probe_dir / task for task in scores.tasks if (probe_dir / task).is_dir()}
    pictures = {task: folder / BRANCHES for task, folder in probed.items() if BRANCHES in _probe(folder)["outputs"]}
    return Artefacts(
        card=_object(data_dir / CARD) if data else {},
        sheet=_media(data_dir / SHEET, page_dir, "first images") if data else None,
        models=models,
        videos=_run_videos(scores, page_dir),
        probes={task: _object(folder / "probe.json") for task, folder in probed.items()},
        branches={task: _media(path, page_dir, task) for task, path in pictures.items()},
        shown={"offline": {data["digest"]} if data else set(), "model": {model.record["digest"] for model in models}},
    )


def _probe(folder: Path) -> dict[str, Any]:
    """The run.json of what was found of the task after which the folder is named."""
    record = check_output(folder)
    if (item := record.get("item")) != folder.name:
        raise ArtifactError(
            f"{folder} holds what `gsa probe-actions` found of {item}, not of {folder.name}; make it again"
        )
    return record


def _model(folder: Path, page_dir: Path) -> Model:
    record = check_output(folder)
    listed = [Path(name) for name in sorted(record["outputs"])]

    def shown(suffix: str) -> list[Media]:
        files = [path for path in listed if path.match(f"open_loop*{suffix}") and path.parent == Path()]
        names = [path.stem.removeprefix("open_loop").strip("_") or "open loop" for path in files]
        return [_media(folder / path, page_dir, name) for path, name in zip(files, names, strict=True)]

    losses = read_losses(folder / LOSSES_FILE) if Path(LOSSES_FILE) in listed else []
    open_loop = _object(folder / OPEN_LOOP) if Path(OPEN_LOOP) in listed else {}
    return Model(folder.name, losses, open_loop, shown(".png"), shown(".mp4"), record)


def _run_videos(scores: Scores, page_dir: Path) -> dict[str, list[Media]]:
    videos: dict[str, list[Media]] = {}
    count = 0
    for task in scores.tasks:
        for method in scores.methods:
            usable = [run for run in scores.cells[method, task] if run.status == "present"]
            if run := next((run for run in usable if run.record and VIDEO in run.record["outputs"]), None):
                clip = _media(run.folder / VIDEO, page_dir, f"{method}, seed {run.seed}", count < EMBED_VIDEOS)
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
    return read_json(path, ArtifactError, f"run the stage that makes {path.parent} again")
