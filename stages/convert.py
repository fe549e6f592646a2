"""``gsa convert``: raw episodes, or other people's data, to one reward-free Parquet store with a data card."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gsa.config import Params
from gsa.pipeline import FOLDERS, STAGES, source_name
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params
from stages.progress import progress

DRAWN_HERE = ("exorl",)
"""Formats without pictures: they depend on ``render`` too."""


def raw_folders(params: Params) -> list[tuple[Path, str]]:
    """Every source folder the parameters name, with the command that makes it."""
    raw, explore = Path(FOLDERS["raw"]), STAGES["explore-data"]
    tasks = [
        (raw / source_name(*source), "gsa collect-data --task {} --policy {} --sigma {}".format(*source))
        for source in params.sources
    ]
    domains = [
        (explore.place(domain=domain), f"gsa explore-data --domain {domain}")
        for domain in params.matrix.explore_data.domains
    ]
    return tasks + domains


def convert(
    input: Annotated[
        list[Path] | None,
        typer.Option(help="Source folder, repeatable [default: those the parameters name, in data/raw]."),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            help="gsa: collected here; ncrl: the authors' npz; exorl, minari, lerobot: data of those projects "
            "[default: gsa]. This and the flags down to --merge-actions hold for every --input, or are given once per "
            "--input in the same order, - where one has none."
        ),
    ] = None,
    embodiment: Annotated[list[str] | None, typer.Option(help="The body that acts (data from elsewhere).")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Task of the episodes (data from elsewhere).")] = None,
    policy: Annotated[list[str] | None, typer.Option(help="What acted (data from elsewhere).")] = None,
    sigma: Annotated[
        list[str] | None, typer.Option(help="Std of the action noise (data from elsewhere).", metavar="NUMBER")
    ] = None,
    image_key: Annotated[list[str] | None, typer.Option(help="Which camera, where the data has several.")] = None,
    action_range: Annotated[
        list[str] | None,
        typer.Option(help="LOW:HIGH of the data's actions, which become -1 and 1; or LOW:HIGH,... one an entry."),
    ] = None,
    every: Annotated[
        list[str] | None, typer.Option(help="Keep every n-th frame (data from elsewhere).", metavar="N")
    ] = None,
    merge_actions: Annotated[
        list[str] | None,
        typer.Option(
            help="How the actions between two kept frames become one: first, last, mean or sum (with --every)."
        ),
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
    from gsa.errors import DataError, ParamsError
    from gsa.importers import importer_module, open_source
    from gsa.importers.base import ImportOptions, Source
    from gsa.importers.flags import options_per_input, parsed, per_input
    from gsa.importers.inputs import check_folder
    from gsa.importers.raw_folder import RawFolder
    from gsa.loops.convert import convert as convert_sources
    from gsa.runs.code_stamp import module_stamp
    from gsa.runs.run_dir import open_run

    loaded = open_params(params, sets, plugin)
    folders = input or []
    places = [folder.resolve() for folder in folders]
    if twice := [str(f) for f, place in zip(folders, places, strict=True) if places.count(place) > 1]:
        raise ParamsError(f"--input {' and '.join(twice)} are one folder; name it once")
    formats = [name or "gsa" for name in per_input("format", format, max(len(folders), 1))]
    flags = options_per_input(
        {
            **{"embodiment": embodiment, "task": task, "policy": policy, "sigma": sigma, "image_key": image_key},
            **{"action_range": action_range, "every": every, "merge_actions": merge_actions},
        },
        max(len(folders), 1),
    )
    importers = {name: importer_module(name) for name in formats if name != "gsa"}
    if importers and not folders:
        raise ParamsError(f"--format {formats[0]} needs --input, the folder of the data")
    for name, given in zip(formats, flags, strict=True):
        if name == "gsa" and given:
            flag = next(iter(given)).replace("_", "-")
            raise ParamsError(f"--{flag} belongs to --format ncrl, exorl, minari or lerobot; a manifest says it here")
    options = [ImportOptions(**parsed(given), render=loaded.params.render) for given in flags]
    named = raw_folders(loaded.params) if also_collected or not folders else []
    fixes = ["run `gsa collect-data` first" if name == "gsa" else "check the path" for name in formats]
    asked = list(zip(folders, fixes, strict=True)) if folders else []
    for folder, fix in [*asked, *((folder, f"run `{made_by}` first") for folder, made_by in named)]:
        if not folder.is_dir():
            raise DataError(f"no data at {folder}; {fix}")
        check_folder(folder)

    facts: dict[str, Any] = {"format": formats, "flags": flags, "also": also_collected, "reject_bad": reject_bad}
    facts |= {f"importer {name}": module_stamp(module) for name, module in importers.items()}
    drawn = ("render",) if set(formats) & set(DRAWN_HERE) else ()
    identity = loaded.identity("convert", more=drawn, facts=facts)
    inputs = {f"raw {folder}": folder for folder in [*folders, *(folder for folder, _ in named)]}
    with open_run(out, **identity, inputs=inputs) as run:
        sources: list[Source] = [RawFolder(folder) for folder, _ in named]
        for name, folder, option in zip(formats, folders, options, strict=False):  # no folder: one format, no source
            sources.append(RawFolder(folder) if name == "gsa" else open_source(name, folder, option))
        with progress(sum(len(source.files) for source in sources), "converting episodes") as advance:
            card = convert_sources(sources, run.path, loaded.params.convert, reject_bad, advance)
        run.notes.update(episodes=card["episodes"], rows=card["rows"], rejected=len(card["rejected"]))
    typer.echo(
        f"wrote {card['episodes']} episodes ({card['rows']} rows, {card['bytes_per_step']} bytes per row, "
        f"{len(card['rejected'])} rejected) to {out}"
    )
