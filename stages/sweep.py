"""``gsa sweep``: every stale item of the pipeline, many at a time, here or on other machines."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gsa.errors import GSAError, ParamsError
from stages.options import PARAMS, ParamsFile, Plugin

if TYPE_CHECKING:
    from gsa.sweep.ledger import DvcLedger


def sweep(
    stage: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE]...", help="Stages with what they need [default: all].")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only these tasks, e.g. 'mw-*' [default: all].")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Only these methods [default: all].")] = None,
    seed: Annotated[
        list[str] | None, typer.Option(metavar="SEEDS", help="Only these seeds: 3, or 0:8 [default: all].")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Items at a time [default: one per core].")
    ] = None,
    gpus: Annotated[str, typer.Option(metavar="IDS", help="GPUs to share out, e.g. 0,1; on a cluster: all.")] = "",
    per_gpu: Annotated[int, typer.Option(min=1, help="Items at a time on a GPU.")] = 1,
    launcher: Annotated[Literal["local", "ray", "slurm"], typer.Option(help="Where items run.")] = "local",
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="For the launcher, e.g. slurm_partition=gpu, timeout_min=240 [default: its own]."
        ),
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a failed item is tried again.")] = 2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, run code-stamp alone [default: run all].")
    ] = False,
    no_dvc: Annotated[
        bool,
        typer.Option("--no-dvc", help="Go by output folders and their records; implied by --set [default: by DVC]."),
    ] = False,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=V1,V2", help="Values to vary, each in runs of its own; repeatable."),
    ] = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Run all stale items of the pipeline, many at a time; a sweep that was stopped goes on.

    What fails is tried again, and others go on. DVC, where it is used, finds nothing left to do afterwards.
    """
    from gsa.runs.process import hold_lock
    from gsa.runs.run_dir import STATE_DIR
    from gsa.sweep.drive import Drive
    from gsa.sweep.items import Filter, chosen
    from gsa.sweep.ledger import DvcLedger, Ledger
    from gsa.sweep.show import Show, expected
    from gsa.sweep.work import LOGS
    from stages.listed import listed_items

    wanted = Filter(stage or (), task or (), method or (), seeds(seed or ()))
    beside = no_dvc or bool(sets) or plugin is not None or params != PARAMS or not Path(".dvc").is_dir()
    if sets and not stage:
        raise ParamsError(f"--set {sets[0]} needs STAGE, the one whose items shall vary, such as finetune")
    with hold_lock(STATE_DIR / "sweep.lock", Path("the pipeline here")):
        ledger: Ledger
        if beside:
            ledger = listed_items(wanted, sets or [], plugin, params)
        else:
            ledger = by_dvc = DvcLedger()
            _stamp(by_dvc)
        items = chosen(ledger.items, wanted)
        stale = {name: why for name in items if (why := ledger.why(name))}
        seconds = expected(items)
        with closing(engine(launcher, jobs, gpus, per_gpu, option or [])) as runs:
            typer.echo(plan(items, stale, seconds, runs.jobs))
            if dry_run:
                return
            with Show(items, seconds, runs.jobs) as show:
                drive = Drive(ledger, runs, items, stale, retries, show)
                try:
                    progress = drive.run()
                finally:
                    show(drive.progress, last=True)
    counts = progress.counts
    failed = progress.named("failed")
    if failed:
        also = f" and {counts['blocked']} that wait for them" if counts["blocked"] else ""
        reasons = "; ".join(f"{name}: {progress.reason[name]}" for name in failed[:5])
        raise GSAError(f"{len(failed)} of {len(items)} items failed{also} ({reasons}); their output is in {LOGS}")
    typer.echo(f"made {counts['made']} items, {counts['restored']} from the cache, {counts['current']} up to date")


def seeds(texts: Sequence[str]) -> list[int]:
    """``["3", "0:8"]`` as numbers; the end of a range is left out."""
    found: list[int] = []
    for text in texts:
        first, colon, end = text.partition(":")
        try:
            found += range(int(first or 0), int(end)) if colon else [int(text)]
        except ValueError as error:
            raise ParamsError(f"--seed {text}: expected a number such as 3 or a range such as 0:8") from error
    return found


def engine(launcher: str, jobs: int | None, gpus: str, per_gpu: int, options: list[str]) -> Any:
    """The engine of that name; ParamsError where an option is none of its own."""
    from gsa.config import parse_settings

    given = parse_settings(options)
    names = [name for name in gpus.split(",") if name]
    if launcher == "local":
        from gsa.sweep.local import LocalEngine

        if given:
            raise ParamsError(f"--option {options[0]} is for --launcher ray or slurm")
        return LocalEngine(jobs, names, per_gpu)
    if launcher == "ray":
        from gsa.sweep.ray import RayEngine

        return RayEngine(jobs, bool(names), per_gpu, given)
    from gsa.sweep.slurm import SlurmEngine

    return SlurmEngine(jobs, bool(names), given)


def plan(items: Any, stale: Any, seconds: Any, jobs: int) -> str:
    """What would be run and why, and how long it may take, as text."""
    from tabulate import tabulate

    from gsa.sweep.items import Order
    from gsa.sweep.show import duration

    after = Order(items).below(stale) - stale.keys()
    rows = [(name, why, duration(s) if (s := seconds[name]) is not None else "?") for name, why in stale.items()]
    known = [s for name in stale if (s := seconds[name]) is not None]
    total = f"about {duration(sum(known) / jobs)}" if len(known) == len(stale) else "unknown"
    if known and len(known) < len(stale):
        total = f"more than {duration(sum(known) / jobs)}"
    head = f"{len(stale)} of {len(items)} items are stale; {len(after)} more are looked at once these are made"
    took = f"{jobs} at a time; {total} by what such items took before"
    return "\n".join([head, *([took, tabulate(rows, tablefmt="plain", disable_numparse=True)] if stale else [])])


def _stamp(ledger: "DvcLedger") -> None:
    """Write the code stamps: they tell what is stale, and DVC does not watch the code of the user's own tasks."""
    from gsa.sweep.ledger import STAMPS
    from gsa.sweep.work import Job, carried, run

    if STAMPS not in ledger.items:
        return
    ledger.begin(STAMPS)
    end = run(Job(STAMPS, ledger.items[STAMPS].command, str(Path.cwd()), carried=carried()))
    if end.code:
        kind = ParamsError if end.code == ParamsError.exit_code else GSAError
        raise kind(f"{STAMPS} failed: {end.last_line.removeprefix('ParamsError: ')}")
    ledger.finish(STAMPS)
    ledger.flush(last=True)
