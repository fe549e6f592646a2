"""Items of a stage one after another: one whose data or training fails does not stop the others."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from gsa.errors import DataError, TrainingError

log = logging.getLogger(__name__)

Item = TypeVar("Item")


def each(items: Sequence[Item], run: Callable[[Item], None]) -> None:
    """Run every item; what any other error or a signal says holds for all of them, and ends this at once.

    Raises:
        DataError, TrainingError: of the items that failed, after the others; one line names them all.
    """
    failed: list[DataError | TrainingError] = []
    for number, item in enumerate(items, start=1):
        try:
            run(item)
        except (DataError, TrainingError) as error:
            failed.append(error)
            if number < len(items):
                log.warning("%s; going on with the next of %d", error, len(items))
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise type(failed[0])(f"{len(failed)} of {len(items)} failed: " + "; ".join(str(error) for error in failed))
