"""What a folder holds, in words and pictures: raw or offline data, a model, an index, a run, or a folder of those."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from gsa.episode import Episode
from gsa.errors import ArtifactError, DataError
from gsa.files import read_json, read_sealed
from gsa.importers.raw_folder import RawFolder
from gsa.inspection.data_card import CARD_JSON, CARD_MD, SHEET
from gsa.pipeline import command, reads
from gsa.retrieval import META_FILE as INDEX_META
from gsa.retrieval import RetrievalIndex
from gsa.runs.checkpoint import META_FILE, WEIGHTS_FILE, load_weights
from gsa.runs.fingerprint import RUN_FILE, check_output, read_run
from gsa.runs.fingerprint import verify as verify_run
from gsa.runs.run_dir import STATE_DIR
from gsa.runs.scores import SCORES_FILE, read_scores
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.schema import FORMAT, MANIFEST
from gsa.storage.store_files import read_outcomes
from gsa.tasks import register_recorded
from gsa.visual.pictures import spread

BODIES = reads("pretrain")[-1]
"""What the key begins with under which a model's run.json has its embodiments."""


def kind_of(path: Path) -> str:
    """``offline``, ``raw``, ``model``, ``index``, ``run``, ``output`` (of another stage) or ``folder`` (of those).

    Raises:
        DataError: nothing of ours is there.
    """
    if (path / MANIFEST).is_file():
        manifest = read_json(path / MANIFEST, ArtifactError, f"run the stage that makes {path} again")
        return "offline" if manifest.get("format") == FORMAT else "raw"
    for name, kind in ((WEIGHTS_FILE, "model"), (INDEX_META, "index"), (SCORES_FILE, "run"), (RUN_FILE, "output")):
        if (path / name).is_file():
            return kind
    if path.is_dir() and _members(path):
        return "folder"
    raise DataError(
        f"{path} is no data, model, index or run folder and has no {RUN_FILE}; name a stage's output, e.g. data/offline"
    )


def under_way(path: Path) -> Path:
    """Where the scores of a run lie that has no folder yet, beside its checkpoints; ``path`` itself if nowhere."""
    found = [] if path.exists() else list(STATE_DIR.glob(f"checkpoints/*-{path.name}-*/*/{SCORES_FILE}"))
    return max(found, key=lambda file: file.stat().st_mtime).parent if found else path


def describe(path: Path) -> list[str]:
    """Lines that say what ``path`` holds and what made it.

    Raises:
        DataError, ArtifactError: nothing of ours is there, or it is damaged.
    """
    kind = kind_of(path)
    if (path / RUN_FILE).is_file():
        check_output(path)
    if kind == "folder":
        parts = [(describe(member), kind_of(member)) for member in _members(path)]
        return [line for lines, part in parts for line in (lines if part == "folder" else lines[:1])]
    lines = {
        "offline": _describe_store,
        "raw": _describe_raw,
        "model": _describe_model,
        "index": _describe_index,
        "run": _describe_scores,
        "output": _describe_output,
    }[kind](path)
    record = read_run(path)
    if record is None:
        return lines
    made = f"made by `gsa {command(record['stage'])}` at {record['started']} in {record['duration_s']} s"
    code = f"code {record['code'][:12]}, git {(record.get('git_revision') or 'none')[:13]}"
    inputs = [f"  from {name} {digest[:12]}" for name, digest in sorted(record["inputs"].items())]
    return [*lines, f"{made}, {code}", *inputs]


def verify(path: Path) -> list[str]:
    """Check every checksum below ``path``; a line for each folder.

    Raises:
        ArtifactError, DataError: the first damaged, missing or unlisted file.
    """
    kind = kind_of(path)
    if kind == "folder":
        ours = _members(path)
        others = [member for member in _folders(path) if member not in ours]
        unchecked = [f"{member}: no output of a stage, as it has no {RUN_FILE}; not checked" for member in others]
        return [line for member in ours for line in verify(member)] + unchecked
    checked = []
    if kind != "raw" or read_run(path) is not None:  # only raw data may come from elsewhere
        checked.append(f"{verify_run(path)} files agree with {RUN_FILE}")
    else:
        checked.append(f"no {RUN_FILE}, so nobody vouches for the manifest")
    if kind == "offline":
        store = EpisodeStore(path)
        store.verify()
        checked.append(f"{len(store)} episodes agree with their digests")
    if kind == "raw":
        folder = RawFolder(path)
        for index in range(len(folder.files)):
            folder.read(index)
        checked.append(f"{len(folder.files)} episodes agree with their manifest")
    if kind == "model":
        state, _ = load_weights(path)
        checked.append(f"{len(state)} weights agree with {META_FILE} and are finite")
    if kind == "index":
        meta = read_sealed(path / INDEX_META, ArtifactError, f"make {path} again")
        keys = RetrievalIndex.load(path, str(meta.get("model_sha256")), str(meta.get("store_sha256"))).keys
        checked.append(f"{len(keys)} keys agree with {INDEX_META}")
    return [f"{path}: {'; '.join(checked)}"]


def first_images(path: Path, limit: int = 100) -> UInt8[np.ndarray, "N Y X C"]:
    """First images of up to ``limit`` episodes, evenly spread over a raw or offline folder.

    Raises:
        DataError: the folder holds no episodes.
    """
    folder = _episodes(path)
    if isinstance(folder, EpisodeStore):
        return folder.first_images(spread(len(folder), limit)).transpose(0, 2, 3, 1)
    chosen = spread(len(folder.files), limit)
    return np.stack([folder.read(index).image[0].transpose(1, 2, 0) for index in chosen])


def one_episode(path: Path, index: int) -> Episode:
    """Episode ``index`` of a raw or offline folder.

    Raises:
        DataError: no such episode, or no episodes at all.
    """
    source = _episodes(path)
    count = len(source) if isinstance(source, EpisodeStore) else len(source.files)
    if not 0 <= index < count:
        raise DataError(f"{path} has episodes 0 to {count - 1}, not {index}")
    return source.read(index)


def _episodes(path: Path) -> EpisodeStore | RawFolder:
    """The episodes of a folder; DataError where it holds none names what does."""
    kind = kind_of(path)
    if kind == "offline":
        return EpisodeStore(path)
    if kind != "raw":
        raise DataError(
            f"{path} holds no episodes to draw; `gsa inspect` draws those of data/offline and of a folder of data/raw, "
            "`gsa evaluate RUN --video FILE.mp4` lets the agent of a run play"
        )
    return RawFolder(path)


def _describe_store(path: Path) -> list[str]:
    store = EpisodeStore(path)
    table = store.episodes.merge(read_outcomes(path, store.manifest), on="episode_id", validate="one_to_one")
    size = sum(facts["bytes"] for name, facts in store.manifest["files"].items() if name in set(table["shard"]))
    rows, rejected = int(store.lengths.sum()), len(store.manifest["rejected"])
    lines = [
        f"{path}: offline data without rewards, {len(store)} episodes, {rows} rows, {size / 1e6:.1f} MB "
        f"({size / rows:.0f} bytes per row), {rejected} files rejected"
    ]
    for (body, source), group in table.groupby(["embodiment", "source"]):
        parts = [f"{len(group)} episodes", f"{group['length'].sum()} rows", f"{group['action_dim'].iloc[0]} actions"]
        parts.append(f"{(group['split'] == 'holdout').sum()} held out")
        for column, name in (("episode_return", "mean return"), ("success", "success")):
            known = group[column].dropna()
            parts += [f"{name} {pd.to_numeric(known).mean():.2f}"] if len(known) else []
        lines.append(f"  {body}, {source}: {', '.join(parts)}")
    if not (path / CARD_JSON).is_file():
        return lines
    card = read_json(path / CARD_JSON, ArtifactError, f"run the stage that makes {path} again")
    for body, facts in card.get("embodiments", {}).items():
        std, saturated = (np.mean(facts[key]) for key in ("action_std", "action_saturation"))
        quality = [f"{row['quality']} {row['episodes']}" for row in card["by_quality"] if row["embodiment"] == body]
        lines.append(
            f"  {body}: {facts['bytes_per_step']:.0f} bytes per row, action std {std:.2f}, {saturated:.0%} saturated, "
            f"quality: {', '.join(quality)}"
        )
    return [*lines, f"  first images: {path / SHEET}, data card: {path / CARD_MD}"]


def _describe_raw(path: Path) -> list[str]:
    folder = RawFolder(path)
    rows, size = (sum(record[key] for record in folder.records) for key in ("rows", "bytes"))
    facts = ", ".join(f"{key} {folder.facts[key]}" for key in ("task", "policy", "sigma") if folder.facts.get(key))
    what = f"raw episodes of {folder.facts['embodiment']} ({facts})"
    return [f"{path}: {what}, {len(folder.records)} files, {rows} rows, {size / 1e6:.1f} MB"]


def _describe_model(path: Path) -> list[str]:
    meta = read_sealed(path / META_FILE, ArtifactError, f"make {path} again")
    size = (path / WEIGHTS_FILE).stat().st_size
    lines = [f"{path}: model, {size / 1e6:.1f} MB of weights, sha256 {str(meta.get('sha256'))[:12]}"]
    read = (read_run(path) or {}).get("params", {})
    lines += [f"  learned from {', '.join(bodies)}" for key, bodies in read.items() if key.startswith(BODIES)]
    return lines + [f"  {key}: {value}" for key, value in meta.items() if key != "sha256"]


def _describe_index(path: Path) -> list[str]:
    meta = read_sealed(path / INDEX_META, ArtifactError, f"make {path} again")
    return [f"{path}: index, " + ", ".join(f"{key} {str(value)[:12]}" for key, value in meta.items())]


def _describe_scores(path: Path) -> list[str]:
    register_recorded((read_run(path) or {}).get("params", {}))
    rows = read_scores(path / SCORES_FILE)
    last = rows[-1]
    head = f"{path}: run of {last.method} on {last.task}, seed {last.seed}, {len(rows)} evaluations"
    lines = [f"{head}, {last.frames} frames"]
    for row in rows:
        success = "" if row.success_final is None else f", success {row.success_final:.0%}"
        lines.append(f"  {row.frames} frames: return {row.episode_return:.1f}{success}")
    return lines


def _describe_output(path: Path) -> list[str]:
    record = read_run(path)
    assert record is not None
    size = sum(entry["bytes"] for entry in record["outputs"].values())
    return [f"{path}: output of `gsa {command(record['stage'])}`, {len(record['outputs'])} files, {size / 1e6:.1f} MB"]


def _members(path: Path) -> list[Path]:
    """Subfolders of ours, one level down."""
    members = []
    for member in _folders(path):
        with suppress(DataError):
            kind_of(member)
            members.append(member)
    return members


def _folders(path: Path) -> list[Path]:
    """All subfolders but hidden ones, such as those half written."""
    return [member for member in sorted(path.iterdir()) if member.is_dir() and not member.name.startswith(".")]
