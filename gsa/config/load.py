"""``load_params``: params.yaml, read and checked; one message names everything that is wrong with it."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gsa.config.params import Params, value_at
from gsa.config.sections import Lists, OwnTasks, nearest
from gsa.errors import ParamsError, one_line
from gsa.tasks import register_task

Overrides = Mapping[str, Any]
"""Dotted keys to values; None is YAML's null."""

MAX_NAME = 120
"""Longest variant in the name of a folder. A digest stands for what a longer one, or a cleaned one, has lost."""


def load_params(path: Path = Path("params.yaml"), overrides: Overrides | None = None, said: str = "") -> Params:
    """Read, override and check the parameters; ``said`` are the flags that gave ``overrides``, for messages.

    Raises:
        ParamsError: the file is missing or is not YAML, or keys are unknown, misspelt, missing or out of range;
            one message names each of them with its value and the nearest valid key.
    """
    where = f"{path} with {said}" if said else str(path)
    tree = overridden(read_tree(path), overrides or {}, where)
    try:
        for name, task in OwnTasks.model_validate(tree).own_tasks.items():
            register_task(name, **task.model_dump())
        return Params.model_validate(tree)
    except ValidationError as error:
        raise ParamsError(f"{where}: " + "; ".join(map(_describe, error.errors()))) from error


def check_lists(path: Path) -> None:
    """Check the section ``matrix`` of the file itself, where a command's flags stand in its place.

    DVC has read the file before it runs such a command: what it runs twice, or names otherwise than the command does,
    is refused before the first item. Tasks of the user's must be registered already (``load_params``).
    """
    try:
        Lists.model_validate(read_tree(path))
    except ValidationError as error:
        raise ParamsError(f"{path}: " + "; ".join(map(_describe, error.errors()))) from error


def read_tree(path: Path) -> dict[str, Any]:
    """The file's sections as plain values, unchecked; ParamsError where it is missing or is not YAML."""
    if not path.is_file():
        raise ParamsError(f"no parameters at {path}; run inside the project or pass --params")
    try:
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML: {one_line(error)}") from error
    if not isinstance(tree, dict):
        raise ParamsError(f"{path} holds {type(tree).__name__}, expected sections")
    return tree


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Overrides from ``key=value`` as ``--set`` takes them, with values in YAML; ParamsError for another form."""
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        try:
            value = YAML(typ="safe").load(text)
        except YAMLError as error:
            raise ParamsError(f"--set {setting!r}: {text!r} is not a value in YAML") from error
        if not equals or not key.strip() or not text.strip():
            raise ParamsError(f"--set {setting!r}, expected key=value, for example dreamer.actor_lr=1e-4")
        overrides[key.strip()] = value
    return overrides


def variant(path: Path, overrides: Overrides, used: Params, keys: Iterable[str], folders: Mapping[str, Path]) -> str:
    """What tells an output made with these overrides from the file's, as part of its name; empty for the same.

    Only overrides that meet one of the dotted ``keys``, which decide the output, count. Values are spelled as in
    ``used``, the parameters with the overrides: 1 and 1.0 are one variant.
    """
    file, tree = read_tree(path), used.model_dump(by_alias=True)
    deciding = [f"{key}." for key in keys]
    deciding += ["sizes."] if "world_model." in deciding else []
    parts = [f"{name}={folder}" for name, folder in folders.items()]
    for key, value in sorted(overrides.items()):
        spelled = value_at(tree, key, value)
        decides = any(f"{key}.".startswith(k) or k.startswith(f"{key}.") for k in deciding)
        if decides and spelled != value_at(file, key, None):
            parts.append(f"{key}={spelled}")
    exact = ",".join(parts)
    name = re.sub(r"[^A-Za-z0-9._=+,-]+", "-", re.sub(r"[\[\]{}'\" ]", "", exact))
    if name == exact and len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - 9]}-{hashlib.sha256(exact.encode()).hexdigest()[:8]}"


def overridden(tree: dict[str, Any], overrides: Overrides, where: str) -> dict[str, Any]:
    """``tree``, changed in place: each value that is given stands at its key; ParamsError where there is no section."""
    for key, value in overrides.items():
        section, (*parents, last) = tree, key.split(".")
        for parent in parents:
            if not isinstance(section.get(parent), dict):
                raise ParamsError(f"{where}: no section {parent!r} (from {key}); nearest: {nearest(parent, section)}")
            section = section[parent]
        section[last] = value
    return tree


def _describe(error: Any) -> str:
    names = [str(part) for part in error["loc"]]
    if names[:1] == ["methods"]:
        del names[2:3]  # the learner, by which pydantic chose the class
    key = ".".join(names) or "params"
    if error["type"] == "extra_forbidden":
        near = nearest(str(error["loc"][-1]), _fields(error["loc"][:-1]))
        return f"unknown key {key} = {error['input']!r}, nearest valid key {near}"
    if error["type"] == "missing":
        return f"missing key {key}"
    message = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], dict):  # a validator of a whole section, whose message names what it refuses
        return message if key == "params" else f"{key}: {message}"
    return f"{key} = {error['input']!r}: {message}"


def _fields(path: Iterable[Any]) -> list[str]:
    """Names that the section at ``path`` may hold; a step into a union of methods is the name of its learner."""
    model: Any = Params
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = {field.alias or name: field.annotation for name, field in model.model_fields.items()}[part]
        elif get_origin(model) is dict:
            model = get_args(model)[1]
        else:
            choices = get_args(get_args(model)[0])
            model = next(m for m in choices if part in get_args(m.model_fields["learner"].annotation))
    return [field.alias or name for name, field in model.model_fields.items()]
