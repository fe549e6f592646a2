"""``load_params``: params.yaml, read and checked; one message names everything that is wrong with it."""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gsa.config.params import Params
from gsa.config.sections import OwnTasks
from gsa.errors import ParamsError
from gsa.tasks import register_task

Overrides = Mapping[str, Any]
"""Dotted keys to values; None is a flag that was not given."""


def load_params(path: Path = Path("params.yaml"), overrides: Overrides | None = None) -> Params:
    """Read, override and check the parameters.

    Raises:
        ParamsError: the file is missing or is not YAML, or keys are unknown, misspelt, missing or out of range;
            one message names each of them with its value and the nearest valid key.
    """
    return check_params(_overridden(read_tree(path), overrides or {}, path), path)


def read_tree(path: Path) -> dict[str, Any]:
    """The file's sections as plain values, unchecked.

    Raises:
        ParamsError: the file is missing or is not YAML.
    """
    if not path.is_file():
        raise ParamsError(f"no parameters at {path}; run inside the project or pass --params")
    try:
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ParamsError(f"{path} holds {type(tree).__name__}, expected sections")
    return tree


def check_params(tree: dict[str, Any], path: Path) -> Params:
    """``tree`` as ``Params``; errors are raised as ``load_params`` raises them."""
    try:
        for name, task in OwnTasks.model_validate(tree).own_tasks.items():
            register_task(name, **task.model_dump())
        return Params.model_validate(tree)
    except ValidationError as error:
        raise ParamsError(f"{path}: " + "; ".join(_describe(e) for e in error.errors())) from error


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Overrides from ``key=value`` as ``--set`` takes them; values are YAML.

    Raises:
        ParamsError: not of that form.
    """
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        try:
            value = YAML(typ="safe").load(text)
        except YAMLError as error:
            raise ParamsError(f"--set {setting!r}: {text!r} is not a value in YAML") from error
        if not equals or not key.strip() or value is None:
            raise ParamsError(f"--set {setting!r}, expected key=value, for example dreamer.actor_lr=1e-4")
        overrides[key.strip()] = value
    return overrides


def variant(path: Path, overrides: Overrides) -> str:
    """What tells a run with these overrides from one of the file alone, as part of its name; empty for the same.

    ``matrix`` and ``machine`` count for nothing: the first names items, the second decides no result.
    """
    tree = read_tree(path)
    parts = []
    for key, value in sorted(overrides.items()):
        found: Any = tree
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if value is not None and value != found and key.partition(".")[0] not in ("matrix", "machine"):
            parts.append(f"{key}={value}")
    return re.sub(r"[^A-Za-z0-9._=+,-]+", "-", ",".join(parts))


def _overridden(tree: dict[str, Any], overrides: Overrides, path: Path) -> dict[str, Any]:
    for key, value in overrides.items():
        if value is None:
            continue
        section, (*parents, last) = tree, key.split(".")
        for parent in parents:
            if not isinstance(section.get(parent), dict):
                near = difflib.get_close_matches(parent, section, n=1, cutoff=0.0)
                raise ParamsError(
                    f"{path} has no section {parent!r} (from {key}); nearest: {near[0] if near else 'none'}"
                )
            section = section[parent]
        section[last] = value
    return tree


def _describe(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "params"
    if error["type"] == "extra_forbidden":
        names = _fields(error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), names, n=1, cutoff=0.0)
        return f"unknown key {key} = {error['input']!r}, nearest valid key {near[0] if near else names}"
    if error["type"] == "missing":
        return f"missing key {key}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key} = {error['input']!r}: {message}" if key != "params" else message


def _fields(path: Iterable[Any]) -> list[str]:
    """Names that the section at ``path`` may hold; a step into a union of methods is the name of its learner."""
    model: Any = Params
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
            model = fields[part]
        elif getattr(model, "__origin__", None) is dict:
            model = get_args(model)[1]
        else:
            choices = [
                m for m in get_args(get_args(model)[0]) if part in get_args(m.model_fields["learner"].annotation)
            ]
            model = choices[0]
    return [field.alias or name for name, field in model.model_fields.items()]
