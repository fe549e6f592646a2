"""``--set`` and flags: two settings of one item never share a folder, and numbers are spelled one way."""

from pathlib import Path

import pytest

from gsa.pipeline import STAGES
from stages import collect_data
from stages.convert import raw_folders
from stages.options import open_params
from tests.conftest import ROOT, Invoke


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), "mw-reach_sigma-1.0"),
        (("--policy", "expert", "--workers", "1"), "mw-reach_sigma-1.0"),  # what the file says, and the machine
        (("--policy", "ou"), "mw-reach_sigma-1.0_collect_data.policy=ou"),
        (("--policy", "ou", "--set", "render.quality=shipped"), "*_collect_data.policy=ou,render.quality=shipped"),
        (("--set", "collect_data.policy=ou", "--set", "report.seed=3"), "mw-reach_sigma-1.0_collect_data.policy=ou"),
        (("--out", "elsewhere", "--policy", "ou"), "elsewhere"),
    ],
)
def test_the_folder_of_collected_data(
    args: tuple[str, ...], expected: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []
    monkeypatch.setattr(collect_data, "_collect_into", lambda folder, job, loaded: folders.append(folder))
    item = ("--task", "mw-reach", "--sigma", "1", "--params", ROOT / "params.yaml", "--set", "collect_data.episodes=12")
    result = invoke("collect-data", *item, *args)
    assert result.exit_code == 0, result.output
    assert len(folders) == 1 and folders[0].match(expected)


def test_convert_looks_for_the_names_that_items_of_the_file_have() -> None:
    loaded = open_params(ROOT / "params.yaml")
    tasks, sigmas = loaded.params.matrix.collect_data.tasks, loaded.params.matrix.collect_data.sigmas
    expected = [
        STAGES["collect-data"].place(loaded.variant("collect-data"), task=task, sigma=sigma)
        for task in tasks
        for sigma in sigmas
    ]
    assert [folder for folder, _ in raw_folders(loaded.params)][: len(expected)] == expected


def test_identity_is_what_decides_the_output_and_reread_gives_it_again(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    machine = open_params(path, ["machine.device=cpu"]).identity("finetune-gsa", "gsa", "mw-reach")
    plain = open_params(path).identity("finetune-gsa", "gsa", "mw-reach")
    assert plain["stage"] == "finetune-gsa" and plain["params"] == machine["params"] == plain["reread"]()
    assert {"dreamer", "gsa", "methods.gsa", "tasks.mw-reach"} <= set(plain["params"])
    faster = open_params(path, ["dreamer.actor_lr=1e-3"]).identity("finetune-gsa", "gsa", "mw-reach")
    assert faster["params"] != plain["params"]
    path.write_text(path.read_text().replace("  bins: 255", "  bins: 127"))
    assert plain["params"] != plain["reread"]() and faster["reread"]()["dreamer"]["actor_lr"] == 1e-3
