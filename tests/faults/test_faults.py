"""The sample of ``make test``, and that the harness can fail: it must see faults that are put there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.corruptions import ALL, Random, Watch, damage
from tests.faults.processes import Ended
from tests.faults.trials import Verdict, blame_process, blame_refusal


@pytest.mark.slow
@pytest.mark.sim
def test_a_sample_of_kills_failures_and_corruptions_loses_nothing() -> None:
    command = [sys.executable, "-m", "tests.faults", "--quick"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("code", "err", "fault"),
    [
        (1, "Traceback (most recent call last):\n  ...\nOSError: [Errno 28]", "traceback"),
        (1, "OSError: no space", "unclear"),
        (5, "", "unclear"),
        (5, "ResourceError: no space\nResourceError: again", "unclear"),
        (5, "loading\nResourceError: no space left writing x", None),
    ],
)
def test_a_refusal_is_one_line_and_the_right_code(code: int, err: str, fault: str | None) -> None:
    verdict = Verdict("pretrain", "failing operation", "ENOSPC")
    ended = Ended(code, "", err, 1.0)
    blame_process(verdict, ended)
    blame_refusal(verdict, ended, (5,))
    assert [kind for kind, _ in verdict.faults] == ([fault] if fault else [])


@pytest.mark.parametrize("how", ALL)
def test_every_accident_changes_the_file(tmp_path: Path, how: str) -> None:
    (tmp_path / "a").mkdir()
    for name in ("one", "other"):
        (tmp_path / f"a/{name}.bin").write_bytes(name.encode() * 400)
    path = tmp_path / "a/one.bin"
    before = path.read_bytes()
    assert damage(path, how, Random(1))
    assert not path.exists() or path.read_bytes() != before


def test_a_watch_tells_what_is_read(tmp_path: Path) -> None:
    for name in ("read", "not"):
        (tmp_path / name).write_text("x")
    watches = [Watch(tmp_path / name) for name in ("read", "not", "absent")]
    (tmp_path / "read").read_text()
    assert [watch.opened() for watch in watches] == [True, False, True]
