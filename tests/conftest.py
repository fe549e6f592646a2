"""Shared by all tests: nothing of the user's machine leaks in, and the command line as a function."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported anywhere

from click.testing import Result
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
"""The repository."""

Invoke = Callable[..., Result]


@pytest.fixture
def root() -> Path:
    return ROOT


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
