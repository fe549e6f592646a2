"""params.yaml and its typed mirror have the same keys, profiles are values of it; wrong ones are named with a hint."""

import re
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

from gsa.config import Params, load_params, parse_settings, select, variant
from gsa.errors import ParamsError
from gsa.tasks import TASKS, get_task
from gsa.world_model.model import WorldModel
from stages.options import open_params
from stages.profile import load_profile, profile_values, with_values

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles are read where one works."""
    monkeypatch.chdir(ROOT)


def fields_with_defaults(model: type[BaseModel]) -> list[str]:
    found = [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.is_required()]
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += fields_with_defaults(field.annotation)
    return found


def test_defaults_live_in_the_file_alone() -> None:
    assert fields_with_defaults(Params) == []


def test_profiles_hold_the_same_keys_so_that_switching_leaves_nothing_behind() -> None:
    assert {"quickstart", "study", "paper"} <= set(PROFILES)
    held = {name: set(profile_values(name)) for name in PROFILES}
    assert len({frozenset(keys) for keys in held.values()}) == 1, "keys of profiles differ"
    for key in held["quickstart"]:
        assert len({repr(profile_values(name)[key]) for name in PROFILES}) > 1, f"{key} is the same in every profile"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("mw-reach", (3, 256, 100_000, 1_000_000)),
        ("dmc-cartpole-balance", (3, 256, 100_000, 1_000_000)),
        ("dmc-acrobot-swingup", (3, 256, 500_000, 1_000_000)),
        ("dmc-cheetah-jump", (3, 256, 500_000, 1_000_000)),
        ("dmc-quadruped-walk", (3, 256, 500_000, 1_000_000)),
        ("dmc-quadruped-run", (3, 256, 500_000, 100_000)),
        ("dmc-walker-backflip", (1, 512, 500_000, 1_000_000)),
        ("dmc-walker-stand", (1, 512, 100_000, 1_000_000)),
        ("dmc-walker-walk", (1, 512, 100_000, 1_000_000)),
        ("dmc-walker-walk-hard", (1, 512, 500_000, 1_000_000)),
    ],
)
def test_the_paper_profile_has_drqv2s_published_values_of_each_task(task: str, expected: tuple[int, ...]) -> None:
    chosen = load_profile("paper").drqv2.for_task(task)
    assert (chosen.nstep, chosen.batch_size, chosen.noise_env_steps, chosen.replay_capacity) == expected


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_valid(name: str) -> None:
    load_profile(name)


def test_the_committed_parameters_are_the_quickstarts_to_the_byte() -> None:
    text = (ROOT / "params.yaml").read_text()
    assert with_values(text, "quickstart") == text
    there = with_values(text, "paper")
    assert there != text and with_values(with_values(there, "study"), "quickstart") == text
    assert len(re.findall("#.*", there)) == len(re.findall("#.*", text))  # every comment is still there


def test_the_paper_profile_spans_the_papers_tasks_data_and_model() -> None:
    paper = load_profile("paper")
    matrix = paper.matrix
    assert len(matrix.finetune.tasks) == 72 and len(matrix.finetune.seeds) == 3
    assert len(matrix.collect_data.tasks) * len(matrix.collect_data.sigmas) * paper.collect_data.episodes == 50_000
    assert {source[1] for source in paper.sources} == {"expert"}  # no correlated noise
    assert len(matrix.explore_data.domains) * paper.explore_data.episodes == 10_000
    assert (paper.world_model.deter, paper.world_model.hidden, paper.world_model.action_dim) == (12288, 1536, 21)


@pytest.mark.parametrize(("size", "millions"), [("xs", 0.66), ("s", 12.0), ("m", 49.0), ("paper", 281.4)])
def test_a_size_has_its_parameters(size: str, millions: float) -> None:
    paper = load_profile("paper", settings=[f"world_model.size={size}"])
    with torch.device("meta"):
        model = WorldModel(paper.world_model)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.05)


def test_a_size_is_resolved_and_what_stands_beside_its_name_wins() -> None:
    path = ROOT / "params.yaml"
    sizes = load_params(path).sizes
    named = load_params(path, {"world_model.size": "m", "world_model.hidden": 8}).world_model
    assert named.model_dump(include=set(type(sizes["m"]).model_fields)) == sizes["m"].model_dump() | {"hidden": 8}
    for wrong in ("papr", ["m"], {}):
        with pytest.raises(ParamsError, match=r"world_model\.size = .* expected one of xs, study, s, m, paper"):
            load_params(path, {"world_model.size": wrong})
    with pytest.raises(ParamsError, match=r"unknown key sizes\.m\.detr = 8, nearest valid key deter"):
        load_params(path, {"sizes.m.detr": 8})


def test_all_wrong_keys_are_named_at_once_with_the_nearest(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("  log_every:", "  log_evry:").replace("  unimix: 0.01", "  unimix: 2.0"))
    with pytest.raises(ParamsError) as error:
        load_params(path)
    message = str(error.value)
    assert "unknown key pretrain.log_evry" in message and "nearest valid key log_every" in message
    assert "missing key pretrain.log_every" in message and "world_model.unimix = 2.0" in message


@pytest.mark.parametrize(
    "name", ["$(touch x)", "`x`", "a b", "a;b", "'", "../x", "/x", ".", "..", "", "-x", "a/b", "a\n", "x" * 101]
)
def test_what_becomes_a_path_or_a_word_of_a_command_is_refused_unless_it_is_a_plain_name(name: str) -> None:
    tree = load_params(ROOT / "params.yaml").model_dump(by_alias=True)
    task = {"env": "reach:Reach", "metric": "success", "max_frames": 200}
    for key, value in {
        "own_tasks": {name: task},
        "own_tasks.x": {**task, "embodiment": name},
        "matrix.collect_data.tasks": [name],
        "matrix.collect_noise.tasks": [name],
        "matrix.explore_data.domains": [name],
        "matrix.pretrain.models": {name: ["sawyer"]},
        "matrix.pretrain.models.mw": ["sawyer", name],
        "matrix.probe_actions.tasks": [name],
        "matrix.finetune.tasks": [name],
        "matrix.finetune.methods.dreamer": [name],
        "matrix.finetune.seeds": [name],
        "methods": {**tree["methods"], name: {"learner": "dreamer"}},
        "sizes": {"xs": tree["sizes"]["xs"], name: tree["sizes"]["xs"]},
        "collect_data.policy": name,
        "drqv2.by_task": {name: {}},
    }.items():
        with pytest.raises(ParamsError):
            load_params(ROOT / "params.yaml", {key: value})
            pytest.fail(f"{key} was accepted")


def test_a_level_that_the_codec_does_not_have_is_named() -> None:
    path = ROOT / "params.yaml"
    assert load_params(path, {"convert.codec": "zstd", "convert.level": 22}).convert.level == 22
    with pytest.raises(ParamsError, match=r"params\.yaml: convert: level 13 is none of lz4's"):  # not the whole section
        load_params(path, {"convert.codec": "lz4", "convert.level": 13})


def test_names_that_are_cleaned_alike_differ() -> None:
    used = load_params(ROOT / "params.yaml")
    names = {
        variant(ROOT / "params.yaml", {}, used, [], {"offline": Path(folder)}) for folder in ("a b", "ab", "a/b", "a-b")
    }
    assert len(names) == 4 and all(re.fullmatch(r"[\w.=-]+", name) for name in names)


def test_null_is_a_value_for_keys_that_take_it() -> None:
    path = ROOT / "params.yaml"
    key = "dreamer.model_optimizer.clip_norm"
    assert load_params(path, parse_settings([f"{key}=null"])).dreamer.model_optimizer.clip_norm is None
    with pytest.raises(ParamsError, match=r"pretrain\.updates = None: expected a whole number from 1 to"):
        load_params(path, parse_settings(["pretrain.updates=null"]))


def test_select_names_an_unknown_key() -> None:
    params = load_params(ROOT / "params.yaml")
    assert select(params, ["dreamer.lambda", "render"]) == {
        "dreamer.lambda": params.dreamer.lambda_,
        "render": params.render.model_dump(),
    }
    with pytest.raises(ParamsError, match=r"unknown parameter 'dreamer\.lamda'"):
        select(params, ["dreamer.lamda"])


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (
            {"gsa": ["scratch"]},
            r"method 'scratch' has the learner dreamer; list it in matrix\.finetune\.methods\.dreamer",
        ),
        ({"dreamer": ["scrtch"]}, "unknown method 'scrtch'; methods has gsa, "),
        ({"dremer": ["scratch"]}, "matrix.finetune.methods has 'dremer', expected learners: gsa, dreamer"),
    ],
)
def test_a_method_stands_in_the_list_of_its_learner(methods: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        load_params(ROOT / "params.yaml", {"matrix.finetune.methods": methods})


def test_numbers_in_names_of_folders_are_spelled_one_way() -> None:
    """DVC names the folder by the text of the file; the command by the number."""
    for wrong, right in ((1, "1.0"), (0, "0.0"), (-0.0, "0.0")):
        message = rf"matrix\.collect_data\.sigmas\.1 = {wrong}: write {right} instead of {wrong}"
        with pytest.raises(ParamsError, match=message):
            load_params(ROOT / "params.yaml", {"matrix.collect_data.sigmas": [0.5, wrong]})


def test_what_two_lists_would_collect_is_refused() -> None:
    same = {"collect_data.policy": "ou", "matrix.collect_data.sigmas": [0.1, 0.5]}
    with pytest.raises(
        ParamsError, match=r"mw-window-close_ou_sigma-0\.5 is in matrix\.collect_data, where .* is ou, and"
    ):
        load_params(ROOT / "params.yaml", same)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"mw": ["sawyer"]}, r"dmc-cartpole-balance .* embodiment cartpole, .* found none \(it has mw: sawyer\)"),
        (
            {"all": ["cartpole", "sawyer"], "dmc": ["cartpole"]},
            r"embodiment cartpole, expected one in matrix\.pretrain\.models, found all and dmc \(it has all: ",
        ),
        ({}, r"matrix\.pretrain\.models"),
        ({"mw": []}, r"matrix\.pretrain\.models\.mw"),
        ({"mw": ["sawyer", "sawyer"]}, r"models\.mw = \['sawyer', 'sawyer'\]: 'sawyer' is there twice; name it once"),
        ({"m/w": ["sawyer"]}, r"m/w"),
    ],
)
def test_a_task_has_one_model(models: dict[str, list[str]], message: str) -> None:
    tasks = {"matrix.finetune.tasks": ["mw-reach", "dmc-cartpole-balance"], "matrix.finetune.methods.gsa": ["gsa"]}
    with pytest.raises(ParamsError, match=message):
        load_params(ROOT / "params.yaml", tasks | {"matrix.pretrain.models": models})


def test_models_are_found_by_embodiment_and_by_name() -> None:
    alone = {"matrix.finetune.methods": {"dreamer": ["scratch"]}, "matrix.pretrain.models": {"mw": ["sawyer"]}}
    assert load_params(ROOT / "params.yaml", alone).models() == ["mw"]  # from scratch needs none
    own = {"env": "gsa:none", "metric": "success", "max_frames": 9, "embodiment": "sawyer"}
    models = {"mw": ["sawyer"], "dmc": ["cartpole", "cheetah"]}
    tree = load_params(ROOT / "params.yaml", {"own_tasks.my-arm": own, "matrix.pretrain.models": models})
    try:
        assert tree.model_of("my-arm") == tree.model_of("mw-push") == "mw" and tree.model_of("dmc-cheetah-run") == "dmc"
        assert tree.models() == ["mw", "dmc"] and tree.models("dmc") == ["dmc"]
        with pytest.raises(ParamsError, match=r"unknown model 'mv'; matrix\.pretrain\.models has mw, dmc"):
            tree.models("mv")
    finally:
        del TASKS["my-arm"]


def test_the_papers_models_are_one_per_benchmark() -> None:
    paper = load_profile("paper")
    bodies = {model: {get_task(t).embodiment for t in TASKS if paper.model_of(t) == model} for model in ("mw", "dmc")}
    assert {model: set(listed) for model, listed in paper.matrix.pretrain.models.items()} == bodies


VARIANTS: list[tuple[list[str], str, str]] = [
    ([], "finetune-gsa", ""),
    (["dreamer.actor_lr=2e-3"], "finetune-gsa", "dreamer.actor_lr=0.002"),
    (["dreamer.actor_lr=1.0e-3"], "finetune-gsa", ""),  # the file's value
    (["dreamer.replay_ratio=2"], "finetune-gsa", "dreamer.replay_ratio=2.0"),
    (["gsa.bc.updates=9", "dreamer.discount=0.5"], "finetune-gsa", "dreamer.discount=0.5,gsa.bc.updates=9"),
    (["gsa.bc.updates=9", "dreamer.discount=0.5"], "finetune-dreamer", "dreamer.discount=0.5"),  # which reads no gsa
    (["matrix.finetune.seeds=[3]", "machine.workers=3", "report.seed=4"], "finetune-gsa", ""),
    (["methods.p.fine_tune=dynamics"], "finetune-gsa", ""),  # another method's
    (["methods.gsa.fine_tune=dynamics"], "finetune-gsa", "methods.gsa.fine_tune=dynamics"),
    (["world_model.size=s"], "finetune-dreamer", "world_model.size=s"),
    (["sizes.xs.deter=64"], "finetune-dreamer", "sizes.xs.deter=64"),
    (["gsa.bc.channels=[1, 2, 3, 4]"], "finetune-gsa", "gsa.bc.channels=1,2,3,4-4bad6a12"),  # not as written: a digest
    (["dreamer.model_optimizer.clip_norm=null"], "finetune-dreamer", "dreamer.model_optimizer.clip_norm=None"),
]


@pytest.mark.parametrize(("settings", "stage", "expected"), VARIANTS)
def test_a_name_has_what_was_set_and_decides_the_output(settings: list[str], stage: str, expected: str) -> None:
    assert open_params(ROOT / "params.yaml", settings).variant(stage, "gsa") == expected


def test_a_long_name_ends_in_a_digest() -> None:
    names = [
        open_params(ROOT / "params.yaml", [f"dreamer.{key}={value}" for key in LONG]).variant("finetune-gsa", "gsa")
        for value in (7, 9)
    ]
    assert all(len(name) == 120 for name in names) and names[0] != names[1]


LONG = ("imag_horizon", "units", "actor_layers", "critic_layers", "reward_layers", "batch_size", "batch_length")
"""Keys that take an integer."""
