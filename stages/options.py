"""Options that every command with parameters has, and the parameters they give."""

import sys
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from gsa.config import Params, load_params, parse_settings, select, variant
from gsa.config.load import check_lists
from gsa.config.sections import FinetuneMatrix
from gsa.errors import ParamsError
from gsa.pipeline import STAGES, reads
from gsa.tasks import get_task, task_stamp

ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Value in place of the file's; repeatable."),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="A name of matrix.pretrain.models [default: each of them]."),
]
Plugin = Annotated[str | None, typer.Option(metavar="MODULE", help="Import this first; it may call gsa.register_task.")]

PARAMS = Path("params.yaml")
"""The parameter file of a project."""

Flags = Mapping[str, tuple[str, Any]]
"""Flag to the dotted key it sets and its value; None is a flag that was not given."""


@dataclass(frozen=True)
class Loaded:
    """The parameters of a command: the file's, with ``overrides`` (dotted key to value) in their place."""

    params: Params
    path: Path
    overrides: Mapping[str, Any]

    def identity(
        self,
        stage: str,
        method: str = "",
        task: str = "",
        model: str = "",
        more: tuple[str, ...] = (),
        facts: Mapping[str, Any] = {},
    ) -> dict[str, Any]:
        """What ``open_run`` takes of a stage or tool: ``stage``, ``params`` (all that decides the output), ``reread``,
        ``kept`` (the parameter file).

        ``method``, ``task`` and ``model`` are the item's, whose section is read and whose facts are part of the
        identity. ``more`` are dotted keys beside those of the table, ``facts`` what else decides the output, e.g. flags
        that are no parameters.
        """

        def chosen(params: Params) -> dict[str, Any]:
            about = {f"tasks.{task}": task_stamp(get_task(task))} if task else {}
            return {**select(params, (*reads(stage, method, model), *more)), **about, **facts}

        return {
            "stage": stage,
            "params": chosen(self.params),
            "reread": lambda: chosen(load_params(self.path, self.overrides)),
            "kept": [self.path],
        }

    def variant(self, stage: str, method: str = "", task: str = "", folders: Mapping[str, Path] = {}) -> str:
        """The end of an item's name where overrides change what decides it; empty where it is the file's item.

        What the item's name tells anyway does not count. ``folders`` are inputs, by name, in the place of the usual
        ones.
        """
        keys = (*reads(stage, method), *([f"own_tasks.{task}"] if task else ()))
        overrides = {key: value for key, value in self.overrides.items() if key not in STAGES[stage].named}
        return variant(self.path, overrides, self.params, keys, folders)


def open_params(
    path: Path = PARAMS,
    settings: list[str] | None = None,
    plugin: str | None = None,
    flags: Flags | None = None,
    implied: Mapping[str, Any] = {},
) -> Loaded:
    """Import the plugin, then read the parameters with flags and ``--set`` in the place of the file's values.

    ``implied`` are values, by dotted key, that follow from the flags. A ParamsError about a plugin or a value names the
    flag.
    """
    if plugin:
        import_plugin(plugin)
    given = {flag: (key, value) for flag, (key, value) in (flags or {}).items() if value is not None}
    overrides = {**implied, **dict(given.values()), **parse_settings(settings or [])}
    said: list[Any] = []
    for flag, (_, value) in given.items():
        said += [flag, *(value if isinstance(value, list) else [value])]
    said += [f"--set {text}" for text in settings or []]
    params = load_params(path, overrides, " ".join(map(str, said)))
    if any(key.startswith("matrix.") for key in overrides):
        check_lists(path)
    return Loaded(params, path, overrides)


def some(lists: Mapping[str, Sized]) -> None:
    """ParamsError where one of the lists, by dotted key, is empty: nothing could be run."""
    if empty := [key for key, items in lists.items() if not items]:
        are = "is" if len(empty) == 1 else "are"
        raise ParamsError(f"nothing to do: {' and '.join(empty)} {are} empty; fill them in the parameters or by a flag")


def some_runs(lists: FinetuneMatrix) -> None:
    """ParamsError where ``matrix.finetune`` names no run."""
    facts = {"tasks": lists.tasks, "methods": lists.all_methods, "seeds": lists.seeds}
    some({f"matrix.finetune.{key}": items for key, items in facts.items()})


def output_file(flag: str, path: Path | None, suffix: str) -> None:
    """ParamsError where a file that a flag names cannot be of the kind that is written there."""
    if path is not None and (path.suffix.lower() != suffix or path.is_dir()):
        raise ParamsError(f"{flag} {path}: expected the name of a file that ends in {suffix}")


def import_plugin(module: str) -> None:
    """Import a module of the user's, from the working directory first; ParamsError where an import fails."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        import_module(module)
    except ImportError as error:
        where = f"{Path.cwd()} and in the installed packages"
        raise ParamsError(f"--plugin {module}: {error}; looked in {where}") from error
