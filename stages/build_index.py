"""``gsa build-index``: Faiss over the encoder's features of first images."""

from pathlib import Path
from typing import Annotated

import typer

from gsa.pipeline import place
from stages.options import PARAMS, ModelName, ParamsFile, Plugin, Settings, open_params


def build_index(
    model: ModelName = None,
    offline: Annotated[Path, typer.Option(help="Offline data, from `gsa convert`.")] = Path("data/offline"),
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Index the first image of every episode a world model learns from, by its encoder (Eq. 4), in index/NAME."""
    from gsa.loops.build_index import build_index as build
    from gsa.runs.run_dir import open_run
    from gsa.storage.episode_store import EpisodeStore

    loaded = open_params(params, sets, plugin)
    tree = loaded.params
    for name in tree.models(model):
        folder, out = place("model", name), place("index", name)
        inputs = {"model": folder, "offline": offline}
        with open_run(out, **loaded.identity("build-index", model=name), inputs=inputs) as run:
            index = build(EpisodeStore(offline), folder, tree, tree.matrix.pretrain.models[name])
            index.save(run.path)
            run.notes.update(num_keys=len(index.keys), embed_dim=index.index.d)
        typer.echo(f"wrote {len(index.keys)} keys of width {index.index.d} to {out}")
