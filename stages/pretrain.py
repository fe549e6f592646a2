"""``gsa pretrain``: world models, each on the offline episodes of its embodiments."""

from pathlib import Path
from typing import Annotated

import typer

from gsa.pipeline import place
from stages.options import PARAMS, ModelName, ParamsFile, Plugin, Settings, open_params
from stages.progress import progress


def pretrain(
    model: ModelName = None,
    offline: Annotated[Path, typer.Option(help="Offline data, from `gsa convert`.")] = Path("data/offline"),
    updates: Annotated[int | None, typer.Option(help="Number of updates [default: pretrain.updates].")] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder of one model [default: models/NAME].")] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Train world models on the offline episodes of their embodiments, without rewards and without a simulator.

    On several GPUs or machines, one model at a time: torchrun --nproc-per-node 2 -m stages.cli pretrain --model NAME
    """
    from gsa.errors import ArtifactError, ParamsError
    from gsa.files import read_json
    from gsa.loops.pretrain import follow
    from gsa.loops.pretrain import pretrain as pretrain_model
    from gsa.parallel.ranks import join_ranks
    from gsa.runs.run_dir import open_run
    from gsa.storage.episode_store import EpisodeStore
    from gsa.visual.predictions import verdicts

    loaded = open_params(params, sets, plugin, {"--updates": ("pretrain.updates", updates)})
    tree = loaded.params
    names = tree.models(model)

    def episodes(name: str) -> EpisodeStore:
        store = EpisodeStore(offline)
        return store.select(store.positions_of(tree.matrix.pretrain.models[name]))

    with join_ranks(tree.machine.device, tree.machine.timeout_s) as ranks:
        if len(names) > 1 and (out is not None or ranks.size > 1):
            reason = "--out is the folder of one model" if out else "several processes train one model at a time"
            raise ParamsError(f"{reason}; give --model too: {', '.join(names)}")
        if ranks.rank > 0:
            follow(episodes(names[0]), tree, ranks)
            return
        for name in names:
            folder = out or place("model", name)
            with open_run(folder, **loaded.identity("pretrain", model=name), inputs={"offline": offline}) as run:
                store = episodes(name)
                with progress(tree.pretrain.updates, f"pre-training {name}, updates") as advance:
                    last = pretrain_model(store, tree, run.path, run.checkpoints, advance, ranks)
                run.notes.update(last | {"device": str(ranks.device), "processes": ranks.size})
            for line in verdicts(read_json(folder / "open_loop.json", ArtifactError, "run it again")):
                typer.echo(line)
            done = f"after {tree.pretrain.updates} updates on {len(store)} episodes (image loss {last['image']:.0f})"
            typer.echo(f"wrote a world model {done} to {folder}")
