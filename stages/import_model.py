"""``gsa import-model``: a checkpoint of the authors' release as a model folder."""

from pathlib import Path
from typing import Annotated

import typer

READS = ("world_model",)
"""Parameters that decide the output."""


def import_model(
    checkpoint: Annotated[Path, typer.Argument(help="dmcontrol.pt or metaworld.pt of the authors' release.")],
    out: Annotated[Path | None, typer.Option(help="Output folder [default: models/<pretrain.name>].")] = None,
    params: Annotated[Path, typer.Option(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Turn a world model of the authors' release into ours, for build-index and finetune."""
    from gsa.config import load_params, select
    from gsa.loops.import_model import import_model as import_checkpoint
    from gsa.runs.run_dir import open_run

    tree = load_params(params)
    out = out or Path("models") / tree.pretrain.name
    with open_run(
        out,
        stage="import-model",
        params=select(tree, READS),
        inputs={"checkpoint": checkpoint},
        reread=lambda: select(load_params(params), READS),
    ) as run:
        count = import_checkpoint(checkpoint, tree.world_model, run.path)
        run.notes.update(num_parameters=count)
    typer.echo(f"wrote a world model of {count / 1e6:.2f} M parameters to {out}")
