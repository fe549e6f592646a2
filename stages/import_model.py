"""``gsa import-model``: a checkpoint of the authors' release as a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from gsa.pipeline import place
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params


def import_model(
    checkpoint: Annotated[Path, typer.Argument(help="dmcontrol.pt or metaworld.pt of the authors' release.")],
    out: Annotated[Path | None, typer.Option(help="Output folder [default: models/<matrix.pretrain.name>].")] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Turn a world model of the authors' release into ours, for build-index and finetune."""
    from gsa.loops.import_model import import_model as import_checkpoint
    from gsa.runs.run_dir import open_run

    loaded = open_params(params, sets, plugin)
    out = out or place("model", loaded.params.matrix.pretrain.name)
    identity = loaded.identity("import-model", more=("world_model",))
    with open_run(out, **identity, inputs={"checkpoint": checkpoint}) as run:
        count = import_checkpoint(checkpoint, loaded.params.world_model, run.path)
        run.notes.update(num_parameters=count)
    typer.echo(f"wrote a world model of {count / 1e6:.2f} M parameters to {out}")
