"""The sweep itself: items that are ready go to an engine, what they made is recorded, what fails is tried again.

An item is looked at when all it is made from is there: it is up to date, comes from a cache, or is run. Its outcome
is one of three. Made: it is recorded, and what waits for it comes next. Stopped or lost (a signal, a machine that went
away): it is run again and goes on from its checkpoint. Failed: it is run again ``retries`` times, but the same error
twice is final, and what waits for it is not run. A command that finds its output made already ends at once
(``gsa.runs.run_dir``), so whatever a sweep that died had finished is not made twice.
"""

import heapq
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gsa.errors import GSAError, StoppedError
from gsa.runs.process import stop_on_signals
from gsa.sweep.items import Item, Order
from gsa.sweep.ledger import Ledger
from gsa.sweep.work import IN_USE, STOPPED, Ended, Engine, Job, carried

log = logging.getLogger(__name__)

PAUSE_S = 0.05
"""How often engines are asked."""

LOOK_S = 1.0
"""Longest time in which no engine is asked, while many items are looked at."""

IN_USE_S, LONGEST_S = 5.0, 300.0
"""How long an item waits whose output another process writes, the first time and at most: twice as long each time."""

MOST_LOST = 30
"""An item whose machine went away so often is given up."""


@dataclass
class Progress:
    """Where every item is; ``waiting`` and ``running`` end as ``current``, ``restored``, ``made``, ``failed`` or
    ``blocked`` (something it is made from failed)."""

    state: dict[str, str]
    reason: dict[str, str] = field(default_factory=dict)
    """Why an item runs, or failed."""

    since: dict[str, float] = field(default_factory=dict)
    """When it began to run, in seconds of ``time.time``."""

    attempts: Counter[str] = field(default_factory=Counter)
    """How often its command was started."""

    @property
    def counts(self) -> Counter[str]:
        """How many items are in each state."""
        return Counter(self.state.values())

    def named(self, state: str) -> list[str]:
        """The items in a state."""
        return [name for name, found in self.state.items() if found == state]


class Drive:
    """A sweep over ``items`` (closed under parents), with what ``plan`` found out about them (name to reason)."""

    in_use, next_start = True, "goes on where it stopped"

    def __init__(
        self,
        ledger: Ledger,
        engine: Engine,
        items: Mapping[str, Item],
        stale: Mapping[str, str],
        retries: int = 2,
        show: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.ledger, self.engine, self.items, self.retries, self.show = ledger, engine, items, retries, show
        self.order, self.stop_requested = Order(ledger.items), False
        self.progress = Progress(dict.fromkeys(items, "waiting"), dict(stale))
        self._stale = dict(stale)
        self._waits = {name: len(item.parents) for name, item in items.items()}
        self._ready: list[tuple[tuple[int, int], str]] = []
        self._later: list[tuple[float, str]] = []
        self._unrecorded: dict[str, None] = {}
        self._looked, self._changed = set[str](), set[str]()
        self._errors: dict[str, str] = {}
        self._failures, self._lost, self._held = Counter[str](), Counter[str](), Counter[str]()
        self._carried = carried()

    def run(self) -> Progress:
        """Until nothing is left to do.

        Raises:
            StoppedError: a signal arrived; jobs were stopped at their checkpoints, and what was made is recorded.
        """
        with stop_on_signals(self):
            for name in self.order.sorted:
                if name in self.items and not self._waits[name]:
                    self._push(name)
            asked = False
            try:
                while not self._done():
                    for end in self.engine.finished():
                        self._settle(end)
                    if self.stop_requested and not asked:
                        asked = True
                        self.engine.stop()
                    if not self.stop_requested:
                        self._start()
                    self._record()
                    self.show(self.progress)
                    time.sleep(PAUSE_S)
            finally:
                self.engine.close()
                for end in self.engine.finished():
                    self._settle(end)
                self._record(last=True)
        if self.stop_requested:
            raise StoppedError(f"the sweep was stopped; the same command {self.next_start}")
        return self.progress

    def _done(self) -> bool:
        running = "running" in self.progress.state.values()
        return not running and (self.stop_requested or not (self._ready or self._later or self._unrecorded))

    def _push(self, name: str) -> None:
        heapq.heappush(self._ready, (self.order.rank[name], name))

    def _start(self) -> None:
        """Look at what is ready, first at what most waits for, and give the engine what has to run."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._push(heapq.heappop(self._later)[1])
        while self._ready and time.monotonic() - now < LOOK_S:
            name = self._ready[0][1]
            if self.progress.state[name] != "waiting" or self._settled_without_work(name):
                heapq.heappop(self._ready)
                continue
            threads = self.engine.each or self.order.threads(name, self.engine.cores, self.engine.jobs)
            if not self.engine.room(threads):
                return
            heapq.heappop(self._ready)
            self._begin(name, threads)

    def _settled_without_work(self, name: str) -> bool:
        """Whether the item is up to date, comes from a cache or cannot be run; it is looked at once."""
        if name in self._looked:
            return False
        self._looked.add(name)
        try:
            if name in self._changed and name not in self._stale and (why := self.ledger.why(name)):
                self._stale[name] = self.progress.reason[name] = why
            if name not in self._stale:
                self._end(name, "current")
            elif self.ledger.restore(name):
                self._end(name, "restored")
        except GSAError as error:
            self._give_up(name, str(error))
        return self.progress.state[name] != "waiting"

    def _begin(self, name: str, threads: int) -> None:
        try:
            self.ledger.begin(name)
        except GSAError as error:
            self._give_up(name, str(error))
            return
        self.progress.state[name], self.progress.since[name] = "running", time.time()
        self.progress.attempts[name] += 1
        self.engine.start(Job(name, self.items[name].command, str(Path.cwd()), threads, carried=self._carried))

    def _settle(self, end: Ended) -> None:
        name = end.name
        if self.progress.state[name] != "running":
            return
        if end.code == 0 and not end.lost:
            self.progress.state[name] = "made"
            self._unrecorded[name] = None
            return
        self.progress.state[name] = "waiting"
        if end.lost:
            self._lost[name] += 1
            if self._lost[name] == MOST_LOST:
                self._give_up(name, f"its machine went away {MOST_LOST} times: {end.last_line}")
            else:
                log.warning("%s: its machine or process went away (%s); it is run again", name, end.last_line)
                self._push(name)
        elif end.code == STOPPED:
            self._push(name)
        elif end.code == IN_USE:
            wait_s = min(IN_USE_S * 2 ** self._held[name], LONGEST_S)
            log.warning("%s: %s; it is looked at again in %d s", name, end.last_line, wait_s)
            self._held[name] += 1
            heapq.heappush(self._later, (time.monotonic() + wait_s, name))
        else:
            self._fail(name, end)

    def _fail(self, name: str, end: Ended) -> None:
        said = end.last_line or (f"killed by signal {-end.code}" if end.code < 0 else f"exit code {end.code}")
        self._failures[name] += 1
        if self._errors.get(name) == said:
            self._give_up(name, f"{said} (twice the same)")
        elif self._failures[name] > self.retries:
            self._give_up(name, said)
        else:
            log.warning("%s: %s; it is tried again", name, said)
            self._errors[name] = said
            self._push(name)

    def _give_up(self, name: str, reason: str) -> None:
        self.progress.state[name], self.progress.reason[name] = "failed", reason
        log.warning("%s failed: %s", name, reason)
        for child in self.order.below([name]) & self.items.keys():
            if self.progress.state[child] == "waiting":
                self.progress.state[child], self.progress.reason[child] = "blocked", f"{name} failed"

    def _end(self, name: str, state: str) -> None:
        """An item is there: what waited for it alone is next, and is looked at again if this was made anew."""
        self.progress.state[name] = state
        for child in self.order.children[name]:
            if child in self.items:
                self._waits[child] -= 1
                if state != "current":
                    self._changed.add(child)
                if not self._waits[child]:
                    self._push(child)

    def _record(self, last: bool = False) -> None:
        """Record what was made, which may move files: what reads them waits until then."""
        for name in list(self._unrecorded):
            del self._unrecorded[name]
            try:
                self.ledger.finish(name)
            except GSAError as error:
                self._give_up(name, str(error))
            else:
                self._end(name, "made")
        self.ledger.flush(last)
