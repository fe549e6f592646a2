"""No value of a parameter ends in a traceback: each key's range is tried from outside, and what goes with what."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gsa.config import load, load_params
from gsa.errors import ParamsError
from gsa.pipeline import source_name
from gsa.schedule import Progress, Schedule
from tests.conftest import ROOT

TREE = load.read_tree(ROOT / "params.yaml")

WRONG: list[Any] = [math.inf, -math.inf, math.nan, 1e30, 10**400, "text", [1], {"a": 1}, True, -(10**9)]
"""Values that no number of the parameters has; ``None`` is one of a few."""


def numbers(tree: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys of numbers and of lists of numbers."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from numbers(value, *path, key)
        elif type(value) in (int, float) or (isinstance(value, list) and value and type(value[0]) in (int, float)):
            yield ".".join((*path, key)), value


LEAVES = dict(numbers(TREE))


@pytest.fixture(autouse=True)
def _parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "read_tree", lambda path: copy.deepcopy(TREE))


def refusal(overrides: dict[str, Any]) -> str:
    """The message, empty where the values are accepted."""
    try:
        load_params(Path("params.yaml"), overrides)
    except ParamsError as error:
        assert "\n" not in str(error) and "validation error" not in str(error)
        return str(error)
    return ""


def test_all_of_the_file_is_tried() -> None:
    assert len(LEAVES) > 100 and {"dreamer.lambda", "matrix.finetune.seeds", "dreamer.bin_range"} <= set(LEAVES)


@pytest.mark.parametrize("key", LEAVES)
def test_a_number_loads_or_is_refused_in_one_line_with_its_range(key: str) -> None:
    usual = LEAVES[key]
    for value in WRONG:
        said = refusal({key: [value, *usual[1:]] if isinstance(usual, list) else value})
        where = key + (".0" if isinstance(usual, list) else "")
        assert (where + (":" if isinstance(value, dict) else " = ")) in said, (value, said)
        assert "expected a " in said and (" from " in said or " above " in said)
    for value in (-1, 0, None):
        said = refusal({key: [value, *usual[1:]] if isinstance(usual, list) else value})
        assert not said or key.rpartition(".")[2] in said, (value, said)


LISTS = {
    **{f"matrix.{name}.tasks": "mw-reach" for name in ("collect_data", "collect_noise", "probe_actions", "finetune")},
    **{f"matrix.{name}.sigmas": 0.5 for name in ("collect_data", "collect_noise")},
    "matrix.explore_data.domains": "walker",
    "matrix.pretrain.models.mw": "sawyer",
    "matrix.finetune.methods.gsa": "gsa",
    "matrix.finetune.seeds": 21,
}


@pytest.mark.parametrize("key", LISTS)
def test_nothing_is_named_twice_in_a_list(key: str) -> None:
    item = LISTS[key]
    assert not refusal({key: [item]})
    assert f"{key} = {[item, item]}: {item!r} is there twice" in refusal({key: [item, item]})


def test_the_lists_above_are_all_there_are() -> None:
    def lists(tree: dict[str, Any], *path: str) -> Iterator[str]:
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from lists(value, *path, key)
            elif isinstance(value, list):
                yield ".".join((*path, key))

    others = {"matrix.finetune.methods.dreamer", "matrix.finetune.methods.drqv2"}  # of the type of methods.gsa
    assert set(lists(TREE["matrix"], "matrix")) == set(LISTS) | others


def test_lists_may_be_empty() -> None:
    empty: dict[str, Any] = {f"matrix.{name}.tasks": [] for name in ("collect_noise", "probe_actions")}
    assert not refusal(empty | {"matrix.explore_data.domains": [], "matrix.finetune.methods.dreamer": []})


MW = "matrix.finetune.tasks", ["mw-reach"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dreamer.replay_ratio": 1e-9}, "'gsa' would learn nothing of mw-window-close: no update is due within"),
        (
            {"finetune.total_frames": 100},
            "finetune.total_frames = 100 with dreamer.replay_ratio = 20.0, dreamer.warmup",
        ),
        ({"finetune.total_frames": 6000, "dreamer.warmup_frames": 10**6, "dreamer.max_warmup_episodes": 31}, "no upd"),
        ({"finetune.total_frames": 300, "matrix.finetune.methods": {"drqv2": ["drqv2"]}}, "drqv2.seed_frames = 1000"),
        ({"dreamer.batch_length": 102}, "has 101 rows, shorter than a window of 102 rows; lower dreamer.batch_length"),
        (
            {"methods.gsa.rehearsal_fraction": 1.0},
            "methods.gsa.rehearsal_fraction = 1.0 of dreamer.batch_size = 8 is 8",
        ),
        ({"methods.gsa.rehearsal_fraction": 0.01}, "is 0 windows, expected one retrieved and one online at least"),
        ({"dreamer.retnorm.perclo": 95.0}, "dreamer.retnorm: perclo = 95.0, expected less than perchi = 95.0"),
        ({"dreamer.min_std": 2.0}, "dreamer: min_std = 2.0, expected at most max_std = 1.0"),
        ({"dreamer.imag_horizon": 1}, "dreamer.imag_horizon = 1: expected a whole number from 2 to"),
        ({"dreamer.bin_range": [1.0, 1.0]}, "dreamer.bin_range = [1.0, 1.0]: expected [low, high] with low below"),
        ({"explore_data.intrinsic_nstep": 501}, "explore_data.intrinsic_nstep: 501 is more than 500"),
        (
            {"explore_data.seed_env_steps": 1, "explore_data.update_every": 1, "explore_data.intrinsic_nstep": 3},
            "is mo",
        ),
        ({"explore_data.seed_env_steps": 15001}, "explore_data.seed_env_steps: 15004 is more than 15000"),
        ({"explore_data.train_env_steps": 400}, "is 0 episodes of 500 decisions, fewer than explore_data.episodes"),
        ({"drqv2.by_task": {"dmc-walker-*": {"nstep": 0}}}, "drqv2.nstep = 0: expected a whole"),
        ({"drqv2.by_task": {"dmc-walker-*": {"nstp": 3}}}, "unknown key drqv2.nstp = 3"),
        ({"gsa.guidance.dcm": {"start": 1.0, "end": 0.0, "env_steps": 9}}, "gsa.guidance.dcm"),
        ({"methods.p_er_a": TREE["methods"]["p"], "matrix.finetune.seeds": [-1]}, "matrix.finetune.seeds.0 = -1"),
        ({"matrix.finetune.seeds": [2**32]}, "expected a whole number from 0 to 4294967295"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(overrides: dict[str, Any], message: str) -> None:
    assert message in refusal(overrides)


def test_two_runs_never_share_a_folder() -> None:
    own = {"env": "gsa:none", "metric": "success", "max_frames": 90, "embodiment": "sawyer"}
    overrides = {
        "own_tasks": {"er_x": own, "x": own},
        "matrix.finetune.tasks": ["er_x", "x"],
        "matrix.finetune.methods": {"gsa": ["p", "p_er"]},
        "dreamer.batch_length": 8,
    }
    from gsa.tasks import TASKS

    try:
        assert "two runs are named p_er_x_s31" in refusal(overrides)
    finally:
        for name in ("er_x", "x"):
            TASKS.pop(name, None)


POLICIES = ("expert", "expert-go-on", "tdmpc2", "random", "ou")


def test_every_policy_and_sigma_has_a_folder_of_its_own() -> None:
    names = {source_name("mw-reach", policy, sigma) for policy in POLICIES for sigma in (0.0, 0.5, 1.0, 1e-5)}
    assert len(names) == 20
    for policy in POLICIES:
        overrides = {"collect_data.policy": policy, "matrix.collect_noise.tasks": []}
        assert {who for _, who, _ in load_params(Path(), overrides).sources} == {policy}


@pytest.mark.parametrize("owed", [True, False])
@pytest.mark.parametrize("repeat", [1, 2, 3])
@pytest.mark.parametrize("start_episodes", [None, 1, 2])
def test_planned_updates_are_those_of_the_loop(owed: bool, repeat: int, start_episodes: int | None) -> None:
    """As ``Finetuner.count_decision`` counts, with every episode at its full length."""
    for total in (1, 30, 31, 90):
        for start in (0, 1, 30, 45, 46):
            schedule = Schedule(0.3, start, start_episodes, owed=owed)
            progress = Progress()
            while progress.frames < total:
                for _ in range(10):
                    progress.env_steps += 1
                    progress.frames += repeat
                    if not owed and not schedule.started(progress):
                        progress.skipped_env_steps = progress.env_steps
                progress.episodes += 1
            assert schedule.planned(total, 10, repeat) == schedule.due(progress)
