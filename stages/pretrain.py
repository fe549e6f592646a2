"""``gsa pretrain``: one world model on everything offline."""

from pathlib import Path
from typing import Annotated

import typer

from stages.progress import progress

READS = (
    "world_model",
    *(
        f"pretrain.{key}"
        for key in (
            "name",
            "updates",
            "batch_size",
            "batch_length",
            "sampling",
            "optimizer",
            "cooldown",
            "log_every",
            "checkpoint_every",
            "device",
            "precision",
            "activation_checkpointing",
            "compile",
            "sharded_optimizer",
            "seed",
        )
    ),
)
"""Parameters that decide the output; ``pretrain.loader_workers`` and ``pretrain.timeout_s`` do not."""


def pretrain(
    offline: Annotated[Path, typer.Option(help="Offline data, from `gsa convert`.")] = Path("data/offline"),
    updates: Annotated[int | None, typer.Option(help="Number of updates [default: pretrain.updates].")] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder [default: models/<pretrain.name>].")] = None,
    params: Annotated[Path, typer.Option(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Train the world model on all offline episodes, without rewards and without a simulator.

    On several GPUs or machines: torchrun --nproc-per-node 2 -m stages.cli pretrain
    """
    from gsa.config import load_params, select
    from gsa.loops.pretrain import follow
    from gsa.loops.pretrain import pretrain as pretrain_model
    from gsa.parallel.ranks import join_ranks
    from gsa.runs.run_dir import open_run
    from gsa.storage.episode_store import EpisodeStore

    overrides = {"pretrain.updates": updates}
    tree = load_params(params, overrides)
    out = out or Path("models") / tree.pretrain.name
    with join_ranks(tree.pretrain.device, tree.pretrain.timeout_s) as ranks:
        if ranks.rank > 0:
            follow(EpisodeStore(offline), tree, ranks)
            return
        with open_run(
            out,
            stage="pretrain",
            params=select(tree, READS),
            inputs={"offline": offline},
            reread=lambda: select(load_params(params, overrides), READS),
        ) as run:
            store = EpisodeStore(offline)
            with progress(tree.pretrain.updates, "pre-training, updates") as advance:
                last = pretrain_model(store, tree, run.path, run.checkpoints, advance, ranks)
            run.notes.update(last | {"device": str(ranks.device), "processes": ranks.size})
    typer.echo(f"wrote a world model after {tree.pretrain.updates} updates (image loss {last['image']:.0f}) to {out}")
