"""``gsa profile``: whole parameter files by name, and what running one costs on this machine."""

import difflib
import time
from pathlib import Path
from typing import Annotated

import typer

from gsa.config import Params, load_params
from gsa.errors import ParamsError
from gsa.files import write_atomic

app = typer.Typer(help="Whole parameter files by name, and what running one costs.", no_args_is_help=True)

PROFILES = Path("profiles")
PARAMS = Path("params.yaml")

Name = Annotated[str, typer.Argument(help="A file of profiles/ without .yaml.")]


@app.command("list")
def list_profiles() -> None:
    """Name every profile with the work it asks for; nothing is measured."""
    from gsa.cost.counts import count

    for path in sorted(PROFILES.glob("*.yaml")):
        typer.echo(f"{path.stem}: {count(load_params(path))}")


@app.command("cost")
def cost(name: Name) -> None:
    """Measure this machine for a minute and say how many hours and gigabytes the profile takes."""
    path = profile_path(name)
    typer.echo(costs(path.stem, load_params(path)))


@app.command("use")
def use(name: Name) -> None:
    """Write the profile to params.yaml and say what it costs, as `gsa profile cost` does."""
    path = profile_path(name)
    params = load_params(path)
    write_atomic(PARAMS, path.read_bytes())
    typer.echo(f"wrote {path} to {PARAMS}; `dvc repro` runs it")
    typer.echo(costs(name, params))


@app.command("diff")
def diff(name: Name) -> None:
    """Show what differs between params.yaml and a profile."""
    path = profile_path(name)
    lines = difflib.unified_diff(
        PARAMS.read_text().splitlines(), path.read_text().splitlines(), str(PARAMS), str(path), n=0, lineterm=""
    )
    changed = list(lines)
    typer.echo("\n".join(changed) if changed else f"{PARAMS} is {path}")


def profile_path(name: str, folder: Path = PROFILES) -> Path:
    """The file of a profile.

    Raises:
        ParamsError: there is none of that name; the message lists those there are.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or f"none in {folder.resolve()}"
        raise ParamsError(f"unknown profile {name!r}; profiles: {names}")
    return path


def costs(name: str, params: Params) -> str:
    """The table of what every stage costs here, after measuring it.

    Raises:
        ResourceError: no OpenGL back-end.
    """
    import torch

    from gsa.cost.counts import collect_lines, convert_line, count, explore_lines, training_lines
    from gsa.cost.pace import measure, trials
    from gsa.cost.update_pace import finetuning_pace, matmul_flops, pretraining_pace
    from gsa.parallel.workers import default_workers
    from stages.estimate import table

    typer.echo(f"measuring what {name} asks for: {count(params)}", err=True)
    begin, workers = time.monotonic(), default_workers()
    paces = measure(params, trials(params, workers), workers)
    device = "cuda" if torch.cuda.is_available() and params.pretrain.device != "cpu" else "cpu"
    pretraining = pretraining_pace(params, device, matmul_flops(device))
    finetuning = finetuning_pace(params, matmul_flops("cpu"))
    lines = collect_lines(params, paces, params.collect_data.workers or workers)
    lines += explore_lines(params, paces, params.explore_data.workers or workers)
    lines += [convert_line(params, paces), *training_lines(params, paces, pretraining, finetuning)]
    return (
        f"{table(lines)}\n"
        f"{name}: {count(params)}\n"
        f"measured in {time.monotonic() - begin:.0f} s by {workers} processes, pictures {params.render.quality}; "
        f"one item after another; pre-training on {device}; 'at most' is computed from the rate of matrix products"
    )
