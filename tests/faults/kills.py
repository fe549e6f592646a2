"""Kills: a stage ends at a point or a moment of its work; run again, it must give the undisturbed result."""

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults import processes, taps
from tests.faults.project import content
from tests.faults.trials import Lab, Trial, Verdict, blame_process, blame_refusal, blame_result

SIGNALS = ("KILL", "TERM", "KILL", "INT")
"""In turn; KILL stands for a power cut and for the kernel's answer to too little memory."""

STOPPED = 75


@dataclass(frozen=True)
class Kill(Trial):
    """By signal: before the ``point``-th change of a file, or after a share of the computing (``point`` is None)."""

    signal: str
    point: int | None
    share: float = 0.0
    old: bool = False
    exchanges: bool = True
    """Whether folders can change places in one step."""

    sort = "kill"

    @property
    def what(self) -> str:
        """Signal and place."""
        where = f"{self.share:.0%} of its computing" if self.point is None else f"point {self.point}"
        return f"{self.signal} at {where}{', old output' if self.old else ''}" + (
            "" if self.exchanges else ", two renames"
        )

    def attack(self, lab: Lab, project: Path, verdict: Verdict) -> None:
        """Kill, look, run again, compare."""
        stage, number = self.of, signal.Signals[f"SIG{self.signal}"]
        lab.project(stage, project.name, self.old)

        def arm() -> None:
            taps.can_exchange = self.exchanges
            if self.point is None:
                _alarm(self.share * lab.cpu_s[stage.name], number)
                return
            pid, act = os.getpid(), taps.at(taps.WRITES, self.point, lambda kind, path: os.kill(os.getpid(), number))
            taps.listen(lambda kind, path: act(kind, path) if os.getpid() == pid else None)

        ended = processes.run(project, stage.args, before=arm)
        blame_process(verdict, ended)
        killed = ended.code in (-signal.SIGKILL, -signal.SIGPROF)
        if ended.code and not killed:
            blame_refusal(verdict, ended, (STOPPED,))
        found = content(project / stage.out)
        if found != lab.expected[stage.name] and (
            found is not None or (self.old and self.exchanges and not stage.prints)
        ):
            verdict.blame("lost", f"after the kill: {'an incomplete' if found else 'no'} output")
        verdict.ended = "finished first" if ended.code == 0 else "killed" if killed else "stopped"
        if stage.prints and found is not None:
            (project / stage.out).unlink()  # it replaces no file, and would say so
        again = processes.run(project, stage.args)
        blame_result(verdict, lab, stage, project, again, "run again")
        if "same command resumes" in ended.err and not re.search("resuming|keeping", again.err):
            verdict.blame("lost", f"said that it resumes, then began anew: {ended.last_line}")


def _alarm(after_s: float, number: int) -> None:
    """Send the signal after so much computing; the alarm's own default end is as sudden as SIGKILL."""
    if number != signal.SIGKILL:
        signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), number))
    else:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, max(after_s, 0.001))


def trials(lab: Lab, stage: str, count: int, rng: Random) -> list[Trial]:
    """Two thirds spread evenly over all points from a random first one, the rest at random moments."""
    points = sum(kind in taps.WRITES for kind in lab.points[stage])
    at_points = min(points, (2 * count + 2) // 3)
    first = rng.random()
    chosen: list[Trial] = []
    for n in range(count):
        old, exchanges = n % 2 == 1, n % 4 != 3
        name = SIGNALS[(n + n // len(SIGNALS)) % len(SIGNALS)]
        if n < at_points:
            chosen.append(Kill(stage, n, name, int((n + first) * points / at_points), 0.0, old, exchanges))
        else:
            chosen.append(Kill(stage, n, name, None, rng.random() * 1.05, old, exchanges))
    return chosen
