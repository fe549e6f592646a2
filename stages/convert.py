"""``gsa convert``: raw episodes, or other people's data, to one reward-free Parquet store with a data card."""

from pathlib import Path
from typing import Annotated, Any, Literal

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
    from gsa.errors import DataError, ParamsError
    from gsa.importers import importer_module, open_source
    from gsa.importers.base import ImportOptions, Source, parse_action_range
    from gsa.importers.raw_folder import RawFolder
    from gsa.loops.convert import convert as convert_sources
    from gsa.runs.code_stamp import module_stamp
    from gsa.runs.run_dir import open_run

    loaded = open_params(params, sets, plugin)
    flags: dict[str, Any] = {
        **{"embodiment": embodiment, "task": task, "policy": policy, "sigma": sigma, "image_key": image_key},
        **{"action_range": action_range, "every": every, "merge_actions": merge_actions},
    }
    given = {name: value for name, value in flags.items() if value is not None}
    importer = None if format == "gsa" else importer_module(format)
    if importer is None and given:
        flag = next(iter(given)).replace("_", "-")
        raise ParamsError(f"--{flag} belongs to --format ncrl, exorl, minari or lerobot; a manifest says it here")
    if importer and not input:
        raise ParamsError(f"--format {format} needs --input, the folder of the data")
    if action_range is not None:
        given["action_range"] = parse_action_range(action_range)
    places = [folder.resolve() for folder in input or ()]
    if twice := [str(f) for f, place in zip(input or (), places, strict=True) if places.count(place) > 1]:
        raise ParamsError(f"--input {' and '.join(twice)} are one folder; name it once")
    options = ImportOptions(**given, render=loaded.params.render)
    named = raw_folders(loaded.params) if also_collected or not input else []
    remedy = "check the path" if importer else "run `gsa collect-data` first"
    for folder, fix in [(f, remedy) for f in input or ()] + [(f, f"run `{made_by}` first") for f, made_by in named]:
        if not folder.is_dir():
            raise DataError(f"no data at {folder}; {fix}")

    facts: dict[str, Any] = {"format": format, "flags": flags, "also": also_collected, "reject_bad": reject_bad}
    facts |= {"importer": module_stamp(importer)} if importer else {}
    identity = loaded.identity("convert", more=("render",) if format in DRAWN_HERE else (), facts=facts)
    inputs = {f"raw {folder}": folder for folder in [*(input or ()), *(folder for folder, _ in named)]}
    with open_run(out, **identity, inputs=inputs) as run:
        sources: list[Source] = [RawFolder(folder) for folder, _ in named]
        if importer:
            sources += [open_source(format, folder, options) for folder in input or ()]
        else:
            sources = [*(RawFolder(folder) for folder in input or ()), *sources]
        with progress(sum(len(source.files) for source in sources), "converting episodes") as advance:
            card = convert_sources(sources, run.path, loaded.params.convert, reject_bad, advance)
        run.notes.update(episodes=card["episodes"], rows=card["rows"], rejected=len(card["rejected"]))
    typer.echo(
        f"wrote {card['episodes']} episodes ({card['rows']} rows, {card['bytes_per_step']} bytes per row, "
        f"{len(card['rejected'])} rejected) to {out}"
    )
