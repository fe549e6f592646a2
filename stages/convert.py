"""``gsa convert``: raw episodes to one reward-free Parquet store with a data card."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stages.progress import progress

if TYPE_CHECKING:
    from gsa.config import Params

RAW = Path("data/raw")

READS = ("convert", "collect_data.tasks", "collect_data.sigmas", "explore_data.domains")
"""Parameters that decide the output: the layout, and which folders enter it."""


def raw_folders(params: "Params", root: Path = RAW) -> list[tuple[Path, str]]:
    """Every source folder the parameters name, with the command that makes it."""
    tasks = [
        (root / f"{task}_sigma-{sigma}", f"gsa collect-data --task {task} --sigma {sigma}")
        for task in params.collect_data.tasks
        for sigma in params.collect_data.sigmas
    ]
    domains = [
        (root / f"explore-{domain}", f"gsa explore-data --domain {domain}") for domain in params.explore_data.domains
    ]
    return tasks + domains


def convert(
    input: Annotated[
        list[Path] | None, typer.Option(help="Source folders [default: those the parameters name, in data/raw].")
    ] = None,
    format: Annotated[
        Literal["gsa", "ncrl"],
        typer.Option(help="gsa: collected here; ncrl: npz files of the authors' release, without a manifest."),
    ] = "gsa",
    embodiment: Annotated[str | None, typer.Option(help="The body that acts (--format ncrl).")] = None,
    task: Annotated[str | None, typer.Option(help="Task of the episodes (--format ncrl).")] = None,
    policy: Annotated[str | None, typer.Option(help="What acted (--format ncrl).")] = None,
    sigma: Annotated[float | None, typer.Option(help="Std of the action noise (--format ncrl).")] = None,
    reject_bad: Annotated[
        bool, typer.Option(help="Leave bad episodes out and list them, instead of stopping.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("data/offline"),
    params: Annotated[Path, typer.Option(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Turn raw episodes into one Parquet store without rewards, with checksums and a data card."""
    from gsa.config import load_params, select
    from gsa.errors import DataError, ParamsError
    from gsa.loops.convert import convert as convert_raw
    from gsa.loops.convert import open_raw_folder
    from gsa.runs.run_dir import open_run

    tree = load_params(params)
    facts: dict[str, Any] = {"embodiment": embodiment, "task": task, "policy": policy, "sigma": sigma}
    if format == "gsa" and (given := [name for name, value in facts.items() if value is not None]):
        raise ParamsError(f"--{given[0]} belongs to --format ncrl; a collected folder's manifest says it")
    named = [(folder, "gsa collect-data") for folder in input] if input else raw_folders(tree)
    for folder, command in named:
        if not folder.is_dir():
            raise DataError(f"no raw data at {folder}; run `{command}` first")

    def stamp(now: "Params") -> dict[str, Any]:
        return {**select(now, READS), "format": format, "facts": facts, "reject_bad": reject_bad}

    inputs = {f"raw {folder}": folder for folder, _ in named}
    with open_run(out, "convert", stamp(tree), inputs, reread=lambda: stamp(load_params(params))) as run:
        sources = [open_raw_folder(folder, format, facts) for folder, _ in named]
        with progress(sum(len(source.records) for source in sources), "converting episodes") as advance:
            card = convert_raw(sources, run.path, tree.convert, reject_bad, advance)
        run.notes.update(episodes=card["episodes"], rows=card["rows"], rejected=len(card["rejected"]))
    typer.echo(
        f"wrote {card['episodes']} episodes ({card['rows']} rows, {card['bytes_per_step']} bytes a row, "
        f"{len(card['rejected'])} rejected) to {out}"
    )
