"""What lies in an input folder, looked at before anything in it is opened: opening a pipe would wait for ever.

Hidden entries (``._x`` and ``.DS_Store`` of macOS, ``.cache`` of download tools) are nobody's data: they are neither
read nor part of what identifies an input.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gsa.errors import DataError, one_line

MAX_DEPTH = 64
"""Folders within folders; data sets have about four."""

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_UNREADABLE = {errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR}
_UNREADABLE |= {errno.ENXIO, errno.ENAMETOOLONG, errno.ESTALE, errno.ENODEV, errno.EINVAL}


def is_hidden(name: str) -> bool:
    """Whether any part of a path's name begins with a dot."""
    return any(part.startswith(".") for part in Path(name).parts)


def listed(folder: Path, pattern: str) -> list[Path]:
    """Sorted matches of a glob pattern below ``folder``, without hidden ones."""
    return sorted(path for path in folder.glob(pattern) if not is_hidden(str(path.relative_to(folder))))


def check_folder(folder: Path) -> None:
    """Refuse an input in which something not hidden cannot be read as a file or a folder.

    Raises:
        DataError: a link that leads nowhere or back to itself, a pipe, socket or device, something without the right
            to read it, a name that is not UTF-8, or more than ``MAX_DEPTH`` folders within each other.
    """
    with reading(folder):
        if not folder.is_dir():
            raise DataError(f"no data at {folder}; check the path")
        whole = folder.resolve()
        above_all = frozenset((at.st_dev, at.st_ino) for at in (place.stat() for place in (whole, *whole.parents)))
    todo = [(folder, above_all)]
    while todo:
        place, above = todo.pop()
        if len(above) - len(above_all) >= MAX_DEPTH:
            raise DataError(f"{place}: more than {MAX_DEPTH} folders within each other; name the data set's own folder")
        with reading(place):
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = Path(entry.path)
            if not entry.name.isascii() and entry.name != os.fsencode(entry.name).decode(errors="replace"):
                raise DataError(f"{place} holds the name {entry.name!r}, expected UTF-8; rename it")
            with reading(path):
                found = entry.stat()
            if stat.S_ISDIR(found.st_mode):
                mark = (found.st_dev, found.st_ino)
                if mark in above:
                    raise DataError(f"{path} is a link that leads back to a folder it lies in; remove it")
                todo.append((path, above | {mark}))
            elif not stat.S_ISREG(found.st_mode):
                kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
                raise DataError(f"{path} is {kind}, expected files and folders alone; take it out of the input")
            if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(found.st_mode) else 0)):
                raise DataError(f"{path} cannot be read (permission denied); ask its owner, or chmod it")


@contextmanager
def reading(place: Path | str) -> Iterator[None]:
    """What the system says when it cannot read an input, as a DataError that names it.

    Errors of the machine, such as a full disk or too many open files, pass as they are.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
        name = error.filename if isinstance(error.filename, str) else str(place)
        raise DataError(f"{name} {_why(Path(name), error)}") from error


def _why(path: Path, error: OSError) -> str:
    if path.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
        where = "nothing" if error.errno != errno.ELOOP else "itself"
        return f"is a link to {str(path.readlink())!r}, which leads to {where}; remove it or fetch the data again"
    remedy = {errno.ENOENT: "fetch the data again", errno.EIO: "check the disk"}.get(error.errno or 0)
    return f"cannot be read ({one_line(error.strerror or error)}); {remedy or 'ask its owner, or chmod it'}"
