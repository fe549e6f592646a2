"""Exploring the point, in a process of its own that kills itself."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

from gsa.loops import explore as explore_module
from gsa.loops.draw_explored import explore_domain
from gsa.runs.checkpoint import CheckpointStore
from tests.policies.point_body import PointBody
from tests.policies.test_exploration import explore_params


class Died(Exception):
    """Stands for the end of a process."""


def write_point(
    folder: Path, checkpoints: Path | None = None, die_after: int | None = None, kill: bool = False, **options: Any
) -> dict[str, Any]:
    """Explore into ``folder``; with ``die_after`` end at the report after so many, by SIGKILL or by an exception.

    ``reward`` is the point's, other options are parameters.
    """
    reported = 0

    def advance(done: int) -> None:
        nonlocal reported
        reported += 1
        if reported - 1 == die_after:
            if kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Died

    make = partial(PointBody, **({"reward": options.pop("reward")} if "reward" in options else {}))
    params = explore_params(**({"failed_gate": "keep"} | options))
    store = CheckpointStore(checkpoints or folder.with_name(f"{folder.name}.work"), "stamp")
    folder.mkdir(exist_ok=True)
    return explore_domain(make, "cartpole", params, {"quality": "none"}, folder, store, advance)


def save_always() -> None:
    """A checkpoint after every episode."""
    explore_module.SAVE_EVERY_S, explore_module.SAVE_SHARE = 0.0, float("inf")


def write_point_and_die(folder: Path, checkpoints: Path, die_after: int) -> None:
    """In a process of its own."""
    save_always()
    write_point(folder, checkpoints, die_after, kill=True, method="rnd")
