"""However the script behind ``make repro`` ends, all that it started ends too. dvc and python are stubs here."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/repro.sh"

DVC = """#!/usr/bin/env bash
case "$*" in
    "stage list"*) printf '%s\\n' data@a data@b index@m free@a waiting@a ;;
    *"$STUCK") echo $$ >> "$PIDS"; sleep 600 & echo $! >> "$PIDS"; wait ;;
    *) echo "$*" >> "$DONE" ;;
esac
"""

PYTHON = """#!/usr/bin/env bash
echo "${@: -1}"
"""


class Script:
    """The script in a folder of its own, where ``dvc`` stays at the item ``stuck`` for ever."""

    def __init__(self, folder: Path, stuck: str = "none") -> None:
        self.pids, self.done, self.scratch = folder / "pids", folder / "done", folder / "scratch"
        self.scratch.mkdir()
        for name, text in (("dvc", DVC), ("python", PYTHON)):
            (folder / name).write_text(text, encoding="utf-8")
            (folder / name).chmod(0o755)
        paths = {"PIDS": str(self.pids), "DONE": str(self.done), "STUCK": stuck, "TMPDIR": str(self.scratch)}
        environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "JOBS": "2", **paths}
        self.process = subprocess.Popen([SCRIPT], cwd=folder, env=environment, start_new_session=True)

    def stuck(self) -> list[int]:
        """The processes that wait for ever, once there are all."""
        wait_until(lambda: self.pids.is_file() and len(self.pids.read_text().split()) >= 2)
        return [int(word) for word in self.pids.read_text().split()]

    def group(self) -> list[int]:
        """Every process of the script's session, zombies left out."""
        session = self.process.pid
        return [pid for pid, sid, state in processes() if sid == session and state != "Z"]


def processes() -> Iterator[tuple[int, int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        yield int(folder.name), int(rest[2]), state


def wait_until(condition: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_it_runs_every_item_and_leaves_nothing(tmp_path: Path) -> None:
    script = Script(tmp_path)
    assert script.process.wait(60) == 0
    items = [line.split()[-1] for line in script.done.read_text().splitlines()]
    assert items[0] == "code-stamp" and items[-1] == "repro" and set(items[1:3]) == {"data@a", "data@b"}
    assert {"convert", "index@m", "choose-model", "free@a", "waiting@a"} < set(items)
    wait_until(lambda: not script.group())
    assert not any(script.scratch.iterdir())


@pytest.mark.parametrize("stuck", ["data@b", "convert", "index@m"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_killing_it_ends_all_that_it_started(tmp_path: Path, number: signal.Signals, stuck: str) -> None:
    script = Script(tmp_path, stuck)
    assert set(script.stuck()) < set(script.group())
    script.process.send_signal(number)  # to it alone; it stays a zombie until it is waited for
    wait_until(lambda: not script.group())
    assert script.process.wait(10) == (-number if number == signal.SIGKILL else 128 + number)
    assert not any(script.scratch.iterdir())


def test_an_item_that_fails_is_its_exit_code(tmp_path: Path) -> None:
    script = Script(tmp_path, "convert")
    os.kill(script.stuck()[0], signal.SIGKILL)
    assert script.process.wait(20) != 0
