"""The engine for SLURM with submitit's local executor, which runs the same jobs as processes of this machine."""

import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from gsa.errors import ParamsError, ResourceError, StoppedError
from gsa.sweep import slurm
from gsa.sweep.drive import Drive, Progress
from gsa.sweep.slurm import SlurmEngine
from tests.sweep.project import Books

pytest.importorskip("submitit")
pytestmark = pytest.mark.slow

LOCAL = {"cluster": "local", "timeout_min": 5}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "ASK_S", 0.2)


def swept(commands: Mapping[str, str], parents: Mapping[str, str] = {}) -> Progress:
    books = Books(commands, parents)
    with closing(SlurmEngine(None, False, LOCAL)) as engine:
        return Drive(books, engine, books.items, dict.fromkeys(books.items, "new"), retries=0).run()


def test_items_that_are_ready_are_one_batch_and_75_is_queued_again() -> None:
    again = "echo x >> tries; test $(wc -l < tries) = 2 || exit 75"
    progress = swept({"a": "echo a >> order", "again": again, "after": "echo b >> order"}, {"after": "a again"})
    assert progress.counts == {"made": 3} and progress.attempts["again"] == 2
    assert Path("order").read_text().split() == ["a", "b"]


def test_a_failure_says_what_the_command_said() -> None:
    progress = swept({"bad": "echo out of luck; exit 3", "good": "true"})
    assert progress.state == {"bad": "failed", "good": "made"} and progress.reason["bad"] == "out of luck"


def test_a_stop_cancels_jobs_and_their_commands_save() -> None:
    books = Books({"long": "trap 'touch saved; exit 75' TERM; touch begun; sleep 300 & wait"}, {})
    with closing(SlurmEngine(None, False, LOCAL)) as engine:
        sweep = Drive(books, engine, books.items, {"long": "new"})

        def stop() -> None:
            while not Path("begun").exists():
                time.sleep(0.05)
            sweep.stop_requested = True

        threading.Thread(target=stop).start()
        with pytest.raises(StoppedError):
            sweep.run()
    assert Path("saved").exists() and sweep.progress.state["long"] == "waiting"


def test_options_are_checked() -> None:
    with pytest.raises(ParamsError, match="--option"):
        SlurmEngine(None, False, {**LOCAL, "partitoin": "gpu"})
    with pytest.raises(ResourceError, match="no SLURM here"):
        SlurmEngine(None, False, {})
