"""What a user gets wrong is answered with one line that names what, where and what to do, and a non-zero exit."""

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from gsa.errors import DataError
from gsa.loops.finetune import Finetuner
from gsa.runs.failure import read_failure
from tests.conftest import Invoke
from tests.pipeline.test_repro import OVERLAY, merge

EPISODE_ROWS = 9
"""Just above the tiny profile's batch_length of 8."""


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the pipeline test's tiny parameters."""
    overlay = YAML(typ="safe").load(OVERLAY.read_text())
    (tmp_path / "params.yaml").write_text(merge((root / "params.yaml").read_text(), overlay))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(project: Path, **sections: dict[str, Any]) -> None:
    path = project / "params.yaml"
    path.write_text(merge(path.read_text(), sections))


def complaint(invoke: Invoke, *args: str | Path) -> tuple[int, str]:
    """Exit code and the one line of stderr that is the complaint."""
    result = invoke(*args)
    lines = [line for line in result.stderr.splitlines() if "Error: " in line]
    assert len(lines) == 1, result.output
    return result.exit_code, lines[0]


def write_npz(folder: Path, seed: int = 0, rows: int = EPISODE_ROWS, **broken: np.ndarray) -> None:
    """One random episode in the authors' layout."""
    rng = np.random.default_rng(seed)
    arrays = {
        "observation": rng.integers(0, 256, (rows, 3, 64, 64), dtype=np.uint8),
        "action": np.concatenate([np.zeros((1, 4)), rng.uniform(-1, 1, (rows - 1, 4))]).astype(np.float32),
        "reward": np.zeros((rows, 1), np.float32),
        "discount": np.ones((rows, 1), np.float32),
    }
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / f"20250101T000000-abc-{seed}-{rows - 1}.npz", **arrays | broken)


def converted(invoke: Invoke, *seeds: int, rows: int = EPISODE_ROWS) -> None:
    for seed in seeds:
        write_npz(Path("theirs"), seed, rows)
    result = invoke("convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "sawyer")
    assert result.exit_code == 0, result.output


def test_no_gl_library(project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    from gsa.envs import rendering

    nothing = {name: (("libnothing.so.9",), packages) for name, (_, packages) in rendering._LIBRARIES.items()}
    monkeypatch.setattr(rendering, "_LIBRARIES", nothing)
    for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM", rendering._PROBED):
        monkeypatch.delenv(name, raising=False)
    code, line = complaint(invoke, "explore-data", "--domain", "walker")
    assert code == 5 and "cannot render: egl has no libnothing.so.9, install libegl1" in line and "libosmesa6" in line


def test_wrong_pins(project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    found = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "4.0.0" if name == "mujoco" else found(name))
    code, line = complaint(invoke, "pretrain")
    assert code == 5 and f"mujoco 4.0.0, expected {found('mujoco')}; run `make setup`" in line


@pytest.mark.parametrize(
    "args",
    [("collect-data", "--task", "mw-draw-close"), ("finetune", "--task", "mw-draw-close", "--method", "scratch")],
)
def test_unknown_task(project: Path, invoke: Invoke, args: tuple[str, ...]) -> None:
    code, line = complaint(invoke, *args)
    assert code == 2 and "unknown task 'mw-draw-close'" in line and "nearest: mw-drawer-close" in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("collect-data", "--policy", "exprt"), "with --policy exprt: collect_data.policy = 'exprt': Input should be"),
        (("collect-data", "--sigma", "-3"), "matrix.collect_data.sigmas.0 = -3.0: expected a number from 0 to 10"),
        (
            ("explore-data", "--domain", "walkr"),
            "with --domain walkr: matrix.explore_data.domains.0 = 'walkr': Input should be 'cartpole', ",
        ),
        (("pretrain", "--set", "dremer.lr=3"), "with --set dremer.lr=3: no section 'dremer' (from dremer.lr); nearest"),
        (("pretrain", "--set", "pretrain.updats=3"), "unknown key pretrain.updats = 3, nearest valid key updates"),
        (("pretrain", "--set", "pretrain.updates="), "--set 'pretrain.updates=', expected key=value"),
        (("pretrain", "--set", "updates"), "--set 'updates', expected key=value"),
        (("convert", "--plugin", "no_such"), "--plugin no_such: No module named 'no_such'; looked in"),
    ],
)
def test_a_wrong_flag_is_named(project: Path, invoke: Invoke, args: tuple[str, ...], message: str) -> None:
    code, line = complaint(invoke, *args)
    assert code == 2 and message in line, line


def test_unknown_method(project: Path, invoke: Invoke) -> None:
    code, line = complaint(invoke, "finetune", "--method", "gas")
    assert code == 2 and "--method gas: unknown method" in line and "p_er" in line


def test_a_gpu_that_is_not_there(project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    change(project, machine={"device": "cuda"})
    code, line = complaint(invoke, "finetune", "--method", "scratch")
    assert code == 5 and "GPU 0 is asked for, 0 found; set the device to cpu" in line
    assert not list(project.glob("runs/*"))  # a setting, not a run that failed


def test_unknown_parameter(project: Path, invoke: Invoke) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("  updates: 4", "  updats: 4"))
    code, line = complaint(invoke, "pretrain")
    assert code == 2 and "unknown key pretrain.updats = 4, nearest valid key updates" in line


def test_parameters_elsewhere(project: Path, invoke: Invoke) -> None:
    code, line = complaint(invoke, "pretrain", "--params", "nowhere.yaml")
    assert code == 2 and "no parameters at nowhere.yaml" in line


@pytest.mark.parametrize(
    ("stage", "code", "hint"),
    [
        ("convert", 3, "run `gsa collect-data --task mw-drawer-close --policy expert --sigma 0.5` first"),
        ("pretrain", 4, "no offline at data/offline: run `gsa convert` first"),
        ("build-index", 4, "no model at models/mw: run `gsa pretrain --model mw` first"),
        ("choose-model", 4, "no model at models/mw: run `gsa pretrain --model mw` first"),
        ("finetune", 4, "run `gsa convert` first"),
        ("report", 4, "run `gsa finetune --task mw-drawer-close --method gsa --seed 0`"),
    ],
)
def test_missing_output_of_an_earlier_stage(project: Path, invoke: Invoke, stage: str, code: int, hint: str) -> None:
    found, line = complaint(invoke, stage)
    assert found == code and hint in line


def test_empty_data(project: Path, invoke: Invoke) -> None:
    Path("theirs").mkdir()
    code, line = complaint(invoke, "convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "sawyer")
    assert code == 3 and "theirs" in line and "no " in line


def test_episodes_shorter_than_a_window(project: Path, invoke: Invoke) -> None:
    converted(invoke, 0, rows=5)
    code, line = complaint(invoke, "pretrain", "--model", "mw")
    assert code == 3 and "8" in line and "batch_length" in line


@pytest.mark.sim
def test_a_run_that_fails_leaves_its_reason_for_the_report(
    project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Finetuner) -> None:
        raise DataError("the reward is not finite")

    monkeypatch.setattr(Finetuner, "collect_episode", fail)
    item = ("--task", "dmc-cartpole-balance", "--method", "scratch", "--seed", "0")
    code, line = complaint(invoke, "finetune", *item)
    assert code == 3 and "the reward is not finite" in line
    assert line.partition("Error: ")[2] in read_failure(project / "runs" / "scratch_dmc-cartpole-balance_s0")


def test_nan_in_the_data(project: Path, invoke: Invoke) -> None:
    values = np.zeros((EPISODE_ROWS, 4), np.float32)
    values[3, 0] = np.nan
    write_npz(Path("theirs"), action=values)
    code, line = complaint(invoke, "convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "sawyer")
    assert code == 3 and "20250101T000000-abc-0-8.npz" in line and "action" in line
    assert not Path("data/offline").exists()


def test_an_index_built_by_another_model(project: Path, invoke: Invoke) -> None:
    converted(invoke, 0, 1)
    for command in ("pretrain", "build-index"):
        assert invoke(command, "--model", "mw").exit_code == 0
    change(project, pretrain={"seed": 5})
    assert invoke("pretrain", "--model", "mw").exit_code == 0
    code, line = complaint(invoke, "finetune", "--method", "gsa", "--task", "mw-drawer-close")
    assert code == 4 and "another model" in line and "run `gsa build-index` again" in line, line
    assert not Path("runs").exists() or not any(Path("runs").glob("[!.]*"))


def test_a_model_of_another_size(project: Path, invoke: Invoke) -> None:
    converted(invoke, 0, 1)
    assert invoke("pretrain", "--model", "mw").exit_code == 0
    change(project, world_model={"size": "s"})
    code, line = complaint(invoke, "build-index", "--model", "mw")
    assert code == 4 and "models/mw" in line


def test_a_body_that_the_data_lacks(project: Path, invoke: Invoke) -> None:
    converted(invoke, 0, 1)
    code, line = complaint(invoke, "pretrain", "--model", "dmc")
    assert code == 3 and "data/offline has no episodes of cartpole, which matrix.pretrain.models lists" in line
    assert "it has sawyer;" in line


def test_which_model(project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(invoke, "build-index", "--model", "mv") == (
        2,
        "ParamsError: unknown model 'mv'; matrix.pretrain.models has mw, dmc",
    )
    code, line = complaint(invoke, "pretrain", "--out", "models/one")
    assert code == 2 and "--out is the folder of one model; give --model too: mw, dmc" in line


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("convert", "--out", "."), "is the working directory or holds it"),
        (("convert", "--out", ".."), "is the working directory or holds it"),
        (("convert", "--out", "theirs"), "is the input raw theirs at theirs or holds it"),
        (("convert", "--out", "theirs/sub"), "lies in the input raw theirs at theirs"),
        (("convert", "--out", "notes"), "holds mine.mp4, and no record says that `gsa convert` (convert) made it"),
        (("pretrain", "--model", "mw", "--out", "."), "is the working directory or holds it"),
        (("pretrain", "--model", "mw", "--out", "data"), "is the input offline at data/offline or holds it"),
        (("pretrain", "--model", "mw", "--out", "data/offline/mw"), "lies in the input offline at data/offline"),
        (("pretrain", "--model", "mw", "--out", "notes"), "no record says that `gsa pretrain`"),
        (("import-model", "notes/mine.txt", "--model", "mw", "--out", "notes"), "is the input checkpoint at"),
        (
            ("collect-data", "--task", "mw-reach", "--sigma", "0.5", "--out", "."),
            "is the working directory or holds it",
        ),
        (("collect-data", "--task", "mw-reach", "--sigma", "0.5", "--out", "notes"), "holds mine.mp4"),
        (("explore-data", "--domain", "cartpole", "--out", "notes"), "holds mine.mp4"),
        (("inspect", "data/offline", "--sheet", "notes/mine.png"), "exists and is not replaced"),
        (("inspect", "data/offline", "--video", "notes/mine.mp4"), "exists and is not replaced"),
        (("inspect", "data/offline", "--sheet", "data/offline/new.png"), "lies in data/offline"),
        (("evaluate", "notes", "--video", "notes/mine.mp4"), "exists and is not replaced"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_the_stages_own_is_never_replaced(
    project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], reason: str
) -> None:
    from stages import estimate

    monkeypatch.setattr(estimate, "say_cost", lambda *_: None)  # it takes a while and writes nothing
    converted(invoke, 0, 1)
    Path("notes").mkdir()
    for name in ("mine.txt", "mine.png", "mine.mp4"):
        Path("notes", name).write_text("of the user")
    before = {path: path.read_bytes() for path in project.parent.rglob("*") if path.is_file()}
    given = ("--input", "theirs", "--format", "ncrl", "--embodiment", "sawyer") if args[0] == "convert" else ()
    code, line = complaint(invoke, *args, *given)
    assert code == 2 and reason in line, line
    assert {path: path.read_bytes() for path in project.parent.rglob("*") if path.is_file()} == before


def test_damaged_weights(project: Path, invoke: Invoke) -> None:
    converted(invoke, 0, 1)
    assert invoke("pretrain", "--model", "mw").exit_code == 0
    path = next(Path("models/mw").glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    code, line = complaint(invoke, "build-index", "--model", "mw")
    assert code == 4 and str(path) in line


def test_another_process_on_the_same_output(project: Path, invoke: Invoke) -> None:
    from gsa.runs.process import hold_lock

    converted(invoke, 0, 1)
    with hold_lock(Path("models/.mw.lock"), Path("models/mw")):
        code, line = complaint(invoke, "pretrain", "--model", "mw")
    assert code == 6 and "models/mw is being written by pid" in line
