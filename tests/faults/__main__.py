"""``python -m tests.faults``: all trials or a sample, a table, and exit 1 where anything failed."""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random

from gsa.startup import use_utf8
from tests.faults import corruptions, exchanges, failing_operations, kills, pipeline_kills, processes, taps
from tests.faults.project import ROOT, STAGES, Stage, content, make_sound
from tests.faults.trials import FAULTS, SORTS, Lab, Trial, Verdict

COUNTS = {"kill": 28, "failing operation": 28, "corruption": 40, "verified": 60, "progress": 16, "exchange": 12}
"""Trials per stage; corruptions are more where a stage reads more files, fewer where it writes few."""

SAMPLE = {"kill": 2, "failing operation": 2, "corruption": 1, "verified": 3, "progress": 1, "exchange": 0}
SAMPLED = ("collect-noise", "finetune-drqv2", "floors")
"""The stages of the sample, which need no other."""


STARTED = ("collect-data", "pretrain", "finetune-gsa", "report")
"""Stages that are also run in a new process each, to see that forking changes nothing."""


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--stage", action="append", choices=[*STAGES, pipeline_kills.NAME], help="repeatable")
    parser.add_argument("--quick", action="store_true", help=f"a few trials of {' and '.join(SAMPLED)}")
    parser.add_argument("--seed", type=int, default=0, help="which trials are drawn")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--sort", action="append", choices=SORTS, help="repeatable; what is done")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many trials")
    parser.add_argument("--folder", type=Path, help="where the attacked projects lie [default: in memory, else /tmp]")
    parser.add_argument("--log", type=Path, help="write every verdict here, a line of JSON each")
    return parser.parse_args(words)


def measure(lab: Lab, stages: list[Stage]) -> None:
    """What each stage does undisturbed: its points, its computing, its words."""
    for stage in stages:
        lab.expected[stage.name] = content(lab.sound / stage.out)
        project = lab.project(stage, f"measured-{stage.name}")
        record = lab.folder / f"{stage.name}.points"

        def arm(record: Path = record) -> None:
            file, pid = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND), os.getpid()

            def note(kind: str, path: str) -> None:
                if os.getpid() == pid:  # not a worker's
                    os.write(file, f"{kind}\n".encode())

            taps.listen(note)

        ended = processes.run(project, stage.args, before=arm)
        if ended.code or content(project / stage.out) != lab.expected[stage.name]:
            raise SystemExit(f"{stage.name} undisturbed gives another result the second time: {ended.last_line}")
        lab.points[stage.name], lab.said[stage.name] = record.read_text().split(), ended.out
        lab.cpu_s[stage.name] = ended.cpu_s
        shutil.rmtree(project)


def check_forks(lab: Lab, stages: list[Stage]) -> None:
    """A forked command must give what a new process gives."""
    for stage in stages:
        project = lab.project(stage, f"started-{stage.name}")
        command = [sys.executable, "-m", "stages.cli", *stage.args]
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{project}"}
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        if done.returncode or content(project / stage.out) != lab.expected[stage.name]:
            raise SystemExit(f"{stage.name} in a new process gives another result than in a forked one: {done.stderr}")
        shutil.rmtree(project)


def plan(lab: Lab, stages: list[Stage], counts: dict[str, float], seed: int, sorts: Sequence[str]) -> list[Trial]:
    """All trials, long stages first."""
    chosen: list[Trial] = []
    makers: dict[str, Callable[[Lab, str, int, Random], list[Trial]]] = {
        "kill": kills.trials,
        "failing operation": failing_operations.trials,
        "corruption": corruptions.trials,
        "exchange": exchanges.trials,
    }
    for stage in stages:
        rng = Random(f"{seed} {stage.name}")
        for sort, make in makers.items():
            if sort in sorts and not (stage.prints and sort in ("failing operation", "exchange")):
                chosen += make(lab, stage.name, int(counts[sort]), rng)
        if "corruption" in sorts:
            chosen += corruptions.trials_of_inspection(lab, stage.name, int(counts["verified"]), rng)
        if "corruption" in sorts and stage.name in corruptions.CHECKPOINTED:
            corruptions.pause(lab, stage.name)
            chosen += corruptions.trials_of_progress(lab, stage.name, int(counts["progress"]), rng)
    return sorted(chosen, key=lambda trial: -lab.cpu_s[trial.stage])


def run_all(trials: list[Trial], lab: Lab, jobs: int, told: Callable[[Verdict], None]) -> None:
    """Every trial once, in ``jobs`` forked processes."""
    turn = multiprocessing.get_context("fork").Value("i", 0)
    read, write = os.pipe()
    workers = []
    for _ in range(jobs):
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _work(trials, lab, turn, write)
        workers.append(pid)
    os.close(write)
    with os.fdopen(read) as lines:
        for line in lines:
            told(Verdict(**json.loads(line)))
    for pid in workers:
        os.waitpid(pid, 0)


def _work(trials: list[Trial], lab: Lab, turn: "multiprocessing.sharedctypes.Synchronized[int]", write: int) -> None:
    code = 1
    try:
        while True:
            with turn.get_lock():
                number, turn.value = turn.value, turn.value + 1
            if number >= len(trials):
                code = 0
                return
            verdict = trials[number].run(lab)
            os.write(write, (json.dumps(asdict(verdict))[:4000] + "\n").encode())
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def table(verdicts: list[Verdict]) -> str:
    """Trials per stage by sort, and faults per stage by kind."""
    rows = [["stage", *SORTS, *FAULTS]]
    for name in [*dict.fromkeys(verdict.stage for verdict in verdicts), "all"]:
        ours = [verdict for verdict in verdicts if name in (verdict.stage, "all")]
        sorts = Counter(verdict.sort for verdict in ours)
        faults = Counter(fault for verdict in ours for fault in {kind for kind, _ in verdict.faults})
        rows.append([name, *(str(sorts[sort]) for sort in SORTS), *(str(faults[fault]) for fault in FAULTS)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main(words: Sequence[str] | None = None) -> int:
    """Run; 1 where anything was lost, silent, a traceback, a hang, an orphan, litter or unclear."""
    given = options(words)
    use_utf8()  # or every command would start anew
    started = time.monotonic()
    processes.prepare()
    memory = Path("/dev/shm")  # flushing to disk takes no time there
    place = given.folder or (memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix="gsa-faults-", dir=place))
    names = given.stage or (SAMPLED if given.quick else [*STAGES, pipeline_kills.NAME])
    stages = [STAGES[name] for name in STAGES if name in names]
    verdicts: list[Verdict] = []
    log = given.log.open("w") if given.log else None

    def told(verdict: Verdict) -> None:
        verdicts.append(verdict)
        if log:
            log.write(json.dumps(asdict(verdict)) + "\n")
            log.flush()
        for fault, why in verdict.faults:
            print(f"{fault}: {verdict.stage}, {verdict.sort}, {verdict.what}: {why}", flush=True)

    try:
        lab = Lab(folder, {}, {}, {}, {})
        make_sound(lab.sound, None if any(stage.needs for stage in stages) else stages)
        measure(lab, stages)
        check_forks(lab, [stage for stage in stages if stage.name in STARTED and not given.quick])
        counts = {name: given.scale * count for name, count in (SAMPLE if given.quick else COUNTS).items()}
        trials = plan(lab, stages, counts, given.seed, given.sort or SORTS)
        if pipeline_kills.NAME in names:
            pipeline_kills.make_undisturbed(lab)
            trials = [*pipeline_kills.trials(given.seed), *trials]
        run_all(trials, lab, given.jobs, told)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(verdicts))
    ended = Counter(f"{verdict.sort}: {verdict.ended}" for verdict in verdicts if not verdict.faults)
    print("\n".join(f"{count:5d} {how}" for how, count in sorted(ended.items())))
    failed = sum(bool(verdict.faults) for verdict in verdicts)
    missing = len(trials) - len(verdicts)
    minutes = (time.monotonic() - started) / 60
    print(f"{len(verdicts)} trials in {minutes:.1f} min, {failed} with faults, {missing} without a verdict")
    return int(bool(failed or missing))


if __name__ == "__main__":
    sys.exit(main())
