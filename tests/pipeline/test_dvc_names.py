"""Names in params.yaml reach a shell and paths through DVC: only checked ones do, and no other breaks out."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gsa.pipeline import COMMANDS, dvc_yaml
from tests.pipeline.test_repro import merge

HOSTILE = (
    "$(touch hacked)",
    "`touch hacked`",
    "x; touch hacked",
    "' ; touch hacked #",
    '"; touch hacked; "',
    "x\ntouch hacked",
    "--help",
    "../../x",
)


def project(folder: Path, root: Path, **sections: Any) -> Path:
    """A DVC project with the real stages and parameters, dummies for code, and what its stages ask for first."""
    shutil.copytree(root / ".dvc", folder / ".dvc", ignore=lambda *_: ["cache", "tmp"])
    config = folder / ".dvc/config"
    config.write_text(config.read_text().replace("[core]\n", "[core]\n    no_scm = true\n"))
    (folder / "dvc.yaml").write_text(dvc_yaml())
    (folder / "params.yaml").write_text(merge((root / "params.yaml").read_text(), sections))
    for package in ("gsa", "stages"):
        (folder / package).mkdir()
        (folder / package / "code.txt").write_text("")
    return folder


def repro(folder: Path, root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    env = os.environ | {"HOME": str(home), "PYTHONPATH": str(root)}
    return subprocess.run(["dvc", "repro", *args], cwd=folder, env=env, capture_output=True, text=True)


def test_every_command_of_dvc_has_its_values_quoted(tmp_path: Path, root: Path) -> None:
    from dvc.dvcfile import load_file
    from dvc.repo import Repo

    finetune = {"tasks": list(HOSTILE), "methods": {"gsa": [], "dreamer": list(HOSTILE), "drqv2": []}, "seeds": [0]}
    pretrain = {"models": {name: ["sawyer"] for name in HOSTILE}}
    collect = {"tasks": list(HOSTILE), "sigmas": [0.5]}
    tree = YAML(typ="safe").load((root / "params.yaml").read_text())
    tree["matrix"] |= {"finetune": finetune, "pretrain": pretrain, "collect_data": collect, "collect_noise": collect}
    folder = project(tmp_path, root)
    with (folder / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(tree, file)
    with Repo(str(folder)) as repo:  # as DVC hands them to the shell
        items = load_file(repo, str(folder / "dvc.yaml")).resolver.resolve()["stages"].values()
    found = {tuple(shlex.split(item["cmd"])) for item in items}
    for name in HOSTILE:
        assert ("exec", "gsa", "pretrain", "--model", name) in found
        assert ("exec", "gsa", "collect-data", "--policy", "ou", "--task", name, "--sigma", "0.5") in found
        for other in HOSTILE:
            words = ("exec", "gsa", "finetune", "--method", name, "--task", other, "--seed", "0")
            assert words in found
    assert all(words[:2] == ("exec", "gsa") and words[2] in {"code-stamp", *COMMANDS} for words in found)


@pytest.mark.slow
def test_plain_dvc_repro_refuses_a_name_before_it_runs_anything(tmp_path: Path, root: Path) -> None:
    folder = project(tmp_path, root, matrix={"collect_data": {"tasks": ["$(touch hacked)"]}})
    done = repro(folder, root)
    assert done.returncode != 0 and "unknown task '$(touch hacked)'" in done.stderr, done.stderr
    assert "Running stage 'collect-data" not in done.stdout
    assert not (folder / "hacked").exists() and not (folder / "data").exists()


@pytest.mark.slow
def test_dvc_deletes_no_model_that_another_command_made(tmp_path: Path, root: Path) -> None:
    folder = project(tmp_path, root)
    for name in (".gsa/code/pretrain.json", "data/offline/manifest.json", "models/mw/weights.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    record = {"stage": "import-model", "outputs": {"weights.safetensors": {}}}
    (folder / "models/mw/run.json").write_text(json.dumps(record))
    done = repro(folder, root, "--single-item", "pretrain@mw")
    assert done.returncode != 0 and "was made by import-model, and no record says that `gsa pretrain`" in done.stderr
    assert (folder / "models/mw/weights.safetensors").read_text() == "{}"
