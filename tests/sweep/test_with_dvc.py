"""Sweeps in a project with DVC: they leave what ``dvc repro`` leaves, and however they end, nothing is lost."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from gsa.errors import ArtifactError, LockError
from gsa.sweep.ledger import DvcLedger, _blocks
from tests.sweep.project import make_project, run, session, start, steps, values, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # of DVC's libraries


def sweep(folder: Path, *words: str, code: int = 0) -> str:
    child = start("sweep", "-j", "2", *words, folder=folder)
    out = child.communicate(timeout=600)[0]
    assert child.returncode == code, out
    return out


def said(folder: Path) -> list[str]:
    """What ``dvc.lock`` says, less the digests and in any order: an output tells when it was made."""
    lines = (folder / "dvc.lock").read_text().splitlines()
    return sorted(line for line in lines if not line.strip().startswith(("md5:", "size:")))


def end_in_the_middle(folder: Path, number: signal.Signals) -> None:
    """Begin a sweep and send it a signal once it has done something; nothing of it may live on."""
    before = len(steps(folder))
    child = start("sweep", "-j", "2", folder=folder)
    wait_until(lambda: len(steps(folder)) > before or child.poll() is not None)
    os.kill(child.pid, number)
    child.communicate(timeout=120)
    wait_until(lambda: not session(child.pid))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``dvc repro`` makes."""
    folder = make_project(tmp_path_factory.mktemp("reference") / "project")
    run("dvc", "repro", "--quiet", folder=folder)
    return folder


def test_a_sweep_leaves_what_dvc_repro_leaves(reference: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    out = sweep(project)
    assert "4 of 5 items are stale" in out and "made 4 items" in out
    assert values(project) == values(reference) and len(values(project)) == 4
    assert said(project) == said(reference)
    assert json.loads(run("dvc", "status", "--json", folder=project)) == {}
    before = steps(project)
    assert "0 of 5 items are stale" in sweep(project) and steps(project) == before
    (project / "params.yaml").write_text("items: [a, b, c, d]\nsteps: 3\npause_s: 0.01\n")
    assert "first@d  not made yet" in sweep(project, "first", "--dry-run") and steps(project) == before
    sweep(project)
    assert [line.split()[0] for line in steps(project)[len(before) :]] == ["first-d"] * 3
    shutil.rmtree(project / "out")  # DVC's cache has it
    assert "restored" in sweep(project) and len(values(project)) == 5
    assert run("dvc", "status", "--json", folder=project).strip() == "{}"


def test_a_sweep_that_was_killed_leaves_nothing_running_and_goes_on(reference: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", steps=3, pause_s=0.01)
    (project / "params.yaml").write_text("items: [a, b, c]\nsteps: 3\npause_s: 1.0\n")
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        end_in_the_middle(project, number)
    out = sweep(project)
    assert len(set(steps(project))) == len(steps(project)) == 11, out  # nothing was done twice
    assert values(project) == values(reference)
    assert run("dvc", "status", "--json", folder=project).strip() == "{}"
    assert not list(project.glob("**/*.lock.*")) and not list((project / ".gsa/checkpoints").glob("*"))


def test_failures_are_told_and_recorded_by_nobody(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    (project / "broken").mkdir()
    (project / "broken/first-b").write_text("loss is nan")
    out = sweep(project, code=1)
    assert "first@b: TrainingError: loss is nan (twice the same)" in out and ".gsa/logs" in out
    assert sorted(values(project)) == ["first-a", "first-c"]
    state = json.loads((project / ".gsa/sweep.json").read_text())
    assert state["ended"] and state["counts"] == {"current": 1, "made": 2, "failed": 1, "blocked": 1}
    (project / "broken/first-b").unlink()
    assert "made 2 items" in sweep(project)


@pytest.fixture
def ledger(reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DvcLedger:
    shutil.copytree(reference, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return DvcLedger()


def test_the_ledger_knows_what_dvc_knows(ledger: DvcLedger) -> None:
    assert list(ledger.items) == ["code-stamp", "first@a", "first@b", "first@c", "last"]
    assert ledger.items["last"].parents == {"first@a", "first@b", "first@c"}
    assert not any(map(ledger.why, ledger.items))
    Path("params.yaml").write_text("items: [a, b, c]\nsteps: 4\npause_s: 0.01\n")
    assert ledger.why("first@a") == "steps modified" and ledger.why("last") == ""
    shutil.rmtree("last")
    assert ledger.why("last") == "output last deleted"
    assert ledger.restore("last") and Path("last/value").exists()
    old = Path("out/first-a/value").read_text()
    assert not ledger.restore("first@a")  # what is cached was made with other steps
    assert Path("out/first-a/value").read_text() == old and ledger.why("first@a") and not ledger.restore("first@a")
    Path("params.yaml").write_text("items: [a, b, c]\nsteps: 3\npause_s: 0.01\n")
    shutil.rmtree("out/first-a")
    assert ledger.restore("first@a") and Path("out/first-a/value").read_text() == old and not ledger.why("first@a")


def test_what_changed_while_it_was_made_is_not_recorded(ledger: DvcLedger) -> None:
    ledger.begin("first@a")
    Path("params.yaml").write_text("items: [a, b, c]\nsteps: 4\npause_s: 0.01\n")
    with pytest.raises(ArtifactError, match="changed while it ran"):
        ledger.finish("first@a")


def test_a_lock_file_of_another_form_is_left_to_dvc(ledger: DvcLedger) -> None:
    text = Path("dvc.lock").read_text()
    blocks = _blocks(text)
    assert blocks is not None and list(blocks) == sorted(ledger.items)
    assert "schema: '2.0'\nstages:\n" + "".join(blocks.values()) == text
    assert _blocks(text + "datasets: []\n") is None and _blocks("# mine\n" + text) is None
    Path("dvc.lock").write_text("# mine\n" + text.replace("steps: 3", "steps: 2"))
    ledger.begin("first@a")
    ledger.finish("first@a")
    ledger.flush(last=True)
    assert Path("dvc.lock").read_text().startswith("# mine\n") and "steps: 3" in Path("dvc.lock").read_text()


def test_a_dvc_that_runs_stages_is_left_alone(ledger: DvcLedger) -> None:
    me = {"pid": os.getppid(), "cmd": "dvc repro"}
    Path(".dvc/tmp").mkdir(exist_ok=True)
    Path(".dvc/tmp/rwlock").write_text(json.dumps({"write": {"out": me}, "read": {}}))
    if b"dvc" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes():
        with pytest.raises(LockError, match="dvc repro"):
            DvcLedger()
    else:
        DvcLedger()  # another program has its number by now
