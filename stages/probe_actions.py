"""``gsa probe-actions``: opposite actions in the simulator and in the world model."""

from pathlib import Path
from typing import Annotated

import typer

from gsa.pipeline import STAGES, place
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params, some
from stages.progress import each, progress

STAGE = "probe-actions"


def probe_actions(
    task: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK", help="Task, e.g. mw-reach [default: matrix.probe_actions.tasks]."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="World model [default: that of the task's body].")] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder of one task [default: probes/TASK].")] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Measure how much of what actions change in the simulator's pictures the world model knows.

    From the same states each action is held for 20 decisions, and then its opposite. r2 is the share of the difference
    between the two pictures that the model's own pictures explain: 1 is all of it, 0 as much as without listening.
    """
    from contextlib import closing

    from gsa.cpu import accelerate_for
    from gsa.envs import make_env
    from gsa.errors import ParamsError
    from gsa.loops.probe_actions import describe, measured, write_probe
    from gsa.parallel.ranks import choose_device
    from gsa.pretrained import load_world_model
    from gsa.runs.run_dir import open_run

    loaded = open_params(params, sets, plugin, {"--task": ("matrix.probe_actions.tasks", task)})
    tree, section = loaded.params, loaded.params.probe_actions
    some({"matrix.probe_actions.tasks": tree.matrix.probe_actions.tasks})
    if out is not None and len(tree.matrix.probe_actions.tasks) != 1:
        raise ParamsError("--out is the folder of one task; give one --task too, or leave it out")
    device = choose_device(tree.machine.device)

    def measure(task: str) -> None:
        usual = place("model", tree.model_of(task))
        folder = model or usual
        others = {"model": folder} if folder != usual else {}
        path = out or STAGES[STAGE].place(loaded.variant(STAGE, task=task, folders=others), task=task)
        with open_run(path, **loaded.identity(STAGE, task=task), inputs={"model": folder}, item=task) as run:
            world_model = load_world_model(folder, tree.world_model)[0].to(device)
            accelerate_for(world_model, tree.machine, device)
            with closing(make_env(task, tree.render)) as env, progress(section.starts, f"{task}, starts") as advance:
                result = measured(world_model, env, section, advance)
            write_probe(run.path, result)
        typer.echo(f"{describe(task, result)}; wrote {path}")

    each(tree.matrix.probe_actions.tasks, measure)
