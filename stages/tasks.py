"""``gsa tasks``: the table of tasks."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from gsa.errors import ArtifactError, ParamsError
from gsa.tasks import EXTRA_TASKS, TASKS, TaskSpec

REFERENCE = Path(__file__).resolve().parents[1] / "data/reference/paper_results.csv"
