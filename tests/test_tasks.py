"""The table of tasks and the user's place in it."""

import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gsa
from gsa.config import load_params, select
from gsa.errors import ParamsError
from gsa.runs.code_stamp import stage_modules
from gsa.tasks import TASKS, TaskSpec, get_task, register_task, task_stamp

FACTS: dict[str, Any] = {"metric": "return", "score_range": (-1600.0, 0.0), "max_frames": 200}


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The table is left as it was; the working folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(TASKS)
    yield
    TASKS.clear()
    TASKS.update(before)


def test_the_shortest_call_fills_in_the_rest() -> None:
    spec = gsa.register_task("my-reach", "reach:Reach", metric="success", max_frames=200, action_repeat=2)
    assert spec == get_task("my-reach") == TASKS["my-reach"]
    assert (spec.suite, spec.embodiment, spec.camera, spec.score_range) == ("own", "my-reach", "render", (0.0, 1.0))
    assert (spec.max_env_steps, spec.action_dim, spec.kwargs) == (100, None, {})
    assert register_task("pend.1_a-B", "Pendulum-v1", **FACTS).action_repeat == 1


def test_scores_are_read_by_the_tasks_range() -> None:
    own = register_task("pendulum", "Pendulum-v1", **FACTS)
    assert [own.normalise(score) for score in (-1600.0, -400.0, 0.0, 800.0)] == [0.0, 0.75, 1.0, 1.5]
    np.testing.assert_array_equal(own.normalise(np.array([-1600.0, -800.0])), [0.0, 0.5])
    assert own.possible_scores == (-np.inf, np.inf)
    walker, reach, hard = map(get_task, ("dmc-walker-walk", "mw-reach", "dmc-walker-walk-hard"))
    assert (walker.normalise(250.0), reach.normalise(0.3)) == (0.25, 0.3)
    assert (walker.possible_scores, reach.possible_scores) == ((0.0, 1000.0), (0.0, 1.0))
    assert hard.possible_scores == (pytest.approx(-244.949, abs=1e-3), 1000.0)
    assert {spec.action_repeat for spec in (walker, reach)} == {2}
    assert (walker.max_env_steps, reach.max_env_steps, walker.embodiment, reach.embodiment) == (
        500,
        100,
        "walker",
        "sawyer",
    )


def test_a_name_of_the_users_may_be_redefined_and_ours_may_not() -> None:
    register_task("pendulum", "Pendulum-v1", **FACTS)
    assert register_task("pendulum", "Pendulum-v1", **FACTS | {"max_frames": 100}).max_frames == 100
    assert get_task("pendulum").max_frames == 100
    with pytest.raises(ParamsError, match="'mw-reach' is one of ours"):
        register_task("mw-reach", "reach:Reach", **FACTS)
    assert get_task("mw-reach").suite == "mw"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"name": "../away"},
            "name = '../away', expected letters, digits and '_.-', at most 100, for it becomes part of a path",
        ),
        ({"name": ".hidden"}, "name = '.hidden', expected letters"),
        ({"name": "two words"}, "name = 'two words', expected letters"),
        ({"embodiment": "a/b"}, "embodiment = 'a/b', expected letters, digits and '_.-'"),
        ({"env": ""}, "env = ''"),
        ({"env": "reach:"}, "env = 'reach:', expected module:function or a Gymnasium id"),
        ({"score_range": None}, "score_range = None, expected two numbers"),
        ({"score_range": (1.0, 0.0)}, "score_range"),
        ({"score_range": (0.0, float("inf"))}, "score_range"),
        ({"max_frames": 0}, "max_frames = 0"),
        ({"max_frames": 3, "action_repeat": 4}, "max_frames = 3, expected at least action_repeat"),
        ({"kwargs": {"f": print}}, r"kwargs hold more than plain values.*make them in Pendulum-v1"),
    ],
)
def test_wrong_facts_are_named(wrong: dict[str, Any], message: str) -> None:
    facts = {"name": "pendulum", "env": "Pendulum-v1"} | FACTS | wrong
    with pytest.raises(ParamsError, match=message):
        register_task(facts.pop("name"), facts.pop("env"), **facts)
    assert "pendulum" not in TASKS


def test_a_spec_travels_to_other_processes_and_its_kwargs_are_its_own() -> None:
    kwargs = {"goal": [1, 2], "name": "x"}
    spec = register_task("reach", "reach:Reach", kwargs=kwargs, **FACTS)
    assert pickle.loads(pickle.dumps(spec)) == spec and len({spec, get_task("mw-reach")}) == 2
    kwargs["goal"] = [3]
    assert spec.kwargs == {"goal": [1, 2], "name": "x"}


def test_a_stamp_holds_every_fact_and_the_code_of_the_module(tmp_path: Path) -> None:
    (tmp_path / "reach.py").write_text("A = 1\n")
    spec = register_task("reach", "reach:Reach", kwargs={"goal": [1]}, **FACTS)
    stamp = task_stamp(spec)
    assert json.loads(json.dumps(stamp)) == stamp
    assert set(stamp) == {*TaskSpec.__dataclass_fields__, "code"}
    assert stamp["code"] == hashlib.sha256(b"A = 1\n").hexdigest()
    assert (stamp["score_range"], stamp["kwargs"], stamp["env"]) == ([-1600.0, 0.0], {"goal": [1]}, "reach:Reach")
    (tmp_path / "reach.py").write_text("A = 2\n")
    assert task_stamp(spec)["code"] != stamp["code"]
    assert task_stamp(register_task("pendulum", "Pendulum-v1", **FACTS))["code"] is None
    assert "code" not in task_stamp(get_task("mw-reach"))
    with pytest.raises(ParamsError, match=r"'lost': no module 'nowhere' .of nowhere:Env"):
        task_stamp(register_task("lost", "nowhere:Env", **FACTS))


def test_the_file_of_parameters_registers_tasks_before_it_names_them(root: Path) -> None:
    own = {"my-pendulum": {"env": "Pendulum-v1", "metric": "return", "score_range": [-1600, 0], "max_frames": 200}}
    lists = {"tasks": ["my-pendulum"], "methods": {"gsa": ["gsa"], "dreamer": ["scratch"]}, "seeds": [0]}
    models = {"mw": ["sawyer"], "own": ["my-pendulum"]}  # its embodiment, where none is named
    overrides = {"own_tasks": own, "matrix.finetune": lists, "matrix.pretrain.models": models}
    params = load_params(root / "params.yaml", overrides)
    assert params.matrix.finetune.tasks == ["my-pendulum"]
    assert get_task("my-pendulum").score_range == (-1600.0, 0.0)
    assert json.loads(json.dumps(select(params, ["own_tasks"])))["own_tasks"]["my-pendulum"]["action_repeat"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_frame": 3}, r"unknown key own_tasks\.mine\.max_frame = 3, nearest valid key max_frames"),
        ({"max_frames": "many"}, r"own_tasks\.mine\.max_frames = 'many'"),
        ({"env": None}, r"own_tasks\.mine\.env = None"),
        ({"score_range": [0]}, r"task 'mine': score_range = \[0\.0\], expected two numbers"),
        ({"score_range": None}, r"task 'mine': score_range = None, expected two numbers"),
    ],
)
def test_a_malformed_task_of_the_file_is_named_in_one_line(root: Path, change: dict[str, Any], message: str) -> None:
    own = {"mine": {"env": "Pendulum-v1", "metric": "return", "score_range": [-1600, 0], "max_frames": 200} | change}
    with pytest.raises(ParamsError, match=message) as error:
        load_params(root / "params.yaml", {"own_tasks": own, "matrix.finetune.tasks": ["mine"]})
    assert "\n" not in str(error.value)


def test_importing_gsa_loads_no_heavy_package_and_facts_of_the_wrong_type_are_named_there_too(root: Path) -> None:
    heavy = "{'torch', 'numpy', 'gymnasium', 'mujoco', 'dm_control', 'pydantic'}"
    code = f"""
import sys
import gsa
wrong_facts = {{"metric": "reward", "action_repeat": 2.0, "camera": 0, "embodiment": 3, "score_range": 7}}
for name, value in wrong_facts.items():
    try:
        gsa.register_task("x", "X-v0", **{{"metric": "success", "max_frames": 9}} | {{name: value}})
    except gsa.tasks.ParamsError as error:
        print(error)
print({heavy} & set(sys.modules))
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=root)
    assert child.stderr == ""
    lines = child.stdout.splitlines()
    assert lines[0] == "task 'x': metric = 'reward', expected return or success"
    assert [line.split(",")[0].removeprefix("task 'x': ") for line in lines[1:]] == [
        "action_repeat = 2.0",
        "camera = 0",
        "embodiment = 3",
        "score_range = 7",
        "set()",
    ]


def test_the_table_of_tasks_is_no_part_of_what_knows_no_task() -> None:
    assert "gsa.tasks" not in stage_modules("pretrain") and "gsa.tasks" in stage_modules("collect-data")
    with pytest.raises(AttributeError, match="no attribute 'register_tasks'"):
        gsa.register_tasks  # noqa: B018
