"""Faults of the machine as lines for a user: a full or failing disk, no permission, no memory, in any library's words.

One place knows them. Code that writes lets them pass; the command line, and whoever knows a better name for what was
being written, asks ``explained``.
"""

import errno
import os
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gsa.errors import ArtifactError, DataError, GSAError, ParamsError, ResourceError, Stop, StoppedError, one_line

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Disk or quota full, or a file beyond its limit."""

FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}

NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST, errno.EINVAL}

SPOKEN = (*NO_SPACE, *FORBIDDEN, errno.EIO, errno.ENOMEM, errno.EMFILE)
"""What libraries that raise no OSError say in words, which are the system's."""

NO_MEMORY = re.compile(
    r"can.t allocate|could not allocate|unable to allocate|out of memory|bad_?alloc|can.t start new thread"
    r"|failed to map segment|cannot allocate memory|not enough memory"
    r"|caught an unknown exception"  # MuJoCo, where it cannot build a model
    r"|could not create a primitive",  # oneDNN
    re.IGNORECASE,
)

AMOUNT = re.compile(r"([0-9][0-9.,]*) ?(bytes|[KMGT]i?B)\b")


def explained(error: BaseException, path: Path | None = None) -> GSAError | None:
    """What a user can do something about, in ``error`` or what it was raised from; None where it is a bug of ours.

    A stop that somebody wrapped is that stop, and a failing disk is no damaged file. ``path`` is what was being
    written, for errors that name no file.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, StoppedError):
            return cause
        if isinstance(cause, Stop):
            return StoppedError(str(cause))
    if isinstance(error, ResourceError):
        return error
    if isinstance(error, GSAError):
        disk = [cause for cause in causes[1:] if getattr(cause, "errno", None) in {errno.EIO, *NO_SPACE}]
        return _of_errno(disk[0], disk[0].errno, path) if disk else error  # type: ignore[attr-defined]
    for depth, cause in enumerate(causes):
        if isinstance(cause, MemoryError) or NO_MEMORY.search(str(cause)):
            return _of_memory(cause)
        number = cause.errno if isinstance(cause, OSError) else None
        if number is None:  # torch, Faiss, safetensors, Arrow and HDF5 have the system's words in their own
            number = next((code for code in SPOKEN if os.strerror(code) in str(cause)), None)
        if number is None and "unexpected pos" in str(cause):
            number = errno.ENOSPC  # torch where a write came short: "unexpected pos 704 vs 598"
        # What a bug was raised from is often harmless, such as a file that need not exist.
        if number is not None and (depth == 0 or number in SPOKEN):
            return _of_errno(cause, number, path)
    return None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Faults of the machine inside the block become lines that name ``path``, unless they name a file themselves."""
    try:
        yield
    except Exception as error:
        found = explained(error, path)
        if found is None or found is error:
            raise
        raise found from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        current = current.__cause__ or current.__context__


def _of_errno(error: BaseException, number: int, path: Path | None) -> GSAError:
    named = getattr(error, "filename", None)
    where = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else path
    words = os.strerror(number)
    if number in NO_SPACE:
        return ResourceError(f"no space left writing {where or 'a file'}{_free(where, number)}; free some and rerun")
    if number == errno.EIO:
        fix = "the disk or the network behind it fails; check it, then run the same command again"
        return ResourceError(f"{where or one_line(error)}: {words}: {fix}")
    if where is None or number not in FORBIDDEN | NOT_THERE | {errno.ENAMETOOLONG}:
        about = f"{where}: {words}" if where else one_line(error)
        return ResourceError(f"{about}; the machine refused it (error {number}): check its limits, then run it again")
    if number == errno.ENAMETOOLONG:
        return ParamsError(f"the name {where} is too long for this disk; choose a shorter one")
    is_output = number == errno.EROFS or (number in FORBIDDEN and _was_writing(where))
    if is_output:
        return ParamsError(f"cannot write {where}: {words}; choose another folder or ask for the right to write there")
    kind = ArtifactError if _is_artefact(where) else DataError
    return kind(
        f"cannot read {where}: {words}; " + ("check its permissions" if number in FORBIDDEN else "check the path")
    )


def _free(where: Path | None, number: int) -> str:
    folder = next((parent for parent in where.absolute().parents if parent.is_dir()), None) if where else None
    if number == errno.EFBIG or folder is None:
        return f" ({os.strerror(number)})"
    return f", {shutil.disk_usage(folder).free / 1e6:.0f} MB free"


def _was_writing(path: Path) -> bool:
    """Files are written under names of their own (``.tmp.``) and moved; what is there under its name was being read."""
    if ".tmp." in str(path) or path.suffix == ".lock":
        return True
    if not os.access(path.parent, os.X_OK):  # whether it is there cannot be seen: nobody writes into such a folder
        return not path.parent.exists()
    return not os.path.lexists(path) or (os.access(path, os.R_OK) and not os.access(path.parent, os.W_OK))


def _is_artefact(path: Path) -> bool:
    """Whether a stage of ours made it: its folder, or one above, says so."""
    own = [folder / name for folder in (path, *path.parents) for name in ("run.json", "manifest.json", "meta.json")]
    return ".gsa" in path.parts or any(map(os.path.lexists, own))


def _of_memory(error: BaseException) -> ResourceError:
    text = one_line(error)
    if "new thread" in text:
        needed = "a thread could not start"
    else:
        amount = AMOUNT.search(text)
        needed = f"{amount[0]} more were asked for" if amount else text[:200] or "an allocation failed"
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    allowed = "" if limit == resource.RLIM_INFINITY else f"; this process may have {limit / 1e9:.1f} GB (ulimit -v)"
    return ResourceError(f"out of memory: {needed}{allowed}; make smaller what params.yaml asks for, or give it more")
