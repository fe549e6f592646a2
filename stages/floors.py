"""``gsa floors``: what policies that do not learn score, one folder per task."""

import json
from functools import partial
from typing import Annotated

import typer

from gsa.pipeline import STAGES
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params, some

STAGE = "floors"


def floors(
    task: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="Task, e.g. mw-reach [default: matrix.finetune.tasks].")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; 0 is one per core. The same scores [default: machine.workers].")
    ] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Score random, zero and the best constant actions, and the expert if any, by default in floors/TASK.

    They are what a learned policy must beat. Nothing is drawn, so a task takes seconds to minutes.
    """
    from gsa.envs import make_env
    from gsa.loops.floors import measure_floors, planned_episodes
    from gsa.parallel.workers import default_workers
    from gsa.runs.run_dir import open_run
    from gsa.runs.scores import FLOORS_FILE, score_line
    from gsa.tasks import get_task
    from stages.progress import each, progress

    flags = {"--task": ("matrix.finetune.tasks", task), "--workers": ("machine.workers", workers)}
    loaded = open_params(params, sets, plugin, flags)
    tree = loaded.params
    some({"matrix.finetune.tasks": tree.matrix.finetune.tasks})
    count = tree.machine.workers or default_workers()

    def measure(name: str) -> None:
        spec, folder = get_task(name), STAGES[STAGE].place(loaded.variant(STAGE, task=name), task=name)
        make = partial(make_env, spec, tree.render, pixels=False)
        with (
            open_run(folder, **loaded.identity(STAGE, task=name), inputs={}, item=name) as run,
            progress(planned_episodes(spec, tree.floors), f"floors of {name}, episodes") as advance,
        ):
            found = measure_floors(spec, tree.floors, make, count if count > 1 else None, advance)
            (run.path / FLOORS_FILE).write_text("".join(map(score_line, found.rows)), encoding="utf-8")
            (run.path / "constant.json").write_text(json.dumps(found.constant) + "\n", encoding="utf-8")
        listed = ", ".join(f"{row.method} {row.score:.3g}" for row in found.rows)
        action = " ".join(f"{value:g}" for value in found.constant["action"])
        typer.echo(f"wrote floors of {name}: {listed} (constant action {action}) to {folder}")

    each(tree.matrix.finetune.tasks, measure)
