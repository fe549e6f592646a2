"""``gsa build-index``: Faiss over the encoder's features of first images."""

from pathlib import Path
from typing import Annotated

import typer

READS = ("world_model", "pretrain.name")
"""Parameters that decide the output."""


def build_index(
    model: Annotated[Path | None, typer.Option(help="World model [default: models/<pretrain.name>].")] = None,
    offline: Annotated[Path, typer.Option(help="Offline data, from `gsa convert`.")] = Path("data/offline"),
    out: Annotated[Path | None, typer.Option(help="Output folder [default: index/<pretrain.name>].")] = None,
    params: Annotated[Path, typer.Option(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Index the first image of every offline episode by the pre-trained encoder (Eq. 4)."""
    from gsa.config import load_params, select
    from gsa.loops.build_index import build_index as build
    from gsa.runs.run_dir import open_run
    from gsa.storage.episode_store import EpisodeStore

    tree = load_params(params)
    model = model or Path("models") / tree.pretrain.name
    out = out or Path("index") / tree.pretrain.name
    with open_run(
        out,
        stage="build-index",
        params=select(tree, READS),
        inputs={"model": model, "offline": offline},
        reread=lambda: select(load_params(params), READS),
    ) as run:
        index = build(EpisodeStore(offline), model, tree.world_model)
        index.save(run.path)
        run.notes.update(num_keys=len(index.keys), embed_dim=index.index.d)
    typer.echo(f"wrote {len(index.keys)} keys of width {index.index.d} to {out}")
