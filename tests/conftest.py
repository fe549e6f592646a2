"""Shared by all tests: nothing of the user's machine leaks in, and the command line as a function."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported anywhere

from click.testing import Result
from typer.testing import CliRunner

for _number in (
    signal.SIGINT,
    signal.SIGHUP,
):  # `nohup` leaves them ignored, and all that the tests start inherits that
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]
"""The repository."""

Invoke = Callable[..., Result]


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture(autouse=True, scope="module")
def _own_tasks_stay_in_their_module() -> Iterator[None]:
    """The table of tasks is the process's: what a module registers would be there for the next one."""
    from gsa.tasks import TASKS

    before = dict(TASKS)
    yield
    TASKS.clear()
    TASKS.update(before)


@pytest.fixture
def invoke() -> Invoke:
    """Run ``gsa`` in this process; only what is meant for the user is caught, bugs raise."""

    def run(*args: str | Path) -> Result:
        from stages.commands import app

        result = CliRunner().invoke(app, [str(arg) for arg in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
