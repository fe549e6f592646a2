"""How far a sweep is: on the terminal, as plain lines elsewhere, and in a file that ``gsa status`` reads meanwhile."""

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gsa.files import write_atomic
from gsa.runs.fingerprint import RUN_FILE
from gsa.sweep.drive import Progress
from gsa.sweep.items import Item
from gsa.sweep.work import LOGS, last_line

STATE_FILE = Path(".gsa/sweep.json")
"""What the last sweep did, or the one that runs is doing."""

LINE_S = 30.0
"""Longest silence where there is no terminal."""

FEW = 12
"""As many running items are shown, and as many failed ones."""

SHOWN = ("made", "restored", "failed")


class Show:
    """Called often with the progress of a sweep; ``seconds`` are what its stale items are expected to take, if known.

    Use as a context: its end leaves the terminal as it was.
    """

    def __init__(self, items: Mapping[str, Item], seconds: Mapping[str, float | None], jobs: int) -> None:
        self._seconds, self._jobs = seconds, max(1, jobs)
        self._started = time.time()
        self._took: dict[str, list[float]] = {}
        self._stages = {name: item.stage for name, item in items.items()}
        self._last: dict[str, str] = {}
        self._next_write = self._next_line = 0.0
        self._live: Any = None

    def __enter__(self) -> "Show":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, progress: Progress, last: bool = False) -> None:
        """Tell what is new."""
        now = time.time()
        news = [name for name, state in progress.state.items() if self._last.get(name, "waiting") != state]
        self._last = dict(progress.state) if news else self._last
        for name in news:
            state = progress.state[name]
            if state == "made" and name in progress.since:
                self._took.setdefault(self._stages[name], []).append(now - progress.since[name])
            if state in ("running", *SHOWN):
                self._say(_line(name, state, progress, now))
                self._next_line = now + LINE_S
        if now >= self._next_write or last:
            begun = time.monotonic()
            facts = self._state(progress, now, last)
            with suppress(OSError):  # a disk that is full hinders no item that has room of its own
                write_atomic(STATE_FILE, json.dumps(facts) + "\n")
            if self._live:
                self._live.update("\n".join(lines(facts)), refresh=True)
            self._next_write = now + max(1.0, 20 * (time.monotonic() - begun))
            if not self._live and now >= self._next_line and not last:
                self._say(lines(facts)[0])
                self._next_line = now + LINE_S

    def _say(self, text: str) -> None:
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _state(self, progress: Progress, now: float, last: bool) -> dict[str, Any]:
        running = {
            name: {"since": progress.since[name], "says": last_line(LOGS / f"{name.replace('/', '_')}.log")}
            for name in progress.named("running")
        }
        return {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": self._started,
            "updated": now,
            "ended": last,
            "counts": dict(progress.counts),
            "left_s": None if last else self._left_s(progress, now),
            "running": running,
            "failed": {name: progress.reason.get(name, "") for name in progress.named("failed")},
        }

    def _left_s(self, progress: Progress, now: float) -> float | None:
        total = 0.0
        for name, state in progress.state.items():
            if state not in ("waiting", "running") or (state == "waiting" and name not in progress.reason):
                continue
            took = self._took.get(self._stages[name])
            expected = sum(took) / len(took) if took else self._seconds.get(name)
            if expected is None:
                return None
            total += max(0.0, expected - (now - progress.since[name] if state == "running" else 0.0))
        return total / self._jobs


def _line(name: str, state: str, progress: Progress, now: float) -> str:
    if state == "running":
        again = f", start {progress.attempts[name]}" if progress.attempts[name] > 1 else ""
        return f"running {name} ({progress.reason.get(name, 'stale')}{again})"
    if state == "made":
        return f"made {name} in {duration(now - progress.since[name])}"
    return f"{state} {name}" + (f": {progress.reason[name]}" if state == "failed" else " from the cache")


def lines(state: Mapping[str, Any]) -> list[str]:
    """A sweep's state as text: a line about all of it, then one per running and failed item."""
    counts = state["counts"]
    done = sum(counts.get(key, 0) for key in ("made", "restored", "current"))
    rest = ", ".join(f"{counts[key]} {key}" for key in ("running", "failed", "blocked", "waiting") if counts.get(key))
    left = f", about {duration(state['left_s'])} left" if state.get("left_s") is not None else ""
    shown = [f"sweep: {done} of {sum(counts.values())} done" + (f", {rest}" if rest else "") + left]
    for name, facts in list(state["running"].items())[:FEW]:
        says = f": {facts['says'][:100]}" if facts["says"] else ""
        shown.append(f"  {name}, {duration(time.time() - facts['since'])}{says}")
    shown += [f"  failed {name}: {reason[:200]}" for name, reason in list(state["failed"].items())[:FEW]]
    return shown


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def expected(items: Mapping[str, Item], most: int = 20) -> dict[str, float | None]:
    """Seconds each item may take: what its output took the last time, else the mean of other outputs of its stage."""
    seconds = {name: _took(Path(item.output)) for name, item in items.items()}
    by_stage: dict[str, list[float]] = {}
    for name, item in items.items():
        known = by_stage.setdefault(item.stage, [])
        if (found := seconds[name]) is not None and len(known) < most:
            known.append(found)
    return {
        name: found if (found := seconds[name]) is not None else (sum(known) / len(known) if known else None)
        for name, known in ((name, by_stage[item.stage]) for name, item in items.items())
    }


def _took(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / RUN_FILE).read_bytes())["duration_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
