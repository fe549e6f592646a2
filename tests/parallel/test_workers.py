"""Spawned workers: who dies, hangs or breaks is replaced, and what it was at is redone."""

import logging
import multiprocessing
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from gsa.errors import DataError, ResourceError
from gsa.parallel.workers import default_workers, run_workers
from tests.parallel.faulty_work import start

SILENCE_S = 5.0
"""Longer than a healthy worker is ever silent here, even on a machine that does much else."""


def work(folder: Path, *items: str, workers: int = 2) -> Iterator[tuple[str, int]]:
    return run_workers(partial(start, folder), items, "item {}".format, workers, SILENCE_S)


def test_workers_that_die_hang_or_break_are_replaced_and_their_items_redone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = ["dies-once", "hangs-once", "fine", "broken-once", "good", "slow"]
    with caplog.at_level(logging.WARNING):
        done = list(work(tmp_path, *items))
    assert sorted(item for item, _ in done) == sorted(items)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "item dies-once: its process died (exit code -9); another process redoes it" in said
    assert "item hangs-once: its process hangs (no sign of life for" in said
    assert "item broken-once: the frame is black" in said
    assert "slow" not in said and len(caplog.records) == 3
    assert os.getpid() not in {process for _, process in done}
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("broken-always", ResourceError, "item broken-always: the frame is black, as 2 others did"),
        ("data-always", DataError, "the policy acts outside its type"),
        ("bug-always", ZeroDivisionError, "bug"),
    ],
)
def test_what_another_process_cannot_fix_is_raised(
    tmp_path: Path, fault: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        list(work(tmp_path, fault, workers=1))
    if error is not ResourceError:
        assert "faulty_work.py" in caught.value.__notes__[0], "the worker's own traceback"
    assert not multiprocessing.active_children()


def test_whoever_stops_asking_leaves_no_process(tmp_path: Path) -> None:
    results = work(tmp_path, "good", "hangs-always", workers=2)
    assert next(results)[0] == "good"
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("threads", "expected"), [("1", 1), ("1000", None), ("", None)])
def test_one_worker_a_core_of_the_share(monkeypatch: pytest.MonkeyPatch, threads: str, expected: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert default_workers() == (expected or len(os.sched_getaffinity(0)))
