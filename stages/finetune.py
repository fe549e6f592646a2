"""``gsa finetune``: tasks learned online, one run per task, method and seed."""

from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from gsa.config.load import read_tree
from gsa.errors import ParamsError
from gsa.pipeline import LEARNERS, place, run_name
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params, some_runs
from stages.progress import each, progress


def by_learner(path: Path, names: list[str]) -> dict[str, list[str]]:
    """The methods as ``matrix.finetune.methods`` lists them, so that no other method is checked."""
    methods = read_tree(path).get("methods", {})
    listed: dict[str, list[str]] = {}
    for name in names:
        if not isinstance(methods.get(name), dict):
            raise ParamsError(f"--method {name}: unknown method, {path} has {', '.join(methods)}")
        listed.setdefault(methods[name].get("learner"), []).append(name)
    return listed


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
    model: Annotated[
        Path | None, typer.Option(help="World model [default: models/NAME that lists the task's body].")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="Index [default: index/NAME].")] = None,
    runs: Annotated[Path, typer.Option(help="Parent of the run folders METHOD_TASK_sSEED.")] = Path("runs"),
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Learn tasks online with any method; those of the GSA learner start from the world model and the offline data."""
    from gsa.cost.space import weights_of
    from gsa.envs import make_env
    from gsa.loops.finetune import Finetuner
    from gsa.parallel.ranks import choose_device
    from gsa.runs.failure import recorded_failure
    from gsa.runs.run_dir import open_run
    from gsa.tasks import get_task
    from stages.estimate import say_space

    lists = {"task": task, "seed": seed, "method": method and by_learner(params, method)}
    flags = {f"--{name}": (f"matrix.finetune.{name}s", values) for name, values in lists.items()}
    loaded = open_params(params, sets, plugin, flags)
    tree, matrix = loaded.params, loaded.params.matrix.finetune
    some_runs(matrix)

    given = {"offline": offline, "model": model, "index": index}
    listed = read_tree(params)["matrix"]["pretrain"].get("models", {})  # without --set
    device = choose_device(tree.machine.device)

    def learn(task: str, method: str, seed: int) -> None:
        spec, learner = get_task(task), tree.method(method).learner
        stage = f"finetune-{learner}"
        names = LEARNERS[learner].inputs
        own = tree.model_of(task) if "model" in names else ""
        inputs = {name: given[name] or place(name, own) for name in names}
        usual = "".join(name for name, bodies in listed.items() if spec.embodiment in bodies)
        others = {name: path for name, path in inputs.items() if path != place(name, usual)}
        item = run_name(method, task, seed, loaded.variant(stage, method, task, others))
        with open_run(runs / item, **loaded.identity(stage, method, task), inputs=inputs, item=item) as run:
            with (
                recorded_failure(runs / item, stage),
                progress(tree.finetune.total_frames, f"{item}, frames") as advance,
            ):
                tuner = Finetuner(lambda: make_env(task, tree.render), spec, method, seed, tree, inputs, device)
                say_space(item, tree, method, task, weights_of(tuner.learner), device, run.checkpoints.folder)
                record = tuner.run(run.checkpoints, advance)
            tuner.write(run.path)
            how = {"device": str(device), "machine": tree.machine.model_dump(), "accelerated": tuner.accelerated}
            run.notes.update(record.facts | how)
        final = record.scores[-1]
        typer.echo(f"wrote {item}: score {final.score:.3g} after {final.frames} frames to {runs / item}")

    each(list(product(matrix.tasks, matrix.all_methods, matrix.seeds)), lambda item: learn(*item))
