"""What `gsa collect-data` and `gsa explore-data` write: npz files that a manifest vouches for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gsa.episode import Episode
from gsa.errors import DataError
from gsa.files import sha256_file
from gsa.importers.inputs import check_folder, listed
from gsa.storage.raw import MANIFEST, read_manifest, read_raw_episode
from gsa.tasks import TASKS


class RawFolder:
    """One collected source (``Source``); ``records`` are the manifest's, in the order of their index.

    Raises:
        DataError: no folder, no manifest, no episodes, or an npz that the manifest does not list.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DataError(f"no raw data at {path}; run `gsa collect-data` first")
        check_folder(path)
        manifest = read_manifest(path)
        self.path = path
        self.facts: dict[str, Any] = manifest["source"] | {"name": path.resolve().name}  # a copy has another name
        self.records: list[dict[str, Any]] = manifest["episodes"]
        self.files: list[str] = [record["file"] for record in self.records]
        for name in sorted({file.name for file in listed(path, "*.npz")} - set(self.files)):
            raise DataError(f"{path / name} is not in {MANIFEST}; move it away or collect this source again")

    def read(self, index: int) -> Episode:
        """One episode, checked against its record, with ``info`` as the store wants it.

        Raises:
            DataError: the file is missing, not the one the manifest lists, or breaks the layout.
        """
        record = self.records[index]
        path = self.path / record["file"]
        if not path.is_file():
            raise DataError(f"{path} is listed but missing; collect this source again")
        if (found := sha256_file(path)) != record["sha256"]:
            raise DataError(f"{path}: sha256 is {found[:12]}, {MANIFEST} says {record['sha256'][:12]}; collect again")
        episode = read_raw_episode(path)
        if len(episode) != record["rows"]:
            raise DataError(f"{path}: {len(episode)} rows, {MANIFEST} says {record['rows']}; collect it again")
        known = {**self.facts, **record}
        episode.info.update({key: known.get(key) for key in ("embodiment", "task", "policy", "sigma", "seed")})
        episode.info.update(source=self.facts["name"], file=path.name)
        episode.info.update({key: known.get(key) or {} for key in ("render", "versions")})
        # DMControl has no success: its environments report False, which must not read as a failure.
        task = TASKS.get(str(episode.info["task"]))
        return episode if task is None or task.metric == "success" else replace(episode, success=None)
