"""The items that parameters list, for sweeps without DVC: command, output and what its record should say."""

import shlex
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from gsa.config import select
from gsa.config.load import read_tree
from gsa.errors import ParamsError
from gsa.pipeline import STAGES, Stage
from gsa.sweep.items import Filter, Item
from gsa.sweep.records import Facts, RecordLedger, linked
from stages.finetune import by_learner
from stages.options import PARAMS, Flags, Loaded, open_params

ONE_PLACE = ("convert", "pretrain", "build-index")
"""Stages whose outputs have one place, whatever the parameters."""

FOR_DVC = ("choose-model",)
"""Stages that only tell DVC something."""


def listed_items(
    wanted: Filter, sets: Sequence[str] = (), plugin: str | None = None, path: Path = PARAMS
) -> RecordLedger:
    """The items of the parameter file; each combination of the values in ``sets`` (``key=v1,v2``) has items of its own.

    Tasks, methods and seeds that ``wanted`` names are fine-tuned whether the file lists them or not.

    Raises:
        ParamsError: a value is wrong, or changes an output that has one place.
    """
    more = [*(["--plugin", plugin] if plugin else []), *(["--params", str(path)] if path != PARAMS else [])]
    items: dict[str, Item] = {}
    facts: dict[str, Facts] = {}
    flags = _asked(wanted, path)
    for settings in product(*map(variations, sets)):
        loaded = open_params(path, list(settings), plugin, flags)
        left_out = (*FOR_DVC, *(["report"] if sets or flags else []))
        for stage in STAGES.values():
            for values in _spanned(stage, loaded) if stage.name not in left_out else ():
                fact, variant = _facts(loaded, stage, values)
                if variant and stage.name in ONE_PLACE:
                    raise ParamsError(
                        f"--set {' '.join(settings)}: {stage.name} depends on it, whose output has one place; change "
                        f"it in {path}"
                    )
                words = ["gsa", *(stage.command or stage.name).split()]
                words += [word for name, value in values.items() for word in (f"--{name}", str(value))]
                words += [word for setting in settings if variant for word in ("--set", setting)]
                name = stage.name + (f"@{'-'.join(map(str, values.values()))}" if values else "")
                name += f"_{variant}" if variant else ""
                output = str(stage.place(variant, **values))
                for key, value in select(loaded.params, stage.named).items():
                    output = output.replace(f"${{{key}}}", str(value))
                items[name], facts[name] = Item(name, f"exec {shlex.join([*words, *more])}", output), fact
    return RecordLedger(linked(items, facts), facts)


def variations(setting: str) -> list[str]:
    """``key=v1,v2`` as ``["key=v1", "key=v2"]``; a comma in brackets or quotes is part of a value."""
    key, equals, text = setting.partition("=")
    parts, depth, quote = [""], 0, ""
    for letter in text:
        quote = "" if letter == quote else quote or (letter if letter in "'\"" else "")
        depth += 0 if quote else (letter in "[{") - (letter in "]}")
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [f"{key}{equals}{part}" for part in parts]


def _asked(wanted: Filter, path: Path) -> Flags:
    """The lists of fine-tuning with the names and seeds that are wanted beside those of the file."""
    lists = read_tree(path)["matrix"]["finetune"]
    listed = {"task": lists["tasks"], "method": [name for names in lists["methods"].values() for name in names]}
    flags: dict[str, tuple[str, Any]] = {}
    for name, globs in (("task", wanted.tasks), ("method", wanted.methods)):
        new = [one for one in globs if not any(map(one.__contains__, "*?[")) and one not in listed[name]]
        if new:
            found = [one for one in listed[name] if any(fnmatchcase(one, glob) for glob in globs)] + new
            flags[f"--{name}"] = (f"matrix.finetune.{name}s", by_learner(path, found) if name == "method" else found)
    if set(wanted.seeds) - set(lists["seeds"]):
        flags["--seed"] = ("matrix.finetune.seeds", list(wanted.seeds))
    return flags


def _spanned(stage: Stage, loaded: Loaded) -> Iterator[dict[str, Any]]:
    """The values of each item of a stage."""
    lists = [select(loaded.params, [key])[key] for key in stage.matrix.values()]
    for values in product(*lists):
        yield dict(zip(stage.matrix, values, strict=True))


def _facts(loaded: Loaded, stage: Stage, values: dict[str, Any]) -> tuple[Facts, str]:
    """What an item is, and what sets its name apart from that of the item of the file."""
    method, task = values.get("method", ""), values.get("task", "")
    model = values.get("model", "") or (loaded.params.model_of(task) if task and "model" in stage.inputs else "")
    identity = loaded.identity(stage.name, method, task, values.get("model", ""))
    return Facts(stage.name, identity["params"], model), loaded.variant(stage.name, method, task)
