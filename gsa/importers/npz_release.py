"""``--format ncrl``: episodes in the npz layout of the authors' release, without a manifest of ours.

One file per episode, ``<timestamp>-<id>-<index>-<length>.npz``, with ``observation`` (T + 1, 3, Y, X) uint8, or in
another layout that can be read in one way only, and ``action`` (T + 1, A) that led to that row, ``discount``, perhaps
``reward`` and ``success`` (T + 1, 1). The zip's CRC checks every array. The reward goes, summed, to the data card and
nowhere else; one that is not finite numbers goes nowhere.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from gsa.episode import Episode
from gsa.errors import DataError
from gsa.files import sha256_file
from gsa.importers.base import Checksums, ImportOptions
from gsa.importers.inputs import listed
from gsa.importers.mapping import ForeignSource, to_episode
from gsa.importers.pictures import NumberPictures
from gsa.storage.raw import NAME, NAME_READS, chosen_actions, finite_column, load_arrays


class NpzFolder(ForeignSource):
    """npz files of an episode each, in the order of the index in their names.

    Raises:
        DataError: no folder, no npz, a name of another form, or a copy of a file beside it.
        ParamsError: nothing says which body acts.
    """

    names: re.Pattern[str]
    """What a name must match, with groups ``index`` and ``length`` (decisions)."""
    names_read: str
    """That form in words."""

    def __init__(self, path: Path, options: ImportOptions, **known: Any) -> None:
        found: dict[str, int] = {}
        for name in (file.name for file in listed(path, "*.npz")):
            if (match := self.names.fullmatch(name)) is None:
                raise DataError(f"{path / name}: name does not read {self.names_read}; move it away")
            found[name] = int(match["index"])
        self._check_copies(path, found)
        if not found:
            raise DataError(f"no npz episodes in {path}; expected {self.names_read}")
        super().__init__(path, options, sorted(found, key=found.__getitem__), **known)
        self._sums = Checksums(path, None)

    @staticmethod
    def _check_copies(path: Path, index: dict[str, int]) -> None:
        """An index may come twice, from two runs; a file may not: it would be learned from twice."""
        seen: dict[int, dict[str, str]] = {}
        twice = {number for number, count in Counter(index.values()).items() if count > 1}
        for name, number in index.items():
            if number in twice:
                first = seen.setdefault(number, {}).setdefault(sha256_file(path / name), name)
                if first != name:
                    raise DataError(f"{path / name} is a copy of {first}; remove one of the two")

    def _file(self, index: int) -> Path:
        return self._sums.check(self.path / self.files[index])

    def _check(self, path: Path, rows: int, is_terminal: np.ndarray) -> None:
        """As many rows as the file's name says, and no end before the last."""
        match = self.names.fullmatch(path.name)
        if match is not None and rows != int(match["length"]) + 1:
            raise DataError(f"{path}: {rows} rows, its name says {int(match['length']) + 1}; fetch it again")
        for row in np.flatnonzero(is_terminal[:-1])[:1]:
            raise DataError(f"{path}: terminal (discount 0) at row {row}, before the last; split this episode")


class NpzRelease(NpzFolder):
    """A folder of the authors' files (``Source``)."""

    names, names_read = NAME, NAME_READS

    def read(self, index: int) -> Episode:
        """Episode ``index``; see ``Source.read``."""
        path = self._file(index)
        arrays = load_arrays(path)
        pictures = NumberPictures(arrays["observation"], f"{path}: observation")
        rows = len(pictures)
        is_terminal = finite_column(path, arrays, "discount", rows) == 0.0
        action = chosen_actions(path, arrays["action"], rows)
        self._check(path, rows, is_terminal)
        success = _outcome(path, arrays, "success", rows)
        return to_episode(
            str(path),
            lambda kept: (pictures[row] for row in kept),
            action,
            bool(is_terminal[-1]),
            self.options,
            self._provenance(index, format="ncrl", rate="unknown"),
            _outcome(path, arrays, "reward", rows),
            None if success is None else success.astype(bool),
        )


def _outcome(path: Path, arrays: dict[str, np.ndarray], key: str, rows: int) -> np.ndarray | None:
    """A column for the data card alone; None where it is absent or no finite number a row: no one learns from it."""
    try:
        return finite_column(path, arrays, key, rows) if key in arrays else None
    except DataError:
        return None
