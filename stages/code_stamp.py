"""``gsa code-stamp``: the hash of the code that decides each stage's output, and the facts of each task."""

from pathlib import Path

import typer

from gsa.files import write_facts
from gsa.pipeline import STAGES
from gsa.runs.code_stamp import code_stamp as stamp_of
from gsa.runs.code_stamp import stage_modules
from gsa.tasks import TASKS, task_stamp
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params


def code_stamp(
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Write one file per stage with the hash of its code, and one per task; DVC reruns what depends on a changed one.

    Comments, docstrings and layout do not enter the hash. All parameters are checked, before DVC uses a name.
    """
    out = Path(".gsa")
    open_params(params, sets, plugin)  # own tasks are among TASKS then
    write_facts(out / "tasks", {name: task_stamp(spec) for name, spec in TASKS.items()})
    stamps = {stage: {"stage": stage, "code": stamp_of(stage), "modules": stage_modules(stage)} for stage in STAGES}
    write_facts(out / "code", stamps)
    typer.echo(f"wrote the code stamps of {len(STAGES)} stages and the facts of {len(TASKS)} tasks to {out}")
