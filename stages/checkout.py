"""Whose code runs: that of the working directory, where it holds this project.

An installed ``gsa`` belongs to one folder. In a second clone, or in the copy of the workspace in which
``dvc exp run --queue`` works, it would run and stamp the code of the first.
"""

import os
import sys
from pathlib import Path

import typer

from gsa.errors import ResourceError

RUNNING = Path(__file__).resolve().parents[1]
"""The folder whose packages ``gsa`` and ``stages`` are imported."""


def use_own_code() -> None:
    """Start the command again with the working directory's own packages first, where others are in use.

    A working directory that is no checkout keeps the installed ones.

    Raises:
        ResourceError: they are in use even though the working directory comes first.
    """
    here = Path.cwd().resolve()
    if here == RUNNING or not all((here / name).is_file() for name in ("gsa/__init__.py", "stages/cli.py")):
        return
    path = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    if path[:1] == [str(here)]:
        raise ResourceError(
            f"the code of {RUNNING} is in use, although {here} has its own and comes first in PYTHONPATH; run the "
            "command as `python -m stages.cli` or install the package here (`make setup`)"
        )
    typer.echo(f"gsa: this folder has its own code, which is used in place of that in {RUNNING}", err=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), *path])}
    os.execve(sys.executable, [sys.executable, "-m", "stages.cli", *sys.argv[1:]], environment)
