"""The sweep on this machine: order, threads, retries, stops; commands are words of the shell."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from gsa.errors import ParamsError, StoppedError
from gsa.sweep import drive
from gsa.sweep.drive import Drive, Progress
from gsa.sweep.items import Filter, Item, Order, chosen
from gsa.sweep.local import LocalEngine
from tests.sweep.project import Books


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def swept(
    commands: Mapping[str, str],
    parents: Mapping[str, str] = {},
    cached: str = "",
    fresh: str = "",
    jobs: int = 2,
    retries: int = 2,
    meanwhile: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Progress, Books]:
    books = Books(commands, parents, cached)
    stale = {name: "new" for name in books.items if name not in fresh.split()}
    with closing(LocalEngine(jobs)) as engine:
        sweep = Drive(books, engine, books.items, stale, retries, meanwhile)
        return sweep.run(), books


def test_items_run_after_what_they_are_made_from() -> None:
    commands = {name: f"sleep 0.1; echo {name} >> order" for name in "abcd"}
    progress, books = swept(commands, {"d": "b c", "c": "a"})
    order = Path("order").read_text().split()
    assert progress.counts == {"made": 4} and set(books.made) == set("abcd")
    assert order.index("a") < order.index("c") < order.index("d") > order.index("b")


def test_what_is_fresh_or_cached_does_not_run_but_what_follows_a_change_does() -> None:
    commands = {name: "true" for name in ("old", "kept", "after-old", "after-kept")}
    parents = {"after-old": "old", "after-kept": "kept"}
    progress, books = swept(commands, parents, cached="kept", fresh="old after-old after-kept")
    assert progress.state == {"old": "current", "kept": "restored", "after-old": "current", "after-kept": "made"}
    assert books.made == ["after-kept"]


def test_never_more_at_a_time_than_asked_for(tmp_path: Path) -> None:
    commands = {f"i{n}": f"mkdir on{n}; ls -d on* | wc -l >> counts; sleep 0.2; rmdir on{n}" for n in range(5)}
    swept(commands, jobs=2)
    assert set(Path("counts").read_text().split()) <= {"1", "2"}


def test_a_failure_is_tried_again_and_others_go_on() -> None:
    thrice = "echo x >> tries; test $(wc -l < tries) = 3 || { echo try $(wc -l < tries); exit 1; }"
    progress, _ = swept({"flaky": thrice, "other": "true"})
    assert progress.counts == {"made": 2} and progress.attempts["flaky"] == 3


def test_the_same_error_twice_is_final_and_what_waits_for_it_does_not_run() -> None:
    progress, _ = swept(
        {"bad": "echo out of luck; exit 3", "after": "true", "other": "true"}, {"after": "bad"}, retries=9
    )
    assert progress.state == {"bad": "failed", "after": "blocked", "other": "made"}
    assert progress.attempts["bad"] == 2 and progress.reason["bad"] == "out of luck (twice the same)"


def test_different_errors_end_after_the_retries() -> None:
    progress, _ = swept({"bad": "echo x >> tries; echo $(wc -l < tries); exit 1"}, retries=2)
    assert progress.attempts["bad"] == 3 and progress.state["bad"] == "failed"


def test_a_stopped_item_goes_on_and_does_not_count() -> None:
    progress, _ = swept({"long": "echo x >> tries; test $(wc -l < tries) = 6 || exit 75"}, retries=0)
    assert progress.attempts["long"] == 6 and progress.state["long"] == "made"


def test_an_output_in_use_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "IN_USE_S", 0.1)
    progress, _ = swept({"held": "echo x >> tries; test $(wc -l < tries) = 3 || exit 6"}, retries=0)
    assert progress.state["held"] == "made"


def test_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = {f"i{n}": "sleep 0.2; echo $CUDA_VISIBLE_DEVICES >> used" for n in range(4)}
    books = Books(commands, {})
    with closing(LocalEngine(None, ["3", "5"], per_gpu=2)) as engine:
        assert engine.jobs == 4
        Drive(books, engine, books.items, dict.fromkeys(commands, "new")).run()
    assert sorted(Path("used").read_text().split()) == ["3", "3", "5", "5"]


def test_a_signal_stops_commands_and_keeps_what_was_made() -> None:
    long = "trap 'exit 75' TERM; sleep 60 & wait"
    books = Books({"quick": "true", "long": long}, {})

    def interrupt() -> None:
        while books.made != ["quick"]:
            time.sleep(0.05)
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with closing(LocalEngine(2)) as engine:
        sweep = Drive(books, engine, books.items, dict.fromkeys(books.items, "new"))
        with pytest.raises(StoppedError, match="goes on where it stopped"):
            sweep.run()
    assert sweep.progress.state == {"quick": "made", "long": "waiting"} and books.made == ["quick"]


def pipeline() -> dict[str, Item]:
    """A model after data, runs that need it, and runs that need nothing."""
    rows = {"data": "", "model": "data", "run@a": "model", "run@b": "model"}
    rows |= {"free@a": "", "free@b": "", "report": "run@a run@b free@a free@b"}
    return {name: Item(name, f"gsa {name} --task t", name, frozenset(made.split())) for name, made in rows.items()}


def test_the_longest_way_to_the_end_comes_first() -> None:
    order = Order(pipeline())
    assert sorted(order.items, key=order.rank.__getitem__)[:3] == ["data", "model", "run@a"]
    assert order.below(["model"]) == {"run@a", "run@b", "report"}


def test_threads_are_the_cores_that_nothing_else_needs() -> None:
    order = Order(pipeline())
    assert [order.threads(name, 8, 8) for name in ("model", "run@a", "free@a", "report")] == [6, 3, 2, 8]
    assert order.threads("model", 2, 2) == 1 and order.threads("free@a", 4, 1) == 4


def test_filters_take_what_is_needed_too() -> None:
    items = pipeline()
    assert set(chosen(items, Filter(stages=["run"]))) == {"data", "model", "run@a", "run@b"}
    assert set(chosen(items, Filter(tasks=["x*", "t"]))) == set(items)
    with pytest.raises(ParamsError, match="no item fits"):
        chosen(items, Filter(seeds=[3]))
