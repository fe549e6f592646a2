"""``--format minari``: a Minari data set, in its HDF5, Arrow or Parquet storage, read from its documented layout.

``data/metadata.json`` describes the spaces; an episode has T actions and T + 1 observations, among them at least one
picture: raw uint8, or a JPEG a row. Rewards are not read. The storage holds no checksums (see ``checksums``).
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gsa.episode import Episode
from gsa.errors import DataError, ParamsError
from gsa.files import read_json
from gsa.importers.base import ImportOptions, is_shape
from gsa.importers.checksums import Checksums
from gsa.importers.mapping import kept_rows, to_episode
from gsa.importers.minari_storage import STORAGES

METADATA = "metadata.json"
MEND = "fetch the data set again"


class _Spaces(NamedTuple):
    """Shapes of the pictures by key (``a/b`` in nested spaces), and the action's width and declared range."""

    images: dict[str, list[int]]
    action_dim: int
    declared_range: str


class MinariDataset:
    """A data set's folder, or its ``data`` folder (``Source``).

    Raises:
        DataError: no Minari data set, damaged, no pictures, or actions that are not continuous.
        ParamsError: nothing says which body acts, or which of several cameras is meant.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        folder = path / "data" if (path / "data" / METADATA).is_file() else path
        sums = Checksums(path, "Minari's files")
        meta = read_json(sums.check(folder / METADATA), DataError, MEND)
        self._where = f"{folder / METADATA}"
        spaces = self._spaces(meta)
        self._image_key = _chosen_camera(self._where, list(spaces.images), options.image_key)
        self._shape = spaces.images[self._image_key]
        self._action_dim, self._declared = spaces.action_dim, spaces.declared_range
        episodes, kind = meta.get("total_episodes"), meta.get("data_format")
        if not isinstance(episodes, int) or episodes < 1:
            raise DataError(f"{self._where}: total_episodes is {episodes!r}, expected at least 1; {MEND}")
        if not isinstance(kind, str) or kind not in STORAGES:
            raise DataError(f"{self._where}: data_format is {kind!r}, expected one of {', '.join(STORAGES)}")
        self._storage = STORAGES[kind](folder, sums, episodes)
        self.path = path
        self.files: list[str] = [self._storage.name(index) for index in range(episodes)]
        name = meta.get("dataset_id")
        self.facts: dict[str, Any] = options.facts(path, name if isinstance(name, str) else path.resolve().name)
        self._origin = {"format": "minari", "rate": "unknown", "sha256_checked": sums.present}
        self._options = options

    def read(self, index: int) -> Episode:
        """Episode ``index``; see ``Source.read``."""
        stored = self._storage.read(index, self._image_key, self._shape)
        where = stored.where
        if stored.action.ndim != 2 or stored.action.shape[1] != self._action_dim:
            raise DataError(f"{where}: actions are {stored.action.shape}, expected {self._action_dim} entries a row")
        decisions = len(stored.action)
        for column, length, expected in [
            (f"observations/{self._image_key}", len(stored.images), decisions + 1),
            ("terminations", len(stored.terminations), decisions),
        ]:
            if length != expected:
                raise DataError(f"{where}: {column} has {length} rows for {decisions} actions, expected {expected}")
        if stored.terminations[:-1].any():
            row = int(np.argmax(stored.terminations))
            raise DataError(f"{where}: terminations is true at row {row}, before the last; split this episode")
        return to_episode(
            where,
            (stored.images.frame(row) for row in kept_rows(where, decisions + 1, self._options)),
            stored.action,
            bool(decisions and stored.terminations[-1]),
            self._options,
            {**self.facts, "source": self.facts["name"], "file": self.files[index], "origin": self._origin},
            declared=self._declared,
        )

    def _spaces(self, meta: dict[str, Any]) -> _Spaces:
        spaces = {}
        for name in ("observation_space", "action_space"):
            try:
                spaces[name] = json.loads(meta[name])
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise DataError(f"{self._where}: {name} is missing or unreadable ({error!r}); {MEND}") from error
        images = dict(_pictures(spaces["observation_space"]))
        if not images:
            raise DataError(f"{self._where}: no observation is a picture (uint8, height x width x 3); states only")
        action = spaces["action_space"]
        facts = [action.get(key) if isinstance(action, dict) else None for key in ("type", "dtype", "shape")]
        if facts[:2] not in (["Box", "float32"], ["Box", "float64"]) or not is_shape(facts[2], 1):
            raise DataError(f"{self._where}: the action space is {facts}, expected a Box of floats in one row")
        return _Spaces(images, action["shape"][0], _declared_range(action))


def _pictures(space: Any, key: str = "") -> list[tuple[str, list[int]]]:
    """Keys and shapes of the pictures in an observation space; "" is a space that is a picture itself."""
    if not isinstance(space, dict):
        return []
    if space.get("type") == "Dict" and isinstance(space.get("subspaces"), dict):
        parts = space["subspaces"].items()
        return [found for name, part in parts for found in _pictures(part, f"{key}/{name}" if key else name)]
    shape = space.get("shape")
    if space.get("type") != "Box" or space.get("dtype") != "uint8" or not isinstance(shape, list):
        return []
    return [(key, shape)] if is_shape(shape, 3) and shape[2] == 3 else []


def _chosen_camera(where: str, keys: list[str], wanted: str | None) -> str:
    if wanted is None and len(keys) == 1:
        return keys[0]
    if wanted not in keys:
        raise ParamsError(f"{where}: pass --image-key, one of {', '.join(keys)}" + (f", not {wanted}" * bool(wanted)))
    return wanted


def _declared_range(action: dict[str, Any]) -> str:
    """The range that the data declares, as ``--action-range`` takes it; empty where it declares none."""
    low, high = action.get("low"), action.get("high")
    if not isinstance(low, list) or not isinstance(high, list) or not np.isfinite([*low, *high]).all():
        return ""
    pairs = [f"{a:g}:{b:g}" for a, b in zip(low, high, strict=False)]
    return pairs[0] if len(set(pairs)) == 1 else ",".join(pairs)


def open_source(path: Path, options: ImportOptions) -> MinariDataset:
    """See ``gsa.importers.open_source``."""
    return MinariDataset(path, options)
