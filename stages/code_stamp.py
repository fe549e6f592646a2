"""``gsa code-stamp``: the hash of the code that decides each stage's output, and the facts of each task."""

import json
from pathlib import Path
from typing import Annotated

import typer

from gsa.pipeline import STAGES
from gsa.runs.code_stamp import code_stamp as stamp_of
from gsa.runs.code_stamp import stage_modules
from gsa.tasks import TASKS, task_stamp
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params


def code_stamp(
    out: Annotated[Path, typer.Option(help="Where the folders code and tasks go.")] = Path(".gsa"),
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Write one file per stage with the hash of its code, and one per task; DVC reruns what depends on a changed one.

    Comments, docstrings and layout do not enter the hash.
    """
    open_params(params, sets, plugin)  # own tasks are among TASKS then
    records: dict[str, object] = {f"tasks/{name}.json": task_stamp(spec) for name, spec in TASKS.items()}
    for stage in STAGES:
        records[f"code/{stage}.json"] = {"stage": stage, "code": stamp_of(stage), "modules": stage_modules(stage)}
    for old in (out / "tasks").glob("*.json"):  # of tasks that are none any more
        if f"tasks/{old.name}" not in records:
            old.unlink()
    for name, record in records.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # it may be a link into DVC's cache
        path.write_text(json.dumps(record, indent=1) + "\n")
    typer.echo(f"wrote the code stamps of {len(STAGES)} stages and the facts of {len(TASKS)} tasks to {out}")
