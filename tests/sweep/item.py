"""A command like a stage's, without its heavy imports: it keeps progress, stops where it is kept, and is reproducible.

Arguments: a name, the output folder, the number of steps, seconds per step, and the folders it reads. Each step appends
the item's name and the step to the file ``steps`` of the project, so that a test sees what was done twice. In a folder
``broken`` there may be a file of the item's name, with an error to raise.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from gsa.errors import GSAError, StoppedError, TrainingError
from gsa.files import write_atomic
from gsa.runs import run_dir
from gsa.startup import begin


def main(name: str, out: str, steps: str, pause_s: str, *inputs: str) -> None:
    run_dir.code_stamp = lambda stage: "the code"  # type: ignore[assignment]
    params = {"name": name, "steps": int(steps)}
    folders = {f"raw {folder}": Path(folder) for folder in inputs}
    with run_dir.open_run(Path(out), "floors", params, folders, item=name) as run:
        if (broken := Path("broken", name)).is_file():
            raise TrainingError(broken.read_text().strip())
        kept = run.checkpoints.open() / "progress"
        step, value = json.loads(kept.read_text()) if kept.exists() else (0, run.fingerprint)
        run.checkpoints.in_use = True
        while step < int(steps):
            time.sleep(float(pause_s))
            value, step = hashlib.sha256(f"{value} {step}".encode()).hexdigest(), step + 1
            note(f"{name} {step}")
            print(f"{name}: {step}/{steps}", flush=True)
            write_atomic(kept, json.dumps([step, value]))
            if run.checkpoints.stop_requested:
                raise StoppedError(f"stopped after step {step}; the same command resumes there")
        (run.path / "value").write_text(value)


def note(line: str) -> None:
    with Path("steps").open("a") as file:  # one write, which other processes do not tear
        file.write(line + "\n")


if __name__ == "__main__":
    begin()
    try:
        main(*sys.argv[1:])
    except GSAError as error:
        print(error.line, file=sys.stderr, flush=True)
        os._exit(error.exit_code)
