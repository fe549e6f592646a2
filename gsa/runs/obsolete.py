"""What runs leave that is of no more use: progress of outputs that were made since, and folders of runs that died.

A paused run's progress is not: the same command resumes it. Nothing is touched while a process holds the output's lock.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gsa.errors import ArtifactError, LockError
from gsa.files import read_sealed
from gsa.pipeline import FOLDERS
from gsa.runs.checkpoint import ABOUT_FILE
from gsa.runs.fingerprint import RUN_FILE
from gsa.runs.process import hold_lock, lock_of
from gsa.runs.publish import left_behind

LEFT = re.compile(r"\.(.+)\.(?:tmp|old)\.\d+")


@dataclass(frozen=True)
class Leftover:
    """A folder, the output it belongs to (None where nothing says which), and what it is still good for.

    ``obsolete`` is of no use; ``paused`` saves the same command work; ``needed`` is the only copy of something.
    """

    folder: Path
    output: Path | None
    why: str
    state: Literal["obsolete", "paused", "needed"]

    @property
    def size_mb(self) -> float:
        """Megabytes of its files."""
        return sum(found.st_size for found in _stats(self.folder)) / 1e6


def leftovers(state_dir: Path) -> list[Leftover]:
    """Every folder of progress in ``state_dir``, then what killed runs left beside outputs, here and elsewhere."""
    progress = [_progress(folder, state_dir) for folder in sorted(state_dir.glob("checkpoints/*/*")) if folder.is_dir()]
    outputs = {item.output for item in progress if item.output is not None} | set(_outputs_here())
    return progress + [item for output in sorted(outputs) for item in _left(output)]


def remove(item: Leftover) -> bool:
    """Delete its folder; False where a process that lives holds the output, or nothing says which output it is of."""
    if item.output is None:
        return False
    lock = lock_of(item.output)
    try:
        with hold_lock(lock, item.output) if lock.parent.is_dir() else nullcontext():
            if not item.folder.exists():  # its run went on and ended
                return False
            shutil.rmtree(item.folder)
            with suppress(OSError):  # progress of other settings lies there, or it is a folder of outputs
                if item.folder.parent.parent.name == "checkpoints":
                    item.folder.parent.rmdir()
    except LockError:
        return False
    return True


def _progress(folder: Path, state_dir: Path) -> Leftover:
    try:
        about = read_sealed(folder / ABOUT_FILE, ArtifactError, "delete it by hand when nothing runs")
        output = Path(os.path.normpath(Path.cwd() / state_dir / str(about["output"])))
        stage = str(about["stage"])
    except (ArtifactError, KeyError) as error:
        return Leftover(folder, None, f"nothing says which output it belongs to ({error})", "needed")
    place = Path(os.path.realpath(output))
    record = place / RUN_FILE
    newest = max((found.st_mtime for found in _stats(folder)), default=0.0)
    if record.is_file() and record.stat().st_mtime > newest:
        return Leftover(folder, place, f"{stage} made {output} since", "obsolete")
    return Leftover(folder, place, f"progress of {stage} for {output}; the same command resumes it", "paused")


def _stats(folder: Path) -> Iterator[os.stat_result]:
    """Of every file below the folder; a running process may remove some meanwhile."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                yield path.lstat()


def _outputs_here() -> Iterator[Path]:
    """Outputs of the pipeline's folders beside which a run that died left something."""
    for parent in {Path(path) if "$" not in path else Path(path).parent for path in FOLDERS.values()}:
        for folder in {parent, parent.parent}:
            if folder.is_dir():
                names = [found[1] for path in folder.iterdir() if (found := LEFT.fullmatch(path.name))]
                yield from (Path(os.path.realpath(folder)) / name for name in names)


def _left(output: Path) -> Iterator[Leftover]:
    for path in left_behind(output):
        if ".old." in path.name and not output.exists():
            yield Leftover(path, output, f"{output} before a run died; the next run puts it back", "needed")
        else:
            yield Leftover(path, output, f"left by a run of {output} that died", "obsolete")
