"""Files replaced while a stage reads them: it must notice, or end as if nothing had been."""

import os
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults import processes, taps
from tests.faults.project import STAGES, files_of
from tests.faults.trials import Lab, Trial, Verdict, blame_process, blame_refusal

HOW = ("appended", "touched", "removed", "halved")


@dataclass(frozen=True)
class Exchange(Trial):
    """Before the ``point``-th reading, a ``file`` of the inputs is replaced by another one of its name."""

    file: str
    how: str
    point: int

    sort = "exchange"

    @property
    def what(self) -> str:
        """File, change and moment."""
        return f"{self.file} {self.how} before reading {self.point}"

    def attack(self, lab: Lab, project: Path, verdict: Verdict) -> None:
        """Exchange, judge."""
        stage = self.of
        lab.project(stage, project.name)
        path = project / self.file

        def arm() -> None:
            def replace(kind: str, place: str) -> None:
                if self.how == "removed":
                    path.unlink()
                    return
                data, new = path.read_bytes(), path.with_name("new")
                new.write_bytes({"appended": data + b"\n", "halved": data[: len(data) // 2]}.get(self.how, data))
                new.replace(path)

            pid, act = os.getpid(), taps.at(taps.READS, self.point, replace)
            taps.listen(lambda kind, place: act(kind, place) if os.getpid() == pid else None)

        ended = processes.run(project, stage.args, before=arm)
        blame_process(verdict, ended)
        same = files_of(project / stage.out) == files_of(lab.sound / stage.out)
        if ended.code:
            verdict.ended = "refused"
            blame_refusal(verdict, ended, (2, 3, 4))
            if self.how == "touched":
                verdict.blame("lost", f"equal bytes are refused: {ended.last_line}")
        elif self.how == "touched" or self.file == "params.yaml":
            verdict.ended = "the same result"
            if not same:
                verdict.blame("silent", "another result")
        elif same:
            verdict.ended = "no influence"
        else:
            verdict.blame("silent", "another result without a word")


def trials(lab: Lab, stage: str, count: int, rng: Random) -> list[Trial]:
    """Random files of the inputs at readings spread evenly."""
    readings = lab.points[stage].count("read")
    files = [
        p.relative_to(lab.sound).as_posix()
        for need in STAGES[stage].needs
        for p in sorted((lab.sound / need).rglob("*"))
        if p.is_file()
    ]
    if not files or not readings:
        return []
    return [
        Exchange(stage, n, rng.choice(files), HOW[n % len(HOW)], int((n + rng.random()) * readings / count))
        for n in range(count)
    ]
