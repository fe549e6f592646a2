"""``gsa build-index``: Faiss over the encoder's features of first images."""

from pathlib import Path
from typing import Annotated

import typer

from gsa.pipeline import place
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params


def build_index(
    model: Annotated[Path | None, typer.Option(help="World model [default: models/<matrix.pretrain.name>].")] = None,
    offline: Annotated[Path, typer.Option(help="Offline data, from `gsa convert`.")] = Path("data/offline"),
    out: Annotated[Path | None, typer.Option(help="Output folder [default: index/<matrix.pretrain.name>].")] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Index the first image of every offline episode by the pre-trained encoder (Eq. 4)."""
    from gsa.loops.build_index import build_index as build
    from gsa.runs.run_dir import open_run
    from gsa.storage.episode_store import EpisodeStore

    loaded = open_params(params, sets, plugin)
    tree = loaded.params
    model = model or place("model", tree.matrix.pretrain.name)
    out = out or place("index", tree.matrix.pretrain.name)
    with open_run(out, **loaded.identity("build-index"), inputs={"model": model, "offline": offline}) as run:
        index = build(EpisodeStore(offline), model, tree)
        index.save(run.path)
        run.notes.update(num_keys=len(index.keys), embed_dim=index.index.d)
    typer.echo(f"wrote {len(index.keys)} keys of width {index.index.d} to {out}")
