"""``--format ncrl``: episodes in the npz layout of the authors' release, without a manifest of ours.

One file an episode, ``<timestamp>-<id>-<index>-<length>.npz``, with ``observation`` (T + 1, 3, Y, X) uint8 and
``action`` (T + 1, A) that led to that row, ``discount``, perhaps ``reward`` and ``success`` (T + 1, 1). The zip's CRC
checks every array. The reward goes, summed, to the data card and nowhere else.
"""

from pathlib import Path
from typing import Any

from gsa.episode import Episode
from gsa.errors import DataError
from gsa.importers.base import ImportOptions
from gsa.importers.checksums import Checksums
from gsa.importers.mapping import kept_rows, to_episode
from gsa.storage.raw import NAME, NAME_READS, read_raw_arrays


class NpzRelease:
    """A folder of such files (``Source``), in the order of their index.

    Raises:
        DataError: no folder, no npz, or a name of another form.
        ParamsError: nothing says which body acts.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        names = sorted(file.name for file in path.glob("*.npz"))
        if not names:
            raise DataError(f"no npz episodes in {path}; expected {NAME_READS}")
        for name in names:
            if NAME.fullmatch(name) is None:
                raise DataError(f"{path / name}: name does not read {NAME_READS}; move it away")
        self._sums = Checksums(path, None)
        self.path = path
        self.facts: dict[str, Any] = options.facts(path, path.resolve().name)
        self.files: list[str] = sorted(names, key=lambda name: (_number(name, "index"), name))
        self._options = options

    def read(self, index: int) -> Episode:
        """Episode ``index``; see ``Source.read``."""
        name = self.files[index]
        path = self._sums.check(self.path / name)
        arrays = read_raw_arrays(path)
        rows = len(arrays.image)
        if rows != _number(name, "length") + 1:
            raise DataError(f"{path}: {rows} rows, its name says {_number(name, 'length') + 1}; fetch it again")
        if arrays.is_terminal[:-1].any():
            row = int(arrays.is_terminal.argmax())
            raise DataError(f"{path}: terminal (discount 0) at row {row}, before the last; split this episode")
        return to_episode(
            str(path),
            (arrays.image[row].transpose(1, 2, 0) for row in kept_rows(str(path), rows, self._options)),
            arrays.action[:-1],
            bool(arrays.is_terminal[-1]),
            self._options,
            {**self.facts, "source": self.facts["name"], "file": name, "origin": {"format": "ncrl", "rate": "unknown"}},
            arrays.reward,
            arrays.success,
        )


def _number(name: str, part: str) -> int:
    match = NAME.fullmatch(name)
    assert match is not None
    return int(match[part])


def open_source(path: Path, options: ImportOptions) -> NpzRelease:
    """See ``gsa.importers.open_source``."""
    return NpzRelease(path, options)
