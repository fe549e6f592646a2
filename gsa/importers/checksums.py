"""``SHA256SUMS`` beside foreign data: what notices a damaged byte in formats without checksums of their own.

The file is what ``sha256sum FILE...`` prints. LeRobot's videos, Minari's HDF5 and Arrow files hold no checksums: a
flipped bit there is another picture or another action, and nothing inside the file says so.
"""

import logging
import re
from pathlib import Path

from gsa.errors import DataError
from gsa.files import sha256_file
from gsa.importers.base import member

log = logging.getLogger(__name__)

SUMS = "SHA256SUMS"

_LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>.+)")


class Checksums:
    """The list in ``folder``, if there is one; each file is hashed once, before it is first read.

    Args:
        folder: The data set's.
        what: Which of its files carry no checksums of their own, to warn of when there is no list; None if all do.

    Raises:
        DataError: a line that is none of ``sha256sum``'s, a name outside the folder, or a listed file that is missing.
    """

    def __init__(self, folder: Path, what: str | None) -> None:
        self._folder = folder
        self._checked: set[Path] = set()
        self._digests: dict[Path, str] | None = None
        path = folder / SUMS
        if not path.is_file():
            if what is not None:
                log.warning("%s has no %s and %s hold no checksums: damage inside cannot be seen", folder, SUMS, what)
            return
        self._digests = {}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            match = _LINE.fullmatch(line)
            if match is None:
                raise DataError(f"{path}, line {number}: expected '<sha256>  <file>'; write it with sha256sum")
            file = member(folder, match["name"].removeprefix("./"))
            if not file.is_file():
                raise DataError(f"{file} is missing, {SUMS} lists it; fetch the data again")
            self._digests[file] = match["digest"]

    @property
    def present(self) -> bool:
        """Whether there is a list."""
        return self._digests is not None

    def check(self, file: Path) -> Path:
        """``file`` itself, once it is known to be what the list says; without a list, if it is there.

        Raises:
            DataError: missing, not listed, or another digest.
        """
        if not file.is_file():
            raise DataError(f"{file} is missing; fetch the data again")
        if self._digests is not None and file not in self._checked:
            expected = self._digests.get(file)
            if expected is None:
                raise DataError(f"{file} is not in {SUMS}; list every file, or remove {SUMS}")
            if (found := sha256_file(file)) != expected:
                raise DataError(f"{file} is damaged: sha256 {found[:12]}, {SUMS} says {expected[:12]}; fetch it again")
            self._checked.add(file)
        return file
