"""``gsa choose-model``: a file per task that changes with the task's own model alone."""

import json
import shutil
from pathlib import Path

import pytest

from gsa.files import sealed_json, sha256_file
from tests.conftest import ROOT, Invoke
from tests.factories import write_record

MODELS = "matrix.pretrain.models={mw: [sawyer], dmc: [cartpole, walker]}"
CALL = ("choose-model", "--params", ROOT / "params.yaml", "--set", MODELS)
CALL += ("--set", "matrix.finetune.tasks=[mw-reach]")
FACTS = Path(".gsa/models")


def make(model: str, weights: str) -> None:
    """A model's sealed file and that of its index, as far as choose-model reads them."""
    texts = {"models/meta.json": {"sha256": weights}, "index/index.json": {"model_sha256": weights}}
    for name, body in texts.items():
        folder, _, file = name.partition("/")
        path = Path(folder, model, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sealed_json(body))
        write_record(path.parent, params={f"matrix.pretrain.models.{model}": []})


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make("mw", "a")
    make("dmc", "b")


def chosen() -> dict[str, str]:
    return {file.stem: file.read_text() for file in FACTS.iterdir()}


def test_a_task_has_the_facts_of_its_own_model(invoke: Invoke) -> None:
    FACTS.mkdir(parents=True)
    (FACTS / "mw-gone.json").write_text("{}")
    assert invoke(*CALL).exit_code == 0
    first = chosen()
    assert len(first) == 50 + 8 and "dmc-cheetah-run" not in first and "mw-gone" not in first
    meta, index = Path("models/mw/meta.json"), Path("index/mw/index.json")
    assert json.loads(first["mw-reach"]) == {"name": "mw", "model": sha256_file(meta), "index": sha256_file(index)}
    make("dmc", "c")
    assert invoke(*CALL).exit_code == 0
    second = chosen()
    assert {task.partition("-")[0] for task in first if first[task] != second[task]} == {"dmc"}
    shutil.rmtree("index/mw")
    refused = invoke(*CALL)
    assert refused.exit_code == 4 and "no index at index/mw: run `gsa build-index --model mw` first" in refused.stderr


def test_what_does_not_belong_together_is_refused(invoke: Invoke) -> None:
    Path("index/mw").rename("index/kept")
    shutil.copytree("index/dmc", "index/mw")
    refused = invoke(*CALL)
    assert refused.exit_code == 4 and "index/mw holds the index of dmc, expected that of mw" in refused.stderr
    shutil.rmtree("index/mw")
    Path("index/kept").rename("index/mw")
    make("mw", "new")
    make("other", "old")
    shutil.copy("index/other/index.json", "index/mw/index.json")
    refused = invoke(*CALL)
    assert refused.exit_code == 4 and "index/mw/index.json was changed" in refused.stderr
    write_record(Path("index/mw"))
    refused = invoke(*CALL)
    assert refused.exit_code == 4 and "index.json was built from another model than models/mw holds" in refused.stderr
