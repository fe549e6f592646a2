"""``--set`` and flags: two settings of one item never share a folder, and numbers are spelled one way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gsa.errors import StoppedError
from gsa.loops import collect
from gsa.runs import run_dir
from stages.convert import raw_folders
from stages.options import open_params
from tests.conftest import ROOT, Invoke


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), "mw-reach_expert_sigma-1.0"),
        (("--policy", "expert", "--workers", "1"), "mw-reach_expert_sigma-1.0"),  # what the file says, and the machine
        (("--policy", "ou"), "mw-reach_ou_sigma-1.0"),
        (("--policy", "random", "--set", "render.quality=shipped"), "mw-reach_random_sigma-1.0_render.quality=shipped"),
        (("--policy", "ou", "--set", "collect_data.seed=1"), "mw-reach_ou_sigma-1.0_collect_data.seed=1"),
        (("--set", "collect_data.policy=ou", "--set", "report.seed=3"), "mw-reach_ou_sigma-1.0"),
        (("--out", "elsewhere", "--policy", "ou"), "elsewhere"),
    ],
)
def test_the_folder_of_collected_data(
    args: tuple[str, ...], expected: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def opened(folder: Path, **identity: object) -> None:
        folders.append(folder)
        raise StoppedError("before anything is collected")

    monkeypatch.setattr(run_dir, "open_run", opened)
    item = ("--task", "mw-reach", "--sigma", "1", "--params", ROOT / "params.yaml", "--set", "collect_data.episodes=12")
    result = invoke("collect-data", *item, *args)
    assert result.exit_code == StoppedError.exit_code, result.output
    assert len(folders) == 1 and folders[0].match(expected)


@pytest.mark.parametrize("noise", [[], ["mw-reach", "mw-push"]])
def test_without_flags_all_that_convert_looks_for_is_collected(
    noise: list[str], invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[tuple[Path, str]] = []

    @contextmanager
    def remember(folder: Path, stage: str, **identity: Any) -> Iterator[Any]:
        opened.append((folder, stage))
        yield SimpleNamespace(
            path=folder, checkpoints=SimpleNamespace(work=lambda name: tmp_path), fingerprint="", notes={}
        )

    monkeypatch.setattr(run_dir, "open_run", remember)
    monkeypatch.setattr(collect, "collect", lambda *args, **options: collect.CollectFacts(1, 0, 0, 0.0, 0.0))
    lists = {"collect_data": ["mw-reach"], "collect_noise": noise}
    sets = [
        f"matrix.{name}.{what}" for name, tasks in lists.items() for what in (f"tasks={tasks}", "sigmas=[0.3, 1.0]")
    ]
    flags = [word for text in (*sets, "matrix.explore_data.domains=[]") for word in ("--set", text)]
    assert invoke("collect-data", "--params", ROOT / "params.yaml", *flags).exit_code == 0
    loaded = open_params(ROOT / "params.yaml", flags[1::2])
    folders = [folder for folder, _ in raw_folders(loaded.params)]
    assert len(folders) == 2 + 2 * len(noise) and [folder for folder, _ in opened] == folders
    assert [stage for _, stage in opened] == ["collect-data"] * 2 + ["collect-noise"] * 2 * len(noise)


def test_identity_is_what_decides_the_output_and_reread_gives_it_again(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    machine = open_params(path, ["machine.device=cpu"]).identity("finetune-gsa", "gsa", "mw-reach")
    plain = open_params(path).identity("finetune-gsa", "gsa", "mw-reach")
    assert plain["stage"] == "finetune-gsa" and plain["params"] == machine["params"] == plain["reread"]()
    assert {"dreamer", "gsa", "methods.gsa", "tasks.mw-reach"} <= set(plain["params"])
    faster = open_params(path, ["dreamer.actor_lr=2e-3"]).identity("finetune-gsa", "gsa", "mw-reach")
    assert faster["params"] != plain["params"]
    path.write_text(path.read_text().replace("  bins: 255", "  bins: 127"))
    assert plain["params"] != plain["reread"]() and faster["reread"]()["dreamer"]["actor_lr"] == 2e-3
