"""``gsa finetune``: one task, one method, one seed, online."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stages.each import each
from stages.progress import progress

if TYPE_CHECKING:
    import torch

    from gsa.config import Params

READS = (
    "render",
    "world_model",
    "agent",
    *(
        f"finetune.{key}"
        for key in (
            "total_frames",
            "warmup_frames",
            "max_warmup_episodes",
            "eval_every_frames",
            "eval_episodes",
            "batch_size",
            "batch_length",
            "replay_ratio",
            "model_optimizer",
            "device",
            "compile",
        )
    ),
)
"""Parameters that decide every run, beside ``methods.<method>``; not the lists of tasks, methods and seeds."""

READS_OFFLINE = ("bc", "finetune.retrieve_episodes", "finetune.guidance_dmc", "finetune.guidance_mw")
"""And those that decide the runs of methods that read offline data."""


def finetune(
    task: Annotated[list[str] | None, typer.Option(help="Task, e.g. mw-reach [default: finetune.tasks].")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Method [default: all of finetune].")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed [default: finetune.seeds].")] = None,
    offline: Annotated[Path, typer.Option(help="Offline data, from `gsa convert`.")] = Path("data/offline"),
    model: Annotated[Path | None, typer.Option(help="World model [default: models/<pretrain.name>].")] = None,
    index: Annotated[Path | None, typer.Option(help="Index [default: index/<pretrain.name>].")] = None,
    runs: Annotated[Path, typer.Option(help="Parent of the run folders <method>_<task>_s<seed>.")] = Path("runs"),
    params: Annotated[Path, typer.Option(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Learn tasks online, rehearsing retrieved episodes and guided by the policy cloned from them."""
    from gsa.config import load_params
    from gsa.errors import ParamsError
    from gsa.parallel.ranks import choose_device
    from gsa.tasks import get_task

    tree = load_params(params)
    for name in method or []:
        if name not in tree.methods:
            raise ParamsError(f"unknown method {name!r}; {params} has {', '.join(tree.methods)}")
    model = model or Path("models") / tree.pretrain.name
    index = index or Path("index") / tree.pretrain.name
    tune = tree.finetune
    for name in task or tune.tasks:
        get_task(name)
    items = list(product(task or tune.tasks, method or tune.all_methods, seed or tune.seeds))
    artefacts = {"offline": offline, "model": model, "index": index}
    device = choose_device(tune.device)
    each(items, lambda item: _finetune_one(*item, tree, params, artefacts, runs, device))


def _finetune_one(
    task: str,
    method: str,
    seed: int,
    tree: "Params",
    params: Path,
    artefacts: dict[str, Path],
    runs: Path,
    device: "torch.device",
) -> None:
    from gsa.config import load_params, select
    from gsa.envs import make_env
    from gsa.loops.finetune import Finetuner, Pretrained, write_result
    from gsa.pretrained import load_world_model
    from gsa.retrieval import RetrievalIndex
    from gsa.runs.failure import recorded_failure
    from gsa.runs.run_dir import open_run
    from gsa.storage.episode_store import EpisodeStore
    from gsa.tasks import get_task

    reads_offline = tree.methods[method].reads_offline
    keys = (*READS, *(READS_OFFLINE if reads_offline else ()), f"methods.{method}")
    item = f"{method}_{task}_s{seed}"
    with open_run(
        runs / item,
        stage="finetune",
        item=item,
        params=select(tree, keys),
        inputs=artefacts if reads_offline else {},
        reread=lambda: select(load_params(params), keys),
    ) as run:
        pretrained = None
        if reads_offline:
            model, sha256 = load_world_model(artefacts["model"], tree.world_model)
            index = RetrievalIndex.load(artefacts["index"], sha256)
            pretrained = Pretrained(model.state_dict(), index, EpisodeStore(artefacts["offline"]))
        with recorded_failure(runs / item), progress(tree.finetune.total_frames, f"{item}, frames") as advance:
            tuner = Finetuner(
                lambda: make_env(task, tree.render), get_task(task), method, seed, tree, pretrained, device
            )
            result = tuner.run(run.checkpoints, advance)
        write_result(result, run.path)
        run.notes.update(result.facts | {"device": str(device)})
        score = result.scores[-1].score
    typer.echo(f"wrote {item}: score {score:.3g} after {result.scores[-1].frames} frames to {runs / item}")
