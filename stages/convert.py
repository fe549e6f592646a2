"""``gsa convert``: raw episodes, or other people's data, to one reward-free Parquet store with a data card."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from gsa.pipeline import STAGES
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params
from stages.progress import progress

if TYPE_CHECKING:
    from gsa.config import Params
    from gsa.importers.base import Source

DRAWN_HERE = ("exorl",)
"""Formats without pictures: they depend on ``render`` too."""


def raw_folders(params: "Params") -> list[tuple[Path, str]]:
    """Every source folder the parameters name, with the command that makes it."""
    collect, explore = STAGES["collect-data"], STAGES["explore-data"]
    tasks = [
        (collect.place(task=task, sigma=sigma), f"gsa collect-data --task {task} --sigma {sigma}")
        for task in params.matrix.collect_data.tasks
        for sigma in params.matrix.collect_data.sigmas
    ]
    domains = [
        (explore.place(domain=domain), f"gsa explore-data --domain {domain}")
        for domain in params.matrix.explore_data.domains
    ]
    return tasks + domains


def convert(
    input: Annotated[
        list[Path] | None, typer.Option(help="Source folders [default: those the parameters name, in data/raw].")
    ] = None,
    format: Annotated[
        Literal["gsa", "ncrl", "exorl", "minari", "lerobot", "tdmpc2"],
        typer.Option(help="gsa: collected here; ncrl: the authors' npz; the others: data of those projects."),
    ] = "gsa",
    embodiment: Annotated[str | None, typer.Option(help="The body that acts (data from elsewhere).")] = None,
    task: Annotated[str | None, typer.Option(help="Task of the episodes (data from elsewhere).")] = None,
    policy: Annotated[str | None, typer.Option(help="What acted (data from elsewhere).")] = None,
    sigma: Annotated[float | None, typer.Option(help="Std of the action noise (data from elsewhere).")] = None,
    image_key: Annotated[str | None, typer.Option(help="Which camera, where the data has several.")] = None,
    action_range: Annotated[
        str | None,
        typer.Option(help="LOW:HIGH of the data's actions, which become -1 and 1; or LOW:HIGH,... one an entry."),
    ] = None,
    every: Annotated[int | None, typer.Option(help="Keep every n-th frame (data from elsewhere).")] = None,
    merge_actions: Annotated[
        Literal["first", "last", "mean", "sum"] | None,
        typer.Option(help="How the actions between two kept frames become one (with --every)."),
    ] = None,
    also_collected: Annotated[
        bool, typer.Option("--also-collected", help="Add the folders that the parameters name to those of --input.")
    ] = False,
    reject_bad: Annotated[
        bool, typer.Option(help="Leave bad episodes out and list them, instead of stopping.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("data/offline"),
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Turn raw episodes, or other people's data, into one Parquet store without rewards, with checksums and a card."""
    from gsa.errors import DataError
    from gsa.importers.base import Source
    from gsa.importers.raw_folder import RawFolder
    from gsa.loops.convert import convert as convert_sources
    from gsa.runs.run_dir import open_run

    loaded = open_params(params, sets, plugin)
    flags = {
        **{"embodiment": embodiment, "task": task, "policy": policy, "sigma": sigma, "image_key": image_key},
        **{"action_range": action_range, "every": every, "merge_actions": merge_actions},
    }
    foreign = _foreign(format, flags, input, loaded.params)
    elsewhere = list(input or ()) if foreign else []
    named = [(folder, "gsa collect-data") for folder in input or ()] if not foreign else []
    if not input or also_collected:
        named += raw_folders(loaded.params)
    for folder, remedy in [(f, "check the path") for f in elsewhere] + [(f, f"run `{c}` first") for f, c in named]:
        if not folder.is_dir():
            raise DataError(f"no data at {folder}; {remedy}")

    facts: dict[str, Any] = {"format": format, "flags": flags, "also": also_collected, "reject_bad": reject_bad}
    facts |= {"importer": foreign.code} if foreign else {}
    identity = loaded.identity("convert", more=("render",) if format in DRAWN_HERE else (), facts=facts)
    inputs = {f"raw {folder}": folder for folder in [*elsewhere, *(folder for folder, _ in named)]}
    with open_run(out, **identity, inputs=inputs) as run:
        sources: list[Source] = [RawFolder(folder) for folder, _ in named]
        sources += [foreign.open(folder) for folder in elsewhere] if foreign else []
        with progress(sum(len(source.files) for source in sources), "converting episodes") as advance:
            card = convert_sources(sources, run.path, loaded.params.convert, reject_bad, advance)
        run.notes.update(episodes=card["episodes"], rows=card["rows"], rejected=len(card["rejected"]))
    typer.echo(
        f"wrote {card['episodes']} episodes ({card['rows']} rows, {card['bytes_per_step']} bytes per row, "
        f"{len(card['rejected'])} rejected) to {out}"
    )


class _Foreign(NamedTuple):
    """How to open a folder of a foreign format, and the digest of the code that does it."""

    open: Callable[[Path], "Source"]
    code: str


def _foreign(format: str, flags: dict[str, Any], folders: list[Path] | None, tree: "Params") -> _Foreign | None:
    """None for our own format, which takes none of the flags: a manifest says it all."""
    from gsa.errors import ParamsError
    from gsa.importers import importer_module, open_source
    from gsa.importers.base import ImportOptions, parse_action_range
    from gsa.runs.code_stamp import module_stamp

    given = {name: value for name, value in flags.items() if value is not None}
    if format == "gsa":
        for name in given:
            flag = name.replace("_", "-")
            raise ParamsError(f"--{flag} belongs to --format ncrl, exorl, minari or lerobot; a manifest says it here")
        return None
    module = importer_module(format)
    if not folders:
        raise ParamsError(f"--format {format} needs --input, the folder of the data")
    if "action_range" in given:
        given["action_range"] = parse_action_range(given["action_range"])
    options = ImportOptions(**given, render=tree.render)
    return _Foreign(lambda folder: open_source(format, folder, options), module_stamp(module))
