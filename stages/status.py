"""``gsa status``: how far the pipeline and the last sweep are."""

import json
import os
import socket
from collections import Counter
from contextlib import suppress
from typing import Annotated, Any

import typer

from stages.options import PARAMS, ParamsFile, Plugin, Settings


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON [default: as text].")] = False,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Print how many items of each stage are up to date by their records, and how far the sweep is.

    It takes no lock, and may be called at any time, from another terminal too.
    """
    from tabulate import tabulate

    from gsa.sweep.items import Filter
    from gsa.sweep.show import duration, lines
    from stages.listed import listed_items

    ledger = listed_items(Filter(), sets or [], plugin, params)
    stages: dict[str, Counter[str]] = {}
    for name, item in ledger.items.items():
        why = ledger.why(name)
        state = "up to date" if not why else why if why in ("missing", "damaged") else "stale"
        stages.setdefault(item.stage, Counter())[state] += 1
    sweep = _last_sweep()
    if as_json:
        typer.echo(json.dumps({"pipeline": stages, "sweep": sweep}))
        return
    states = ("up to date", "stale", "missing", "damaged")
    rows = [(name, *(counts[state] or "" for state in states)) for name, counts in stages.items()]
    typer.echo(tabulate(rows, headers=("stage", *states), tablefmt="plain"))
    if sweep is None:
        typer.echo("no sweep was run here")
        return
    typer.echo("\n".join(lines(sweep)))
    if not sweep["running_now"]:
        typer.echo("it ended" if sweep["ended"] else f"it died after {duration(sweep['updated'] - sweep['started'])}")


def _last_sweep() -> dict[str, Any] | None:
    """What the last sweep wrote of itself; ``running_now`` as far as this machine can tell."""
    from gsa.sweep.show import STATE_FILE

    try:
        state: dict[str, Any] = json.loads(STATE_FILE.read_bytes())
    except (OSError, ValueError):
        return None
    alive = not state["ended"]
    if alive and state["host"] == socket.gethostname():
        with suppress(PermissionError):
            try:
                os.kill(state["pid"], 0)
            except ProcessLookupError:
                alive = False
    return {**state, "running_now": alive}
