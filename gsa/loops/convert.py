"""Raw folders to one reward-free store with its data card. Every file is checked before a byte of it is used."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from gsa.config import ConvertParams
from gsa.episode import Episode
from gsa.errors import DataError
from gsa.loops.data_card import CARD_JSON, CARD_MD, DataCard
from gsa.storage.files import sha256_file, write_atomic
from gsa.storage.raw import MANIFEST, NAME, read_manifest, read_raw_episode
from gsa.storage.store_writer import write_store
from gsa.tasks import TASKS

Format = Literal["gsa", "ncrl"]
"""``gsa``: what `gsa collect-data` and `gsa explore-data` write; ``ncrl``: the authors' npz, without a manifest."""


@dataclass(frozen=True)
class RawFolder:
    """One source to convert: ``facts`` of all its episodes and its ``records``, in the order of their index."""

    path: Path
    facts: dict[str, Any]
    records: list[dict[str, Any]]


def open_raw_folder(path: Path, data_format: Format = "gsa", facts: dict[str, Any] | None = None) -> RawFolder:
    """List what a folder holds, without opening its episodes.

    Args:
        path: a folder of npz files.
        data_format: with ``ncrl`` the folder has no manifest and ``facts`` must say what it holds.
        facts: ``embodiment`` (required), ``task``, ``policy``, ``sigma`` of a foreign folder; its name is the folder's.

    Raises:
        DataError: no folder, no manifest, no episodes, an npz that the manifest does not list or whose name is foreign.
    """
    if not path.is_dir():
        raise DataError(f"no raw data at {path}; run `gsa collect-data` first")
    files = {file.name for file in path.glob("*.npz")}
    if data_format == "gsa":
        manifest = read_manifest(path)
        listed = {record["file"] for record in manifest["episodes"]}
        for name in sorted(files - listed):
            raise DataError(f"{path / name} is not in {MANIFEST}; move it away or collect this source again")
        return RawFolder(path, manifest["source"], manifest["episodes"])
    if not files:
        raise DataError(f"no npz episodes in {path}; expected <timestamp>-<id>-<index>-<length>.npz")
    if not (facts or {}).get("embodiment"):
        raise DataError(f"{path}: nothing says which embodiment acts; pass --embodiment")
    matches = [(NAME.fullmatch(name), name) for name in files]
    for match, name in matches:
        if match is None:
            raise DataError(f"{path / name}: name does not read <timestamp>-<id>-<index>-<length>.npz; move it away")
    ordered = sorted((int(match["index"]), name, int(match["length"]) + 1) for match, name in matches if match)
    records = [{"file": name, "rows": rows} for _, name, rows in ordered]
    return RawFolder(path, {"name": path.name, **(facts or {})}, records)


def convert(
    folders: Sequence[RawFolder],
    out_dir: Path,
    params: ConvertParams,
    reject_bad: bool = False,
    advance: Callable[[int], None] = lambda episodes: None,
) -> dict[str, Any]:
    """Write the store and its data card; the result does not depend on the order of ``folders``.

    Args:
        folders: sources, each with a name of its own.
        out_dir: a new or empty folder.
        params: layout of the store.
        reject_bad: leave a bad episode out and list it, with its reason, in manifest and card, instead of stopping.
        advance: told the number of episodes just done.

    Returns:
        The data card.

    Raises:
        DataError: nothing to convert, two sources of one name, sources rendered with different settings, or a bad
            file, named with row and reason.
    """
    folders = sorted(folders, key=lambda folder: (folder.facts["embodiment"], folder.facts["name"]))
    if not folders:
        raise DataError("nothing to convert; run `gsa collect-data` first or pass --input")
    for one, other in pairwise(folders):
        if one.facts["name"] == other.facts["name"]:
            raise DataError(f"{one.path} and {other.path} are both named {one.facts['name']}; rename one")
    _check_one_rendering(folders)
    card = DataCard()
    rejected: list[dict[str, str]] = []

    def episodes() -> Iterator[Episode]:
        for folder in folders:
            for record in folder.records:
                try:
                    episode = read_episode(folder, record)
                except DataError as error:
                    if not reject_bad:
                        raise
                    rejected.append({"file": f"{folder.facts['name']}/{record['file']}", "reason": str(error)})
                else:
                    card.add(episode)
                    yield episode
                advance(1)

    manifest = write_store(episodes(), out_dir, params, rejected)
    summary = card.summary(out_dir, manifest)
    write_atomic(out_dir / CARD_JSON, (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode())
    write_atomic(out_dir / CARD_MD, card.markdown(summary).encode())
    return summary


def read_episode(folder: RawFolder, record: dict[str, Any]) -> Episode:
    """One raw episode, checked against its record, with ``info`` as the store wants it.

    Raises:
        DataError: the file is missing, not the one the manifest lists, or breaks the layout.
    """
    path = folder.path / str(record["file"])
    if not path.is_file():
        raise DataError(f"{path} is listed but missing; collect this source again")
    if "sha256" in record and (found := sha256_file(path)) != record["sha256"]:
        raise DataError(f"{path}: sha256 is {found[:12]}, {MANIFEST} says {record['sha256'][:12]}; collect it again")
    episode = read_raw_episode(path)
    if len(episode) != record["rows"]:
        raise DataError(f"{path}: {len(episode)} rows, its name says {record['rows']}; the file is inconsistent")
    known = {**folder.facts, **record}
    episode.info.update({key: known.get(key) for key in ("embodiment", "task", "policy", "sigma", "seed")})
    episode.info.update(source=folder.facts["name"], file=path.name)
    episode.info.update({key: known.get(key) or {} for key in ("render", "versions")})
    return _without_meaningless_success(episode)


def _without_meaningless_success(episode: Episode) -> Episode:
    """DMControl has no success: its environments report False, which must not read as a failure."""
    task = TASKS.get(str(episode.info["task"]))
    if task is None or task.metric == "success":
        return episode
    return Episode(
        episode.image,
        episode.action,
        episode.is_first,
        episode.is_last,
        episode.is_terminal,
        episode.reward,
        None,
        episode.info,
    )


def _check_one_rendering(folders: Sequence[RawFolder]) -> None:
    """Pictures of one agent must come from one image setting (shadows and edges move grey levels by 1 to 12)."""
    seen: dict[str, Path] = {}
    for folder in folders:
        quality = (folder.facts.get("render") or {}).get("quality")
        if quality is not None:
            seen.setdefault(quality, folder.path)
    if len(seen) > 1:
        found = ", ".join(f"{path} with {quality}" for quality, path in seen.items())
        raise DataError(f"sources were rendered with different image settings: {found}; collect them with one")
