"""How long a sweep takes beside its items: planning, running and recording thousands of commands that do nothing.

The pipeline is the project's, with every command replaced by one that only writes small files where the output goes.
What is timed is a first plan, the sweep, a second plan that finds nothing, and on request ``dvc status`` after it.
"""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tabulate import tabulate

from gsa.pipeline import STAGES, Stage, dvc_yaml
from gsa.sweep.drive import Drive
from gsa.sweep.ledger import STAMPS, DvcLedger
from gsa.sweep.local import LocalEngine
from gsa.sweep.show import Show
from gsa.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]

FILES = {"offline": ["manifest.json", "card.json", "first_images.png"], "model": ["meta.json"], "index": ["index.json"]}
"""What later stages depend on; other outputs have one file."""

STUB = 'out=$1; shift; mkdir -p "$out"; for name; do echo "$out" > "$out/$name"; done'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=5000, help="fine-tuning runs, about")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--status", action="store_true", help="also time `dvc status`, which takes minutes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        make_project(max(1, round(args.items / (3 * len(TASKS)))))
        rows, books = [], []

        def timed(what: str, work: Callable[[], Any]) -> Any:
            begun, cpu = time.monotonic(), time.process_time()
            result = work()
            rows.append((what, f"{time.monotonic() - begun:.1f}", f"{time.process_time() - cpu:.1f}"))
            print(*rows[-1], flush=True)
            return result

        books.append(timed("read the pipeline", DvcLedger))
        stale = timed("plan", lambda: plan(books[0]))
        timed(f"run and record {len(stale)} items, {args.jobs} at a time", lambda: drive(books[0], stale, args.jobs))
        again = timed("read the pipeline and plan again", lambda: plan(DvcLedger()))
        assert not again, list(again.items())[:3]
        if args.status:
            status = timed("dvc status", lambda: subprocess.run(["dvc", "status"], capture_output=True, text=True))
            assert "up to date" in status.stdout, status.stdout[:500]
        print(tabulate(rows, headers=("what", "seconds", "of the driver's CPU"), tablefmt="plain"))
        print(f"dvc.lock: {Path('dvc.lock').stat().st_size / 1e6:.1f} MB")


def make_project(seeds: int) -> None:
    """The pipeline with stubs, on every task with three methods, in the working directory."""
    yaml = YAML()
    tree = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["matrix"]["finetune"] |= {"tasks": list(TASKS), "seeds": list(range(seeds))}
    with Path("params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)
    Path("stub.sh").write_text(STUB, encoding="utf-8")
    Path("dvc.yaml").write_text(stubbed(dvc_yaml()), encoding="utf-8")
    for name, folder in (("stage", "gsa"), ("stage", "stages"), ("published", "data/reference")):
        Path(folder).mkdir(parents=True)
        Path(folder, name).write_text(name, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], check=True)


def stubbed(text: str) -> str:
    """``dvc.yaml`` with a command for each stage that only writes its output."""
    stages = {name: f"sh stub.sh {stage.output} {' '.join(_files(stage))}" for name, stage in STAGES.items()}
    tasks, codes = (" ".join(f"{name}.json" for name in names) for names in (TASKS, STAGES))
    stages[STAMPS] = f"sh stub.sh .gsa/tasks {tasks}; sh stub.sh .gsa/code {codes}"
    return re.sub(
        r"(?m)^(  ([\w-]+):\n(?:    matrix:\n(?:      .*\n)+)?    cmd: ).*$", lambda m: m[1] + stages[m[2]], text
    )


def _files(stage: Stage) -> list[str]:
    return [f"{name}.json" for name in TASKS] if stage.makes == "choice" else FILES.get(stage.makes, ["metrics.json"])


def plan(ledger: DvcLedger) -> dict[str, str]:
    """What is stale, by item."""
    return {name: why for name in ledger.items if (why := ledger.why(name))}


def drive(ledger: DvcLedger, stale: dict[str, str], jobs: int) -> None:
    """The sweep as the command runs it."""
    with closing(LocalEngine(jobs)) as engine, Show(ledger.items, {}, jobs) as show:
        progress = Drive(ledger, engine, ledger.items, stale, show=show).run()
    assert progress.counts == {"made": len(ledger.items)}, progress.counts


if __name__ == "__main__":
    main()
