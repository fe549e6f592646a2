"""DVC's own resolution of dvc.yaml: the folder it expects of an item is the folder that its command writes."""

import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gsa.config.load import check_lists
from gsa.errors import ParamsError
from gsa.pipeline import FOLDERS, run_name, source_name
from tests.conftest import ROOT

Items = dict[str, str]
"""Folder to the command that makes it."""


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Items]:
    """Change texts of params.yaml, and let DVC resolve the pipeline: what it expects, by folder."""
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)

    def resolve(changes: dict[str, str]) -> Items:
        from dvc.repo import Repo

        text = (ROOT / "params.yaml").read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        Path("params.yaml").write_text(text)
        shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
        with Repo.init(no_scm=True, force=True) as repo:
            stages = [stage for stage in repo.index.stages if "@" in stage.addressing]
            return {os.path.relpath(str(out), repo.root_dir): stage.cmd for stage in stages for out in stage.outs}

    return resolve


def written(command: str, policy: str = "expert") -> str:
    """The folder that a command of DVC's writes, from the values as Python reads them."""
    words = shlex.split(command)
    flags = dict(zip(words[3::2], words[4::2], strict=True))
    if words[2] == "collect-data":
        who = flags.get("--policy", policy)
        return f"{FOLDERS['raw']}/{source_name(flags['--task'], who, float(flags['--sigma']))}"
    return f"runs/{run_name(flags['--method'], flags['--task'], int(flags['--seed']))}"


SIGMAS = "sigmas: [0.1, 0.3, 0.5, 1.0, 2.0]"


def test_numbers_are_spelled_alike_by_dvc_and_by_the_commands(resolved: Callable[[dict[str, str]], Items]) -> None:
    odd = {SIGMAS: "sigmas: [.5, 1e0, 1.0e-5, 0.10, 2.50, 0.0]", "seeds: [31, 32]": "seeds: [0x10, 0, 4_2]"}
    items = resolved(odd)
    check_lists(Path("params.yaml"))
    of_interest = {folder: cmd for folder, cmd in items.items() if "collect-data" in cmd or "finetune" in cmd}
    assert len(of_interest) == 2 * 6 + 2 * 1 + 3 * 2 * 3
    assert {folder: written(cmd) for folder, cmd in of_interest.items()} == {folder: folder for folder in of_interest}


def test_where_dvc_would_name_a_folder_otherwise_the_first_command_refuses_the_file(
    resolved: Callable[[dict[str, str]], Items],
) -> None:
    items = resolved({SIGMAS: "sigmas: [1, 2]"})
    assert "data/raw/mw-window-close_expert_sigma-1" in items
    assert written(items["data/raw/mw-window-close_expert_sigma-1"]).endswith("sigma-1.0")
    with pytest.raises(ParamsError, match=r"sigmas\.0 = 1: write 1\.0 instead of 1"):
        check_lists(Path("params.yaml"))


@pytest.mark.parametrize("policy", ["expert", "expert-go-on", "tdmpc2", "random", "ou"])
def test_a_policy_has_folders_of_its_own(policy: str, resolved: Callable[[dict[str, str]], Items]) -> None:
    noise = "tasks: [mw-window-close, mw-door-unlock]\n    sigmas: [0.5]"
    items = resolved({"policy: expert\n": f"policy: {policy}\n", noise: "tasks: []\n    sigmas: [0.5]"})
    collected = {folder: cmd for folder, cmd in items.items() if "collect-data" in cmd}
    assert len(collected) == 10 and all(f"_{policy}_sigma-" in folder for folder in collected)
    assert {written(cmd, policy) for cmd in collected.values()} == set(collected)
