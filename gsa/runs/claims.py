"""What a command may write over: nothing that is not its own, and never the ground it stands on.

An output folder replaces an absent or empty folder, or an earlier output of the same stage, as its ``run.json`` or
``failed.json`` says. Files that the record does not list are the user's. All of it is checked before any work.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gsa.errors import ParamsError
from gsa.files import fsync
from gsa.pipeline import command
from gsa.runs.failure import FAILED_FILE
from gsa.runs.fingerprint import RUN_FILE
from gsa.runs.process import hold_lock, lock_of


def check_output(out: Path, stage: str, sources: Mapping[str, Path], kept: Iterable[Path] = ()) -> None:
    """Refuse an output folder whose making would delete something else, or change an input.

    Args:
        out: The folder, perhaps a link to one.
        stage: Who writes it.
        sources: Files and folders by what they are, such as an input; the output holds none of them and lies in none.
        kept: Files, such as the parameters, whose folder the output must not hold.

    Raises:
        ParamsError: it is, holds or lies in what it must not; or it holds what the stage did not make.
    """
    place = _real(out)
    grounds = {"the working directory": Path.cwd().resolve()}
    grounds |= {f"the folder of {path}": folder for path in kept for folder in {_real(path.parent), _real(path).parent}}
    for what, ground in grounds.items():
        if ground.is_relative_to(place):
            raise ParamsError(f"the output {out} is {what} or holds it and would replace it; name a folder of its own")
    for what, path in sources.items():
        source = _real(path)
        if source.is_relative_to(place):
            raise ParamsError(f"the output {out} is the {what} at {path} or holds it; name another folder")
        if place.is_relative_to(source):
            raise ParamsError(f"the output {out} lies in the {what} at {path}; name a folder outside it")
    if place.is_dir() and (reason := _not_ours(place, stage)):
        raise ParamsError(f"the output {out} {reason}; name another folder, or move or delete what is there")


@contextmanager
def new_file(path: Path, read: Path) -> Iterator[Path]:
    """A temporary neighbour of ``path``, of the same suffix, to fill; the block's end moves it there.

    It has the same name each time, so what a killed process left of it is written over.

    See ``check_new_file`` for ``read``. Nothing that exists is replaced. LockError where another process makes it.
    """
    check_new_file(path, read)
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.stem}.tmp{path.suffix}")
    with hold_lock(lock_of(path), path):
        try:
            yield tmp
            fsync(tmp)
            check_new_file(path, read)
            tmp.rename(path)
        finally:
            tmp.unlink(missing_ok=True)


def check_new_file(path: Path, read: Path) -> None:
    """ParamsError where ``path`` exists or lies in the folder ``read`` whose contents are shown."""
    if os.path.lexists(path):
        raise ParamsError(f"{path} exists and is not replaced; name another file, or delete it")
    if _real(path).is_relative_to(_real(read)):
        raise ParamsError(f"{path} lies in {read}, whose record lists its files; name a file outside it")


def _not_ours(folder: Path, stage: str) -> str:
    """Why the stage may not replace the folder; empty where it may."""
    files = _files(folder)
    if not any(folder.iterdir()):
        return ""
    if files == {FAILED_FILE}:
        record, listed = _record(folder / FAILED_FILE), {FAILED_FILE}
    else:
        record = _record(folder / RUN_FILE)
        outputs = record.get("outputs")
        listed = {RUN_FILE, *(outputs if isinstance(outputs, dict) else ())}
    by = f"`gsa {command(stage)}`"
    if record.get("stage") != stage:
        made = record.get("stage")
        found = f"was made by {made}" if isinstance(made, str) else f"holds {_first(folder, files)}"
        return f"{found}, and no record says that {by} ({stage}) made it"
    if added := files - listed:
        return f"holds {min(added)}, which {by} did not write"
    return ""


def _first(folder: Path, files: set[str]) -> str:
    return min(files, default="") or min(path.name for path in folder.iterdir())


def _files(folder: Path) -> set[str]:
    """Relative paths of all below the folder that is no folder; a link is a file."""
    found = set()
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        found |= {Path(parent, name).relative_to(folder).as_posix() for name in (*names, *links)}
    return found


def _record(path: Path) -> dict[str, Any]:
    """A record, empty where there is none or it is damaged; OSError where the disk does not say."""
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
