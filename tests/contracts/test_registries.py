"""Every row of every registry leads somewhere, and every choice a parameter offers has its row."""

from pathlib import Path
from typing import get_args

import metaworld.policies
import pytest
from dm_control import suite

from gsa.config import CollectDataParams, ExploreDataParams, RenderParams, load_params
from gsa.config.sections import ExploreMatrix
from gsa.envs import SUITES
from gsa.envs.dmc_tasks import CUSTOM_TASKS
from gsa.envs.rendering import QUALITY
from gsa.errors import ParamsError
from gsa.policies import POLICIES
from gsa.policies.curiosity import INTRINSIC_REWARDS
from gsa.policies.exploration import NOISES
from gsa.policies.untrained import expert_class_name
from gsa.tasks import DMC_ACTION_DIM, EXTRA_TASKS, TASKS, get_task

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_holds_the_papers_72_tasks() -> None:
    paper = [spec for spec in TASKS.values() if spec.name not in EXTRA_TASKS]
    assert (sum(s.suite == "dmc" for s in paper), sum(s.suite == "mw" for s in paper)) == (22, 50)
    assert {spec.suite for spec in paper} == set(SUITES) - {"own"}


def test_every_dmc_task_is_the_suites_or_ours_and_never_both() -> None:
    wanted = {(spec.embodiment, spec.task) for spec in TASKS.values() if spec.suite == "dmc"}
    shipped = {(domain, task.replace("_", "-")) for domain, task in suite.ALL_TASKS}
    assert set(CUSTOM_TASKS) == wanted - shipped
    assert all(callable(make) for make in CUSTOM_TASKS.values())


@pytest.mark.parametrize("name", [spec.name for spec in TASKS.values() if spec.suite == "mw"])
def test_every_metaworld_task_has_its_scripted_expert(name: str) -> None:
    assert hasattr(metaworld.policies, expert_class_name(get_task(name).task))


def test_choices_of_parameters_are_rows_of_registries() -> None:
    def choices(model: type, field: str) -> set[str]:
        return set(get_args(model.model_fields[field].annotation))  # type: ignore[attr-defined]

    assert choices(CollectDataParams, "policy") == set(POLICIES)
    assert choices(ExploreDataParams, "method") == {*INTRINSIC_REWARDS, *NOISES}
    (domain,) = get_args(ExploreMatrix.model_fields["domains"].annotation)
    assert set(get_args(domain)) == set(DMC_ACTION_DIM)
    assert choices(RenderParams, "quality") == set(QUALITY)


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(ParamsError, match=r"unknown task 'mw-draw-close'; nearest: mw-drawer-close.*gsa tasks"):
        get_task("mw-draw-close")


def test_the_methods_of_the_comparison_are_parameter_sets() -> None:
    methods = load_params(ROOT / "params.yaml").methods
    assert {"gsa", "p", "p_er", "p_g", "scratch"} <= set(methods)
    assert len({tuple(m.model_dump().items()) for m in methods.values()}) == len(methods)
