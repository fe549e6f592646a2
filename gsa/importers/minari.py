"""``--format minari``: a Minari data set, in its HDF5, Arrow or Parquet storage, read from its documented layout.

``data/metadata.json`` describes the spaces; an episode has T actions and T + 1 observations, among them at least one
picture: raw uint8, or a JPEG per row. Rewards are not read. The storage holds no checksums (see ``checksums``).
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gsa.episode import Episode
from gsa.errors import DataError
from gsa.files import read_json
from gsa.importers.base import REFETCH, ImportOptions, chosen_camera, is_shape
from gsa.importers.checksums import Checksums
from gsa.importers.mapping import ForeignSource
from gsa.importers.minari_storage import STORAGES

METADATA = "metadata.json"


class _Spaces(NamedTuple):
    """Shapes of the pictures by key (``a/b`` in nested spaces), and the action's width and declared range."""

    images: dict[str, list[int]]
    action_dim: int
    declared_range: str


class MinariDataset(ForeignSource):
    """A data set's folder, or its ``data`` folder (``Source``).

    Raises:
        DataError: no Minari data set, damaged, no pictures, or actions that are not continuous.
        ParamsError: nothing says which body acts, or which of several cameras is meant.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        folder = path / "data" if (path / "data" / METADATA).is_file() else path
        sums = Checksums(path, "Minari's files")
        where, meta = str(folder / METADATA), read_json(sums.check(folder / METADATA), DataError, REFETCH)
        self._spaces = _spaces(where, meta)
        self._image_key = chosen_camera(where, list(self._spaces.images), options.image_key)
        episodes, kind, name = (meta.get(key) for key in ("total_episodes", "data_format", "dataset_id"))
        if not isinstance(episodes, int) or episodes < 1:
            raise DataError(f"{where}: total_episodes is {episodes!r}, expected at least 1; {REFETCH}")
        if not isinstance(kind, str) or kind not in STORAGES:
            raise DataError(f"{where}: data_format is {kind!r}, expected one of {', '.join(STORAGES)}")
        self._storage = STORAGES[kind](folder, sums, episodes)
        self._origin = {"format": "minari", "rate": "unknown", "sha256_checked": sums.present}
        files = [self._storage.name.format(index) for index in range(episodes)]
        super().__init__(path, options, files, name if isinstance(name, str) else "")

    def read(self, index: int) -> Episode:
        """Episode ``index``; see ``Source.read``."""
        shape, width = self._spaces.images[self._image_key], self._spaces.action_dim
        where, images, action, terminations = self._storage.read(index, self._image_key, shape, width)
        decisions = len(action)
        for column, length, expected in [
            (f"observations/{self._image_key}", len(images), decisions + 1),
            ("terminations", len(terminations), decisions),
        ]:
            if length != expected:
                raise DataError(f"{where}: {column} has {length} rows for {decisions} actions, expected {expected}")
        if terminations[:-1].any():
            row = int(np.argmax(terminations))
            raise DataError(f"{where}: terminations is true at row {row}, before the last; split this episode")
        return self._episode(
            index,
            where,
            lambda rows: (images[row] for row in rows),
            action,
            bool(decisions and terminations[-1]),
            self._origin,
            declared=self._spaces.declared_range,
        )


def _spaces(where: str, meta: dict[str, Any]) -> _Spaces:
    spaces = {}
    for name in ("observation_space", "action_space"):
        try:
            spaces[name] = json.loads(meta[name])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{where}: {name} is missing or unreadable ({error!r}); {REFETCH}") from error
    images, action = dict(_pictures(spaces["observation_space"])), spaces["action_space"]
    if not images:
        raise DataError(f"{where}: no observation is a picture (uint8, height x width x 3); states only")
    facts = [action.get(key) if isinstance(action, dict) else None for key in ("type", "dtype", "shape")]
    if facts[:2] not in (["Box", "float32"], ["Box", "float64"]) or not is_shape(facts[2], 1):
        raise DataError(f"{where}: the action space is {facts}, expected a Box of floats in one row")
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


def _declared_range(action: dict[str, Any]) -> str:
    """The range that the data declares, as ``--action-range`` takes it; empty where it declares none."""
    low, high = action.get("low"), action.get("high")
    if not isinstance(low, list) or not isinstance(high, list) or not np.isfinite([*low, *high]).all():
        return ""
    pairs = [f"{a:g}:{b:g}" for a, b in zip(low, high, strict=False)]
    return pairs[0] if len(set(pairs)) == 1 else ",".join(pairs)
