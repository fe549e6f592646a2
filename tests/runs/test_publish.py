"""Whenever a run is killed while it publishes, its output is the whole old one or the whole new one."""

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gsa.errors import ArtifactError, ParamsError
from gsa.runs import publish as publishing
from gsa.runs.failure import FAILED_FILE, recorded_failure
from gsa.runs.fingerprint import verify
from gsa.runs.publish import beside, exchange, left_behind, publish, sweep
from gsa.runs.run_dir import open_run

STAGE = "code-stamp"  # any existing stage
STEPS = ("rename", "unlink", "rmdir", "fsync")
"""What publishing is made of, beside the exchange; a kill comes before one of them."""


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(out: Path, *names: str) -> None:
    with open_run(out, STAGE, {}, {}) as run:
        for name in names:
            (run.path / name).parent.mkdir(exist_ok=True)
            (run.path / name).write_text(name)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {"run.json"}


def killed(work: Callable[[], object], count: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run ``work`` in a process of its own that dies before step ``count``; False if it ended before that."""
    child = os.fork()
    if child == 0:
        done = 0

        def counting(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **options: Any) -> Any:
                nonlocal done
                if done == count:
                    os._exit(9)
                done += 1
                return call(*args, **options)

            return counted

        try:
            for step in STEPS:
                monkeypatch.setattr(os, step, counting(getattr(os, step)))
            monkeypatch.setattr(publishing, "exchange", counting(publishing.exchange))
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_output_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    out, old, new = tmp_path / "out", {"a", "b", "c"}, {"d", "e"}
    make(tmp_path / "old", "sub/a", "b", "c")
    make(tmp_path / "new", "sub/d", "e")
    if not can_exchange:
        monkeypatch.setattr(publishing, "exchange", lambda *paths: False)
    elif not exchange(tmp_path / "old", tmp_path / "new"):
        pytest.skip("this system cannot exchange two folders")
    else:
        assert exchange(tmp_path / "old", tmp_path / "new")
    seen, count = [], 0
    while True:
        shutil.copytree(tmp_path / "old", out)
        made = Path(shutil.copytree(tmp_path / "new", beside(out)))
        went_on = not killed(partial(publish, made, out), count, monkeypatch)
        if can_exchange:
            assert verify(out) and names(out) in (old, new)
        sweep(out)  # as the next run does
        assert verify(out) and names(out) in (old, new)
        assert left_behind(out) == []
        seen.append(names(out))
        shutil.rmtree(out)
        if went_on:
            break
        count += 1
    assert seen[0] == old and seen[-1] == new and count >= 7
    assert seen == sorted(seen, key=lambda found: found == new)  # once new, it stays so


def test_what_does_not_verify_is_never_restored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for damage in ("missing", "changed", "added", "no record"):
        make(tmp_path / "out", "a", "b")
        old = (tmp_path / "out").rename(tmp_path / ".out.old.1")
        if damage == "missing":
            (old / "a").unlink()
        elif damage == "no record":
            (old / "run.json").unlink()
        else:
            (old / ("a" if damage == "changed" else "c")).write_text("other")
        with caplog.at_level(logging.WARNING):
            sweep(tmp_path / "out")
        assert not (tmp_path / "out").exists() and left_behind(tmp_path / "out") == []
    assert caplog.text.count("not restoring") == 4


def test_an_old_output_that_verifies_is_restored_and_one_too_many_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out, "a")
    shutil.copytree(out, tmp_path / ".out.old.1")
    sweep(out)
    assert left_behind(out) == []
    out.rename(tmp_path / ".out.old.2")
    (tmp_path / ".out.tmp.3").mkdir()
    with pytest.raises(ArtifactError), open_run(out, STAGE, {}, {}):
        raise ArtifactError("this run fails")
    assert verify(out) and names(out) == {"a"} and left_behind(out) == []


def test_without_an_exchange_a_failing_rename_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "out", "a")
    monkeypatch.setattr(publishing, "exchange", lambda *paths: False)
    with pytest.raises(OSError):
        publish(tmp_path / "nothing", tmp_path / "out")
    assert verify(tmp_path / "out") and names(tmp_path / "out") == {"a"}


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_exchange_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(publishing.ctypes, "get_errno", lambda: code)
    assert not exchange(tmp_path / "nothing", tmp_path / "neither")
    monkeypatch.setattr(publishing.ctypes, "get_errno", lambda: errno.EIO)
    with pytest.raises(OSError):
        exchange(tmp_path / "nothing", tmp_path / "neither")


@pytest.fixture(params=["same disk", "other disk"])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder to which an output may be a link."""
    if request.param == "same disk":
        folder = tmp_path / "far"
        folder.mkdir()
        yield folder
        return
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK) or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    with tempfile.TemporaryDirectory(dir=shared) as name:
        yield Path(name)


def test_an_output_that_is_a_link_is_published_behind_it(tmp_path: Path, far: Path) -> None:
    out = tmp_path / "out"
    out.symlink_to(far / "target")
    for text in ("first", "second"):  # dangling, then to a folder
        make(out, text)
        assert out.is_symlink() and verify(out) == 1 and names(out) == names(far / "target") == {text}
    assert [path.name for path in far.iterdir()] == ["target"]
    assert not [path for path in tmp_path.iterdir() if ".out" in path.name]
    with pytest.raises(RuntimeError), open_run(out, STAGE, {}, {}):
        raise RuntimeError
    assert names(out) == {"second"} and [path.name for path in far.iterdir()] == ["target"]


def test_a_link_of_a_link_and_a_linked_parent(tmp_path: Path, far: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(far / "target")
    make(tmp_path / "one", "a")
    (tmp_path / "models").symlink_to(far)
    make(tmp_path / "models/mw", "b")
    assert names(far / "target") == {"a"} and names(far / "mw") == {"b"}
    assert (tmp_path / "one").is_symlink() and (tmp_path / "models").is_symlink()


def test_a_run_that_fails_says_so_behind_the_link(tmp_path: Path, far: Path) -> None:
    (tmp_path / "out").symlink_to(far / "target")
    with pytest.raises(ValueError), recorded_failure(tmp_path / "out", STAGE):
        raise ValueError
    assert [path.name for path in (far / "target").iterdir()] == [FAILED_FILE]
    make(tmp_path / "out", "a")
    assert (tmp_path / "out").is_symlink() and names(far / "target") == {"a"}


def test_links_that_lead_nowhere_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "unmounted").symlink_to("disk/target")
    (tmp_path / "file").write_text("")
    (tmp_path / "to-file").symlink_to("file")
    for name, reason in (
        ("loop", "leads to itself"),
        ("unmounted", r"is a link into .*/disk, which is no folder"),
        ("to-file", "is a file"),
    ):
        with pytest.raises(ParamsError, match=reason):
            make(tmp_path / name, "a")
    assert {path.name for path in tmp_path.iterdir()} == {"loop", "unmounted", "file", "to-file"}


def test_a_mount_point_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path).endswith("disk"))
    with pytest.raises(ParamsError, match="is a mount point"):
        make(tmp_path / "disk", "a")
