"""``Params``: all sections together, and what must hold between them."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import model_validator

from gsa.config.sections import (
    AgentParams,
    BCParams,
    CollectDataParams,
    ConvertParams,
    ExploreDataParams,
    FinetuneParams,
    MethodParams,
    PretrainParams,
    RenderParams,
    ReportParams,
    Section,
    SizeParams,
    WorldModelParams,
)
from gsa.errors import ParamsError
from gsa.tasks import get_task


class Params(Section):
    """The whole of params.yaml."""

    render: RenderParams
    collect_data: CollectDataParams
    explore_data: ExploreDataParams
    convert: ConvertParams
    world_model: WorldModelParams
    sizes: dict[str, SizeParams]
    pretrain: PretrainParams
    agent: AgentParams
    bc: BCParams
    finetune: FinetuneParams
    methods: dict[str, MethodParams]
    report: ReportParams

    @model_validator(mode="before")
    @classmethod
    def _resolve_size(cls, tree: Any) -> Any:
        """Put the values of the named size in the place of its name; what stands beside the name wins."""
        section, sizes = tree.get("world_model"), tree.get("sizes")
        if not isinstance(section, dict) or not isinstance(sizes, dict):
            return tree  # reported as missing or malformed
        size = section.get("size")
        if not isinstance(size, str) or not isinstance(sizes.get(size), dict):
            near = difflib.get_close_matches(str(size), sizes, n=1, cutoff=0.0)
            raise ValueError(f"world_model.size = {size!r}, expected one of {', '.join(sizes)} (nearest: {near[0]})")
        values = {key: value for key, value in section.items() if key != "size"}
        return tree | {"world_model": sizes[size] | values}

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        for name in (*self.finetune.all_methods, self.report.treatment, self.report.baseline):
            if name not in self.methods:
                raise ValueError(f"unknown method {name!r}; methods has {', '.join(self.methods)}")
        for key in ("methods", "online_methods"):
            for name in getattr(self.finetune, key):
                right = "methods" if self.methods[name].reads_offline else "online_methods"
                if key != right:
                    reads = "reads" if right == "methods" else "reads no"
                    raise ValueError(
                        f"finetune.{key} has {name!r}, which {reads} offline data; put it in finetune.{right}"
                    )
        for task in self.finetune.tasks:
            width = get_task(task).action_dim
            if width > self.world_model.action_dim:
                raise ValueError(
                    f"{task} has {width} actions, more than world_model.action_dim = {self.world_model.action_dim}; "
                    "raise it"
                )
        return self


def select(params: Params, keys: Iterable[str]) -> dict[str, Any]:
    """The values of dotted keys, e.g. ``render`` or ``collect_data.episodes``, as plain data for ``open_run``.

    A stage names the keys it reads once; they are what its output is stamped with and what dvc.yaml lists.
    """
    tree = params.model_dump(by_alias=True)
    chosen: dict[str, Any] = {}
    for key in keys:
        value: Any = tree
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise ParamsError(f"unknown parameter {key!r}: {part!r} is not among {', '.join(value)}")
            value = value[part]
        chosen[key] = value
    return chosen
