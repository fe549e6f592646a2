"""``gsa profile``: values of params.yaml by name, and what running them costs on this machine.

A profile holds the keys in which profiles differ, the same in each of them, so that switching leaves nothing behind.
"""

import io
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from gsa.config import Params, load_params, parse_settings
from gsa.config.load import overridden, read_tree
from gsa.errors import ParamsError
from gsa.files import write_atomic
from gsa.runs.fingerprint import leaves
from stages.options import PARAMS, ParamsFile, Plugin, Settings, import_plugin

app = typer.Typer(
    help="Values of params.yaml by name, and what running them costs.", no_args_is_help=True, rich_markup_mode=None
)

PROFILES = Path("profiles")

values_of = partial(leaves, whole=("by_task", "models"))
"""A profile's values by dotted key. Mappings in which profiles have other keys are one value each."""

COMMENTS_AT = 25
"""Column of the comments of params.yaml, but for those behind longer values."""

Name = Annotated[str, typer.Argument(help="A file of profiles/ without .yaml.")]


@app.command("list")
def list_profiles(plugin: Plugin = None, params: ParamsFile = PARAMS) -> None:
    """Name every profile with the work it asks for; nothing is measured."""
    from gsa.cost.counts import count

    for name in profile_names():
        typer.echo(f"{name}: {count(load_profile(name, params, plugin))}")


@app.command("cost")
def cost(name: Name, sets: Settings = None, plugin: Plugin = None, params: ParamsFile = PARAMS) -> None:
    """Measure this machine for a minute and say how much time and space the profile takes."""
    typer.echo(costs(name, load_profile(name, params, plugin, sets)))


@app.command("use")
def use(name: Name, plugin: Plugin = None, params: ParamsFile = PARAMS) -> None:
    """Write the profile's values into params.yaml and say what they cost, as `gsa profile cost` does."""
    chosen, found = load_profile(name, params, plugin), values_of(read_tree(params))
    text = params.read_text(encoding="utf-8")
    changed = with_values(text, name)
    if changed == text:
        typer.echo(f"{params} has the values of {name} already")
    else:
        if not any(values.items() <= found.items() for values in map(profile_values, profile_names())):
            backup = params.with_name(f"{params.name}.bak")
            write_atomic(backup, text.encode())
            typer.echo(f"{params} held values of no profile; the file as it was is {backup} now")
        write_atomic(params, changed.encode())
        typer.echo(f"wrote the values of {name} into {params}; `dvc repro` runs them")
    typer.echo(costs(name, chosen))


@app.command("diff")
def diff(name: Name, params: ParamsFile = PARAMS) -> None:
    """Show what `gsa profile use` would change."""
    values = profile_values(name)
    found = dict.fromkeys(values, "nothing") | values_of(read_tree(params))
    changes = [f"{key}: {found[key]} -> {value}" for key, value in values.items() if found[key] != value]
    typer.echo("\n".join(changes) if changes else f"{params} has the values of {name}")


def profile_names(folder: Path = PROFILES) -> list[str]:
    """Every profile of the project; ParamsError where there is none says where they were looked for."""
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if not names:
        raise ParamsError(f"no profiles in {folder.resolve()}; run inside the project")
    return names


def profile_values(name: str, folder: Path = PROFILES) -> dict[str, Any]:
    """The values of a profile by dotted key; ParamsError where there is none of that name lists those there are."""
    if name not in (names := profile_names(folder)):
        raise ParamsError(f"unknown profile {name!r}; profiles: {', '.join(names)}")
    return values_of(read_tree(folder / f"{name}.yaml"))


def load_profile(
    name: str, path: Path = PARAMS, plugin: str | None = None, settings: list[str] | None = None
) -> Params:
    """The parameters of the file with the profile's values in their place, and those of ``--set`` in theirs."""
    if plugin:
        import_plugin(plugin)
    values = profile_values(name) | parse_settings(settings or [])
    return load_params(path, values, " ".join([f"the profile {name}", *(f"--set {text}" for text in settings or ())]))


def with_values(text: str, name: str) -> str:
    """The YAML ``text`` with the values of a profile; its comments and all other values stay as they are."""
    yaml, out = YAML(), io.StringIO()
    yaml.width = 4096  # lines are never cut
    tree = yaml.load(text)
    before = values_of(tree)
    changed = {
        key: value for key, value in values_of(yaml.load(PROFILES / f"{name}.yaml")).items() if before.get(key) != value
    }
    yaml.dump(overridden(tree, changed, name), out)
    kept = set(text.splitlines())
    return "".join(f"{line if line in kept else _aligned(line)}\n" for line in out.getvalue().splitlines())


def _aligned(line: str) -> str:
    """A line with its comment where params.yaml has them, so that switching there and back changes no byte."""
    value, mark, comment = line.partition(" #")
    value = value.rstrip()
    return f"{value.ljust(COMMENTS_AT) if len(value) < COMMENTS_AT else value + '   '}#{comment}" if mark else value


def costs(name: str, params: Params) -> str:
    """The table of what every stage costs here, after measuring it; ResourceError without an OpenGL back-end."""
    import torch

    from gsa.cost.counts import collect_lines, convert_line, count, explore_lines, training_lines
    from gsa.cost.pace import measure, trials
    from gsa.cost.scored import floors_line, probe_line
    from gsa.cost.space import counted_weights, finetuning_space
    from gsa.cost.update_pace import finetuning_pace, matmul_flops, pretraining_pace
    from gsa.parallel.workers import default_workers
    from stages.estimate import size, table

    typer.echo(f"measuring what {name} asks for: {count(params)}", err=True)
    begin, workers = time.monotonic(), params.machine.workers or default_workers()
    paces = measure(params, trials(params, workers), workers)
    device = "cuda" if torch.cuda.is_available() and params.machine.device != "cpu" else "cpu"
    pretraining = pretraining_pace(params, device, matmul_flops(device))
    finetuning = finetuning_pace(params, matmul_flops("cpu"))
    lines = [*collect_lines(params, paces, workers), *explore_lines(params, paces, workers)]
    lines += [convert_line(params, paces), *training_lines(params, paces, pretraining, finetuning)]
    lines += [floors_line(params, paces, workers), probe_line(params, paces)]
    tune = params.matrix.finetune
    counted = partial(counted_weights, params)
    space = [finetuning_space(params, *run, counted(*run)) for run in product(tune.all_methods, tune.tasks)]
    memory, disk = (max(bytes_, default=0.0) / 1e9 for bytes_ in ([n.memory for n in space], [n.disk for n in space]))
    return (
        f"{table(lines)}\n"
        f"{name}: {count(params)}\n"
        f"a run of fine-tuning takes up to {size(memory)} of memory and, until it is done, {size(disk)} of disk\n"
        f"measured in {time.monotonic() - begin:.0f} s by {workers} processes, pictures {params.render.quality}; "
        f"one item after another; pre-training on {device}; 'at most' is computed from the rate of matrix products"
    )
