"""``gsa choose-model``: a file per task that changes with the task's own model alone."""

import json
from pathlib import Path

import pytest

from gsa.files import sha256_file
from tests.conftest import ROOT, Invoke


def test_a_task_has_the_facts_of_its_own_model(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = [
        Path(folder, model, name)
        for model in ("mw", "dmc")
        for folder, name in (("models", "meta.json"), ("index", "index.json"))
    ]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text(str(file))
    stale = Path(".gsa/models/mw-gone.json")
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    models = "matrix.pretrain.models={mw: [sawyer], dmc: [cartpole, walker]}"
    call = ("choose-model", "--params", ROOT / "params.yaml", "--set", models)
    call += ("--set", "matrix.finetune.tasks=[mw-reach]")
    assert invoke(*call).exit_code == 0
    first = {file.stem: file.read_text() for file in stale.parent.iterdir()}
    assert len(first) == 50 + 8 and "dmc-cheetah-run" not in first and "mw-gone" not in first
    meta, index = files[:2]
    assert json.loads(first["mw-reach"]) == {"name": "mw", "model": sha256_file(meta), "index": sha256_file(index)}
    files[2].write_text("another model of dmc")
    assert invoke(*call).exit_code == 0
    second = {file.stem: file.read_text() for file in stale.parent.iterdir()}
    assert {task.partition("-")[0] for task in first if first[task] != second[task]} == {"dmc"}
    index.unlink()
    refused = invoke(*call)
    assert refused.exit_code == 4 and "no index at index/mw: run `gsa build-index --model mw` first" in refused.stderr
