"""``gsa pretrain``: one world model on everything offline."""

from pathlib import Path
from typing import Annotated

import typer

from gsa.pipeline import place
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params
from stages.progress import progress


def pretrain(
    offline: Annotated[Path, typer.Option(help="Offline data, from `gsa convert`.")] = Path("data/offline"),
    updates: Annotated[int | None, typer.Option(help="Number of updates [default: pretrain.updates].")] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder [default: models/<matrix.pretrain.name>].")] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Train the world model on all offline episodes, without rewards and without a simulator.

    On several GPUs or machines: torchrun --nproc-per-node 2 -m stages.cli pretrain
    """
    from gsa.errors import ArtifactError
    from gsa.files import read_json
    from gsa.loops.pretrain import follow
    from gsa.loops.pretrain import pretrain as pretrain_model
    from gsa.parallel.ranks import join_ranks
    from gsa.runs.run_dir import open_run
    from gsa.storage.episode_store import EpisodeStore
    from gsa.visual.predictions import verdicts

    loaded = open_params(params, sets, plugin, {"--updates": ("pretrain.updates", updates)})
    tree = loaded.params
    out = out or place("model", tree.matrix.pretrain.name)
    with join_ranks(tree.machine.device, tree.machine.timeout_s) as ranks:
        if ranks.rank > 0:
            follow(EpisodeStore(offline), tree, ranks)
            return
        with open_run(out, **loaded.identity("pretrain"), inputs={"offline": offline}) as run:
            store = EpisodeStore(offline)
            with progress(tree.pretrain.updates, "pre-training, updates") as advance:
                last = pretrain_model(store, tree, run.path, run.checkpoints, advance, ranks)
            run.notes.update(last | {"device": str(ranks.device), "processes": ranks.size})
    for line in verdicts(read_json(out / "open_loop.json", ArtifactError, "run it again")):
        typer.echo(line)
    typer.echo(f"wrote a world model after {tree.pretrain.updates} updates (image loss {last['image']:.0f}) to {out}")
