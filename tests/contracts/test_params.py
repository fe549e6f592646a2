"""params.yaml, its typed mirror and the profiles have the same keys; wrong ones are named with what was meant."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from gsa.config import Params, load_params, select
from gsa.errors import ParamsError

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))


def keys(tree: Any, prefix: str = "") -> set[str]:
    """Dotted names of all leaves; the user's own names below ``methods`` count as one."""
    if not isinstance(tree, dict):
        return {prefix}
    return {
        name
        for key, value in tree.items()
        for name in keys(value, "methods.*" if prefix == "methods" else f"{prefix}.{key}".lstrip("."))
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


def test_select_names_an_unknown_key() -> None:
    params = load_params(ROOT / "params.yaml")
    assert select(params, ["agent.lambda", "render"]) == {
        "agent.lambda": params.agent.lambda_,
        "render": params.render.model_dump(),
    }
    with pytest.raises(ParamsError, match=r"unknown parameter 'agent\.lamda'"):
        select(params, ["agent.lamda"])
