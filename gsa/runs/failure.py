"""``failed.json``: what a run that ended in an error leaves where its output would be, for the report to name it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gsa.errors import ArtifactError, GSAError, StoppedError, one_line
from gsa.faults import explained
from gsa.files import write_atomic

FAILED_FILE = "failed.json"


@contextmanager
def recorded_failure(folder: Path, stage: str) -> Iterator[None]:
    """Write ``folder/failed.json`` when the block of ``stage`` ends in an error, which goes on its way.

    A run that a signal stopped has not failed, nor one whose inputs are damaged. An output that is there already stays
    as it is: nothing is written beside it. The run that succeeds replaces the folder.
    """
    try:
        yield
    except Exception as raised:
        place = Path(os.path.realpath(folder))
        error = explained(raised, place) or raised
        if isinstance(error, StoppedError | ArtifactError):
            raise
        if not place.exists() or {path.name for path in place.iterdir()} <= {FAILED_FILE}:
            record = {"stage": stage, "reason": f"{type(error).__name__}: {one_line(error)}"}
            with suppress(GSAError, OSError):  # a disk that is full takes no record either
                write_atomic(place / FAILED_FILE, json.dumps(record) + "\n")
        raise


def read_failure(folder: Path) -> str | None:
    """Why the run in ``folder`` failed, on one line; None if it left no such record.

    Whatever is in the file, the run stays failed.
    """
    path = folder / FAILED_FILE
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    reason = record.get("reason") if isinstance(record, dict) else text
    return one_line(reason or "no reason given")
