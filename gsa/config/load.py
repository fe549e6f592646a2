"""``load_params``: params.yaml, read and checked; one message names everything that is wrong with it."""

import difflib
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gsa.config.params import Params
from gsa.errors import ParamsError


def load_params(path: Path = Path("params.yaml"), overrides: dict[str, Any] | None = None) -> Params:
    """Read, override and check the parameters.

    ``overrides`` maps dotted keys to values; None values are ignored (a flag that was not given).

    Raises:
        ParamsError: the file is missing or no YAML, or keys are unknown, misspelt, missing or out of range;
            one message names each of them with its value and the nearest valid key.
    """
    if not path.is_file():
        raise ParamsError(f"no parameters at {path}; run inside the project or pass --params")
    try:
        tree = YAML(typ="safe").load(path.read_text())
    except YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ParamsError(f"{path} holds {type(tree).__name__}, expected sections")
    for key, value in (overrides or {}).items():
        if value is not None:
            _override(tree, key, value, path)
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise ParamsError(f"{path}: " + "; ".join(_describe(e) for e in error.errors())) from error


def _override(tree: dict[str, Any], key: str, value: Any, path: Path) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(tree.get(parent), dict):
            raise ParamsError(f"{path} has no section {parent!r} (from {key})")
        tree = tree[parent]
    tree[last] = value


def _describe(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "params"
    if error["type"] == "extra_forbidden":
        model: Any = Params
        for part in error["loc"][:-1]:
            fields = getattr(model, "model_fields", None)
            model = fields[part].annotation if fields else get_args(model)[1]  # a section, or a table of the user's
        names = [f.alias or n for n, f in model.model_fields.items()]
        near = difflib.get_close_matches(str(error["loc"][-1]), names, n=1, cutoff=0.0)
        return f"unknown key {key} = {error['input']!r}, nearest valid key {near[0] if near else names}"
    if error["type"] == "missing":
        return f"missing key {key}"
    return f"{key} = {error['input']!r}: {error['msg']}" if key != "params" else error["msg"]
