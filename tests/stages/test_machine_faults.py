"""Every stage on a full disk, a failing one and one that may not be written: one line, the code, nothing left."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import Invoke
from tests.pipeline.test_repro import OVERLAY, merge
from tests.stages.test_bad_input import converted

STAGES: dict[str, tuple[str, ...]] = {
    "convert": ("convert", "--input", "theirs", "--format", "ncrl", "--embodiment", "sawyer"),
    "pretrain": ("pretrain", "--model", "mw"),
    "build-index": ("build-index", "--model", "mw"),
    "code-stamp": ("code-stamp",),
    "floors": ("floors", "--task", "mw-drawer-close", "--workers", "1"),
    "probe-actions": ("probe-actions", "--task", "mw-drawer-close"),
    "finetune": ("finetune", "--method", "scratch", "--task", "mw-drawer-close", "--seed", "0"),
    "report": ("report", "--missing", "drop"),
}
"""In the order in which they are made; each is tried with faults, and then without."""

FAULTS = [(errno.ENOSPC, 5), (errno.EIO, 5), (errno.EROFS, 2), (errno.EACCES, 2)]

_refused: dict[str, Any] = {}


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    """Python asks this before it opens any file: the ``after``-th that is opened for writing is refused."""
    if not _refused or event not in ("open", "os.mkdir", "os.rename"):
        return
    writes = event != "open" or args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes and isinstance(args[0], str | Path) and (Path.cwd() / args[0]).is_relative_to(_refused["below"]):
        if _refused["after"] == 0:
            raise OSError(_refused["code"], os.strerror(_refused["code"]), str(args[0]))
        _refused["after"] -= 1


sys.addaudithook(_refuse)


@contextmanager
def refusing(below: Path, code: int, after: int) -> Iterator[None]:
    _refused.update(below=below, code=code, after=after)
    try:
        yield
    finally:
        _refused.clear()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The disk is full where any file, whoever writes it, would grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python would cut its own compiled modules short, and read them ever after.
    compiled, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = compiled


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny parameters, in which each stage leaves what the next one needs."""
    root, folder = Path(__file__).resolve().parents[2], tmp_path_factory.mktemp("project")
    tree = merge((root / "params.yaml").read_text(), YAML(typ="safe").load(OVERLAY.read_text()))
    (folder / "params.yaml").write_text(merge(tree, {"machine": {"cpu_kernels": False}}))
    (folder / "data").mkdir()
    (folder / "data/reference").symlink_to(root / "data/reference")
    return folder


def litter(folder: Path) -> list[str]:
    return [
        str(path)
        for path in folder.rglob("*")
        if ".tmp." in path.name or (path.name.startswith(".") and path.suffix == ".lock")
    ]


@pytest.mark.sim
@pytest.mark.long
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_on_a_bad_disk(project: Path, stage: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    if stage == "convert":
        converted(invoke, 0, 1)
    command = STAGES[stage]
    minutes = stage in ("floors", "probe-actions", "finetune")  # of simulation, before the first file
    for size in (0, 500) if minutes else (0, 50, 500):  # less than any stage's largest file has
        with files_up_to(size):
            result = invoke(*command)
        _check(project, f"{stage}, files up to {size}", result, 5)
    for (code, expected), after in list(zip(FAULTS, (0, 1, 2, 0), strict=True))[-1 if minutes else None :]:
        with refusing(project, code, after):
            result = invoke(*command)
        _check(project, f"{stage}, {errno.errorcode[code]} at write {after}", result, expected)
    assert invoke(*command).exit_code in ((0, 4) if stage == "report" else (0,))


WITHOUT_RIGHTS = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):  # with which root writes anywhere
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "stages.cli", *sys.argv[1:]])
"""


@pytest.mark.sim
@pytest.mark.long
def test_a_read_only_folder_and_no_home(project: Path, tmp_path: Path) -> None:
    """After the test above, whose model is there."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "HOME": "/proc/no/home"}
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        env.pop(name, None)

    def run(*args: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", WITHOUT_RIGHTS, *args]
        return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)

    project.chmod(0o555)
    try:
        elsewhere = run(*STAGES["pretrain"], "--out", str(tmp_path / "model"))
        assert elsewhere.returncode == 0 and (tmp_path / "model/run.json").is_file(), elsewhere.stderr
        here = run(*STAGES["pretrain"], "--out", "new/model")
    finally:
        project.chmod(0o755)
    lines = [line for line in here.stderr.splitlines() if "Error" in line]
    assert here.returncode == 2 and len(lines) == 1 and "new" in lines[0] and "ermission denied" in lines[0], here


def _check(project: Path, what: str, result: Any, expected: int) -> None:
    lines = [line for line in result.stderr.splitlines() if "Error: " in line]
    assert (result.exit_code, len(lines)) == (expected, 1), f"{what}: {result.output}"
    assert str(project) in lines[0] or "/" in lines[0], lines[0]
    assert litter(project) == [], what
