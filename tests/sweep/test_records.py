"""Sweeps by records: what the parameters list, what is stale, and values to vary."""

import json
from pathlib import Path

import pytest

from gsa.errors import ParamsError
from gsa.files import sealed_json, sha256_file
from gsa.runs.code_stamp import code_stamp
from gsa.runs.fingerprint import identity
from gsa.sweep.items import Filter, chosen
from gsa.sweep.records import RecordLedger
from stages.listed import listed_items, variations
from stages.sweep import seeds
from tests.conftest import ROOT, Invoke


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())


def test_items_are_those_of_the_pipeline() -> None:
    items = listed_items(Filter()).items
    run = items["finetune-gsa@gsa-mw-door-unlock-31"]
    assert run.command == "exec gsa finetune --method gsa --task mw-door-unlock --seed 31"
    assert run.output == "runs/gsa_mw-door-unlock_s31"
    assert run.parents == {"convert", "pretrain@mw", "build-index@mw"}
    assert items["collect-data@mw-door-unlock-0.1"].output == "data/raw/mw-door-unlock_expert_sigma-0.1"
    assert items["collect-noise@mw-door-unlock-0.5"].command.startswith("exec gsa collect-data --policy ou --task")
    assert {"floors@mw-door-unlock", run.name} < items["report"].parents
    assert not items["finetune-dreamer@scratch-mw-door-unlock-31"].parents


def test_names_and_seeds_beside_the_lists_are_fine_tuned() -> None:
    wanted = Filter(["finetune"], ["mw-door-*", "mw-reach"], ["scratch"], seeds(["0:2"]))
    runs = [name for name in chosen(listed_items(wanted).items, wanted) if name.startswith("finetune")]
    assert runs == [
        f"finetune-dreamer@scratch-{task}-{seed}" for task in ("mw-door-unlock", "mw-reach") for seed in (0, 1)
    ]
    with pytest.raises(ParamsError, match="mw-nothing"):
        listed_items(Filter(tasks=["mw-nothing"]))


def test_each_value_has_runs_of_its_own() -> None:
    ledger = listed_items(Filter(["finetune"]), ["dreamer.actor_lr=0.001,0.002", "dreamer.units=7"])
    name = "finetune-dreamer@scratch-mw-door-unlock-31_dreamer.actor_lr=0.002,dreamer.units=7"
    assert ledger.items[name].output.endswith("runs/scratch_mw-door-unlock_s31_dreamer.actor_lr=0.002,dreamer.units=7")
    assert ledger.items[name].command.endswith("--set dreamer.actor_lr=0.002 --set dreamer.units=7")
    assert sum(item.stage == "finetune-dreamer" for item in ledger.items.values()) == 8
    assert "pretrain@mw" in ledger.items and "report" not in ledger.items
    with pytest.raises(ParamsError, match="one place"):
        listed_items(Filter(["finetune"]), ["pretrain.updates=3,4"])


def test_values_are_told_apart_at_commas_outside_brackets() -> None:
    assert variations("a.b=1,2") == ["a.b=1", "a.b=2"]
    assert variations("a=[1,2],[3]") == ["a=[1,2]", "a=[3]"] and variations("a='x,y'") == ["a='x,y'"]


def test_seeds_are_numbers_and_ranges() -> None:
    assert seeds(["3", "0:3"]) == [3, 0, 1, 2]
    with pytest.raises(ParamsError, match="0:8"):
        seeds(["one"])


def write_floors(ledger: RecordLedger, name: str) -> Path:
    """The record that ``gsa floors`` would leave, with one file."""
    folder = Path(ledger.items[name].output)
    folder.mkdir(parents=True)
    (folder / "floors.jsonl").write_text("{}\n")
    outputs = {"floors.jsonl": {"sha256": sha256_file(folder / "floors.jsonl"), "bytes": 3}}
    facts = {"stage": "floors", "params": ledger._facts[name].params, "inputs": {}, "code": code_stamp("floors")}
    facts |= {"outputs": outputs, "digest": identity(outputs)}
    (folder / "run.json").write_text(sealed_json(json.loads(json.dumps(facts))))
    return folder


def test_records_tell_what_is_stale() -> None:
    ledger, name = listed_items(Filter()), "floors@mw-door-unlock"
    assert ledger.why(name) == "missing"
    folder = write_floors(ledger, name)
    assert ledger.why(name) == ""
    ledger.finish(name)
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("search_episodes: ", "search_episodes: 1"))
    assert listed_items(Filter()).why(name) == "floors.search_episodes"
    (folder / "run.json").write_text("{}")
    assert ledger.why(name) == "damaged"


def test_status_counts_items(invoke: Invoke) -> None:
    write_floors(listed_items(Filter()), "floors@mw-door-unlock")
    state = json.loads(invoke("status", "--json").output)
    assert state["pipeline"]["floors"] == {"missing": 1, "up to date": 1} and state["sweep"] is None
    assert "no sweep was run here" in invoke("status").output
