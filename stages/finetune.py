"""``gsa finetune``: tasks learned online, one run per task, method and seed."""

from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from gsa.pipeline import LEARNERS, place
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params
from stages.progress import each, progress


def finetune(
    task: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="Task, e.g. mw-reach [default: matrix.finetune.tasks].")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="Row of methods [default: matrix.finetune.methods].")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(metavar="SEED", help="Seed [default: matrix.finetune.seeds].")
    ] = None,
    offline: Annotated[Path | None, typer.Option(help="Offline data [default: data/offline].")] = None,
    model: Annotated[Path | None, typer.Option(help="World model [default: models/<matrix.pretrain.name>].")] = None,
    index: Annotated[Path | None, typer.Option(help="Index [default: index/<matrix.pretrain.name>].")] = None,
    runs: Annotated[Path, typer.Option(help="Parent of the run folders METHOD_TASK_sSEED.")] = Path("runs"),
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Learn tasks online with any method; those of the GSA learner start from the world model and the offline data."""
    from gsa.agents.base import Offline
    from gsa.envs import make_env
    from gsa.loops.finetune import Finetuner
    from gsa.parallel.ranks import choose_device
    from gsa.pipeline import run_name
    from gsa.runs.failure import recorded_failure
    from gsa.runs.run_dir import open_run
    from gsa.tasks import get_task

    flags = {"--task": ("matrix.finetune.tasks", task), "--seed": ("matrix.finetune.seeds", seed)}
    loaded = open_params(params, sets, plugin, flags)
    tree, matrix = loaded.params, loaded.params.matrix.finetune
    items = list(product(matrix.tasks, method or matrix.all_methods, matrix.seeds))
    for name, chosen, _ in items:
        tree.check_fit(chosen, name)
    given = {"offline": offline, "model": model, "index": index}
    folders = {name: path or place(name, tree.matrix.pretrain.name) for name, path in given.items()}
    device = choose_device(tree.machine.device)

    def learn(task: str, method: str, seed: int) -> None:
        spec, learner = get_task(task), tree.method(method).learner
        stage = f"finetune-{learner}"
        item = run_name(method, task, seed, loaded.variant(stage, method, task))
        inputs = {name: folders[name] for name in LEARNERS[learner].inputs}
        with open_run(runs / item, **loaded.identity(stage, method, task), inputs=inputs, item=item) as run:
            offline = Offline.open(inputs, tree.world_model) if inputs else None  # an artefact's fault, not the run's
            with recorded_failure(runs / item), progress(tree.finetune.total_frames, f"{item}, frames") as advance:
                tuner = Finetuner(lambda: make_env(task, tree.render), spec, method, seed, tree, offline, device)
                record = tuner.run(run.checkpoints, advance)
            tuner.write(run.path)
            run.notes.update(record.facts | {"device": str(device)})
        final = record.scores[-1]
        typer.echo(f"wrote {item}: score {final.score:.3g} after {final.frames} frames to {runs / item}")

    each(items, lambda item: learn(*item))
