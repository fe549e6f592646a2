"""The driver: steps in order of value, each in a process of its own and within its time, and one page at the end.

    python -m benchmarks.gpu --minutes 9 --out DIR [--data STORE] [--release CHECKOUT] [--rehearse] [--steps right fast]

What a step does not use of its time goes to those after it. SIGTERM ends the running step and prints the page.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from benchmarks.gpu.context import ROOT, Context, of_arguments
from benchmarks.gpu.page import page

STEPS = {"machine": 20.0, "right": 80.0, "fast": 200.0, "renders": 40.0, "learns": 200.0}
"""Steps in order, with their shares of the time."""

LOG = "log.txt"

LAST_SECONDS = 5.0
"""Kept for the page."""


def run_step(name: str, context: Context) -> str:
    """Run a step until it ends or its time is over; returns how it ended."""
    started = time.time()
    environment = os.environ | {"GSA_ANY_PACKAGES": "1", "PYTHONUNBUFFERED": "1"}
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    with (context.out / LOG).open("a", encoding="utf-8") as log:
        log.write(f"\n== {name}\n")
        log.flush()
        child = subprocess.Popen(
            context.arguments(name), cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = child.wait(max(context.left, 0.1))
            how = "done" if code == 0 else f"ended with exit status {code}"
        except subprocess.TimeoutExpired:
            how = "stopped at its limit"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return f"{how} after {time.time() - started:.0f} s"


def drive(context: Context, names: list[str]) -> None:
    """Run the steps, then print the page and write it."""
    ends: dict[str, str] = {}
    try:
        for number, name in enumerate(names):
            share = STEPS[name] / sum(STEPS[other] for other in names[number:])
            limit = max(context.left - LAST_SECONDS, 1.0) * share
            print(f"{name}: up to {limit:.0f} s", flush=True)
            ends[name] = run_step(name, replace(context, until=time.time() + limit))
            print(f"{name}: {ends[name]}", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    text = page(context.out, ends)
    (context.out / "page.md").write_text(text, encoding="utf-8")
    print(text, flush=True)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a new folder for tables, page and log")
    parser.add_argument("--minutes", type=float, default=9.0, help="of all steps together")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--data", type=Path, help="an offline store that `gsa convert` made; without it, one is made")
    parser.add_argument("--release", type=Path, help="a checkout of the authors' release, to be timed beside")
    parser.add_argument("--rehearse", action="store_true", help="every step on the CPU, at tiny sizes")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        import_module(f"benchmarks.gpu.{arguments.step}").step(of_arguments(arguments))
        return
    for flag in ("out", "data", "release"):
        if folder := getattr(arguments, flag):
            setattr(arguments, flag, folder.resolve())
    arguments.out.mkdir(parents=True, exist_ok=True)
    if list(arguments.out.glob("*.csv")):
        sys.exit(f"{arguments.out} holds tables already; name a new folder")
    arguments.until = time.time() + 60 * arguments.minutes
    signal.signal(signal.SIGTERM, _interrupt)
    drive(of_arguments(arguments), arguments.steps)


if __name__ == "__main__":
    main()
