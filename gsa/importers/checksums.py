"""Files that a data set names: inside its folder, and as ``SHA256SUMS`` beside them says.

That list is what ``sha256sum FILE...`` prints. LeRobot's videos, Minari's HDF5 and Arrow files hold no checksums: a
flipped bit there is another picture or another action, and nothing inside the file says so.
"""

import logging
import re
from pathlib import Path

from gsa.errors import DataError
from gsa.files import sha256_file

log = logging.getLogger(__name__)

SUMS = "SHA256SUMS"

_LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>.+)")


def member(folder: Path, relative: str) -> Path:
    """A file that a data set names, inside its folder.

    Raises:
        DataError: the name leaves the folder.
    """
    if not relative or Path(relative).is_absolute() or ".." in Path(relative).parts or "\0" in relative:
        raise DataError(f"{folder}: the data names the file {relative!r}, which leaves its folder; do not trust it")
    return folder / relative


class Checksums:
    """The list in ``folder``, if one is ``present``; each file is hashed once, before it is first read.

    Args:
        folder: The data set's.
        what: Which of its files carry no checksums of their own, to warn of when there is no list; None if all do.

    Raises:
        DataError: a line that is none of ``sha256sum``'s, a name outside the folder, or a listed file that is missing.
    """

    def __init__(self, folder: Path, what: str | None) -> None:
        path = folder / SUMS
        self.present = path.is_file()
        self._digests: dict[Path, str] = {}
        self._checked: set[Path] = set()
        if not self.present and what is not None:
            log.warning("%s has no %s and %s hold no checksums: damage inside cannot be seen", folder, SUMS, what)
        lines = path.read_text(errors="replace").splitlines() if self.present else []
        for number, line in enumerate(lines, 1):
            match = _LINE.fullmatch(line)
            if match is None:
                raise DataError(f"{path}, line {number}: expected '<sha256>  <file>'; write it with sha256sum")
            file = member(folder, match["name"].removeprefix("./"))
            if not file.is_file():
                raise DataError(f"{file} is missing, {SUMS} lists it; fetch the data again")
            self._digests[file] = match["digest"]

    def check(self, file: Path) -> Path:
        """``file`` itself, once it is known to be what the list says; without a list, if it is there.

        Raises:
            DataError: missing, not listed, or another digest.
        """
        if not file.is_file():
            raise DataError(f"{file} is missing; fetch the data again")
        if self.present and file not in self._checked:
            if file not in self._digests:
                raise DataError(f"{file} is not in {SUMS}; list every file, or remove {SUMS}")
            expected, found = self._digests[file], sha256_file(file)
            if found != expected:
                raise DataError(f"{file} is damaged: sha256 {found[:12]}, {SUMS} says {expected[:12]}; fetch it again")
            self._checked.add(file)
        return file
