"""``Params``: all sections together, and what must hold between them."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import model_validator

from gsa.config.learners import DreamerParams, DrQv2Params, GSAMethod, GSAParams, MethodParams
from gsa.config.sections import (
    CollectDataParams,
    ConvertParams,
    ExploreDataParams,
    FinetuneParams,
    MachineParams,
    MatrixParams,
    OwnTaskParams,
    PretrainParams,
    RenderParams,
    ReportParams,
    Section,
    SizeParams,
    WorldModelParams,
)
from gsa.errors import ParamsError
from gsa.pipeline import LEARNERS
from gsa.tasks import get_task


class Params(Section):
    """The whole of params.yaml."""

    matrix: MatrixParams
    machine: MachineParams
    own_tasks: dict[str, OwnTaskParams]
    render: RenderParams
    collect_data: CollectDataParams
    explore_data: ExploreDataParams
    convert: ConvertParams
    world_model: WorldModelParams
    sizes: dict[str, SizeParams]
    pretrain: PretrainParams
    finetune: FinetuneParams
    dreamer: DreamerParams
    gsa: GSAParams
    drqv2: DrQv2Params
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
        for learner, names in self.matrix.finetune.methods.items():
            if learner not in LEARNERS:
                raise ValueError(f"matrix.finetune.methods has {learner!r}, expected learners: {', '.join(LEARNERS)}")
            for name in names:
                if (found := self.method(name).learner) != learner:
                    where = f"matrix.finetune.methods.{found}"
                    raise ValueError(f"method {name!r} has the learner {found}; list it in {where}")
        for name in (self.report.treatment, self.report.baseline):
            self.method(name)
        for method in self.matrix.finetune.all_methods:
            for task in self.matrix.finetune.tasks:
                self.check_fit(method, task)
        return self

    def method(self, name: str) -> MethodParams:
        """The method of that name.

        Raises:
            ParamsError: ``methods`` has none.
        """
        if name not in self.methods:
            raise ParamsError(f"unknown method {name!r}; methods has {', '.join(self.methods)}")
        return self.methods[name]

    def check_fit(self, method: str, task: str) -> None:
        """Refuse a method that cannot run on a task.

        Raises:
            ParamsError: actions are wider than the world model's, or the task's suite has no guidance schedule.
        """
        spec, switches = get_task(task), self.method(method)
        width = spec.action_dim
        if "world_model" in LEARNERS[switches.learner].sections and width and width > self.world_model.action_dim:
            raise ParamsError(
                f"{task} has {width} actions, "
                f"more than world_model.action_dim = {self.world_model.action_dim}; raise it"
            )
        if isinstance(switches, GSAMethod) and switches.guidance and spec.suite not in self.gsa.guidance:
            raise ParamsError(
                f"method {method!r} guides, but gsa.guidance has no schedule for the suite {spec.suite!r} of {task} "
                f"(it has {', '.join(self.gsa.guidance)}); add one"
            )


def select(params: Params, keys: Iterable[str]) -> dict[str, Any]:
    """The values of dotted keys, e.g. ``render`` or ``matrix.finetune``, as plain data for ``open_run``."""
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
