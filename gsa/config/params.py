"""``Params``: all sections together, and what must hold between them."""

from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any

from pydantic import model_validator

from gsa.config import learners, sections
from gsa.config.fit import EXPLORED_ENV_STEPS, check_exploration, check_method
from gsa.config.learners import MethodParams
from gsa.config.sections import Section, nearest
from gsa.errors import ParamsError
from gsa.pipeline import LEARNERS, NOISE, run_name, source_name
from gsa.tasks import TaskSpec, get_task


class Params(Section):
    """The whole of params.yaml."""

    matrix: sections.MatrixParams
    machine: sections.MachineParams
    own_tasks: dict[str, sections.OwnTaskParams]
    render: sections.RenderParams
    collect_data: sections.CollectDataParams
    explore_data: sections.ExploreDataParams
    convert: sections.ConvertParams
    world_model: sections.WorldModelParams
    sizes: dict[sections.Name, sections.SizeParams]
    pretrain: sections.PretrainParams
    probe_actions: sections.ProbeActionsParams
    finetune: sections.FinetuneParams
    floors: sections.FloorsParams
    dreamer: learners.DreamerParams
    gsa: learners.GSAParams
    drqv2: learners.DrQv2Params
    methods: dict[sections.Name, MethodParams]
    report: sections.ReportParams

    @model_validator(mode="before")
    @classmethod
    def _resolve_size(cls, tree: Any) -> Any:
        """Put the values of the named size in the place of its name; what stands beside the name wins."""
        section, sizes = tree.get("world_model"), tree.get("sizes")
        if not isinstance(section, dict) or not isinstance(sizes, dict):
            return tree  # reported as missing or malformed
        size = section.get("size")
        if not isinstance(size, str) or not isinstance(sizes.get(size), dict):
            known = f"{', '.join(sizes)} (nearest: {nearest(str(size), sizes)})"
            raise ValueError(f"world_model.size = {size!r}, expected one of {known}")
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
                self.check_fit(method, get_task(task))
                if "model" in LEARNERS[self.method(method).learner].inputs:
                    self.model_of(task)
        if self.matrix.explore_data.domains:
            check_exploration(self.explore_data, EXPLORED_ENV_STEPS)
        tune = self.matrix.finetune
        runs = [run_name(*run) for run in product(tune.all_methods, tune.tasks, tune.seeds[:1])]
        if twice := _repeated(runs):
            raise ParamsError(f"two runs are named {twice}: a method and a task, or another pair; rename one")
        names = [source_name(*source) for source in self.sources]
        if twice := _repeated(names):
            raise ParamsError(
                f"{twice} is in matrix.collect_data, where collect_data.policy is {NOISE}, and in "
                "matrix.collect_noise; take it out of one"
            )
        return self

    @property
    def sources(self) -> list[tuple[str, str, float]]:
        """Task, policy and sigma of everything that ``collect-data`` and ``collect-noise`` make, in their order."""
        policies = ((self.collect_data.policy, self.matrix.collect_data), (NOISE, self.matrix.collect_noise))
        return [
            (task, policy, sigma) for policy, lists in policies for task, sigma in product(lists.tasks, lists.sigmas)
        ]

    def method(self, name: str) -> MethodParams:
        """The method of that name; ParamsError where ``methods`` has none."""
        if name not in self.methods:
            raise ParamsError(f"unknown method {name!r}; methods has {', '.join(self.methods)}")
        return self.methods[name]

    def model_of(self, task: str) -> str:
        """The world model that learns from the task's embodiment, by name; ParamsError where not exactly one does."""
        body = get_task(task).embodiment
        found, models = self.matrix.pretrain.listing(body), self.matrix.pretrain.models
        if len(found) != 1:
            listed = "; ".join(f"{name}: {', '.join(bodies)}" for name, bodies in models.items())
            raise ParamsError(
                f"{task} is learned with the model that lists its embodiment {body}, expected one in "
                f"matrix.pretrain.models, found {' and '.join(found) or 'none'} (it has {listed}); change the lists"
            )
        return found[0]

    def models(self, name: str | None = None) -> list[str]:
        """All names of world models, or the one given; ParamsError where there is none of that name."""
        known = list(self.matrix.pretrain.models)
        if name is not None and name not in known:
            raise ParamsError(f"unknown model {name!r}; matrix.pretrain.models has {', '.join(known)}")
        return known if name is None else [name]

    def check_fit(self, method: str, spec: TaskSpec) -> None:
        """ParamsError where a method cannot run on a task (``gsa.config.fit``)."""
        check_method(self, method, spec)


def _repeated(names: list[str]) -> str:
    """The first name that is there twice; empty where there is none."""
    return next((name for name, count in Counter(names).items() if count > 1), "")


def select(params: Params, keys: Iterable[str]) -> dict[str, Any]:
    """The values of dotted keys, e.g. ``render`` or ``matrix.finetune``, as plain data for ``open_run``."""
    tree = params.model_dump(by_alias=True)
    return {key: value_at(tree, key) for key in keys}


def value_at(tree: Any, key: str, *default: Any) -> Any:
    """The value at a dotted key of nested sections, or ``default``; ParamsError where there is neither."""
    for part in key.split("."):
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif default:
            return default[0]
        else:
            raise ParamsError(f"unknown parameter {key!r}: {part!r} is not among {', '.join(tree)}")
    return tree
