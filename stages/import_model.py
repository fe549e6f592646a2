"""``gsa import-model``: a checkpoint of the authors' release as a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from gsa.pipeline import place
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params


def import_model(
    checkpoint: Annotated[Path, typer.Argument(help="dmcontrol.pt or metaworld.pt of the authors' release.")],
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A name of matrix.pretrain.models [default: the only one].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder [default: models/NAME].")] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Turn a world model of the authors' release into ours, for build-index and finetune, in models/NAME."""
    from gsa.errors import ParamsError
    from gsa.loops.import_model import import_model as import_checkpoint
    from gsa.runs.run_dir import open_run

    loaded = open_params(params, sets, plugin)
    names = loaded.params.models(model)
    if out is None and len(names) > 1:
        raise ParamsError(f"a checkpoint is one model; say with --model which: {', '.join(names)}")
    out = out or place("model", names[0])
    identity = loaded.identity("import-model", more=("world_model",))
    with open_run(out, **identity, inputs={"checkpoint": checkpoint}) as run:
        count = import_checkpoint(checkpoint, loaded.params.world_model, run.path)
        run.notes.update(num_parameters=count)
    typer.echo(f"wrote a world model of {count / 1e6:.2f} M parameters to {out}")
