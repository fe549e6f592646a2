"""Finished raw episodes that wait in a work folder until all are there: a killed run loses none it finished."""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsa.episode import Episode
from gsa.files import sha256_file, write_atomic
from gsa.storage.raw import write_raw_episode

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptEpisodes:
    """Raw episodes in ``folder``, each beside a record of its checksum and of ``settings``, all that decides it."""

    folder: Path
    settings: Mapping[str, Any]

    def keep(self, index: int, episode: Episode, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the episode and its record, which is returned: ``index``, ``file``, ``sha256`` and ``facts``."""
        path = write_raw_episode(self.folder, index, episode)
        record = {"index": index, "file": path.name, "sha256": sha256_file(path), **facts}
        # The record comes second: it vouches for a file that is already complete.
        write_atomic(self._path(index), json.dumps({"settings": self.settings, "record": record}))
        return record

    def find(self, index: int) -> dict[str, Any] | None:
        """The record of an episode that was finished under these settings, or None."""
        path = self._path(index)
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            record: dict[str, Any] = body["record"]
            same = body["settings"] == self.settings and sha256_file(self.folder / record["file"]) == record["sha256"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged (%s); making this episode again", path, error)
            return None
        if not same:
            log.warning("%s is damaged or of other settings; making it again", self.folder / record["file"])
        return record if same else None

    def publish(self, records: Sequence[Mapping[str, Any]], out: Path) -> None:
        """Copy the episodes of ``records`` to ``out``."""
        for record in records:
            shutil.copyfile(self.folder / record["file"], out / record["file"])

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.json"
