"""params.yaml, its typed mirror and the profiles have the same keys; wrong ones are named with what was meant."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from ruamel.yaml import YAML

from gsa.config import Params, load_params, select
from gsa.errors import ParamsError
from gsa.world_model.model import WorldModel

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))


def keys(tree: Any, prefix: str = "") -> set[str]:
    """Dotted names of all leaves; the user's own names below ``methods`` and ``sizes`` count as one."""
    if not isinstance(tree, dict):
        return {prefix}
    return {
        name
        for key, value in tree.items()
        for name in keys(value, f"{prefix}.*" if prefix in ("methods", "sizes") else f"{prefix}.{key}".lstrip("."))
    }


def fields_with_defaults(model: type[BaseModel]) -> list[str]:
    found = [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.is_required()]
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += fields_with_defaults(field.annotation)
    return found


def test_defaults_live_in_the_file_alone() -> None:
    assert fields_with_defaults(Params) == []


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_is_valid_and_has_all_keys_of_the_default(path: Path) -> None:
    load_params(path)
    default, profile = (YAML(typ="safe").load(p.read_text()) for p in (ROOT / "params.yaml", path))
    assert keys(profile) == keys(default)


def test_the_committed_parameters_are_the_quickstart_profile() -> None:
    names = {path.stem for path in PROFILES}
    assert {"quickstart", "study", "paper"} <= names
    assert (ROOT / "params.yaml").read_text() == (ROOT / "profiles/quickstart.yaml").read_text()


def test_the_paper_profile_spans_the_papers_tasks_data_and_model() -> None:
    paper = load_params(ROOT / "profiles/paper.yaml")
    assert len(paper.finetune.tasks) == 72 and len(paper.finetune.seeds) == 3
    assert len(paper.collect_data.tasks) * len(paper.collect_data.sigmas) * paper.collect_data.episodes == 50_000
    assert len(paper.explore_data.domains) * paper.explore_data.episodes == 10_000
    assert (paper.world_model.deter, paper.world_model.hidden, paper.world_model.action_dim) == (12288, 1536, 21)


@pytest.mark.parametrize(("size", "millions"), [("xs", 0.66), ("s", 12.0), ("m", 49.0), ("paper", 281.4)])
def test_a_size_means_the_same_in_every_profile_and_has_its_parameters(size: str, millions: float) -> None:
    paper = load_params(ROOT / "profiles/paper.yaml", {"world_model.size": size})
    assert all(load_params(path).sizes[size] == paper.sizes[size] for path in PROFILES)
    with torch.device("meta"):
        model = WorldModel(paper.world_model)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.05)


def test_a_size_is_resolved_and_what_stands_beside_its_name_wins() -> None:
    path = ROOT / "params.yaml"
    sizes = load_params(path).sizes
    named = load_params(path, {"world_model.size": "m", "world_model.hidden": 8}).world_model
    assert named.model_dump(include=set(type(sizes["m"]).model_fields)) == sizes["m"].model_dump() | {"hidden": 8}
    for wrong in ("papr", ["m"], {}):
        with pytest.raises(ParamsError, match=r"world_model\.size = .* expected one of xs, s, m, paper"):
            load_params(path, {"world_model.size": wrong})
    with pytest.raises(ParamsError, match=r"unknown key sizes\.m\.detr = 8, nearest valid key deter"):
        load_params(path, {"sizes.m.detr": 8})


def test_all_wrong_keys_are_named_at_once_with_the_nearest(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(
        text.replace("  checkpoint_every:", "  checkpoint_evry:").replace("  unimix: 0.01", "  unimix: 2.0")
    )
    with pytest.raises(ParamsError) as error:
        load_params(path)
    message = str(error.value)
    assert "unknown key pretrain.checkpoint_evry" in message and "nearest valid key checkpoint_every" in message
    assert "missing key pretrain.checkpoint_every" in message and "world_model.unimix = 2.0" in message


def test_a_level_that_the_codec_does_not_have_is_named() -> None:
    path = ROOT / "params.yaml"
    assert load_params(path, {"convert.codec": "zstd", "convert.level": 22}).convert.level == 22
    with pytest.raises(ParamsError, match=r"convert.*level 13 is none of lz4's"):
        load_params(path, {"convert.codec": "lz4", "convert.level": 13})


def test_select_names_an_unknown_key() -> None:
    params = load_params(ROOT / "params.yaml")
    assert select(params, ["agent.lambda", "render"]) == {
        "agent.lambda": params.agent.lambda_,
        "render": params.render.model_dump(),
    }
    with pytest.raises(ParamsError, match=r"unknown parameter 'agent\.lamda'"):
        select(params, ["agent.lamda"])


@pytest.mark.parametrize(
    ("key", "method", "message"),
    [
        ("methods", "scratch", r"finetune\.methods has 'scratch', which reads no offline data; put it in finetune.onl"),
        (
            "online_methods",
            "p",
            r"finetune\.online_methods has 'p', which reads offline data; put it in finetune.methods",
        ),
        ("online_methods", "scrtch", "unknown method 'scrtch'; methods has gsa, "),
    ],
)
def test_a_method_stands_in_the_list_of_what_it_reads(key: str, method: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        load_params(ROOT / "params.yaml", {f"finetune.{key}": [method]})
