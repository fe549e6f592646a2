"""An output folder takes the place of the one before it: at once, whole, and behind a link.

It is made in ``.NAME.tmp.<pid>`` beside its place. Where the system can, the two folders change places in one step
(``renameat2``), and a kill at any moment leaves the whole old one or the whole new one. Elsewhere two renames do it.
Between them the old one is ``.NAME.old.<pid>``; the next run puts it back if all of it is as its record says.
"""

import ctypes
import errno
import logging
import os
import re
import shutil
from pathlib import Path

from gsa.errors import ArtifactError, ParamsError
from gsa.files import fsync
from gsa.runs.fingerprint import verify

log = logging.getLogger(__name__)

AT_FDCWD = -100
RENAME_EXCHANGE = 2
CANNOT = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM)
"""What a system or a file system says that does not know how to exchange."""


def behind_links(out: Path) -> Path:
    """Where an output really goes: ``out`` itself, or what the link of that name points to.

    Raises:
        ParamsError: the link leads into nowhere or to itself, or the place is a mount point, which cannot be replaced.
    """
    place = Path(os.path.realpath(out)) if out.is_symlink() else out
    if place.is_symlink():
        raise ParamsError(f"the output {out} is a link that leads to itself; remove it")
    if out.is_symlink() and not place.parent.is_dir():
        raise ParamsError(
            f"the output {out} is a link into {place.parent}, which is no folder; mount it or remove the link"
        )
    if os.path.ismount(place):
        raise ParamsError(f"the output {out} is a mount point, which cannot be replaced; name a folder in it")
    return place


def beside(place: Path) -> Path:
    """Where this process makes the folder that will be ``place``."""
    return place.with_name(f".{place.name}.tmp.{os.getpid()}")


def publish(new: Path, place: Path) -> None:
    """Move the folder ``new`` to ``place``, where it replaces what is there; its files are on disk already."""
    if not place.exists():
        new.rename(place)
        fsync(place.parent)
        return
    if not exchange(new, place):
        old = place.with_name(f".{place.name}.old.{os.getpid()}")
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
        fsync(place.parent)
        old.rename(new)  # what is called old is whole
    fsync(place.parent)
    shutil.rmtree(new, onerror=lambda _, path, why: log.warning("cannot remove %s (%s)", path, why[1]))


def exchange(one: Path, other: Path) -> bool:
    """Let two paths of one file system change places in one step; False where system or file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(other))


def left_behind(place: Path) -> list[Path]:
    """What runs that were killed left beside ``place``, newest first; of others, if no lock is held on it."""
    ours = re.compile(rf"\.{re.escape(place.name)}\.(tmp|old)\.\d+")
    parent = place.parent
    found = [path for path in parent.iterdir() if ours.fullmatch(path.name)] if parent.is_dir() else []
    found = [path for path in found if path.is_dir() and not path.is_symlink()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def sweep(place: Path) -> None:
    """Put back the output if a run was killed between two renames, and remove the rest. The lock must be held."""
    for path in left_behind(place):
        if ".old." in path.name and not place.exists() and _is_whole(path):
            path.rename(place)
            fsync(place.parent)
            log.warning("restored %s, which a run that died had moved to %s", place, path.name)
        else:
            log.warning("removing %s, left by a run that died", path)
            shutil.rmtree(path)


def _is_whole(folder: Path) -> bool:
    try:
        return verify(folder) > 0
    except (ArtifactError, OSError) as error:
        log.warning("not restoring %s: %s", folder, error)
        return False
